"""Query -> hits, best first, cut where relevance ends."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from photosearch.bundle import Background
from photosearch.encoder import Encoder
from photosearch.index.neighbours import Index
from photosearch.library import LibraryReader
from photosearch.query import Query
from photosearch.types import Hit, Vector

MAX_RESULTS: Final = 1000  # in one answer
MAX_OFFSET: Final = 100_000
SPARE: Final = 16  # asked for beyond the page, against photos deleted since
FAINT_Z: Final = 1.0  # below this many spreads above the background nothing is ever relevant
NEAR_BEST_Z: Final = 0.25  # how close to a faint best match its company must be
MAX_CACHED_TEXTS: Final = 256  # texts whose vectors are kept, in memory only


@dataclass(frozen=True)
class Results:
    """One answer."""

    hits: tuple[Hit, ...]
    cutoff: float | None  # cosine below which nothing is relevant; None: no telling
    more: bool  # further hits of the same kind follow
    hidden: int  # of this page's best matches, how many lie below the cut-off and were left out


class Search:
    """Answers queries over one index in one space. Any thread may call."""

    def __init__(
        self,
        encoder: Encoder,
        index: Index,
        reader: LibraryReader,
        background: Background | None,
    ) -> None:
        self._encoder = encoder
        self._index = index
        self._reader = reader
        self._background = background
        self._texts: OrderedDict[str, Vector] = OrderedDict()
        self._lock = threading.Lock()

    def run(
        self,
        query: Query,
        *,
        k: int,
        offset: int = 0,
        show_all: bool = False,
        like: Vector | None = None,
    ) -> Results:
        """Rank the library's photos. `like` is an image's vector, for "more like this"."""
        assert 1 <= k <= MAX_RESULTS and 0 <= offset <= MAX_OFFSET, (k, offset)
        vector = self._vector(query, like)
        if vector is None:
            return Results((), None, False, 0)
        wanted = offset + k + 1  # one more tells whether there are more
        ranked = self._ranked(vector, wanted, skip=query.like_photo_id)
        cutoff = self.cutoff(vector, best=ranked[0][1]) if ranked else None
        shown = [
            (photo_id, score)
            for photo_id, score in ranked
            if show_all or cutoff is None or score >= cutoff
        ]
        page = shown[offset : offset + k]
        return Results(
            hits=self._hits(page, offset, cutoff, query),
            cutoff=cutoff,
            more=len(shown) > offset + k,
            hidden=min(len(ranked), offset + k) - min(len(shown), offset + k),
        )

    def latest(self, *, k: int, offset: int = 0) -> Results:
        """The newest photos: what an empty search bar shows."""
        ids = self._reader.newest(offset + k + 1)[offset:]
        page = [(photo_id, 0.0) for photo_id in ids[:k]]
        return Results(self._hits(page, offset, None, Query("")), None, len(ids) > k, 0)

    def cutoff(self, vector: Vector, *, best: float) -> float | None:
        """The score from which a photo counts as relevant to this query.

        Every query has its own level and spread of cosines with photos that have
        nothing to do with it; they are taken from the bundle's fixed background
        photos. Photos that stand out from those by the bundle's calibrated number
        of spreads are relevant. Where the library's best photo stands out less,
        it alone, and what comes close to it, is: a small library's only temple is
        worth showing though it is not much of a temple.
        """
        if self._background is None:
            return None
        scores = self._background.vectors @ vector
        level, spread = float(scores.mean()), float(scores.std())
        clear = level + self._background.cutoff_z * spread
        if best >= clear:
            return clear
        return max(level + FAINT_Z * spread, best - NEAR_BEST_Z * spread)

    def _vector(self, query: Query, like: Vector | None) -> Vector | None:
        parts: list[Vector] = []
        if query.text:
            parts.append(self._text(query.text))
        if like is None and query.like_photo_id is not None:
            like = self._index.exact.vector(query.like_photo_id)
        if like is not None:
            parts.append(like)
        if not parts:
            return None
        total: Vector = np.sum(parts, axis=0, dtype=np.float32)
        return total / max(float(np.linalg.norm(total)), 1e-12)

    def _text(self, text: str) -> Vector:
        with self._lock:
            if text in self._texts:
                self._texts.move_to_end(text)
                return self._texts[text]
        vector: Vector = self._encoder.texts([text])[0]
        with self._lock:
            self._texts[text] = vector
            while len(self._texts) > MAX_CACHED_TEXTS:
                self._texts.popitem(last=False)
        return vector

    def _ranked(self, vector: Vector, wanted: int, *, skip: int | None) -> list[tuple[int, float]]:
        """The best `wanted` photos that have a location now."""
        ask = wanted + SPARE
        while True:
            ids, scores = self._index.search(vector, ask)
            placed = self._reader.places([int(photo_id) for photo_id in ids])
            found = [
                (int(photo_id), float(score))
                for photo_id, score in zip(ids, scores, strict=True)
                if int(photo_id) in placed and int(photo_id) != skip
            ]
            if len(found) >= wanted or len(ids) < ask:
                return found[:wanted]
            ask *= 2

    def _hits(
        self, page: Sequence[tuple[int, float]], offset: int, cutoff: float | None, query: Query
    ) -> tuple[Hit, ...]:
        placed = self._reader.places([photo_id for photo_id, _ in page])
        hits: list[Hit] = []
        for number, (photo_id, score) in enumerate(page):
            place = placed.get(photo_id)
            if place is None:
                continue  # deleted since it was ranked
            relevant = cutoff is None or score >= cutoff
            hits.append(
                Hit(
                    rank=offset + number + 1,
                    score=round(score, 6),
                    path=place.path,
                    photo_id=photo_id,
                    taken=place.photo.taken,
                    why=_why(query, relevant),
                    relevant=relevant,
                    offline=place.offline,
                    width_px=place.photo.width_px,
                    height_px=place.photo.height_px,
                )
            )
        return tuple(hits)


def _why(query: Query, relevant: bool) -> tuple[str, ...]:
    """In words, which parts of the query the photo matched."""
    reasons: list[str] = []
    nearness = "shows" if relevant else "resembles only faintly:"
    if query.text:
        reasons.append(f"{nearness} {query.text}")
    if query.like_photo_id is not None:
        reasons.append("looks like the chosen photo")
    return tuple(reasons)
