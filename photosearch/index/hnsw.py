"""The HNSW graph (Malkov & Yashunin 2016, arXiv:1603.09320), by hnswlib.

hnswlib is optional: where no build of it is installed `available()` is False
and exact search answers alone. Its in-place replacement (`replace_deleted`) is
not used: it leaves unreachable and undeletable nodes behind.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from photosearch.types import Ids, Matrix, Vector

M: Final = 16  # links a node above layer 0; twice that on it
EF_CONSTRUCTION: Final = 200
EF_SEARCH: Final = 640  # text queries lie off the photos' manifold and need a wide beam
SEED: Final = 100
GROW: Final = 1.25


@functools.cache
def available() -> bool:
    """Whether a build of hnswlib is installed."""
    return importlib.util.find_spec("hnswlib") is not None


class HnswGraph:
    """Approximate neighbours by photo id; deletion only marks.

    `live` and `dead` are the labels in use and the marked ones; together they
    are the graph's nodes. One thread at a time may call: hnswlib's own locking
    does not cover adding while searching.
    """

    def __init__(self, graph: Any, dim: int, live: set[int], dead: set[int]) -> None:
        self._graph = graph
        self.dim = dim
        self.live = live
        self.dead = dead

    @classmethod
    def build(cls, ids: Ids, vectors: Matrix, *, threads: int) -> HnswGraph:
        """Insert every row; about 0.5 ms of CPU a photo at 100,000 x 256."""
        import hnswlib

        dim = vectors.shape[1]
        graph = hnswlib.Index(space="ip", dim=dim)
        graph.init_index(
            max_elements=max(1, int(len(ids) * GROW)),
            M=M,
            ef_construction=EF_CONSTRUCTION,
            random_seed=SEED,
        )
        graph.set_num_threads(max(1, threads))
        if len(ids):
            graph.add_items(vectors, ids)
        graph.set_num_threads(1)
        return cls(graph, dim, {int(photo_id) for photo_id in ids}, set())

    def add(self, photo_id: int, vector: Vector) -> None:
        """Add a photo, or bring back one that was marked deleted: its vector never changes."""
        if photo_id in self.live:
            return
        if photo_id in self.dead:
            self._graph.unmark_deleted(photo_id)
            self.dead.discard(photo_id)
        else:
            if self._graph.element_count >= self._graph.max_elements:
                self._graph.resize_index(int(self._graph.max_elements * GROW) + 1)
            self._graph.add_items(vector[None, :], np.asarray([photo_id]))
        self.live.add(photo_id)

    def remove(self, photo_id: int) -> None:
        if photo_id in self.live:
            self._graph.mark_deleted(photo_id)
            self.live.discard(photo_id)
            self.dead.add(photo_id)

    def candidates(self, query: Vector, k: int) -> Ids:
        """About the k nearest live photo ids, in no promised order."""
        k = min(k, len(self.live))
        if k == 0:
            return np.empty(0, np.int64)
        # Marked nodes take places in the beam; widen it by as many as we would lose.
        self._graph.set_ef(max(EF_SEARCH, 2 * k))
        labels, _ = self._graph.knn_query(query[None, :], k=k)
        return np.asarray(labels[0], dtype=np.int64)

    def to_bytes(self) -> bytes:
        """The graph as hnswlib saves it; `from_bytes` reads it back."""
        with tempfile.TemporaryDirectory(prefix="photosearch-graph-") as folder:
            file = Path(folder) / "graph"
            self._graph.save_index(os.fspath(file))
            return file.read_bytes()

    @classmethod
    def from_bytes(cls, data: bytes, dim: int, known: Ids) -> HnswGraph | None:
        """Load a saved graph and mark what is no longer among `known` ids.

        None where it does not load or has labels we cannot account for. Callers
        check the bytes first (SHA-256): hnswlib itself trusts what it reads.
        """
        import hnswlib

        graph = hnswlib.Index(space="ip", dim=dim)
        with tempfile.TemporaryDirectory(prefix="photosearch-graph-") as folder:
            file = Path(folder) / "graph"
            file.write_bytes(data)
            try:
                graph.load_index(os.fspath(file))
            except RuntimeError:
                return None
        graph.set_num_threads(1)
        labels = {int(label) for label in graph.get_ids_list()}
        wanted = {int(photo_id) for photo_id in known}
        loaded = cls(graph, dim, set(labels), set())
        for label in labels - wanted:
            try:
                loaded.remove(label)
            except RuntimeError:  # saved as already marked
                loaded.live.discard(label)
                loaded.dead.add(label)
        for label in labels & wanted:
            with contextlib.suppress(RuntimeError):  # it was live all along
                graph.unmark_deleted(label)  # marked when saved, and back since
        return loaded


def layout(dim: int) -> str:
    """What `to_bytes` wrote, in a word; a graph of another layout is rebuilt, not read."""
    import importlib.metadata

    names = importlib.metadata.packages_distributions().get("hnswlib", ["hnswlib"])
    version = importlib.metadata.version(names[0])
    return f"{names[0]}-{version} ip d{dim} M{M} efc{EF_CONSTRUCTION}"
