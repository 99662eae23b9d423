"""Which prompts find the most, and how hard `-word` should push.

    python -m benchmarks.prompts [--data DIR] [--bundle DIR]

Every label of the labelled sets, typed as a query, ranks the photos of its set;
every caption of Flickr8k's validation photos ranks those 500. Each wording is
scored by mean average precision and precision at 10 (labels) and recall at 1
and 10 (captions). Then `dog`, `street` and others with `-people`: the share of
people photos among the first ten, and of the right ones. Results and what was
decided from them: docs/experiments-query.md. Image vectors are kept in --cache.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from photosearch.bundle import Background, load_background, require_bundle, shipped_bundles
from photosearch.encoder import Encoder, open_encoder
from photosearch.preprocess import load, normalise
from photosearch.relevance import NEAREST, scale
from photosearch.search import turned_away
from photosearch.types import Matrix

LABELLED: Final = ("flowers", "groceries", "clothes", "scenes", "places")
CAPTIONED: Final = "flickr8k-val"
BATCH: Final = 32
WORDINGS: Final[dict[str, tuple[str, ...]]] = {
    "raw": ("{}",),
    "a photo of": ("a photo of {}",),
    "a photo of a": ("a photo of a {}",),
    "raw + a photo of a": ("{}", "a photo of a {}"),
    "three": ("{}", "a {}", "a photo of a {}"),
    "five": ("{}", "a {}", "a photo of a {}", "a picture of {}", "there is a {} in the photo"),
    "five scenes": ("{}", "a photo of {}", "a close-up of a {}", "a view of a {}", "a {} outside"),
}
# What captions say where a photo shows the thing.
THINGS: Final[dict[str, str]] = {
    "people": r"man|men|woman|women|boys?|girls?|child|children|people|person|guys?|lad(y|ies)"
    r"|bab(y|ies)|kids?|players?|crowd|toddler|couple|bikers?|riders?|surfer|skier|climber|team",
    "dog": r"dogs?",
    "water": r"water|lake|river|ocean|sea|pool",
    "snow": r"snow\w*",
    "grass": r"grass\w*|field|lawn",
    "street": r"streets?|road|sidewalk",
    "beach": r"beach",
    "child": r"child|children|boys?|girls?|kids?",
    "ball": r"balls?",
}
WEIGHTS: Final = (0.0, 0.5, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Photos:
    """One set: unit rows, and what is known of each photo."""

    vectors: Matrix
    facts: list[dict[str, Any]]


def read(tar: Path, encoder: Encoder, cache: Path) -> Photos:
    """Photos and facts of a shard; vectors come from the cache where they are there."""
    kept = cache / f"{tar.stem}-{encoder.space}.npy"
    rows: list[Matrix] = []
    facts: list[dict[str, Any]] = []
    pixels = []
    for image, fact in _members(tar):
        facts.append(fact)
        if not kept.exists():
            pixels.append(load(image, encoder.preprocess))
            if len(pixels) == BATCH:
                rows.append(encoder.images(normalise(np.stack(pixels), encoder.preprocess)))
                pixels = []
    if not kept.exists():
        if pixels:
            rows.append(encoder.images(normalise(np.stack(pixels), encoder.preprocess)))
        cache.mkdir(parents=True, exist_ok=True)
        np.save(kept, np.concatenate(rows))
    return Photos(np.load(kept), facts)


def _members(tar: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    images: dict[str, bytes] = {}
    with tarfile.open(tar) as shard:
        for member in shard:
            file = shard.extractfile(member)
            stem, _, kind = member.name.rpartition(".")
            if file is None:
                continue
            if kind == "json":
                yield images.pop(stem), json.load(file)
            else:
                images[stem] = file.read()
    for image in images.values():  # of a set that says nothing of its photos
        yield image, {}


Embed = Callable[[Sequence[str]], Matrix]


def worded(encoder: Encoder, templates: tuple[str, ...]) -> Embed:
    """Texts -> the mean of their templates' vectors, unit length."""

    def embed(texts: Sequence[str]) -> Matrix:
        rows = np.zeros((len(texts), encoder.dim), np.float32)
        for template in templates:
            for start in range(0, len(texts), BATCH):
                part = [template.format(text) for text in texts[start : start + BATCH]]
                rows[start : start + BATCH] += encoder.texts(part)
        found: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return found

    return embed


def label_figures(photos: Photos, embed: Embed) -> tuple[float, float]:
    """Mean over labels of average precision and of precision at 10, in percent."""
    truth = np.asarray([fact["label"] for fact in photos.facts])
    labels = sorted(set(truth.tolist()))
    scores = embed(labels) @ photos.vectors.T
    precision, tens = [], []
    for label, row in zip(labels, scores, strict=True):
        right = (truth == label)[np.argsort(-row, kind="stable")]
        precision.append((np.cumsum(right) / np.arange(1, len(right) + 1))[right].mean())
        tens.append(right[:10].mean())
    return 100 * float(np.mean(precision)), 100 * float(np.mean(tens))


def caption_figures(photos: Photos, embed: Embed) -> tuple[float, float]:
    """Recall at 1 and 10 of text to image, in percent."""
    pairs = [
        (caption.rstrip(" ."), number)
        for number, fact in enumerate(photos.facts)
        for caption in fact["captions"]
    ]
    scores = embed([caption for caption, _ in pairs]) @ photos.vectors.T
    own = scores[np.arange(len(pairs)), [number for _, number in pairs]]
    ranks = (scores > own[:, None]).sum(axis=1)
    return 100 * float((ranks < 1).mean()), 100 * float((ranks < 10).mean())


def negatives(
    photos: Photos, encoder: Encoder, background: Background | None, weight: float, others: set[str]
) -> tuple[int, list[float]]:
    """Means over the pairs `thing -other` that five photos or more answer and five do not, in
    percent: of the first ten, how many show the other, the thing, and the thing alone; and of
    the photos cut as relevant, how many show the other and the thing alone. And the pairs."""
    shows = {thing: _shows(photos, words) for thing, words in THINGS.items()}
    vectors = dict(zip(THINGS, encoder.texts(list(THINGS)), strict=True))
    rows = []
    for thing, other in itertools.permutations(THINGS, 2):
        both, alone = shows[thing] & shows[other], shows[thing] & ~shows[other]
        if other not in others or both.sum() < 5 or alone.sum() < 5:
            continue
        aim = turned_away(vectors[thing], [vectors[other]], background, weight=weight)
        scores = photos.vectors @ aim
        order = np.argsort(-scores, kind="stable")
        first = order[:10]
        best = float(scores.max())
        end = -1.0
        if background is not None:
            nearest = photos.vectors[order[:NEAREST]]
            end = scale(aim, background).cutoff(len(scores), best, nearest)
        relevant = scores >= end
        rows.append(
            [
                shows[other][first].mean(),
                shows[thing][first].mean(),
                alone[first].sum() / min(10, alone.sum()),
                shows[other][relevant].mean(),
                alone[relevant].mean(),
            ]
        )
    return len(rows), [100 * float(value) for value in np.mean(rows, axis=0)]


def _shows(photos: Photos, words: str) -> NDArray[np.bool_]:
    """By two captions of the five."""
    word = re.compile(rf"\b({words})\b")
    said = [sum(bool(word.search(c.lower())) for c in fact["captions"]) for fact in photos.facts]
    return np.asarray(said) >= 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--bundle")
    parser.add_argument("--cache", type=Path, default=Path("runs/prompts"))
    args = parser.parse_args()
    bundle = require_bundle(args.bundle, [shipped_bundles()])
    encoder = open_encoder(bundle)
    sets = {
        name: read(args.data / f"{name}-000.tar", encoder, args.cache)
        for name in (*LABELLED, CAPTIONED)
    }
    print("| wording |" + "".join(f" {name} mAP / P@10 |" for name in LABELLED) + " val R@1 / 10 |")
    for name, templates in WORDINGS.items():
        embed = worded(encoder, templates)
        cells = ["{:.1f} / {:.1f}".format(*label_figures(sets[label], embed)) for label in LABELLED]
        cells.append("{:.1f} / {:.1f}".format(*caption_figures(sets[CAPTIONED], embed)))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print("\n| pairs | weight | first 10: other | thing | alone | relevant: other | alone |")
    for others in (set(THINGS), {"people"}):
        for weight in WEIGHTS:
            count, row = negatives(
                sets[CAPTIONED], encoder, load_background(bundle), weight, others
            )
            print(f"| {count} | {weight} | " + " | ".join(f"{value:.1f}" for value in row) + " |")


if __name__ == "__main__":
    main()
