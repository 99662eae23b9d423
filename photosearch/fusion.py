"""What is written of a photo beside what it shows: one score of both. Pure.

A word that is written on n of N photos narrows the library to those n: ln(N / n) nats. Of a
query of k words each that is written says a k-th of what was asked, so

    score = cosine + nat * m / k * sum of ln(N / n)      over the m words written on the photo

relevance.py says what a nat is worth in cosines: the height that the best of N strangers
reaches falls by just that when there are only n of them. How much each part should count was
measured (docs/experiments-query.md).

Two sums are kept. The order goes by the whole library, so that a filter changes no order among
the photos it keeps; the cut goes by the photos that pass the filters, among which a word may
tell nothing any more.

Where every word of the query is written, and not on half the library, the photo was asked for
by name: it is shown whatever it shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from photosearch.store.mentions import Mentions
from photosearch.types import Ids, Vector

MAX_NATS: Final = 4.2  # of one word: ln 64; a rare name is sometimes of something else
FEW: Final = 50  # photos that may share a name in a small library
SHARE: Final = 0.25  # of a larger one; a name on more of it tells nothing apart


@dataclass(frozen=True)
class Evidence:
    """What the words of a query that are written on photos say for each of these."""

    ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))  # in order, each once
    nats: Vector = field(default_factory=lambda: np.empty(0, np.float32))  # for the order
    cut_nats: Vector = field(default_factory=lambda: np.empty(0, np.float32))  # for the cut
    whole: frozenset[int] = frozenset()  # on these every word is written
    common: tuple[str, ...] = ()  # words on too many photos to say anything
    mentions: tuple[Mentions, ...] = ()

    def of(self, ids: Ids) -> tuple[Vector, Vector]:
        """The nats of each of these photos for the order and for the cut, 0 where nothing is
        written."""
        order, cut = np.zeros(len(ids), np.float32), np.zeros(len(ids), np.float32)
        if len(self.ids) and len(ids):
            at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
            known = self.ids[at] == ids
            order[known] = self.nats[at[known]]
            cut[known] = self.cut_nats[at[known]]
        return order, cut

    def reasons(self, photo_id: int) -> list[str]:
        """In words, what is written where."""
        return [
            f"{where} has {mention.word}"
            for mention in self.mentions
            for where in (mention.photos or {}).get(photo_id, ())
        ]

    def unwritten(self, photo_id: int) -> list[str]:
        """The words of the query that are not written on this photo."""
        return [m.word for m in self.mentions if photo_id not in (m.photos or {})]


NO_EVIDENCE: Final = Evidence()


def evidence(mentions: Sequence[Mentions], photos: int, *, allowed: Ids | None = None) -> Evidence:
    """Weigh the words that are written on photos of a library of so many, of which those
    allowed, in order, may answer."""
    limit = few(photos)
    common = tuple(m.word for m in mentions if m.photos is None or len(m.photos) > limit)
    telling = [m.photos for m in mentions if m.photos and m.word not in common]
    if not telling:
        return Evidence(common=common)
    each = [np.fromiter(sorted(found), np.int64, len(found)) for found in telling]
    ids, counts = np.unique(np.concatenate(each), return_counts=True)
    nats, cut_nats = np.zeros(len(ids), np.float32), np.zeros(len(ids), np.float32)
    for own in each:
        at = np.searchsorted(ids, own)
        nats[at] += _nats(photos, len(own))
        if allowed is None:
            cut_nats[at] += _nats(photos, len(own))
        elif left := int(np.isin(own, allowed, assume_unique=True).sum()):
            cut_nats[at] += _nats(len(allowed), left)
    asked = len(mentions) - len(common)
    part = (counts / asked).astype(np.float32)
    every = ids[counts == asked]
    whole = frozenset(every.tolist()) if len(every) <= limit else frozenset()
    return Evidence(ids, nats * part, cut_nats * part, whole, common, tuple(mentions))


def _nats(photos: int, count: int) -> float:
    return min(math.log(max(photos, count) / count), MAX_NATS)


def few(photos: int) -> int:
    """On how many of so many photos a name may stand and still tell them from the others."""
    return int(max(SHARE * photos, min(FEW, photos / 2)))
