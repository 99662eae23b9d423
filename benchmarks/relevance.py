"""Does a search keep what is there, and show nothing when nothing is?

    python -m benchmarks.relevance [--data DIR] [--bundle DIR] [--cache DIR]

Every kind of a labelled set is asked for twice in libraries of several sizes: once
with five of its photos in it, once without any. The rest of the library has
nothing to do with the kind: Flickr8k's photos for groceries and flowers, groceries,
flowers and clothes for places. Reported: how often a photo of the kind was among
those shown, and how often nothing was shown for a kind that is not there; for our
cut-off, for flat cosines placed where they keep as many (so that only the other
figure differs), for Ente's, Lap's and PicQuery's thresholds scaled from CLIP's
cosines to this space's, and for the first ten whatever they are.
Results: docs/relevance.md. Photos' vectors are kept in --cache.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.prompts import read
from photosearch.bundle import Background, load_background, require_bundle, shipped_bundles
from photosearch.encoder import Encoder, open_encoder
from photosearch.relevance import cut
from photosearch.types import Matrix, Vector

SIZES: Final = (100, 500, 2000, 6000)
SHOWN: Final = 5  # photos of the kind in the library
TOP: Final = 10
IN_THE_BACKGROUND: Final = 0.998  # cosine: the bundle knows this very photo
# Of CLIP's cosines: an unrelated pair has about 0.15, a caption and its photo about 0.30.
PEERS: Final = {"Ente 0.175": 0.175, "PicQuery 0.20": 0.20, "Lap 0.25": 0.25}
CLIP_LOW: Final = 0.15
CLIP_HIGH: Final = 0.30
# Brands that nobody types, and no small encoder reads off a carton.
BRANDS: Final = (
    "alpro", "arla", "bravo", "garant", "god morgon", "oatly", "tropicana", "valio", "yoggi",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One question: its text's vector, photos that answer it, and photos that do not."""

    query: Vector
    photos: Matrix
    others: Matrix


def kinds(
    name: str, data: Path, encoder: Encoder, cache: Path, others: Matrix, rng: np.random.Generator
) -> list[Kind]:
    found = read(data / f"{name}-000.tar", encoder, cache)
    labels = np.asarray([fact["label"] for fact in found.facts])
    result: list[Kind] = []
    for label in sorted(set(labels.tolist())):
        if label.startswith(BRANDS):
            continue
        own = rng.permutation(np.flatnonzero(labels == label))[:SHOWN]
        (query,) = encoder.texts([label])
        result.append(Kind(query, found.vectors[own], others[rng.permutation(len(others))]))
    return result


def heights(rule: str, kind: Kind, background: Background, size: int, flat: float) -> Vector:
    """(present, shown) of a rule, in cosines; not for the first ten."""
    if rule == "ours":
        found = cut(kind.query, background, photos=size)
        return np.asarray([found.present, found.shown], np.float32)
    return np.full(2, flat, np.float32)


def rates(
    asked: Sequence[Kind], background: Background, size: int, rule: str, flat: float = 0.0
) -> tuple[float, float, float]:
    """Percent: kept a right photo; showed nothing when nothing was there; and the precision of
    what was shown where something was."""
    kept, empty, precision = [], [], []
    for kind in asked:
        wrong = kind.others[: size - SHOWN] @ kind.query
        right = kind.photos @ kind.query
        if rule == "top":
            edge = np.sort(np.concatenate([wrong, right]))[-TOP]
            present = shown = edge
            absent_shows = True
        else:
            present, shown = heights(rule, kind, background, size, flat)
            absent_shows = bool((kind.others[:size] @ kind.query).max() >= present)
        answered = max(wrong.max(), right.max()) >= present
        kept.append(answered and right.max() >= shown)
        empty.append(not absent_shows)
        if answered:
            hits = (right >= shown).sum()
            precision.append(hits / max(1, hits + (wrong >= shown).sum()))
    return (
        100 * float(np.mean(kept)),
        100 * float(np.mean(empty)),
        100 * float(np.mean(precision)) if precision else float("nan"),
    )


def flat_as_good(asked: Sequence[Kind], background: Background) -> float:
    """The flat cosine that keeps as many as ours does, over all sizes."""
    wanted = np.mean([rates(asked, background, size, "ours")[0] for size in SIZES])
    grid = np.linspace(0.0, 0.9, 91)
    kept = [rates(asked, background, SIZES[1], "flat", float(flat))[0] for flat in grid]
    return float(grid[int(np.argmin(np.abs(np.asarray(kept) - wanted)))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--bundle")
    parser.add_argument("--cache", type=Path, default=Path("runs/prompts"))
    args = parser.parse_args()
    bundle = require_bundle(args.bundle, [shipped_bundles()])
    encoder = open_encoder(bundle, threads=1)
    background = load_background(bundle)
    assert background is not None, f"{bundle.directory} holds no background"
    rng = np.random.default_rng(0)

    def photos(*stems: str) -> Matrix:
        rows = [read(args.data / f"{stem}.tar", encoder, args.cache).vectors for stem in stems]
        found = np.concatenate(rows)
        unknown = (found @ background.vectors.T).max(axis=1) < IN_THE_BACKGROUND
        kept: Matrix = found[unknown]
        return kept

    people = photos("flickr8k-val-000", *(f"flickr8k-train-{part:03}" for part in range(7)))
    things = photos("groceries-000", "flowers-000", "clothes-000", "receipts-000")
    low = float((background.vectors @ encoder.texts(["a photo"])[0]).mean())
    sets = {
        "groceries": kinds("groceries", args.data, encoder, args.cache, people, rng),
        "flowers": kinds("flowers", args.data, encoder, args.cache, people, rng),
        "places": kinds("places", args.data, encoder, args.cache, things, rng),
    }
    right = np.mean([(k.photos @ k.query).mean() for asked in sets.values() for k in asked])
    print(f"{bundle.name} {bundle.space}: {background.text}")
    for name, asked in sets.items():
        most = min(len(kind.others) for kind in asked)
        flat = flat_as_good(asked, background)
        rules: dict[str, tuple[str, float]] = {
            "ours": ("ours", 0.0),
            f"flat {flat:.2f}": ("flat", flat),
        }
        for peer, cosine in PEERS.items():
            share = (cosine - CLIP_LOW) / (CLIP_HIGH - CLIP_LOW)
            rules[peer] = ("flat", low + share * (float(right) - low))
        rules[f"first {TOP}"] = ("top", 0.0)
        for told, (rule, value) in rules.items():
            cells = [
                "{:.0f} / {:.0f} / {:.0f}".format(*rates(asked, background, size, rule, value))
                for size in SIZES
                if size <= most * 1.3
            ]
            print(f"| {name} ({len(asked)}) | {told} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
