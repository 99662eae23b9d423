"""Exact neighbours by one pass over the vectors.

The oracle everything else is tested against, and the whole index of most libraries. The
rows lie in blocks, one for each cell (cells.py) and a last one, the tail, for photos that
have none yet; a library without cells is all tail.
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

from photosearch.index.signs import Asked, Signs, Words, sketch
from photosearch.types import Ids, Matrix, Vector

Numbers = NDArray[np.int64]
Rows = NDArray[np.int32] | Numbers

FIRST_CAPACITY: Final = 1024
SPARE: Final = 8  # one row in so many is room for photos to come
# Rows are found by a table as long as the largest id. Ids are handed out in order and never
# again, so it stays within a small multiple of the library; an id beyond this is damage.
MAX_ID: Final = (1 << 28) - 1
# Rows are gathered this many at a time, so that the copy stays in the processor's cache:
# 10,000 of 100,000 x 256 take 0.8 ms so, and 1.45 ms in one piece.
GATHER_ROWS: Final = 512
# From this share of the rows on, one pass over all of them is cheaper than gathering.
PASS_SHARE: Final = 0.5
FEW: Final = 256  # scores, which are sorted sooner than sifted
NOBODY: Final = -1  # in place of an id, where a row is not used


class ExactIndex:
    """Unit vectors by photo id, in blocks.

    True between calls: block b owns rows starts[b]..starts[b + 1] - 1, the tail those from
    starts[-1] on. In each, used rows come first; the others are zero and nobody's. Ids are
    distinct and in 0..MAX_ID; `_row_at[_ids[row]] == row + 1`, and 0 for every other id.
    A row in a block has the signs that it was put there with, any other has none.
    Any thread may call; who needs several calls to agree holds `lock` meanwhile.
    """

    def __init__(self, ids: Ids, vectors: Matrix) -> None:
        assert vectors.ndim == 2 and len(ids) == len(vectors), (ids.shape, vectors.shape)
        self.dim = vectors.shape[1]
        self.lock = threading.RLock()
        self._starts: Numbers = np.zeros(1, np.int64)
        self._used: Numbers = np.zeros(0, np.int64)  # rows of each block but the tail
        self._changed: NDArray[np.bool_] = np.zeros(0, np.bool_)  # blocks, since `take_changed`
        self._signs = Signs(self.dim, 0)
        self._count = self._end = len(ids)
        self._ids = np.array(ids, dtype=np.int64)
        self._make_room(len(vectors))
        self._rows[:] = vectors  # a copy, ours to change
        self._row_at = _table(self._ids, np.arange(self._count))

    @classmethod
    def reserve(
        cls,
        dim: int,
        ids: Ids,
        blocks: Numbers,
        signs: tuple[Words, Vector] | None = None,
        *,
        block_count: int,
        count: int,
    ) -> ExactIndex:
        """An empty index with room for `count` photos, of which these will go to these blocks,
        with these signs; `fill` it, then `settle` it."""
        index = cls(np.empty(0, np.int64), np.empty((0, dim), np.float32))
        rows = index._lay_out(blocks, block_count)
        index._row_at = _table(ids, rows)
        if signs is not None:
            index._signs.put(rows, *signs)
        most = int(index._starts[-1]) + max(0, count - len(ids))
        # Room that nothing is written to takes no memory, and the first new photo, or the
        # first cells, would have all the rows copied.
        most += count // SPARE
        index._ids = np.full(most, NOBODY, np.int64)
        index._make_room(most)
        index._end = int(index._starts[-1])
        return index

    def fill(self, ids: Ids, vectors: Matrix) -> None:
        """Put photos on the rows reserved for them, others at the end of the tail."""
        with self.lock:
            top = int(ids.max(initial=-1))
            assert int(ids.min(initial=0)) >= 0 and top <= MAX_ID, "a photo id is out of range"
            self._reach(top)
            rows = self._row_at[ids].astype(np.int64) - 1
            new = np.flatnonzero(rows < 0)
            if self._end + len(new) > len(self._ids):
                self._grow(self._end + len(new))
            rows[new] = np.arange(self._end, self._end + len(new))
            self._row_at[ids[new]] = rows[new] + 1
            self._end += len(new)
            if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and len(new) == len(rows):
                self._rows[rows[0] : rows[-1] + 1] = vectors
            else:
                self._rows[rows] = vectors
            self._ids[rows] = ids

    def settle(self) -> None:
        """After the last `fill`: close up where a photo that was reserved for did not come."""
        with self.lock:
            reserved = np.flatnonzero(self._row_at)
            rows = self._row_at[reserved] - 1
            absent = self._ids[rows] == NOBODY
            self._count = len(reserved)
            self._ids[rows[absent]] = reserved[absent]
            for photo_id in reserved[absent].tolist():
                self.remove(photo_id)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, photo_id: int) -> bool:
        return self._row(photo_id) >= 0

    @property
    def block_count(self) -> int:
        return len(self._used)

    @property
    def tail_count(self) -> int:
        return self._end - int(self._starts[-1])

    def _row(self, photo_id: int) -> int:
        """The row of a photo; -1 where it is not here."""
        return int(self._row_at[photo_id]) - 1 if 0 <= photo_id < len(self._row_at) else -1

    def add(self, photo_id: int, vector: Vector) -> None:
        """Add one photo to the tail; a photo's vector in a space never changes, so a known id
        is left alone."""
        assert vector.shape == (self.dim,), vector.shape
        assert 0 <= photo_id <= MAX_ID, photo_id
        with self.lock:
            if self._row(photo_id) >= 0:
                return
            self._reach(photo_id)
            if self._end == len(self._ids):
                self._grow(self._end + 1)
            self._put(self._end, photo_id, vector)
            self._end += 1
            self._count += 1

    def remove(self, photo_id: int) -> bool:
        """Forget one photo; False where it was not known. Its block's last row takes its place."""
        with self.lock:
            row = self._row(photo_id)
            if row < 0:
                return False
            if row >= self._starts[-1]:
                self._end -= 1
                last = self._end
            else:
                block = int(np.searchsorted(self._starts, row, "right")) - 1
                self._used[block] -= 1
                self._changed[block] = True
                last = int(self._starts[block] + self._used[block])
                self._signs.move(last, row)
                self._signs.clear(last)
            self._row_at[photo_id] = 0
            if row != last:
                self._put(row, int(self._ids[last]), self._rows[last])
            self._ids[last] = NOBODY
            self._rows[last] = 0.0  # a forgotten photo leaves nothing behind in memory
            self._count -= 1
            return True

    def move(self, photo_id: int, block: int, bits: Words, size: float) -> bool:
        """Take a photo out of the tail into a block, with its signs as seen from there; False
        where that is full, or it is not in the tail any more."""
        with self.lock:
            row = self._row(photo_id)
            place = int(self._starts[block] + self._used[block])
            if row < self._starts[-1] or place == self._starts[block + 1]:
                return False
            vector = self._rows[row].copy()
            self.remove(photo_id)
            self._put(place, photo_id, vector)
            self._signs.bits[place], self._signs.sizes[place] = bits, size
            self._used[block] += 1
            self._changed[block] = True
            self._count += 1
            return True

    def _put(self, row: int, photo_id: int, vector: Vector) -> None:
        self._ids[row] = photo_id
        self._rows[row] = vector
        self._row_at[photo_id] = row + 1

    def search(self, query: Vector, k: int) -> tuple[Ids, Vector]:
        """The k best (ids, cosines), best first; equal scores by photo id."""
        with self.lock:
            scores = one_pass(self._rows[: self._end], query)
            if self._count < self._end:
                scores[self._ids[: self._end] == NOBODY] = -np.inf
            return best(self._ids[: self._end], scores, min(k, self._count))

    def search_among(self, photo_ids: Ids, query: Vector, k: int) -> tuple[Ids, Vector]:
        """The k best of those of these photos that are here: one pass over their rows."""
        wanted = in_order(photo_ids)
        with self.lock:
            wanted, places = self._places(wanted)
            if len(places) > FEW:
                return best(wanted, self.dot(places - 1, query), k, ascending=True)
            # Of a hundred rows the numbers take as long as each call that is spared here.
            scores: Vector = self._shifted.take(places, axis=0).dot(query)
        order = (-scores).argsort(kind="stable")[: max(0, k)]
        return wanted[order], scores[order]

    def ids_at(self, rows: Numbers) -> Ids:
        found: Ids = self._ids[rows]
        return found

    def dot(self, rows: Numbers | NDArray[np.int32], query: Vector) -> Vector:
        """Cosines of these rows; the caller holds the lock."""
        if len(rows) <= GATHER_ROWS:
            few: Vector = self._rows.take(rows, axis=0).dot(query)
            return few
        if len(rows) >= PASS_SHARE * self._count:
            return one_pass(self._rows[: self._end], query)[rows]
        scores = np.empty(len(rows), np.float32)
        part = np.empty((GATHER_ROWS, self.dim), np.float32)
        for start in range(0, len(rows), GATHER_ROWS):
            end = min(start + GATHER_ROWS, len(rows))
            some = part[: end - start]
            # "clip" lets take() write straight into `out`; rows are in range by the invariant.
            np.take(self._rows, rows[start:end], axis=0, out=some, mode="clip")
            np.dot(some, query, out=scores[start:end])
        return scores

    def scores_of(self, photo_ids: Ids, query: Vector) -> tuple[Ids, Vector]:
        """Exact cosines of those of these photos that are here, each once, in id order.

        Costs one pass over their rows, and never more than one over all of them.
        """
        with self.lock:
            wanted, rows = self.rows_at(in_order(photo_ids))
            return wanted, self.dot(rows, query)

    def rows_at(self, photo_ids: Ids) -> tuple[Ids, NDArray[np.int32]]:
        """Those of these ids, given in order, that are here, and their row numbers."""
        photo_ids, rows = self._places(photo_ids)
        rows -= 1
        return photo_ids, rows

    def _places(self, photo_ids: Ids) -> tuple[Ids, NDArray[np.int32]]:
        """The same, but one more than the row numbers."""
        table = self._row_at
        # item(): a number of numpy's own takes three times as long to compare.
        if len(photo_ids) and not 0 <= photo_ids.item(0) <= photo_ids.item(-1) < len(table):
            start, end = np.searchsorted(photo_ids, (0, len(table)))
            photo_ids = photo_ids[start:end]
        rows = table.take(photo_ids)
        if np.count_nonzero(rows) < len(rows):  # a tenth of what `rows.all()` takes for a few
            photo_ids, rows = photo_ids[rows > 0], rows[rows > 0]
        return photo_ids, rows

    def marked(self, photo_ids: Ids) -> NDArray[np.bool_]:
        """For every row, whether it is one of these photos', whose ids are given in order."""
        with self.lock:
            marks = np.zeros(self._end, np.bool_)
            marks[self.rows_at(photo_ids)[1]] = True
            return marks

    def all_scores(self, query: Vector) -> Vector:
        """Cosines with every photo, in no particular order."""
        with self.lock:
            scores = one_pass(self._rows[: self._end], query)
            return scores[self._ids[: self._end] != NOBODY] if self._count < self._end else scores

    def rows_of(self, photo_ids: Ids) -> tuple[Ids, Matrix]:
        """The ids that are here, in the order given, and copies of their rows."""
        with self.lock:
            inside = photo_ids[(photo_ids >= 0) & (photo_ids < len(self._row_at))]
            rows = self._row_at[inside]
            return inside[rows > 0], self._rows[rows[rows > 0] - 1]

    def contains(self, photo_ids: Ids) -> NDArray[np.bool_]:
        """Which of these photos are here."""
        with self.lock:
            if not len(self._row_at):
                return np.zeros(len(photo_ids), np.bool_)
            inside = (photo_ids >= 0) & (photo_ids < len(self._row_at))
            found: NDArray[np.bool_] = inside & (self._row_at[np.where(inside, photo_ids, 0)] > 0)
            return found

    def snapshot(self) -> tuple[Ids, Matrix]:
        """Copies of the ids and rows."""
        with self.lock:
            used = np.flatnonzero(self._ids[: self._end] != NOBODY)
            return self._ids[used], self._rows[used]

    def vector(self, photo_id: int) -> Vector | None:
        with self.lock:
            row = self._row(photo_id)
            return None if row < 0 else self._rows[row].copy()

    def ids(self) -> Ids:
        with self.lock:
            used: Ids = self._ids[: self._end][self._ids[: self._end] != NOBODY]
            return used

    def tail_ids(self) -> Ids:
        with self.lock:
            return self._ids[self._starts[-1] : self._end].copy()

    # --- blocks -----------------------------------------------------------------------------

    def arrange(
        self, ids: Ids, blocks: Numbers, block_count: int, signs: tuple[Words, Vector]
    ) -> None:
        """Lay the rows out anew, these photos in these blocks with these signs, and all others
        in the tail. The rows trade places: they need no room twice."""
        with self.lock:
            known = self.contains(ids)
            old_ids, old_end = self.ids(), self._end
            old_rows = self._row_at[old_ids] - 1
            gone = blocks[~known]
            ids, blocks = ids[known], blocks[known]
            rows = self._lay_out(blocks, block_count)
            self._signs.put(rows, signs[0][known], signs[1][known])
            self._changed[gone] = True  # they were counted in
            self._row_at[old_ids] = 0
            self._row_at[ids] = rows + 1
            others = old_ids[self._row_at[old_ids] == 0]
            end = int(self._starts[-1]) + len(others)
            self._row_at[others] = np.arange(self._starts[-1], end) + 1
            new_rows = self._row_at[old_ids] - 1
            if end > len(self._ids):
                self._grow(end)
            trade_places(self._rows[: max(old_end, end)], old_rows, new_rows)
            self._ids[:] = NOBODY
            self._ids[new_rows] = old_ids
            self._end = end

    def _lay_out(self, blocks: Numbers, block_count: int) -> Numbers:
        """Set the blocks' bounds for photos in these; returns the row of each."""
        counts = np.bincount(blocks, minlength=block_count)
        # Room for one in sixteen more, so that photos that come later join their like.
        ends = np.cumsum(counts + counts // 16 + 1)
        self._starts = np.concatenate([[0], ends])
        self._used = counts
        self._changed = np.zeros(block_count, np.bool_)
        self._signs = Signs(self.dim, int(self._starts[-1]))
        order = np.argsort(blocks, kind="stable")
        first = self._starts[:-1] - np.cumsum(counts) + counts
        rows = np.empty(len(blocks), np.int64)
        rows[order] = np.arange(len(blocks)) + np.repeat(first, counts)
        return rows

    def rows_in(self, blocks: Numbers) -> tuple[Numbers, Numbers]:
        """The rows in these blocks, and how many each has; the caller holds the lock."""
        lengths = self._used[blocks]
        ends = np.cumsum(lengths)
        offsets = self._starts[blocks] - ends + lengths
        rows = np.arange(ends[-1] if len(ends) else 0) + np.repeat(offsets, lengths)
        return rows, lengths

    def tail(self, query: Vector) -> tuple[Numbers, Vector]:
        """The tail's rows and their cosines; the caller holds the lock."""
        start = int(self._starts[-1])
        return np.arange(start, self._end), self._rows[start : self._end] @ query

    def estimate(self, rows: Numbers, asked: Asked) -> tuple[Vector, Vector]:
        """`Signs.estimate` of rows in blocks; the caller holds the lock."""
        return self._signs.estimate(rows, asked)

    def take_changed(self) -> Numbers:
        """Blocks that gained or lost a row since this was last asked."""
        with self.lock:
            changed = np.flatnonzero(self._changed)
            self._changed[:] = False
            return changed

    def block(self, number: int) -> Matrix:
        """The rows of a block, not copied; the caller holds the lock."""
        start = self._starts[number]
        return self._rows[start : start + self._used[number]]

    def sign(self, number: int, middle: Vector) -> None:
        """Give a block's rows the signs that they have as seen from this middle."""
        with self.lock:
            rows = self.block(number)
            start = int(self._starts[number])
            self._signs.put(slice(start, start + len(rows)), *sketch(rows, middle))

    def counts(self) -> Numbers:
        """Rows in each block."""
        return self._used.copy()

    def signs_of_rows(self) -> tuple[Words, Vector]:
        """Signs of the photos that are in a block, in the order of `blocks_of_rows`."""
        with self.lock:
            used = np.flatnonzero(self._ids[: self._starts[-1]] != NOBODY)
            return self._signs.bits[used], self._signs.sizes[used]

    def blocks_of_rows(self) -> tuple[Ids, NDArray[np.int64]]:
        """Photos that are in a block, and which."""
        with self.lock:
            lengths = np.diff(self._starts)
            blocks = np.repeat(np.arange(len(self._used)), lengths)
            ids = self._ids[: self._starts[-1]]
            return ids[ids != NOBODY], blocks[ids != NOBODY]

    def check(self) -> None:
        """Raise AssertionError naming the first broken invariant."""
        with self.lock:
            starts = self._starts
            counts = np.asarray([*self._used, self._end - self._starts[-1]])
            room = np.diff([*self._starts, len(self._ids)])
            assert ((counts >= 0) & (counts <= room)).all(), "a block is fuller than it can be"
            within = np.arange(len(self._ids)) - np.repeat(starts, room)
            used = np.flatnonzero(within < np.repeat(counts, room))
            ids = self._ids[used]
            wrong = np.flatnonzero((ids < 0) | (self._row_at[ids] - 1 != used))
            assert not len(wrong), f"row {used[wrong[0]]} is not photo {ids[wrong[0]]}'s"
            assert np.count_nonzero(self._row_at) == len(used), "an id has no row"
            assert self._count == len(used), "count differs from the ids"
            unused = np.ones(len(self._ids), np.bool_)
            unused[used] = False
            assert (self._ids[unused] == NOBODY).all(), "an unused row has an id"
            assert not self._rows[unused].any(), "a forgotten vector is still in memory"
            unsigned = unused[: self._starts[-1]]
            assert not self._signs.bits[unsigned].any(), "a forgotten photo's signs are left"
            assert not self._signs.sizes[unsigned].any(), "a forgotten photo's size is left"

    def _reach(self, photo_id: int) -> None:
        if photo_id >= len(self._row_at):
            longer = np.zeros(max(FIRST_CAPACITY, photo_id + photo_id // 8 + 1), np.int32)
            longer[: len(self._row_at)] = self._row_at
            self._row_at = longer

    def _grow(self, wanted: int) -> None:
        capacity = max(FIRST_CAPACITY, wanted + wanted // SPARE)
        ids = np.full(capacity, NOBODY, np.int64)
        ids[: self._end] = self._ids[: self._end]
        before = self._rows[: self._end]
        self._make_room(capacity)
        self._rows[: self._end] = before
        self._ids = ids

    def _make_room(self, count: int) -> None:
        """Empty rows. One more lies before the first, so that the numbers of `_row_at`, which are
        one more than rows', serve as they are: of a hundred rows each call counts."""
        self._shifted = np.zeros((count + 1, self.dim), np.float32)
        self._rows = self._shifted[1:]


def one_pass(rows: Matrix, query: Vector) -> Vector:
    """The score of each of many rows. Row by row: where no cache holds them that takes 0.4 to 0.8
    of what `rows @ query` does (docs/index.md); where one does, a quarter more."""
    found: Vector = np.vecdot(rows, query)
    return found


def trade_places(rows: Matrix, sources: Rows, targets: Rows) -> None:
    """Bring what lies on each source to its target, in place; both are distinct, and all other
    rows are zero, before and after. Whoever lies on a target gets the room that became free."""
    order = np.argsort(targets)
    sources, targets = sources[order].astype(np.int64), targets[order].astype(np.int64)
    lies_at, holds = sources.copy(), np.full(len(rows), -1)  # by item, and by row
    holds[sources] = np.arange(len(sources))
    for start in range(0, len(targets), GATHER_ROWS):
        items = np.arange(start, min(start + GATHER_ROWS, len(targets)))
        wanted, found = targets[items], lies_at[items]
        free, taken = np.setdiff1d(found, wanted), np.setdiff1d(wanted, found)
        moved, ousted = rows[found], rows[taken]
        homeless = holds[taken]
        rows[wanted], holds[wanted], lies_at[items] = moved, items, wanted
        rows[free], holds[free] = ousted, homeless
        lies_at[homeless[homeless >= 0]] = free[homeless >= 0]


def _table(ids: Ids, rows: Numbers) -> NDArray[np.int32]:
    """Row + 1 by photo id."""
    top = int(ids.max(initial=-1))
    assert int(ids.min(initial=0)) >= 0 and top <= MAX_ID, "a photo id is out of range"
    table = np.zeros(top + 1, np.int32)
    table[ids] = rows + 1
    assert np.count_nonzero(table) == len(ids), "a photo id came twice"
    return table


def in_order(photo_ids: Ids) -> Ids:
    """Ascending, each once."""
    wanted = np.asarray(photo_ids, np.int64)
    if np.count_nonzero(wanted[1:] > wanted[:-1]) < len(wanted) - 1:
        wanted = np.unique(wanted)
    return wanted


def best(ids: Ids, scores: Vector, k: int, *, ascending: bool = False) -> tuple[Ids, Vector]:
    """The k highest scores, best first; equal scores by photo id, so that answers repeat.

    Where the ids are in `ascending` order a stable sort by score does.
    """
    k = min(k, len(ids))
    if k <= 0:
        return ids[:0], scores[:0]
    if k < len(ids) > FEW:
        # Keep every score equal to the k-th, so that ties at the edge go by id too.
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        keep = np.flatnonzero(scores >= kth)
        ids, scores = ids[keep], scores[keep]
    order = (-scores).argsort(kind="stable") if ascending else np.lexsort((ids, -scores))
    order = order[:k]
    return ids[order], scores[order]
