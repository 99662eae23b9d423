"""How high the best of N arbitrary photos scores, measured for a bundle (docs/relevance.md).

Queries are the texts of querybank.py, and the background photos themselves; the
library is a random part of the background. Most of what the bank names is not in
it, some is: the median over the bank is hardly moved by those, a mean would be.
For words the heights are raised from the median to the mean that the best of
strangers has, by the distribution of extremes: so fewer queries about what is not there
find something than by the toss of a coin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from photosearch.bundle import Tail
from photosearch.relevance import bounds
from photosearch.types import Matrix, Vector

FLOOR_SHARE: Final = 0.5  # of the median spread: what a query's own spread is steadied by
# Of photos: their spreads say less of how far from them what is alike lies. Both by labelled sets.
IMAGE_FLOOR_SHARE: Final = 2.0
# Who points at a photo asks for what is like it: the heights are those of so many times fewer.
IMAGE_FEWER: Final = 4
SMALLEST: Final = 32  # photos of the smallest library that is measured
DRAWS: Final = 4  # libraries of each size
SAME_PHOTO: Final = 0.999  # cosine from which a photo is the query itself, or a copy
SEED: Final = 0
TINY: Final = 1e-9
# Gumbel's distribution, which extremes follow: Euler's constant less -ln ln 2, in its scale, which
# is the slope.
MEAN_ABOVE_MEDIAN: Final = 0.5772 - 0.3665
# Half way, by which as many are kept as are empty on labelled sets in libraries of 2,000 photos.
PARTS_ABOVE_MEDIAN: Final = MEAN_ABOVE_MEDIAN / 2


def text_tail(texts: Matrix, background: Matrix) -> Tail:
    """texts (Q, D) and background (N, D), unit rows."""
    found = _tail(texts @ background.T, FLOOR_SHARE)
    return replace(found, start=round(found.start + MEAN_ABOVE_MEDIAN * found.slope, 4))


def parts_tail(texts: Matrix, background: Matrix, widths: Sequence[int], floor: float) -> Tail:
    """The same of what `relevance.Parts.told` makes of the whole and its parts, (Q, D) and (N, D).
    `floor`: of the whole's `text_tail`."""
    whole = _told(texts @ background.T, floor)
    each = [
        _told(texts[:, a:b] @ background[:, a:b].T, floor * np.linalg.norm(texts[:, a:b], axis=1))
        for a, b in bounds(widths, texts.shape[1])
    ]
    found = _fit((whole + np.max(each, axis=0)) / 2, floor)
    return replace(found, start=round(found.start + PARTS_ABOVE_MEDIAN * found.slope, 4))


def image_tail(background: Matrix) -> Tail:
    """Each background photo as a query for the others."""
    scores = background @ background.T
    scores[scores > SAME_PHOTO] = np.nan
    found = _tail(scores, IMAGE_FLOOR_SHARE)
    return replace(found, start=round(found.start - found.slope * math.log(IMAGE_FEWER), 4))


def _tail(scores: Matrix, floor_share: float) -> Tail:
    """scores (Q, N) of queries with background photos; NaN where there is none."""
    floor = floor_share * float(np.median(np.nanstd(scores, axis=1)))
    return _fit(_told(scores, floor), floor)


def _told(scores: Matrix, floor: float | Vector) -> Matrix:
    """In each query's own spreads."""
    level, spread = np.nanmean(scores, axis=1), np.nanstd(scores, axis=1)
    found: Matrix = (scores - level[:, None]) / np.maximum(spread + floor, TINY)[:, None]
    return found


def _fit(told: Matrix, floor: float) -> Tail:
    rng = np.random.default_rng(SEED)
    photos = told.shape[1]
    sizes = [2**power for power in range(5, 20) if SMALLEST <= 2**power <= photos]
    if len(sizes) < 2:
        sizes = [max(1, photos // 2), photos]  # tests' backgrounds are small
    medians = [
        np.mean(
            [
                np.median(np.nanmax(told[:, rng.permutation(photos)[:size]], axis=1))
                for _ in range(DRAWS)
            ]
        )
        for size in sizes
    ]
    slope, start = np.polyfit(np.log(sizes), medians, 1)
    return Tail(
        floor=round(floor, 5), start=round(float(start), 4), slope=round(max(float(slope), 0.0), 4)
    )
