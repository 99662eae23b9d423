"""What photos are ranked by, and a ranking: the nouns of search.py."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from photosearch.fusion import NO_EVIDENCE, Evidence
from photosearch.relevance import Scale
from photosearch.types import Ids, Vector

PLAIN_NAT: Final = 0.03  # where nothing tells a query's scale: about what it is in lantern's space
MAX_KEPT: Final = 16  # rankings for the pages after the first, and the photos in all of them
MAX_KEPT_PHOTOS: Final = 100_000

Scored = tuple[int, float]  # photo id, score
# Above the cut-off by what it shows; with what is written; by neither; or nobody can say.
Level = Literal["shown", "written", "below", "no telling"]


@dataclass(frozen=True)
class Aim:
    """What photos are scored by, and which of them."""

    vector: Vector
    allowed: Ids | None = None  # None: all
    skip: int | None = None  # the example itself
    known: Evidence = NO_EVIDENCE  # what is written on photos
    scale: Scale | None = None  # None: the bundle has no background
    hidden: bool = False  # of hidden photos, not of the others

    @property
    def nat(self) -> float:
        """Cosines that a nat of evidence is worth."""
        return PLAIN_NAT if self.scale is None else self.scale.nat

    @property
    def plain(self) -> bool:
        """Whether cosines are the scores: nothing is written that tells."""
        return not len(self.known.ids)

    def scores(self, ids: Ids, cosines: Vector) -> Vector:
        """What photos are put in order by."""
        if self.plain:
            return cosines
        found: Vector = cosines + np.float32(self.nat) * self.known.of(ids)[0]
        return found

    def heights(self, ids: Ids, scores: Vector) -> tuple[Vector, Vector]:
        """From scores the cosines, and what is compared with the cut-off."""
        if self.plain:
            return scores, scores
        order, cut_nats = self.known.of(ids)
        cosines: Vector = scores - np.float32(self.nat) * order
        heights: Vector = cosines + np.float32(self.nat) * cut_nats
        return cosines, heights


@dataclass(frozen=True)
class Ranking:
    """Photos in the order to show them, before paging."""

    shown: Sequence[Scored]
    cutoff: float | None = None
    ranked: int = 0  # of how many these are what was not cut
    named: frozenset[int] = frozenset()  # found by what is written, whatever they show
    aim: Aim | None = None


class Kept:
    """Rankings that pages were taken from, in memory, so that the pages after them go on where
    they ended while photos come and go: none is shown twice, and none is passed over.

    What the library would say now begins anew with each first page.
    """

    def __init__(self) -> None:
        self._rankings: OrderedDict[Hashable, Ranking] = OrderedDict()
        self._lock = threading.Lock()

    def ranking(
        self, key: Hashable, offset: int, wanted: int, make: Callable[[int], Ranking]
    ) -> Ranking:
        """For a page at `offset`, a ranking that `make(wanted)` gives, perhaps the one before."""
        with self._lock:
            before = self._rankings.get(key) if offset else None
        if before is not None and len(before.shown) >= wanted:
            return before
        found = make(wanted)
        if before is not None:
            known = {photo_id for photo_id, _ in before.shown}
            new = [scored for scored in found.shown if scored[0] not in known]
            found = replace(found, shown=[*before.shown, *new])
        # What lies beyond is not in order yet: a search ranks as far as it was asked.
        found = replace(found, shown=found.shown[:wanted])
        with self._lock:
            self._rankings[key] = found
            self._rankings.move_to_end(key)
            while len(self._rankings) > 1 and (
                len(self._rankings) > MAX_KEPT
                or sum(len(each.shown) for each in self._rankings.values()) > MAX_KEPT_PHOTOS
            ):
                self._rankings.popitem(last=False)
        return found


def levels(ranking: Ranking, page: Sequence[Scored]) -> list[Level]:
    """Where each photo stands to the cut-off."""
    if ranking.cutoff is None or ranking.aim is None:
        return ["no telling"] * len(page)
    ids = np.asarray([photo_id for photo_id, _ in page], np.int64)
    scores = np.asarray([score for _, score in page], np.float32)
    cosines, heights = ranking.aim.heights(ids, scores)
    return [
        "shown" if cosine >= ranking.cutoff else "written" if height >= ranking.cutoff else "below"
        for cosine, height in zip(cosines.tolist(), heights.tolist(), strict=True)
    ]
