"""How much should what is written of a photo count beside what it shows?

    python -m benchmarks.fusion [--data DIR] [--bundle DIR] [--cache DIR]

One caption of a share of Flickr8k's 500 validation photos is written, as a file's caption
would be; two others of every photo are queries. R@1 / R@10 in percent, of the photos with a
caption, of those without, and of all. A word that is written on n of N photos weighs
ln(N / n) nats, told in cosines by the query's scale (photosearch/relevance.py); rows differ in
how the weights of m words of k become one bonus. Results: docs/experiments-query.md.
"""

from __future__ import annotations

import argparse
import datetime
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.prompts import BATCH, CAPTIONED, read
from photosearch.bundle import load_background, require_bundle, shipped_bundles
from photosearch.encoder import open_encoder
from photosearch.fusion import MAX_NATS, few
from photosearch.query import parse
from photosearch.relevance import scale
from photosearch.wording import stands_in

SHARES: Final = (0.1, 0.3, 1.0)
# (told as, factor, power of m / k)
RULES: Final = (
    ("none", 0.0, 0),
    ("sum", 1.0, 0),
    ("a quarter of the sum", 0.25, 0),
    ("sum times m / k", 1.0, 1),
    ("sum times (m / k)^2", 1.0, 2),
)


def bonus(
    words: Sequence[NDArray[np.bool_]], factor: float, power: int, nat: float
) -> NDArray[np.float64]:
    """words: for each word of the query, on which photos it is written."""
    photos = len(words[0])
    nats, written = np.zeros(photos), np.zeros(photos)
    for on in words:
        count = int(on.sum())
        if 0 < count <= few(photos):
            nats[on] += min(math.log(photos / count), MAX_NATS)
            written[on] += 1
    found: NDArray[np.float64] = factor * nat * nats * (written / len(words)) ** power
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--bundle")
    parser.add_argument("--cache", type=Path, default=Path("runs/prompts"))
    args = parser.parse_args()
    bundle = require_bundle(args.bundle, [shipped_bundles()])
    encoder = open_encoder(bundle)
    background = load_background(bundle)
    assert background is not None, f"{bundle.directory} holds no background"
    photos = read(args.data / f"{CAPTIONED}-000.tar", encoder, args.cache)
    captions = [fact["captions"] for fact in photos.facts]
    asked = [(text.rstrip(" ."), n) for n, texts in enumerate(captions) for text in texts[:2]]
    vectors = np.concatenate(
        [
            encoder.texts([text for text, _ in asked[start : start + BATCH]])
            for start in range(0, len(asked), BATCH)
        ]
    )
    now = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)
    words = [parse(text, now=now).words for text, _ in asked]
    nats = [scale(vector, background).nat for vector in vectors]
    cosines = vectors @ photos.vectors.T
    own = np.asarray([number for _, number in asked])
    rng = np.random.default_rng(0)
    print("| written | bonus | with | without | all |")
    for share in SHARES:
        has = rng.permutation(len(captions)) < share * len(captions)
        on: dict[str, NDArray[np.bool_]] = {}
        for word in {word for some in words for word in some}:
            on[word] = np.asarray(
                [bool(has[n]) and stands_in(word, texts[4]) for n, texts in enumerate(captions)]
            )
        for told, factor, power in RULES:
            ranks = []
            for row in range(len(asked)):
                scores = cosines[row].astype(np.float64)
                if words[row]:
                    scores += bonus([on[word] for word in words[row]], factor, power, nats[row])
                ranks.append(int((scores > scores[own[row]]).sum()))
            cells = []
            for some in (has[own], ~has[own], np.ones(len(own), bool)):
                mine = np.asarray(ranks)[some]
                cells.append(
                    f"{100 * (mine < 1).mean():.1f} / {100 * (mine < 10).mean():.1f}"
                    if len(mine)
                    else ""
                )
            print(f"| {share:.0%} | {told} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
