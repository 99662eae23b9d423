"""Where relevance ends: from which score on photos have to do with a query. Pure.

Half of what a search finds is said by what it leaves out. A flat cosine cannot
say it, for every query has its own level; nor can spreads above a background
alone, for the best of many photos lies higher than the best of few. So the best
photo must beat what the best of as many arbitrary photos reaches, an extreme
value. docs/relevance.md has the statistics and what they achieve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from photosearch.bundle import Background
from photosearch.types import Vector

# Once something is there, its company is shown down to where so many strangers may be expected
# with it: one in 64 of the library's photos, at least one and at most 8.
MAX_STRANGERS: Final = 8
STRANGER_SHARE: Final = 1 / 64


@dataclass(frozen=True)
class Cut:
    """Two heights, in cosines."""

    present: float  # the best photo must reach it, else the query has no answer here
    shown: float  # if it does, photos from here on are relevant
    nat: float = 0.0  # by how much both fall when e times fewer photos could answer

    def of(self, best: float) -> float:
        """The score from which photos are relevant, where the best one has this score."""
        return self.shown if best >= self.present else self.present


def cut(vector: Vector, background: Background, *, photos: int, image: bool = False) -> Cut:
    """The heights for one query among so many photos; `image`: the query is itself a photo."""
    tail = background.image if image else background.text
    scores = background.vectors @ vector
    level, spread = float(scores.mean()), float(scores.std()) + tail.floor

    def height(among: float) -> float:
        return level + spread * (tail.start + tail.slope * math.log(max(1.0, among)))

    strangers = min(max(photos * STRANGER_SHARE, 1.0), MAX_STRANGERS)
    nat = spread * tail.slope
    return Cut(present=height(photos), shown=height(photos / strangers), nat=nat)
