"""Query -> hits, best first, cut where relevance ends."""

from __future__ import annotations

import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from photosearch.bundle import Background
from photosearch.conditions import Condition, Group, NameHas
from photosearch.encoder import Encoder
from photosearch.index.neighbours import Index
from photosearch.library import LibraryReader
from photosearch.query import Query
from photosearch.relevance import cut
from photosearch.store.photos import Place
from photosearch.types import Hit, Ids, Vector

MAX_RESULTS: Final = 1000  # in one answer
MAX_OFFSET: Final = 100_000
SPARE: Final = 16  # asked for beyond the page, against photos deleted since
LESS_WEIGHT: Final = 1.5  # of `-word`; measured in docs/experiments-query.md
CLEAR_COSINE: Final = 0.5  # where a bundle without background leaves no telling
MAX_CACHED_TEXTS: Final = 256  # texts whose vectors are kept, in memory only

Scored = tuple[int, float]  # photo id, score


@dataclass(frozen=True)
class Results:
    """One answer."""

    hits: tuple[Hit, ...]
    cutoff: float | None  # cosine below which nothing is relevant; None: no telling
    more: bool  # further hits of the same kind follow
    hidden: int  # of this page's best matches, how many lie below the cut-off and were left out
    notes: tuple[str, ...] = ()  # what the user should know about how the query was understood


@dataclass(frozen=True)
class _Aim:
    """What photos are scored by, and which of them."""

    vector: Vector
    allowed: Ids | None = None  # None: all
    skip: int | None = None  # the example itself
    image: bool = False  # a photo is, or is part of, what is looked for


@dataclass(frozen=True)
class _Ranking:
    """Photos in the order to show them, before paging."""

    shown: Sequence[Scored]
    cutoff: float | None = None
    ranked: int = 0  # of how many these are what was not cut
    named: frozenset[int] = frozenset()  # found by their name, whatever they show


NOTHING: Final = _Ranking(())


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
        notes = list(query.notes)
        if like is None and (query.like_photo_id or query.like_path):
            query, like = self._example(query)
            if like is None:
                notes.append("the photo to look like is not in the library; name it by its number")
                if not query.text:
                    return Results((), None, False, 0, tuple(notes))
        if like is None and query.finds_nothing_by_itself:
            return self.latest(k=k, offset=offset) if query.by_date else Results((), None, False, 0)
        ranking = self._ranking(query, like, offset + k + 1, show_all=show_all)
        if not ranking.shown and query.groups and not notes and not ranking.ranked:
            notes.append("no photo passes all the filters")
        page = ranking.shown[offset : offset + k]
        return Results(
            hits=self._hits(
                page, offset, ranking, query, looked_like=like is not None, show_all=show_all
            ),
            cutoff=ranking.cutoff,
            more=len(ranking.shown) > offset + k,
            hidden=max(0, min(ranking.ranked, offset + k) - min(len(ranking.shown), offset + k)),
            notes=tuple(notes),
        )

    def latest(self, *, k: int, offset: int = 0) -> Results:
        """The newest photos: what an empty search bar shows."""
        wanted = offset + k + 1
        ask = wanted
        while True:
            ids = self._reader.newest(ask)
            shown = self._one_of_each([(photo_id, 0.0) for photo_id in ids])
            if len(shown) >= wanted or len(ids) < ask:
                break
            ask *= 2
        page = shown[offset : offset + k]
        more = len(shown) > offset + k
        return Results(self._hits(page, offset, NOTHING, Query()), None, more, 0)

    def cutoff(
        self, vector: Vector, *, best: float, photos: int, image: bool = False
    ) -> float | None:
        """The score from which a photo counts as relevant to this query, where `best` is the
        best among so many photos; None: no telling. `image`: the query is a photo."""
        if self._background is None:
            return None
        return cut(vector, self._background, photos=photos, image=image).of(best)

    # --- what is looked for ---------------------------------------------------------------------

    def _example(self, query: Query) -> tuple[Query, Vector | None]:
        """The query with its example's id, and that photo's vector if the library has it."""
        photo_id = query.like_photo_id
        if photo_id is None and query.like_path is not None:
            photo_id = self._reader.photo_at(query.like_path)
        if photo_id is None:
            return query, None
        return replace(query, like_photo_id=photo_id), self._index.exact.vector(photo_id)

    def _vector(self, query: Query, like: Vector | None) -> Vector | None:
        parts: list[Vector] = []
        if query.text:
            parts.append(self._text(query.text))
        if like is not None:
            parts.append(like)
        if not parts:
            return None
        less = [self._text(text) for text in query.less]
        return turned_away(_unit(np.sum(parts, axis=0)), less, self._background)

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

    # --- in which order -------------------------------------------------------------------------

    def _ranking(
        self, query: Query, like: Vector | None, wanted: int, *, show_all: bool
    ) -> _Ranking:
        names = _name_group(query)
        named = self._reader.matching([*query.groups, names]) if names else np.empty(0, np.int64)
        if like is None and query.only_names and len(named):
            return self._newest(query, [*query.groups, *filter(None, (names,))], show_all=show_all)
        vector = self._vector(query, like)
        if vector is None:
            return self._newest(query, query.groups, show_all=show_all)
        aim = _Aim(
            vector,
            self._reader.matching(query.groups) if query.groups else None,
            query.like_photo_id,
            like is not None,
        )
        if query.by_date:
            return self._by_date(query, aim, named, show_all=show_all)
        return self._by_meaning(aim, named, wanted, show_all=show_all)

    def _by_meaning(self, aim: _Aim, named: Ids, wanted: int, *, show_all: bool) -> _Ranking:
        """Photos found by their name, then those that show what is asked, each best first."""
        first = (
            self._ranked(replace(aim, allowed=named), wanted, show_all=show_all)
            if len(named)
            else []
        )
        ahead = frozenset(photo_id for photo_id, _ in first)
        ranked = self._ranked(aim, wanted + len(ahead), show_all=show_all)
        cutoff = self._cutoff_of(aim, ranked[0][1]) if ranked else None
        rest = [
            (photo_id, score)
            for photo_id, score in ranked
            if photo_id not in ahead and (show_all or cutoff is None or score >= cutoff)
        ]
        return _Ranking([*first, *rest], cutoff, len(ranked), ahead)

    def _by_date(self, query: Query, aim: _Aim, named: Ids, *, show_all: bool) -> _Ranking:
        """What would be shown by meaning, all of it, newest first."""
        newest = self._reader.matching(query.groups, newest_first=True)
        ids, scores = self._index.search(aim.vector, len(newest), allowed=newest)
        cutoff = self._cutoff_of(aim, float(scores[0])) if len(scores) else None
        ahead = frozenset(named.tolist())
        score_of = dict(zip(ids.tolist(), scores.tolist(), strict=True))
        shown = [
            (photo_id, score_of[photo_id])
            for photo_id in newest.tolist()
            if photo_id in score_of
            and photo_id != aim.skip
            and (show_all or cutoff is None or photo_id in ahead or score_of[photo_id] >= cutoff)
        ]
        ranked = [(photo_id, 0.0) for photo_id in ids.tolist() if photo_id != aim.skip]
        if not show_all:
            shown, ranked = self._one_of_each(shown), self._one_of_each(ranked)
        return _Ranking(shown, cutoff, len(ranked), ahead)

    def _newest(self, query: Query, groups: Sequence[Group], *, show_all: bool) -> _Ranking:
        """Without a meaning to rank by: newest first, and without what clearly shows a `-word`."""
        ids = self._reader.matching(groups, newest_first=True)
        kept = np.ones(len(ids), bool)
        for text in query.less if not show_all else ():
            less = self._text(text)
            known, scores = self._index.exact.scores_of(ids, less)
            clear = self._clear(less)
            kept &= ~np.isin(ids, known[scores >= clear])
        shown = [(photo_id, 0.0) for photo_id in ids[kept].tolist()]
        named = frozenset(ids.tolist()) if query.text else frozenset()
        ranked = [(photo_id, 0.0) for photo_id in ids.tolist()]
        if not show_all:
            shown, ranked = self._one_of_each(shown), self._one_of_each(ranked)
        return _Ranking(shown, None, len(ranked), named)

    def _cutoff_of(self, aim: _Aim, best: float) -> float | None:
        photos = len(self._index) if aim.allowed is None else len(aim.allowed)
        return self.cutoff(aim.vector, best=best, photos=photos, image=aim.image)

    def _clear(self, vector: Vector) -> float:
        """The cosine from which a photo clearly shows this, whatever the best one is."""
        if self._background is None:
            return CLEAR_COSINE
        return cut(vector, self._background, photos=len(self._index)).shown

    def _ranked(self, aim: _Aim, wanted: int, *, show_all: bool) -> list[Scored]:
        """The best `wanted` photos that have a location now, one of each group."""
        ask = wanted + SPARE
        while True:
            ids, scores = self._index.search(aim.vector, ask, allowed=aim.allowed)
            placed = self._reader.places(ids.tolist())
            found = [
                (photo_id, score)
                for photo_id, score in zip(ids.tolist(), scores.tolist(), strict=True)
                if photo_id in placed and photo_id != aim.skip
            ]
            if not show_all:
                found = self._one_of_each(found)
            if len(found) >= wanted or len(ids) < ask:
                return found[:wanted]
            ask *= 2

    def _one_of_each(self, ranked: Sequence[Scored]) -> list[Scored]:
        """Of photos that are shown as one, the first alone; the order stays."""
        group_of = self._reader.groups_of([photo_id for photo_id, _ in ranked])
        seen: set[int] = set()
        kept: list[Scored] = []
        for photo_id, score in ranked:
            group = group_of.get(photo_id)
            if group not in seen:
                kept.append((photo_id, score))
            if group is not None:
                seen.add(group)
        return kept

    # --- what is told of them -------------------------------------------------------------------

    def _hits(
        self,
        page: Sequence[Scored],
        offset: int,
        ranking: _Ranking,
        query: Query,
        *,
        looked_like: bool = False,
        show_all: bool = False,
    ) -> tuple[Hit, ...]:
        ids = [photo_id for photo_id, _ in page]
        names = _name_group(query)
        groups = [*query.groups, *filter(None, (names,))]
        placed = self._reader.places_matching(ids, groups) if groups else self._reader.places(ids)
        met = self._met(groups, ids)
        sizes = {} if show_all else self._reader.group_sizes(ids)
        hits: list[Hit] = []
        for number, (photo_id, score) in enumerate(page):
            place = placed.get(photo_id)
            if place is None:
                continue  # deleted since it was ranked
            relevant = ranking.cutoff is None or score >= ranking.cutoff
            named = photo_id in ranking.named
            by_meaning = not named or (relevant and ranking.cutoff is not None)
            why = _meant(query, relevant, by_meaning=by_meaning, looked_like=looked_like)
            why += [_reason(condition, place) for condition in met.get(photo_id, ())]
            hits.append(
                Hit(
                    rank=offset + number + 1,
                    score=round(score, 6),
                    path=place.path,
                    photo_id=photo_id,
                    taken=place.photo.taken,
                    why=tuple(dict.fromkeys([*why, *query.notes])),
                    relevant=relevant or named,
                    offline=place.offline,
                    width_px=place.photo.width_px,
                    height_px=place.photo.height_px,
                    similar=sizes.get(photo_id, 1) - 1,
                    colour=None if place.photo.colour is None else f"#{place.photo.colour:06x}",
                )
            )
        return tuple(hits)

    def _met(self, groups: Sequence[Group], ids: Sequence[int]) -> dict[int, list[Condition]]:
        """Of each photo, the conditions it was found by."""
        met: dict[int, list[Condition]] = {photo_id: [] for photo_id in ids}
        for group in groups:
            if group.negative:
                continue
            for option in group.options:
                holding = self._reader.meeting(option, ids)
                for photo_id in holding & met.keys():
                    met[photo_id].append(option)
        return met


def turned_away(
    query: Vector,
    less: Sequence[Vector],
    background: Background | None,
    *,
    weight: float = LESS_WEIGHT,
) -> Vector:
    """The query's vector, turned away from the meanings it should keep clear of.

        q / s(q) - weight / sqrt(M) * sum of n / s(n), scaled to unit length

    s is the spread of a text's cosines with the background photos: told in their
    own spreads, a broad meaning and a narrow one weigh the same, and one weight
    does for every pair. M negatives together weigh as much as one that is as
    unlike the others as they are. As the result is a vector like any other, the
    cut-off is reckoned for it as for any other.
    """
    if not less:
        return query
    away = (
        weight
        / np.sqrt(len(less))
        * np.sum([text / _spread(text, background) for text in less], axis=0)
    )
    return _unit(query / _spread(query, background) - away)


def _spread(vector: Vector, background: Background | None) -> float:
    if background is None:
        return 1.0
    return max(float((background.vectors @ vector).std()), 1e-6)


def _unit(vector: Vector) -> Vector:
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)


def _name_group(query: Query) -> Group | None:
    """Words that look like file names, as a condition on the name."""
    return Group(tuple(NameHas(name, "") for name in query.names)) if query.names else None


def _meant(query: Query, relevant: bool, *, by_meaning: bool, looked_like: bool) -> list[str]:
    """In words, what the photo shows of what was asked."""
    reasons: list[str] = []
    if query.text and by_meaning:
        reasons.append(f"{'shows' if relevant else 'resembles only faintly:'} {query.text}")
    if looked_like:
        reasons.append("looks like the chosen photo")
    return reasons


def _reason(condition: Condition, place: Place) -> str:
    """In words, that the photo meets a condition."""
    if not isinstance(condition, NameHas) or condition.label:
        return condition.label
    name = place.path.replace("\\", "/").rsplit("/", 1)[-1]
    where = "file name" if _folded(condition.text) in _folded(name) else "folder"
    return f"{where} has {condition.text}"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
