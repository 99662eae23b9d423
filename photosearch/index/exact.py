"""Exact neighbours by one pass over the vectors.

The oracle the graph is tested against, and the whole index of most libraries:
100,000 x 256 takes 5 to 10 ms, has recall 1 and cannot be damaged.
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

from photosearch.types import Ids, Matrix, Vector

FIRST_CAPACITY: Final = 1024
# Rows are found by a table as long as the largest id. Ids are handed out in order and never
# again, so it stays within a small multiple of the library; an id beyond this is damage.
MAX_ID: Final = (1 << 28) - 1
# Rows are gathered this many at a time, so that the copy stays in the processor's cache:
# 10,000 of 100,000 x 256 take 0.8 ms so, and 1.45 ms in one piece.
GATHER_ROWS: Final = 512
# From this share of the rows on, one pass over all of them is cheaper than gathering.
PASS_SHARE: Final = 0.5


class ExactIndex:
    """Unit vectors by photo id.

    True between calls: rows 0..count-1 are used, and zero beyond; ids are distinct
    and in 0..MAX_ID; `_row_at[ids[i]] == i + 1`, and 0 for every other id. Any
    thread may call.
    """

    def __init__(self, ids: Ids, vectors: Matrix) -> None:
        assert vectors.ndim == 2 and len(ids) == len(vectors), (ids.shape, vectors.shape)
        self.dim = vectors.shape[1]
        self._lock = threading.Lock()
        self._count = len(ids)
        self._ids = np.array(ids, dtype=np.int64)
        self._rows = np.ascontiguousarray(vectors, dtype=np.float32)
        top = int(self._ids.max(initial=-1))
        assert int(self._ids.min(initial=0)) >= 0 and top <= MAX_ID, "a photo id is out of range"
        self._row_at = np.zeros(top + 1, np.int32)
        self._row_at[self._ids] = np.arange(1, self._count + 1, dtype=np.int32)
        assert np.count_nonzero(self._row_at) == self._count, "a photo id came twice"

    def __len__(self) -> int:
        return self._count

    def __contains__(self, photo_id: int) -> bool:
        return self._row(photo_id) >= 0

    def _row(self, photo_id: int) -> int:
        """The row of a photo; -1 where it is not here."""
        return int(self._row_at[photo_id]) - 1 if 0 <= photo_id < len(self._row_at) else -1

    def add(self, photo_id: int, vector: Vector) -> None:
        """Add one photo; a photo's vector in a space never changes, so a known id is left alone."""
        assert vector.shape == (self.dim,), vector.shape
        assert 0 <= photo_id <= MAX_ID, photo_id
        with self._lock:
            if self._row(photo_id) >= 0:
                return
            if self._count == len(self._ids):
                self._grow()
            if photo_id >= len(self._row_at):
                longer = np.zeros(max(FIRST_CAPACITY, photo_id + photo_id // 2 + 1), np.int32)
                longer[: len(self._row_at)] = self._row_at
                self._row_at = longer
            self._ids[self._count] = photo_id
            self._rows[self._count] = vector
            self._count += 1
            self._row_at[photo_id] = self._count

    def remove(self, photo_id: int) -> bool:
        """Forget one photo; False where it was not known. The last row takes its place."""
        with self._lock:
            row = self._row(photo_id)
            if row < 0:
                return False
            last = self._count - 1
            if row != last:
                moved = int(self._ids[last])
                self._ids[row] = moved
                self._rows[row] = self._rows[last]
                self._row_at[moved] = row + 1
            self._row_at[photo_id] = 0
            self._rows[last] = 0.0  # a forgotten photo leaves nothing behind in memory
            self._count = last
            return True

    def search(self, query: Vector, k: int) -> tuple[Ids, Vector]:
        """The k best (ids, cosines), best first; equal scores by photo id."""
        with self._lock:
            return best(self._ids[: self._count], self._rows[: self._count] @ query, k)

    def scores_of(self, photo_ids: Ids, query: Vector) -> tuple[Ids, Vector]:
        """Exact cosines of those of these photos that are here, each once, in id order.

        Costs one pass over their rows, and never more than one over all of them.
        """
        wanted = np.asarray(photo_ids, np.int64)
        if len(wanted) > 1 and not bool((wanted[1:] > wanted[:-1]).all()):
            wanted = np.unique(wanted)
        with self._lock:
            wanted = wanted[np.searchsorted(wanted, 0) : np.searchsorted(wanted, len(self._row_at))]
            rows = self._row_at[wanted]
            if not rows.all():
                wanted, rows = wanted[rows > 0], rows[rows > 0]
            return wanted, self._dot(rows - 1, query)

    def _dot(self, rows: NDArray[np.int32], query: Vector) -> Vector:
        """Cosines of these rows; the lock is held."""
        if len(rows) >= PASS_SHARE * self._count:
            everything: Vector = self._rows[: self._count] @ query
            return everything[rows]
        scores = np.empty(len(rows), np.float32)
        part = np.empty((min(GATHER_ROWS, len(rows)), self.dim), np.float32)
        for start in range(0, len(rows), GATHER_ROWS):
            end = min(start + GATHER_ROWS, len(rows))
            some = part[: end - start]
            # "clip" lets take() write straight into `out`; rows are in range by the invariant.
            np.take(self._rows, rows[start:end], axis=0, out=some, mode="clip")
            np.dot(some, query, out=scores[start:end])
        return scores

    def all_scores(self, query: Vector) -> Vector:
        """Cosines with every photo, in no particular order."""
        with self._lock:
            scores: Vector = self._rows[: self._count] @ query
        return scores

    def rows_of(self, photo_ids: Ids) -> tuple[Ids, Matrix]:
        """The ids that are here, in the order given, and copies of their rows."""
        with self._lock:
            inside = photo_ids[(photo_ids >= 0) & (photo_ids < len(self._row_at))]
            rows = self._row_at[inside]
            return inside[rows > 0], self._rows[rows[rows > 0] - 1]

    def contains(self, photo_ids: Ids) -> NDArray[np.bool_]:
        """Which of these photos are here."""
        with self._lock:
            if not len(self._row_at):
                return np.zeros(len(photo_ids), np.bool_)
            inside = (photo_ids >= 0) & (photo_ids < len(self._row_at))
            found: NDArray[np.bool_] = inside & (self._row_at[np.where(inside, photo_ids, 0)] > 0)
            return found

    def snapshot(self) -> tuple[Ids, Matrix]:
        """Copies of the ids and rows."""
        with self._lock:
            return self._ids[: self._count].copy(), self._rows[: self._count].copy()

    def vector(self, photo_id: int) -> Vector | None:
        with self._lock:
            row = self._row(photo_id)
            return None if row < 0 else self._rows[row].copy()

    def ids(self) -> Ids:
        with self._lock:
            return self._ids[: self._count].copy()

    def check(self) -> None:
        """Raise AssertionError naming the first broken invariant."""
        with self._lock:
            ids = self._ids[: self._count]
            rows = self._row_at[ids] - 1
            wrong = np.flatnonzero(rows != np.arange(self._count))
            assert not len(wrong), f"row {wrong[0]} is not photo {ids[wrong[0]]}'s"
            assert np.count_nonzero(self._row_at) == self._count, "count differs from the ids"
            assert not self._rows[self._count :].any(), "a forgotten vector is still in memory"

    def _grow(self) -> None:
        capacity = max(FIRST_CAPACITY, self._count + self._count // 2)
        ids = np.zeros(capacity, np.int64)
        rows = np.zeros((capacity, self.dim), np.float32)
        ids[: self._count] = self._ids[: self._count]
        rows[: self._count] = self._rows[: self._count]
        self._ids, self._rows = ids, rows


def best(ids: Ids, scores: Vector, k: int) -> tuple[Ids, Vector]:
    """The k highest scores, best first; equal scores by photo id, so that answers repeat."""
    k = min(k, len(ids))
    if k <= 0:
        return ids[:0], scores[:0]
    if k < len(ids):
        # Keep every score equal to the k-th, so that ties at the edge go by id too.
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        keep = np.flatnonzero(scores >= kth)
        ids, scores = ids[keep], scores[keep]
    order = np.lexsort((ids, -scores))[:k]
    return ids[order], scores[order]
