"""The HNSW graph (Malkov & Yashunin 2016, arXiv:1603.09320), by hnswlib.

hnswlib is optional: where no build of it is installed `available()` is False
and exact search answers alone. Its in-place replacement (`replace_deleted`) is
not used: it leaves unreachable and undeletable nodes behind.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from photosearch.index.exact import ExactIndex
from photosearch.index.links import file_parts, pack, read_file, unpack
from photosearch.types import Ids, Matrix, Vector

M: Final = 16  # links a node above layer 0; twice that on it
EF_CONSTRUCTION: Final = 200
# Text queries lie off the photos' manifold and need a beam that widens with the library:
# with 640, recall@10 is .997 at 10,000 photos, .95 at 100,000 and .78 at a million.
EF_SEARCH_MIN: Final = 640
EF_SEARCH_MAX: Final = 6400
EF_PHOTOS: Final = 78  # photos for each place in the beam: 1280 places at 100,000
SEED: Final = 100
GROW: Final = 1.25
LIVE: Final = 1
DEAD: Final = 2


@functools.cache
def available() -> bool:
    """Whether a build of hnswlib is installed."""
    return importlib.util.find_spec("hnswlib") is not None


def ef_search(nodes: int) -> int:
    """How wide to search a graph of so many nodes."""
    return min(EF_SEARCH_MAX, max(EF_SEARCH_MIN, nodes // EF_PHOTOS))


def spare_words() -> int:
    """Words a node that this build of hnswlib saves between its records and its upper links."""
    import hnswlib

    return int(hasattr(hnswlib.Index, "persist_dirty"))  # chroma-hnswlib's fork alone has it


class HnswGraph:
    """Approximate neighbours by photo id; deletion only marks.

    True between calls: the graph's nodes are the ids that are live or dead; a dead
    one is marked in hnswlib. One thread at a time may call what changes it, and
    none may search meanwhile: hnswlib's own locking does not cover that.
    """

    def __init__(self, graph: Any, dim: int, live: Ids, dead: Ids) -> None:
        self._graph = graph
        self.dim = dim
        self.live_count = len(live)
        self.dead_count = len(dead)
        top = max(int(live.max(initial=-1)), int(dead.max(initial=-1)))
        self._state = np.zeros(top + 1, np.uint8)  # by photo id: 0, LIVE or DEAD
        self._state[live] = LIVE
        self._state[dead] = DEAD

    @classmethod
    def empty(cls, dim: int, *, capacity: int) -> HnswGraph:
        import hnswlib

        graph = hnswlib.Index(space="ip", dim=dim)
        graph.init_index(
            max_elements=max(1, int(capacity * GROW)),
            M=M,
            ef_construction=EF_CONSTRUCTION,
            random_seed=SEED,
        )
        graph.set_num_threads(1)
        nobody = np.empty(0, np.int64)
        return cls(graph, dim, nobody, nobody)

    @classmethod
    def build(cls, ids: Ids, vectors: Matrix, *, threads: int) -> HnswGraph:
        """Insert every row; about 0.5 ms of CPU a photo at 100,000 x 256."""
        graph = cls.empty(vectors.shape[1], capacity=len(ids))
        graph.add(ids, vectors, threads=threads)
        return graph

    def holds(self, photo_ids: Ids) -> NDArray[np.bool_]:
        """Which of these photos are live here."""
        inside = photo_ids < len(self._state)
        found = np.zeros(len(photo_ids), np.bool_)
        found[inside] = self._state[photo_ids[inside]] == LIVE
        return found

    def add(self, ids: Ids, vectors: Matrix, *, threads: int) -> None:
        """Add photos; those marked deleted are brought back: a photo's vector never changes."""
        if not len(ids):
            return
        self._reach(int(ids.max()))
        for photo_id in ids[self._state[ids] == DEAD]:
            self._graph.unmark_deleted(int(photo_id))
            self._state[photo_id] = LIVE
            self.dead_count -= 1
            self.live_count += 1
        new = np.flatnonzero(self._state[ids] == 0)
        if not len(new):
            return
        short = self._graph.element_count + len(new) - self._graph.max_elements
        if short > 0:
            self._graph.resize_index(int((self._graph.max_elements + short) * GROW))
        self._graph.set_num_threads(max(1, threads))
        self._graph.add_items(vectors[new], ids[new])
        self._graph.set_num_threads(1)
        self._state[ids[new]] = LIVE
        self.live_count += len(new)

    def remove(self, photo_id: int) -> None:
        if photo_id < len(self._state) and self._state[photo_id] == LIVE:
            self._graph.mark_deleted(photo_id)
            self._state[photo_id] = DEAD
            self.live_count -= 1
            self.dead_count += 1

    def live(self) -> Ids:
        return np.flatnonzero(self._state == LIVE)

    def candidates(self, query: Vector, k: int) -> Ids | None:
        """About the k nearest live photo ids, in no promised order; None where the graph
        cannot find that many."""
        k = min(k, self.live_count)
        if k == 0:
            return np.empty(0, np.int64)
        # Marked nodes take places in the beam too.
        self._graph.set_ef(max(ef_search(self.live_count + self.dead_count), 2 * k))
        try:
            labels, _ = self._graph.knn_query(query[None, :], k=k)
        except RuntimeError:  # "cannot return the results": fewer than k within reach
            return None
        return np.asarray(labels[0], dtype=np.int64)

    def to_bytes(self) -> bytes:
        """The graph's links, checked; `from_bytes` puts them together with vectors again."""
        with tempfile.TemporaryDirectory(prefix="photosearch-graph-") as folder:
            file = Path(folder) / "graph"
            self._graph.save_index(os.fspath(file))
            mapped = np.memmap(file, np.uint8, "r")
            return pack(read_file(mapped, M, self.dim, spare_words=spare_words()))

    @classmethod
    def from_bytes(cls, data: bytes, exact: ExactIndex) -> HnswGraph:
        """Put a graph together from packed links and today's vectors; photos that are gone
        are marked. Raises UnsoundGraph for bytes that hnswlib must not see."""
        import hnswlib

        found = unpack(data, M)
        live = exact.contains(found.labels)
        graph = hnswlib.Index(space="ip", dim=exact.dim)
        with tempfile.TemporaryDirectory(prefix="photosearch-graph-") as folder:
            file = Path(folder) / "graph"
            with file.open("wb") as stream:
                stream.writelines(
                    file_parts(
                        found,
                        exact.dim,
                        ef_construction=EF_CONSTRUCTION,
                        rows_of=exact.rows_of,
                        dead=~live,
                        spare_words=spare_words(),
                    )
                )
            graph.load_index(os.fspath(file))
        graph.set_num_threads(1)
        return cls(graph, exact.dim, found.labels[live], found.labels[~live])

    def _reach(self, photo_id: int) -> None:
        if photo_id >= len(self._state):
            longer = np.zeros(photo_id + photo_id // 2 + 1, np.uint8)
            longer[: len(self._state)] = self._state
            self._state = longer


def layout(dim: int) -> str:
    """What `to_bytes` wrote, in a word; a graph of another layout is rebuilt, not read."""
    return f"links-1 ip d{dim} M{M} efc{EF_CONSTRUCTION}"
