"""Where relevance ends: from which score on photos have to do with a query. Pure.

Half of what a search finds is said by what it leaves out. A flat cosine cannot
say it, for every query has its own level; nor can spreads above a background
alone, for the best of many photos lies higher than the best of few. So the best
photo must beat what the best of as many arbitrary photos reaches, an extreme
value. docs/relevance.md has the statistics and what they achieve.

Where a space is made of parts that know different things, the whole and the surest part
together tell whether the query has an answer; from where on others are shown, the whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from photosearch.bundle import Background, Tail
from photosearch.types import Matrix, Vector

# Once something is there, its company is shown down to where so many strangers may be expected
# with it: one in 64 of the library's photos, at least one and at most 8.
MAX_STRANGERS: Final = 8
STRANGER_SHARE: Final = 1 / 64
OWN_PHOTOS: Final = 2048  # of the library, beside the bundle's 1,024: a tenth of a millisecond
TYPICAL_PHOTOS: Final = 10_000  # at whose height two scales are compared
NEAREST: Final = 32  # photos by which it is told whether a query has an answer
SMALLEST_SPREAD: Final = 1e-6


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
    parts: Parts | None = field(default=None, compare=False)

    @property
    def nat(self) -> float:
        """Cosines by which a height falls when e times fewer photos could answer."""
        return self.spread * self.tail.slope

    def height(self, photos: float) -> float:
        """What the best of so many strangers reaches."""
        return self.level + self.spread * self.tail.height(photos)

    def told(self, cosines: Vector) -> Vector:
        """In spreads."""
        return (cosines - np.float32(self.level)) / np.float32(self.spread)

    def cut(self, photos: int) -> Cut:
        """The heights among so many photos, by the whole query alone."""
        strangers = min(max(photos * STRANGER_SHARE, 1.0), MAX_STRANGERS)
        return Cut(present=self.height(photos), shown=self.height(photos / strangers))

    def cutoff(self, photos: int, best: float, nearest: Matrix) -> float:
        """The cosine from which photos are relevant among so many, where the best one has this
        cosine: above it where the query has no answer. `nearest`: the NEAREST' vectors, (K, D)."""
        told = nearest if self.parts is None else self.parts.products(nearest)
        return self.cutoff_from(photos, best, told)

    def cutoff_from(self, photos: int, best: float, nearest: Matrix) -> float:
        """The same from what the query's parts make of the nearest, `products` (P, K)."""
        heights = self.cut(photos)
        if self.parts is None:
            return heights.of(best)
        if self.parts.answer(nearest, self, photos):
            return min(heights.shown, best)
        return max(heights.present, float(np.nextafter(np.float32(best), np.float32(2))))


@dataclass(frozen=True)
class Parts:
    """What the parts of a query say, each by itself.

    A space may be made of parts that know different things: ours has one that was learned from
    captions beside one of the names of things. Where something is there, one of the two is
    often sure and the other knows nothing; what both rate a little is more often a stranger.
    """

    vector: Vector  # (D,): the query
    widths: tuple[int, ...]  # of its P parts
    scales: tuple[Scale, ...]
    tail: Tail  # of `told`

    def products(self, photos: Matrix) -> Matrix:
        """(K, D) -> (P, K); they add up to cosines."""
        return products(photos, self.vector, self.widths)

    def told(self, products: Matrix, whole: Scale) -> Vector:
        """(P, K) -> (K,): the mean of what the whole and the strongest part say, in spreads."""
        each = [scale.told(part) for scale, part in zip(self.scales, products, strict=True)]
        found: Vector = (whole.told(products.sum(axis=0)) + np.max(each, axis=0)) / 2
        return found

    def answer(self, products: Matrix, whole: Scale, photos: int) -> bool:
        """Whether one of these is an answer, among so many."""
        told = self.told(products, whole)
        return float(told.max(initial=-np.inf)) >= self.tail.height(photos)


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
    if image:
        return scale_of(background.vectors @ vector, background.image)
    widths = background.parts
    strangers = products(background.vectors, vector, widths)
    own = None if library is None else products(library, vector, widths)
    found = scale_by_parts(vector, strangers, background, own=own)
    return lowest(found, known_word(text, background))


def bounds(widths: Sequence[int], dim: int) -> list[tuple[int, int]]:
    """Where each part begins and ends; one of everything where there are no parts."""
    ends = list(itertools.accumulate(widths or (dim,)))
    return list(zip([0, *ends], ends, strict=False))


def products(photos: Matrix, vector: Vector, widths: Sequence[int]) -> Matrix:
    """(N, D) and (D,) -> (P, N): each part's share of the cosines."""
    return np.stack([photos[:, a:b] @ vector[a:b] for a, b in bounds(widths, len(vector))])


def scale_by_parts(
    vector: Vector, strangers: Matrix, background: Background, *, own: Matrix | None = None
) -> Scale:
    """The scale of a query in words, and those of its parts, from their `products` with the
    background (P, N) and with the library's own photos (P, M)."""
    tail, widths = background.text, background.parts
    whole = scale_of(strangers.sum(axis=0), tail, own=None if own is None else own.sum(axis=0))
    if not widths:
        return whole
    parts = [
        # A part of a unit vector is shorter: so is what steadies its spread.
        scale_of(
            strangers[part],
            replace(tail, floor=tail.floor * float(np.linalg.norm(vector[a:b])) + SMALLEST_SPREAD),
            own=None if own is None else own[part],
        )
        for part, (a, b) in enumerate(bounds(widths, len(vector)))
    ]
    return replace(whole, parts=Parts(vector, widths, tuple(parts), background.by_parts))


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
    alone = _moments(strangers)
    if own is None or not len(own):
        return _spread(alone, tail)
    return lowest(_spread(alone, tail), _spread(alone + _moments(own), tail))


def _moments(scores: Vector) -> NDArray[np.float64]:
    """Their number, their sum, and that of their squares: those of two crowds add up."""
    exact = scores.astype(np.float64)
    return np.array([len(exact), exact.sum(), exact @ exact])


def _spread(moments: NDArray[np.float64], tail: Tail) -> Scale:
    count, total, squares = moments.tolist()
    level = total / count
    return Scale(level, math.sqrt(max(0.0, squares / count - level * level)) + tail.floor, tail)


def cut(vector: Vector, background: Background, *, photos: int, image: bool = False) -> Cut:
    """The heights for one query among so many photos."""
    return scale(vector, background, image=image).cut(photos)
