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

import numpy as np

from photosearch.bundle import Background, Tail
from photosearch.types import Matrix, Vector

# Once something is there, its company is shown down to where so many strangers may be expected
# with it: one in 64 of the library's photos, at least one and at most 8.
MAX_STRANGERS: Final = 8
STRANGER_SHARE: Final = 1 / 64
OWN_PHOTOS: Final = 2048  # of the library, beside the bundle's 1,024: a tenth of a millisecond
TYPICAL_PHOTOS: Final = 10_000  # at whose height two scales are compared


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

    level: float  # mean cosine with photos that nobody chose
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


def scale(
    vector: Vector,
    background: Background,
    *,
    library: Matrix | None = None,
    image: bool = False,
    text: str = "",
) -> Scale:
    """One query's scale. `library`: vectors of photos spread over the library, (M, D). `image`:
    the query is itself a photo; it goes by the bundle's background alone. `text`: what was
    asked, where that is all that was; the bundle may know how it scores with what it is not."""
    strangers = background.vectors @ vector
    if image:
        return scale_of(strangers, background.image)
    own = None if library is None else library @ vector
    found = scale_of(strangers, background.text, own=own)
    return lowest(found, known_word(text, background))


def known_word(text: str, background: Background) -> Scale | None:
    """The scale of a query that many photos answer, measured on photos that do not."""
    known = background.words.get(" ".join(text.casefold().split()))
    if known is None:
        return None
    level, spread = known
    return Scale(level, spread + background.text.floor, background.text)


def lowest(*scales: Scale | None) -> Scale:
    """The one whose heights are lowest."""
    there = [one for one in scales if one is not None]
    return min(there, key=lambda one: one.height(TYPICAL_PHOTOS))


def scale_of(strangers: Vector, tail: Tail, *, own: Vector | None = None) -> Scale:
    """The scale of cosines with the bundle's background, and with the library's own photos.

    The library's count only where they lower the heights: what it holds much of is what it is
    asked for, and a third of all photos would pass for the noise that they must rise above.
    """
    alone = _spread(strangers, tail)
    if own is None or not len(own):
        return alone
    return lowest(alone, _spread(np.concatenate([strangers, own]), tail))


def _spread(scores: Vector, tail: Tail) -> Scale:
    return Scale(float(scores.mean()), float(scores.std()) + tail.floor, tail)


def cut(vector: Vector, background: Background, *, photos: int, image: bool = False) -> Cut:
    """The heights for one query among so many photos."""
    return scale(vector, background, image=image).cut(photos)
