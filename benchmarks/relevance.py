"""Does a search keep what is there, and show nothing when nothing is?

    python -m benchmarks.relevance [--data DIR] [--bundle DIR] [--cache DIR]
        [--shown N] [--draws N] [--like]

Every kind of a labelled set is asked for twice in libraries of several sizes: once
with five (--shown) of its photos in it, once without any, and that ten times over
(--draws) with other photos. The rest of the library has
nothing to do with the kind: Flickr8k's and ADE20K's photos for groceries and flowers,
ADE20K's for clothes, things for places and scenes. 50,000 real photos are not at hand:
that library is filled up with neighbours of the real ones, each moved by half the
difference between two photos that lie near each other.

Reported in percent: how often a photo of the kind was among those shown; how often
nothing was shown for a kind that is not there; precision, recall and F1 of what was
shown where something was there. For our cut-off, for a flat cosine placed where it
keeps as many (so that only the other figures differ), for Ente's, Lap's and PicQuery's
thresholds scaled from CLIP's cosines to this space's, and for the first ten whatever
they are; and what one decision costs.
Then everyday words, which what the background shows answers too: a word is right about one of
Flickr8k's validation photos if a caption has it, asked in libraries of 30, 100 and 500 of them.
With --like what is asked is not the kind's name but one photo more of it ("more like this"), which
goes by the background alone, and peers, who give no threshold for that, are left out.
Results: docs/relevance.md. Photos' vectors are kept in --cache.
"""

from __future__ import annotations

import argparse
import functools
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.prompts import THINGS, read
from photosearch.bundle import Background, load_background, require_bundle, shipped_bundles
from photosearch.encoder import Encoder, open_encoder
from photosearch.relevance import (
    NEAREST,
    OWN_PHOTOS,
    Scale,
    known_word,
    lowest,
    products,
    scale,
    scale_by_parts,
    scale_of,
)
from photosearch.types import Matrix, Vector

SIZES: Final = (100, 500, 2000, 6000, 50_000)
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


# Everyday queries, and what captions of photos that answer them say.
COMMON: Final[dict[str, str]] = {
    **dict.fromkeys(("people", "a person", "people outdoors"), THINGS["people"]),
    "a man": r"man|men|guys?",
    "a woman": r"woman|women|lad(y|ies)",
    "children": THINGS["child"],
    **dict.fromkeys(("dog", "dogs"), THINGS["dog"]),
    **{query: THINGS[query] for query in ("water", "snow", "grass", "street", "beach")},
    "a ball": THINGS["ball"],
    "bicycle": r"bikes?|bicycles?|bicyclist|biker",
    "a car": r"cars?",
    "mountains": r"mountains?|hill|cliff",
    "trees": r"trees?|woods|forest",
    "rocks": r"rocks?|boulder|cliff",
    "running": r"runs?|running",
    "jumping": r"jump\w*",
    "sitting": r"sit\w*",
    "playing": r"play\w*",
    "sport": r"soccer|football|basketball|baseball|tennis|hockey|volleyball|rugby",
    "crowd": r"crowd\w*",
    "city": r"city|street|building\w*",
    "swimming": r"swim\w*|pool",
}
COMMON_SIZES: Final = (30, 100, 500)
DRAWS: Final = 6  # libraries of each size but the whole
LEAST_RIGHT: Final = 2  # photos that answer, else a library is not asked


@dataclass(frozen=True)
class Kind:
    """One question (D,): the products of its parts with photos that answer it (P, n), with photos
    that do not, and with the bundle's background; each photo's add up to its cosine."""

    query: Vector
    answers: Matrix
    others: Matrix
    strangers: Matrix
    background: Background
    word: Scale | None = None  # where the bundle knows the query itself
    like: bool = False  # a photo asks

    @functools.cached_property
    def right(self) -> Vector:
        """Cosines of the photos that answer it."""
        return added_up(self.answers)

    @functools.cached_property
    def wrong(self) -> Vector:
        """And of those that do not."""
        return added_up(self.others)

    def library(self, size: int, *, there: bool) -> Matrix:
        """The products of a library of that size, with or without what answers it."""
        if not there:
            return self.others[:, :size]
        rest = self.others[:, : max(1, size - self.answers.shape[1])]
        return np.concatenate([self.answers, rest], axis=1)

    def scale(self, size: int, *, there: bool) -> Scale:
        """Its scale in a library of that size, with or without what answers it."""
        if self.like:
            return scale_of(added_up(self.strangers), self.background.image)
        share = round(self.answers.shape[1] * min(1.0, OWN_PHOTOS / size)) * there
        rest = self.others[:, : max(0, size - share)]
        own = np.concatenate([self.answers[:, :share], rest], axis=1)[:, :OWN_PHOTOS]
        found = scale_by_parts(self.query, self.strangers, self.background, own=own)
        return lowest(found, self.word)


def added_up(products: Matrix) -> Vector:
    """(P, n) -> (n,): cosines."""
    found: Vector = products.sum(axis=0)
    return found


def kinds(
    name: str,
    data: Path,
    encoder: Encoder,
    cache: Path,
    others: Matrix,
    background: Background,
    rng: np.random.Generator,
    shown: int,
    *,
    like: bool = False,
) -> list[Kind]:
    found = read(data / f"{name}-000.tar", encoder, cache)
    labels = np.asarray([fact["label"] for fact in found.facts])
    result: list[Kind] = []
    for label in sorted(set(labels.tolist())):
        if label.startswith(BRANDS):
            continue
        own = rng.permutation(np.flatnonzero(labels == label))[: shown + like]
        if like:
            query, own = found.vectors[own[0]], own[1:]
        else:
            (query,) = encoder.texts([label])
        parts = () if like else background.parts
        wrong = products(others, query, parts)[:, rng.permutation(len(others))]
        strangers = products(background.vectors, query, parts)
        right = products(found.vectors[own], query, parts)
        word = None if like else known_word(label, background)
        result.append(Kind(query, right, wrong, strangers, background, word, like))
    return result


def neighbours(photos: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """The photos, and neighbours of theirs up to so many."""
    if len(photos) >= count:
        return photos
    some = photos[rng.permutation(len(photos))[:2000]]
    near = some @ some.T
    np.fill_diagonal(near, -1)
    apart = some - some[near.argmax(axis=1)]
    base = photos[rng.integers(0, len(photos), count - len(photos))]
    moved = base + 0.5 * apart[rng.integers(0, len(apart), len(base))]
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    found: Matrix = np.concatenate([photos, moved]).astype(np.float32)
    return found


def cutoff(rule: str, kind: Kind, size: int, flat: float, *, there: bool = True) -> float:
    """The cosine from which a rule shows photos; not for the first ten."""
    if rule != "ours":
        return flat
    library = kind.library(size, there=there)
    cosines = added_up(library)
    nearest = library[:, np.argsort(-cosines)[:NEAREST]]
    return kind.scale(size, there=there).cutoff_from(size, float(cosines.max()), nearest)


def rates(asked: Sequence[Kind], size: int, rule: str, flat: float = 0.0) -> tuple[float, ...]:
    """Percent: kept a right photo; showed nothing when nothing was there; and precision, recall
    and F1 of what was shown where something was."""
    kept, empty, precision, recall, f1 = [], [], [], [], []
    for kind in asked:
        wrong, right = kind.wrong[: max(1, size - len(kind.right))], kind.right
        if rule == "top":
            shown, absent_shows = float(np.sort(np.concatenate([wrong, right]))[-TOP]), True
        else:
            shown = cutoff(rule, kind, size, flat)
            absent = float(kind.wrong[:size].max())
            absent_shows = absent >= cutoff(rule, kind, size, flat, there=False)
        answered = max(float(wrong.max()), float(right.max())) >= shown
        hits = int((right >= shown).sum()) if answered else 0
        misses = int((wrong >= shown).sum()) if answered else 0
        kept.append(hits > 0)
        empty.append(not absent_shows)
        if answered:
            precision.append(hits / max(1, hits + misses))
        recall.append(hits / len(right))
        f1.append(2 * hits / (hits + misses + len(right)))
    return tuple(
        100 * float(np.mean(values)) if values else float("nan")
        for values in (kept, empty, precision, recall, f1)
    )


def flat_as_good(asked: Sequence[Kind]) -> float:
    """The flat cosine that keeps as many as ours does, over all sizes."""
    sizes = [size for size in SIZES if size <= len(asked[0].wrong) * 1.3]
    wanted = np.mean([rates(asked, size, "ours")[0] for size in sizes])
    best = [float(kind.right.max()) for kind in asked]
    grid = np.linspace(0.0, 0.9, 91)
    kept = [100 * float(np.mean([one >= flat for one in best])) for flat in grid]
    off = np.abs(np.asarray(kept) - wanted)
    return float(grid[np.flatnonzero(off == off.min())[-1]])


def rules(asked: Sequence[Kind], low: float, high: float) -> dict[str, tuple[str, float]]:
    """Name -> rule and its cosine. low, high: an unrelated pair's cosine and a right one's, to
    which the peers' are scaled."""
    flat = flat_as_good(asked)
    found = {"ours": ("ours", 0.0), f"flat {flat:.2f}": ("flat", flat)}
    for peer, cosine in ({} if asked[0].like else PEERS).items():
        share = (cosine - CLIP_LOW) / (CLIP_HIGH - CLIP_LOW)
        found[peer] = ("flat", low + share * (high - low))
    return {**found, f"first {TOP}": ("top", 0.0)}


def balance(asked: Sequence[Kind], size: int) -> float:
    """The percentage at which as many are kept as are empty, with the one threshold in spreads
    that is best when all answers are known: what no rule of that kind can pass."""

    def told(kind: Kind, photos: Matrix, *, there: bool) -> float:
        found = kind.scale(size, there=there)
        if found.parts is not None:
            return float(found.parts.told(photos, found).max())
        return float(found.told(added_up(photos)).max())

    there = np.asarray([told(kind, kind.answers, there=True) for kind in asked])
    absent = np.asarray([told(kind, kind.others[:, :size], there=False) for kind in asked])
    every = np.concatenate([there, absent])
    return 100 * max(min(float((there >= t).mean()), float((absent < t).mean())) for t in every)


def common(
    photos: Matrix, captions: Sequence[str], encoder: Encoder, background: Background, size: int
) -> tuple[float, ...]:
    """Percent over everyday words: kept a right photo; precision, recall, F1 of what was shown."""
    rng = np.random.default_rng(1)
    right = [
        np.asarray([bool(re.search(rf"\b({pattern})\b", said)) for said in captions])
        for pattern in COMMON.values()
    ]
    vectors = encoder.texts(list(COMMON))
    kept, precision, recall, f1 = [], [], [], []
    for _ in range(1 if size >= len(photos) else DRAWS):
        some = rng.permutation(len(photos))[:size]
        for query, vector, true in zip(COMMON, vectors, right, strict=True):
            answers = int(true[some].sum())
            if answers < LEAST_RIGHT:
                continue
            scores = photos[some] @ vector
            found = scale(vector, background, library=photos[some], text=query)
            nearest = photos[some][np.argsort(-scores)[:NEAREST]]
            shown = scores >= found.cutoff(size, float(scores.max()), nearest)
            hits = int((shown & true[some]).sum())
            kept.append(hits > 0)
            if shown.any():
                precision.append(hits / int(shown.sum()))
            recall.append(hits / answers)
            f1.append(2 * hits / (int(shown.sum()) + answers))
    return tuple(100 * float(np.mean(values)) for values in (kept, precision, recall, f1))


def cost_us(queries: Matrix, background: Background, library: Matrix) -> float:
    """Median processor time of one decision, in microseconds."""
    spent = []
    for query in queries:
        began = time.process_time()
        scale(query, background, library=library).cutoff(50_000, 0.3, library[:NEAREST])
        spent.append((time.process_time() - began) * 1e6)
    return float(np.median(spent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--bundle")
    parser.add_argument("--shown", type=int, default=SHOWN, help="photos of a kind that is there")
    parser.add_argument("--draws", type=int, default=10, help="of photos and libraries")
    parser.add_argument("--like", action="store_true", help="ask by photos of the kinds")
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

    rooms = photos("ade20k-000")
    things = photos("groceries-000", "flowers-000", "clothes-000", "receipts-000")
    parts = (f"flickr8k-train-{part:03}" for part in range(7))
    people = np.concatenate([rooms, photos("flickr8k-val-000", *parts)])
    others = {
        "groceries": neighbours(people, SIZES[-1], rng),
        "flowers": neighbours(people, SIZES[-1], rng),
        "places": things,
        "clothes": rooms,
        "scenes": things,
    }
    low = float((background.vectors @ encoder.texts(["a photo"])[0]).mean())

    def asked_of(name: str, strangers: Matrix) -> list[Kind]:
        return [
            kind
            for draw in range(args.draws)
            for kind in kinds(
                name,
                args.data,
                encoder,
                args.cache,
                strangers,
                background,
                np.random.default_rng(draw),
                args.shown,
                like=args.like,
            )
        ]

    sets = {name: asked_of(name, strangers) for name, strangers in others.items()}
    right = np.mean([k.right.mean() for asked in sets.values() for k in asked])
    print(f"{bundle.name} {bundle.space}: {background.text}, {len(background.words)} words")
    cost = cost_us(people[:200], background, people[:OWN_PHOTOS])
    print(f"one decision: {cost:.0f} us of processor time, median")
    for name, asked in sets.items():
        for told, (rule, value) in rules(asked, low, float(right)).items():
            cells = [
                " / ".join(f"{figure:.0f}" for figure in rates(asked, size, rule, value))
                for size in SIZES
                if size <= len(asked[0].wrong) * 1.3
            ]
            print(
                f"| {name} ({len(asked) // args.draws}) | {told} | " + " | ".join(cells) + " |",
                flush=True,
            )
        best = [balance(asked, size) for size in SIZES if size <= len(asked[0].wrong) * 1.3]
        print(
            f"{name}: best balance with the answers known: " + ", ".join(f"{b:.0f}" for b in best)
        )
    for size in SIZES:
        every = [
            kind for asked in sets.values() for kind in asked if size <= len(asked[0].wrong) * 1.3
        ]
        figures = " / ".join(f"{figure:.1f}" for figure in rates(every, size, "ours"))
        print(f"every kind, {size} photos: {figures}; best balance {balance(every, size):.1f}")
    if not args.like:
        val = read(args.data / "flickr8k-val-000.tar", encoder, args.cache)
        said = [" ".join(fact["captions"]).lower() for fact in val.facts]
        for size in COMMON_SIZES:
            found = common(val.vectors, said, encoder, background, size)
            figures = " / ".join(f"{figure:.0f}" for figure in found)
            print(f"everyday words, {size} photos: kept / precision / recall / F1: {figures}")


if __name__ == "__main__":
    main()
