"""Query -> hits, best first, cut where relevance ends."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from photosearch.bundle import Background
from photosearch.conditions import Condition, Group, NameHas, asks_for_hidden
from photosearch.encoder import Encoder
from photosearch.fusion import NO_EVIDENCE, Evidence, evidence
from photosearch.index.exact import best
from photosearch.index.neighbours import Index
from photosearch.library import LibraryReader
from photosearch.query import UNKNOWN_EXAMPLE, Query
from photosearch.ranking import Aim, Kept, Ranking, Scored, levels
from photosearch.reasons import meant, reason, written_in_paths
from photosearch.relevance import NEAREST, OWN_PHOTOS, cut, scale
from photosearch.types import Hit, Ids, Matrix, Vector
from photosearch.wording import without_bytes

MAX_RESULTS: Final = 1000  # in one answer
MAX_OFFSET: Final = 100_000
SPARE: Final = 16  # asked for beyond the page, against photos deleted since
LESS_WEIGHT: Final = 1.5  # of `-word`; measured in docs/experiments-query.md
CLEAR_COSINE: Final = 0.5  # where a bundle without background leaves no telling
MAX_CACHED_TEXTS: Final = 256  # texts whose vectors are kept, in memory only


@dataclass(frozen=True)
class Results:
    """One answer."""

    hits: tuple[Hit, ...]
    cutoff: float | None  # cosine below which nothing is relevant; None: no telling
    more: bool  # further hits of the same kind follow
    hidden: int  # of this page's best matches, how many lie below the cut-off and were left out
    notes: tuple[str, ...] = ()  # what the user should know about how the query was understood


NOTHING: Final = Ranking(())


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
        self._kept = Kept()
        self._own: Matrix | None = None  # photos of the library, when it had
        self._own_of = 0  # so many

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
                notes.append(UNKNOWN_EXAMPLE)
                if not query.text:
                    return Results((), None, False, 0, tuple(notes))
        if like is None and query.finds_nothing_by_itself:
            nothing = Results((), None, False, 0, tuple(notes))
            latest = self.latest(k=k, offset=offset) if query.by_date else nothing
            return replace(latest, notes=tuple(notes))
        ranking = self._kept.ranking(
            (query, None if like is None else like.tobytes(), show_all),
            offset,
            offset + k + 1,
            lambda wanted: self._ranking(query, like, wanted, show_all=show_all),
        )
        if not ranking.shown and query.groups and not notes and not ranking.ranked:
            notes.append("no photo passes all the filters")
        if not ranking.shown and ranking.aim is not None and len(query.words) == 1:
            notes += [
                f"{word} is written on so many photos that it tells none apart;"
                f' "{word}" in quotation marks finds them all'
                for word in ranking.aim.known.common
            ]
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
        ranking = self._kept.ranking("latest", offset, offset + k + 1, self._latest)
        page = ranking.shown[offset : offset + k]
        more = len(ranking.shown) > offset + k
        return Results(self._hits(page, offset, NOTHING, Query()), None, more, 0)

    def _latest(self, wanted: int) -> Ranking:
        ask = wanted
        while True:
            ids = self._reader.newest(ask)
            shown = self._one_of_each([(photo_id, 0.0) for photo_id in ids])
            if len(shown) >= wanted or len(ids) < ask:
                return Ranking(shown)
            ask *= 2

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
        vector: Vector = self._encoder.texts([without_bytes(text)])[0]
        with self._lock:
            self._texts[text] = vector
            while len(self._texts) > MAX_CACHED_TEXTS:
                self._texts.popitem(last=False)
        return vector

    # --- in which order -------------------------------------------------------------------------

    def _ranking(
        self, query: Query, like: Vector | None, wanted: int, *, show_all: bool
    ) -> Ranking:
        names = _name_group(query)
        named = self._reader.matching([*query.groups, names]) if names else np.empty(0, np.int64)
        if like is None and query.only_names and len(named):
            return self._newest(query, [*query.groups, *filter(None, (names,))], show_all=show_all)
        vector = self._vector(query, like)
        if vector is None:
            return self._newest(query, query.groups, show_all=show_all)
        allowed = self._reader.matching(query.groups) if query.groups else None
        told = None
        if self._background is not None:
            own = self._own_photos()
            words = query.text if like is None and not query.less else ""
            told = scale(vector, self._background, library=own, image=like is not None, text=words)
        aim = Aim(
            vector,
            allowed,
            query.like_photo_id,
            self._evidence(query, allowed),
            told,
            asks_for_hidden(query.groups),
        )
        if query.by_date:
            return self._by_date(query, aim, named, show_all=show_all)
        return self._by_meaning(aim, named, wanted, show_all=show_all)

    def _evidence(self, query: Query, allowed: Ids | None) -> Evidence:
        if not query.words:
            return NO_EVIDENCE
        mentions = self._reader.mentions(query.words)
        return evidence(mentions, len(self._index), allowed=allowed)

    def _by_meaning(self, aim: Aim, named: Ids, wanted: int, *, show_all: bool) -> Ranking:
        """Photos found by their name, then those that show what is asked, each best first."""
        first: list[Scored] = []
        if len(named):
            first, _ = self._ranked(replace(aim, allowed=named), wanted, show_all=show_all)
        ahead = frozenset(photo_id for photo_id, _ in first)
        ranked, nearest = self._ranked(aim, wanted + len(ahead), show_all=show_all)
        cutoff = self._cutoff_of(aim, nearest) if ranked else None
        kept = aim.known.whole
        ids = np.asarray([photo_id for photo_id, _ in ranked], np.int64)
        scores = np.asarray([score for _, score in ranked], np.float32)
        high = aim.heights(ids, scores)[1] >= (-np.inf if cutoff is None else cutoff)
        rest = [
            (photo_id, score)
            for (photo_id, score), relevant in zip(ranked, high.tolist(), strict=True)
            if photo_id not in ahead and (show_all or relevant or photo_id in kept)
        ]
        return Ranking([*first, *rest], cutoff, len(ranked), ahead | kept, aim)

    def _by_date(self, query: Query, aim: Aim, named: Ids, *, show_all: bool) -> Ranking:
        """What would be shown by meaning, all of it, newest first."""
        newest = self._reader.matching(query.groups, newest_first=True)
        newest = newest[newest != (-1 if aim.skip is None else aim.skip)]
        ids, cosines = self._index.exact.scores_of(newest, aim.vector)
        if not len(ids):
            return NOTHING
        cutoff = self._cutoff_of(aim, _pairs(*best(ids, cosines, NEAREST)))
        ahead = frozenset(named.tolist()) | aim.known.whole
        newest = newest[np.isin(newest, ids)]
        scores = aim.scores(ids, cosines)[np.searchsorted(ids, newest)]
        kept = np.ones(len(newest), bool)
        if not show_all and cutoff is not None:
            kept = aim.heights(newest, scores)[1] >= cutoff
            kept |= np.isin(newest, np.fromiter(ahead, np.int64, len(ahead)))
        shown = _pairs(newest[kept], scores[kept])
        ranked = len(newest)
        if not show_all:
            shown = self._one_of_each(shown)
            ranked = len(self._one_of_each([(photo_id, 0.0) for photo_id in newest.tolist()]))
        return Ranking(shown, cutoff, ranked, ahead, aim)

    def _newest(self, query: Query, groups: Sequence[Group], *, show_all: bool) -> Ranking:
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
        return Ranking(shown, None, len(ranked), named)

    def _cutoff_of(self, aim: Aim, nearest: Sequence[Scored]) -> float | None:
        """The cosine from which photos are relevant, where these are the nearest, best first."""
        if aim.scale is None:
            return None
        photos = len(self._index) if aim.allowed is None else len(aim.allowed)
        best = nearest[0][1] if nearest else -1.0
        ids = np.asarray([photo_id for photo_id, _ in nearest], np.int64)
        return aim.scale.cutoff(photos, best, self._index.exact.rows_of(ids)[1])

    def _own_photos(self) -> Matrix:
        """Vectors spread over the library, taken anew when it has grown by an eighth or shrunk."""
        now, own = len(self._index), self._own
        if own is None or now < self._own_of or (now - self._own_of) * 8 > self._own_of:
            own = self._index.sample(OWN_PHOTOS)
            self._own, self._own_of = own, now
        return own

    def _clear(self, vector: Vector) -> float:
        """The cosine from which a photo clearly shows this, whatever the best one is."""
        if self._background is None:
            return CLEAR_COSINE
        return cut(vector, self._background, photos=len(self._index)).shown

    def _ranked(
        self, aim: Aim, wanted: int, *, show_all: bool
    ) -> tuple[list[Scored], list[Scored]]:
        """The best `wanted` photos that have a location now, one of each group, by both what
        they show and what is written on them; and with their cosines the NEAREST of any that have
        one, the same for a short page as for a long one."""
        ask = max(wanted, NEAREST) + SPARE
        while True:
            ids, cosines, every = self._candidates(aim, ask)
            first, scores = best(ids, aim.scores(ids, cosines), ask)
            near, heights = (first, scores) if aim.plain else best(ids, cosines, ask)
            both = np.union1d(first, near).tolist()
            here = self._reader.findable(both, hidden=aim.hidden) - {aim.skip}
            nearest = [scored for scored in _pairs(near, heights) if scored[0] in here][:NEAREST]
            found = [scored for scored in _pairs(first, scores) if scored[0] in here]
            if not show_all:
                found = self._one_of_each(found)
            if len(found) >= wanted or every:
                return found[:wanted], nearest
            ask *= 2

    def _candidates(self, aim: Aim, ask: int) -> tuple[Ids, Vector, bool]:
        """Photos among which the `ask` best are, by cosine and by score, with their cosines; and
        whether these are all there are."""
        ids, cosines = self._index.search(aim.vector, ask, allowed=aim.allowed)
        every = len(ids) < ask
        if aim.plain:
            return ids, cosines, every
        # What is written only raises a score, so a photo on which nothing is written and that is
        # among the best by both is among the best by cosine.
        written = aim.known.ids
        if aim.allowed is not None:
            written = np.intersect1d(written, aim.allowed)
        own, own_cosines = self._index.exact.scores_of(written, aim.vector)
        others = ~np.isin(ids, own)
        merged = np.concatenate([ids[others], own])
        return merged, np.concatenate([cosines[others], own_cosines]), every

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
        ranking: Ranking,
        query: Query,
        *,
        looked_like: bool = False,
        show_all: bool = False,
    ) -> tuple[Hit, ...]:
        ids = [photo_id for photo_id, _ in page]
        of_hidden = asks_for_hidden(query.groups)
        names = _name_group(query)
        groups = [*query.groups, *filter(None, (names,))]
        known = NO_EVIDENCE if ranking.aim is None else ranking.aim.known
        told = [*groups, *written_in_paths(known, ids)]
        placed = self._reader.places_matching(ids, told) if told else self._reader.places(ids)
        met = self._met(groups, ids)
        sizes = {} if show_all else self._reader.group_sizes(ids)
        standing = levels(ranking, page)
        hits: list[Hit] = []
        for number, (photo_id, score) in enumerate(page):
            place = placed.get(photo_id)
            if place is None or place.hidden != of_hidden:
                continue  # deleted or hidden since it was ranked
            named = photo_id in ranking.named
            level = standing[number]
            why = meant(query, level, named, known.unwritten(photo_id), looked_like=looked_like)
            why += known.reasons(photo_id)
            why += [reason(condition, place) for condition in met.get(photo_id, ())]
            hits.append(
                Hit(
                    rank=offset + number + 1,
                    score=round(score, 6),
                    path=place.path,
                    photo_id=photo_id,
                    taken=place.photo.taken,
                    why=tuple(dict.fromkeys([*why, *query.notes])),
                    relevant=named or level != "below",
                    offline=place.offline,
                    width_px=place.photo.width_px,
                    height_px=place.photo.height_px,
                    similar=sizes.get(photo_id, 1) - 1,
                    place=place.town,
                    hidden=of_hidden,
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


def _pairs(ids: Ids, numbers: Vector) -> list[Scored]:
    return list(zip(ids.tolist(), numbers.tolist(), strict=True))
