"""Exact neighbours by one pass over the vectors.

The oracle the graph is tested against, and the whole index of most libraries:
100,000 x 256 takes about 10 ms, has recall 1 and cannot be damaged.
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np

from photosearch.types import Ids, Matrix, Vector

FIRST_CAPACITY: Final = 1024


class ExactIndex:
    """Unit vectors by photo id.

    True between calls: ids are distinct; row i of the matrix belongs to ids[i];
    rows 0..count-1 are used. Any thread may call.
    """

    def __init__(self, ids: Ids, vectors: Matrix) -> None:
        assert vectors.ndim == 2 and len(ids) == len(vectors), (ids.shape, vectors.shape)
        self.dim = vectors.shape[1]
        self._lock = threading.Lock()
        self._count = len(ids)
        self._ids = np.array(ids, dtype=np.int64)
        self._rows = np.ascontiguousarray(vectors, dtype=np.float32)
        self._row_of = {int(photo_id): row for row, photo_id in enumerate(ids)}
        assert len(self._row_of) == self._count, "a photo id came twice"

    def __len__(self) -> int:
        return self._count

    def __contains__(self, photo_id: int) -> bool:
        return photo_id in self._row_of

    def add(self, photo_id: int, vector: Vector) -> None:
        """Add one photo; a photo's vector in a space never changes, so a known id is left alone."""
        assert vector.shape == (self.dim,), vector.shape
        with self._lock:
            if photo_id in self._row_of:
                return
            if self._count == len(self._ids):
                self._grow()
            self._ids[self._count] = photo_id
            self._rows[self._count] = vector
            self._row_of[photo_id] = self._count
            self._count += 1

    def remove(self, photo_id: int) -> bool:
        """Forget one photo; False where it was not known. The last row takes its place."""
        with self._lock:
            row = self._row_of.pop(photo_id, None)
            if row is None:
                return False
            last = self._count - 1
            if row != last:
                moved = int(self._ids[last])
                self._ids[row] = moved
                self._rows[row] = self._rows[last]
                self._row_of[moved] = row
            self._rows[last] = 0.0  # a forgotten photo leaves nothing behind in memory
            self._count = last
            return True

    def search(self, query: Vector, k: int) -> tuple[Ids, Vector]:
        """The k best (ids, cosines), best first; equal scores by photo id."""
        with self._lock:
            scores = self._rows[: self._count] @ query
            ids = self._ids[: self._count].copy()
        return best(ids, scores, k)

    def scores_of(self, photo_ids: Ids, query: Vector) -> tuple[Ids, Vector]:
        """Exact cosines of those of these photos that are here."""
        with self._lock:
            known = [int(photo_id) for photo_id in photo_ids if int(photo_id) in self._row_of]
            rows = [self._row_of[photo_id] for photo_id in known]
            scores = self._rows[rows] @ query
        return np.asarray(known, np.int64), scores

    def all_scores(self, query: Vector) -> Vector:
        """Cosines with every photo, in no particular order."""
        with self._lock:
            scores: Vector = self._rows[: self._count] @ query
        return scores

    def snapshot(self) -> tuple[Ids, Matrix]:
        """Copies of the ids and rows, for building a graph from."""
        with self._lock:
            return self._ids[: self._count].copy(), self._rows[: self._count].copy()

    def vector(self, photo_id: int) -> Vector | None:
        with self._lock:
            row = self._row_of.get(photo_id)
            return None if row is None else self._rows[row].copy()

    def ids(self) -> Ids:
        with self._lock:
            return self._ids[: self._count].copy()

    def check(self) -> None:
        """Raise AssertionError naming the first broken invariant."""
        with self._lock:
            assert self._count == len(self._row_of), "count differs from the ids"
            for photo_id, row in self._row_of.items():
                assert row < self._count, f"photo {photo_id} lies in the unused row {row}"
                assert int(self._ids[row]) == photo_id, f"row {row} is not photo {photo_id}'s"

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
