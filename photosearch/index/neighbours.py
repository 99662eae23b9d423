"""The Index: exact vectors always, and the graph beside them where it pays.

Embeddings are the truth; this is derived from them and may be dropped at any
time. The graph only proposes candidates: every score that leaves here is exact,
and a photo that is not among the exact vectors never does.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

import numpy as np

from photosearch.index.exact import ExactIndex, best
from photosearch.index.hnsw import HnswGraph, available
from photosearch.types import Ids, Matrix, Vector

log = logging.getLogger(__name__)

# Above this many bytes of vectors one pass takes longer than a key press should
# wait (about 13 ms at 128 MiB), and the graph is built. Below it, exact search is
# faster to start, exact, and costs no build.
GRAPH_FROM_BYTES: Final = 128 << 20
OVERSAMPLE: Final = 4  # candidates asked of the graph for each result wanted
MAX_TAIL: Final = 4096  # photos not in the graph yet, searched exactly until it takes them in
MAX_DEAD_SHARE: Final = 0.25  # of the graph's nodes; beyond it the graph is built anew


class Index:
    """Neighbours among the embeddings of one Space. Any thread may call."""

    def __init__(
        self, ids: Ids, vectors: Matrix, *, graph_from_bytes: int = GRAPH_FROM_BYTES
    ) -> None:
        self.exact = ExactIndex(ids, vectors)
        self._graph: HnswGraph | None = None
        self._tail: set[int] = set()  # in exact, not in the graph
        self._lock = threading.Lock()  # over the graph and its tail
        self._graph_from = graph_from_bytes

    def __len__(self) -> int:
        return len(self.exact)

    @property
    def kind(self) -> str:
        return "exact" if self._graph is None else "hnsw"

    def add(self, photo_id: int, vector: Vector) -> None:
        self.exact.add(photo_id, vector)
        with self._lock:
            if self._graph is not None and photo_id not in self._graph.live:
                self._tail.add(photo_id)

    def remove(self, photo_id: int) -> None:
        self.exact.remove(photo_id)
        with self._lock:
            self._tail.discard(photo_id)
            if self._graph is not None:
                self._graph.remove(photo_id)

    def search(self, query: Vector, k: int, *, allowed: Ids | None = None) -> tuple[Ids, Vector]:
        """The k best (photo ids, exact cosines), best first, equal scores by id.

        With `allowed`, the k best among those photos: exact, at the cost of one
        pass over their rows, whatever their share of the library.
        """
        if allowed is not None:
            return best(*self.exact.scores_of(allowed, query), k)
        with self._lock:
            if self._graph is None:
                candidates = None
            else:
                near = self._graph.candidates(query, OVERSAMPLE * k)
                tail = np.fromiter(self._tail, np.int64, len(self._tail))
                candidates = np.concatenate([near, tail])
        if candidates is None:
            return self.exact.search(query, k)
        ids, scores = self.exact.scores_of(candidates, query)
        return best(ids, scores, k)

    # --- the graph's life -------------------------------------------------------------------

    @property
    def wants_graph(self) -> bool:
        """Whether a graph should be built (again): large enough and missing, or worn."""
        if not available() or len(self.exact) * self.exact.dim * 4 <= self._graph_from:
            return False
        graph = self._graph
        if graph is None:
            return True
        worn = len(graph.dead) > MAX_DEAD_SHARE * (len(graph.live) + len(graph.dead))
        return worn or len(self._tail) > MAX_TAIL

    def build_graph(self, *, threads: int) -> None:
        """Build from the exact vectors while searches and changes go on, then switch over."""
        ids, vectors = self.exact.snapshot()
        log.info("graph.build photos=%d", len(ids))
        self.adopt_graph(HnswGraph.build(ids, vectors, threads=threads))

    def adopt_graph(self, graph: HnswGraph) -> None:
        """Take a graph into use, brought up to date with what changed since it was made."""
        with self._lock:
            known = {int(photo_id) for photo_id in self.exact.ids()}
            for photo_id in graph.live - known:
                graph.remove(photo_id)
            self._tail = known - graph.live
            self._graph = graph

    def graph_bytes(self) -> bytes | None:
        with self._lock:
            return None if self._graph is None else self._graph.to_bytes()
