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

from photosearch.bundle import Background, Tail
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

    def of(self, best: float) -> float:
        """The score from which photos are relevant, where the best one has this score."""
        return self.shown if best >= self.present else self.present


@dataclass(frozen=True)
class Scale:
    """How one query scores against photos that nobody chose for it, and what that means."""

    level: float  # mean cosine with the background
    spread: float  # their standard deviation, and the bundle's floor
    tail: Tail

    @property
    def nat(self) -> float:
        """Cosines by which a height falls when e times fewer photos could answer."""
        return self.spread * self.tail.slope

    def height(self, photos: float) -> float:
        """What the best of so many strangers reaches."""
        told = self.tail.start + self.tail.slope * math.log(max(1.0, photos))
        return self.level + self.spread * told

    def cut(self, photos: int) -> Cut:
        """The heights among so many photos."""
        strangers = min(max(photos * STRANGER_SHARE, 1.0), MAX_STRANGERS)
        return Cut(present=self.height(photos), shown=self.height(photos / strangers))


def scale(vector: Vector, background: Background, *, image: bool = False) -> Scale:
    """One query's scale; `image`: the query is itself a photo."""
    tail = background.image if image else background.text
    scores = background.vectors @ vector
    return Scale(float(scores.mean()), float(scores.std()) + tail.floor, tail)


def cut(vector: Vector, background: Background, *, photos: int, image: bool = False) -> Cut:
    """The heights for one query among so many photos."""
    return scale(vector, background, image=image).cut(photos)
