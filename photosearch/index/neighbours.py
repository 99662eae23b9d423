"""The Index: exact vectors always, laid out in cells or with a graph beside them where it pays.

Embeddings are the truth; this is derived from them and may be dropped at any
time. Cells and graph only say where to look: every score that leaves here is exact,
and a photo that is not among the exact vectors never does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Final

import numpy as np

from photosearch.index.cells import Cells, build, settle
from photosearch.index.exact import FEW, ExactIndex, best, in_order
from photosearch.index.hnsw import HnswGraph, available
from photosearch.index.links import UnsoundGraph
from photosearch.index.signs import sketch
from photosearch.types import Ids, Matrix, Vector

log = logging.getLogger(__name__)

# From this many bytes of vectors on (73,728 of 256 numbers) rows lie in cells: below, a pass
# over all of them takes under 4 ms, is exact, and costs no build. At 50,000 cells would be five
# times as quick and find .967 of a text's ten best: not worth it.
CELLS_FROM_BYTES: Final = 72 << 20
# A graph for libraries beyond this many bytes. At every size that was measured cells find more
# for less, are built in a tenth of the time and need no second copy of the vectors
# (docs/index.md), so none is built unless it is asked for.
GRAPH_FROM_BYTES: Final = 1 << 62
# A filter that leaves more than this share of the library reads cells, fewer photos are gathered.
FILTER_SHARE: Final = 0.05
TAKE_IN: Final = 256  # new photos in the tail, which every query reads, before they get cells
# Photos whose cell is full, or that are of no cell, which every query reads: so many, or a
# hundredth of the library.
MAX_HOMELESS: Final = 512
LEARN_AGAIN: Final = 4  # one in so many photos came since cells were learned
STEP_S: Final = 0.5  # of work on cells at a time
OVERSAMPLE: Final = 4  # candidates asked of the graph for each result wanted
MAX_TAIL: Final = 4096  # photos not in the graph yet, searched exactly until it takes them in
MAX_DEAD_SHARE: Final = 0.25  # of the graph's nodes; beyond it the graph is built anew
BUILD_STEP: Final = 1000  # photos added to a graph under construction at a time: under a second
MERGE_STEP: Final = 32  # photos added at a time to the graph in use, which cannot answer meanwhile
# A graph that finds less than this of what exact search finds is not taken into use. A sound
# one finds over 0.99 with photos as queries; one of other vectors finds next to nothing.
MIN_RECALL: Final = 0.9
RECALL_K: Final = 10
RECALL_QUERIES: Final = 16
SCORE_NOISE: Final = 1e-6  # between two ways of adding up one dot product


class Index:
    """Neighbours among the embeddings of one Space.

    Any thread may search. One thread at a time may change it or tend its graph.
    """

    def __init__(
        self,
        ids: Ids,
        vectors: Matrix,
        *,
        graph_from_bytes: int = GRAPH_FROM_BYTES,
        cells_from_bytes: int = CELLS_FROM_BYTES,
    ) -> None:
        self._take_up(ExactIndex(ids, vectors), None, graph_from_bytes, cells_from_bytes)

    @classmethod
    def of(
        cls, exact: ExactIndex, cells: Cells | None, *, graph_from_bytes: int, cells_from_bytes: int
    ) -> Index:
        """An index of rows that lie in these cells already."""
        index = cls.__new__(cls)
        index._take_up(exact, cells, graph_from_bytes, cells_from_bytes)
        return index

    def _take_up(
        self, exact: ExactIndex, cells: Cells | None, graph_from_bytes: int, cells_from_bytes: int
    ) -> None:
        self.exact = exact
        self._cells = cells
        self._cells_from = cells_from_bytes
        self._arranging: Iterator[Cells | None] | None = None
        self._homeless = 0  # photos in the tail that found no cell when they were last taken in
        self._strays = 0  # the same when rows were last laid out anew, with room for all
        self._learned = len(exact)  # photos when cells were last learned or taken up
        self._came = 0  # photos since then
        self.cells_made = 0  # times they were laid out
        self._graph: HnswGraph | None = None
        self._tail: set[int] = set()  # in exact, not in the graph
        self._lock = threading.Lock()  # over the graph and its tail
        self._graph_from = graph_from_bytes
        self._building: tuple[HnswGraph, Ids] | None = None  # and the ids it still lacks
        self.graphs_built = 0
        self._refused = False  # a graph was built of these vectors and is no good

    def __len__(self) -> int:
        return len(self.exact)

    @property
    def kind(self) -> str:
        if self._graph is not None:
            return "hnsw"
        return "exact" if self._cells is None else "cells"

    def add(self, photo_id: int, vector: Vector) -> None:
        self.exact.add(photo_id, vector)
        self._came += 1
        with self._lock:
            if self._graph is not None and not self._graph.holds(np.asarray([photo_id]))[0]:
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
            if len(allowed) <= FEW or self._cells is None:
                return self.exact.search_among(allowed, query, k)
            return self._search_among(allowed, query, k)
        with self._lock:
            near = None if self._graph is None else proposed(self._graph, self._tail, query, k)
        if near is not None:
            return best(*self.exact.scores_of(near, query), k)
        with self.exact.lock:
            found = None if self._cells is None else self._cells.near(self.exact, query, k)
        return self.exact.search(query, k) if found is None else found

    def _search_among(self, allowed: Ids, query: Vector, k: int) -> tuple[Ids, Vector]:
        if len(allowed) > FILTER_SHARE * len(self.exact):
            with self.exact.lock:
                if self._cells is not None:
                    among = self.exact.marked(in_order(allowed))
                    found = self._cells.near(self.exact, query, k, among=among)
                    if found is not None:
                        return found
        return self.exact.search_among(allowed, query, k)

    def recall(self, queries: Matrix, *, k: int = RECALL_K) -> float:
        """Share of the k best photos that a search finds, over these queries."""
        found, wanted = 0, 0
        for query in queries:
            truth = self.exact.search(query, k)[1]
            wanted += len(truth)
            found += int((self.search(query, k)[1] >= truth[-1:] - SCORE_NOISE).sum())
        return found / wanted if wanted else 1.0

    def _recall_of(self, graph: HnswGraph, tail: set[int], queries: Matrix, k: int) -> float:
        found, wanted = 0, 0
        for query in queries:
            truth = self.exact.search(query, k)[1]
            with self._lock:
                near = proposed(graph, tail, query, k)
            wanted += len(truth)
            if near is not None:  # else the graph is no help, though exact search would be
                scores = best(*self.exact.scores_of(near, query), k)[1]
                # By score: of equal photos any will do.
                found += int((scores >= truth[-1:] - SCORE_NOISE).sum())
        return found / wanted if wanted else 1.0

    def sample(self, count: int) -> Matrix:
        """Vectors of photos spread over the library, the same each time."""
        ids = np.sort(self.exact.ids())
        spread = np.linspace(0, max(len(ids) - 1, 0), min(count, len(ids))).astype(np.int64)
        return self.exact.rows_of(ids[spread])[1]

    # --- the graph's life -------------------------------------------------------------------

    @property
    def wants_graph(self) -> bool:
        """Whether the graph needs work: missing though the library is large, worn, or with
        many photos still outside it."""
        if not available() or self._refused:
            return False
        graph = self._graph
        if graph is not None and len(self._tail) > MAX_TAIL:
            return True
        return self._wants_new

    @property
    def _wants_new(self) -> bool:
        if len(self.exact) * self.exact.dim * 4 <= self._graph_from:
            return False
        graph = self._graph
        if graph is None:
            return True
        worn = graph.dead_count > MAX_DEAD_SHARE * (graph.live_count + graph.dead_count)
        return worn or len(self._tail) > max(MAX_TAIL, graph.live_count // 2)

    def tend(self, *, threads: int) -> bool:
        """Do a second's work on the graph if it needs any; True if it did.

        Searches go on meanwhile. A new graph is built beside the old one (or beside
        exact search) and takes over when it is whole.
        """
        if self._building is not None:
            self._build_on(threads)
        elif not self.wants_graph:
            return self._tend_cells()
        elif self._wants_new:
            ids = np.sort(self.exact.ids())
            log.info("graph.build photos=%d", len(ids))
            self._building = (HnswGraph.empty(self.exact.dim, capacity=len(ids)), ids)
        else:
            self._merge()
        return True

    def _build_on(self, threads: int) -> None:
        assert self._building is not None
        graph, pending = self._building
        graph.add(*self.exact.rows_of(pending[:BUILD_STEP]), threads=threads)
        self._building = (graph, pending[BUILD_STEP:])
        if not len(self._building[1]):
            self._building = None
            self._refused = not self.adopt_graph(graph)
            self.graphs_built += 1

    def _merge(self) -> None:
        """Take part of the tail into the graph in use."""
        assert self._graph is not None
        for _ in range(0, BUILD_STEP, MERGE_STEP):
            with self._lock:
                some = np.fromiter(sorted(self._tail)[:MERGE_STEP], np.int64)
                ids, rows = self.exact.rows_of(some)
                self._graph.add(ids, rows, threads=1)
                self._tail.difference_update(some.tolist())

    # --- the cells' life --------------------------------------------------------------------

    @property
    def cells(self) -> Cells | None:
        return self._cells

    def _tend_cells(self) -> bool:
        """Learn cells, or find room in them for photos that came since. Searches go on."""
        if self._arranging is None:
            if len(self.exact) * self.exact.dim * 4 <= self._cells_from:
                return False
            # New photos may be of other things, and a query of ill-fitting cells reads much. To
            # learn anew takes as long as embedding 200 photos.
            outgrown = self._came > self._learned // LEARN_AGAIN
            outgrown = outgrown or len(self.exact) < self._learned // 2
            most = max(MAX_HOMELESS, len(self.exact) // 100)
            if self._cells is None or outgrown or self._strays > most:
                log.info("cells.learn photos=%d", len(self.exact))
                self._learned, self._came = len(self.exact), 0
                self._homeless = self._strays = 0
                self._arranging = build(self.exact)
            else:
                if self.exact.tail_count > self._homeless + TAKE_IN:
                    self._homeless = self._take_in()
                if self._homeless <= most:
                    return False
                self._homeless = 0
                self._arranging = settle(self.exact, self._cells)
        until = time.monotonic() + STEP_S
        for made in self._arranging:
            if made is not None:
                # Cells keep their edge when they are laid out anew: whoever is beyond it stays.
                is_new = self._cells is None or made.edge != self._cells.edge
                self._strays = 0 if is_new else self.exact.tail_count
                self._cells = made
                self.cells_made += 1
                log.info("cells.made cells=%d reach=%.1f", len(made.middles), made.reach)
            if time.monotonic() > until:
                return True
        self._arranging = None
        return True

    def _take_in(self) -> int:
        """Move photos from the tail to their cells, where they have one and there is room; how
        many are left."""
        assert self._cells is not None
        waiting = self.exact.tail_ids()
        for start in range(0, len(waiting), BUILD_STEP):
            ids, rows = self.exact.rows_of(waiting[start : start + BUILD_STEP])
            cells = self._cells.nearest(rows)
            near = ~self._cells.are_far(rows, cells)
            ids, rows, cells = ids[near], rows[near], cells[near]
            signs = sketch(rows, self._cells.middles[cells])
            for photo_id, cell, bits, size in zip(
                ids.tolist(), cells.tolist(), *signs, strict=True
            ):
                self.exact.move(photo_id, cell, bits, size)
        return self.exact.tail_count

    def learn_cells(self) -> None:
        """Lay the rows out in cells in one go."""
        self._learned, self._came = len(self.exact), 0
        self._arranging = build(self.exact)
        while self._arranging is not None:
            self._tend_cells()

    def cells_bytes(self) -> bytes | None:
        """The cells to keep, of the photos of the moment alone."""
        if self._cells is None or self._arranging is not None:
            return None
        with self.exact.lock:
            return self._cells.to_bytes(self.exact)

    def cleanse(self) -> None:
        """Let nothing in memory tell of photos that have gone."""
        if self._cells is not None:
            with self.exact.lock:
                self._cells.refresh(self.exact)

    # --- the graph, in one go ---------------------------------------------------------------

    def build_graph(self, *, threads: int) -> None:
        """Build the graph anew and take it into use, in one go."""
        ids = np.sort(self.exact.ids())
        self._building = (HnswGraph.empty(self.exact.dim, capacity=len(ids)), ids)
        while self._building is not None:
            self._build_on(threads)

    def adopt_graph(self, graph: HnswGraph) -> bool:
        """Take a graph into use, brought up to date with what changed since it was made.
        False where it does not find what it should; then nothing changes."""
        listed = graph.live()
        for photo_id in listed[~self.exact.contains(listed)]:
            graph.remove(int(photo_id))
        ids = self.exact.ids()
        tail = set(ids[~graph.holds(ids)].tolist())
        recall = self._recall_of(graph, tail, self.sample(RECALL_QUERIES), RECALL_K)
        if recall < MIN_RECALL:
            log.error("graph.refused recall=%.3f photos=%d", recall, len(ids))
            return False
        with self._lock:
            self._graph, self._tail = graph, tail
        return True

    def load_graph(self, data: bytes) -> bool:
        """Take up a graph that was kept; False where it is damaged or not of these photos."""
        try:
            return self.adopt_graph(HnswGraph.from_bytes(data, self.exact))
        except UnsoundGraph as error:
            log.warning("graph.unsound reason=%s", error)
            return False

    def graph_bytes(self) -> bytes | None:
        """The graph to keep. Searches go on meanwhile: only changes may not."""
        graph = self._graph
        if graph is None or not graph.live_count + graph.dead_count:
            return None
        return graph.to_bytes()


def proposed(graph: HnswGraph, tail: set[int], query: Vector, k: int) -> Ids | None:
    """Photos among which the k best should be: the graph's, and all that it does not hold.
    None where the graph cannot say."""
    near = graph.candidates(query, OVERSAMPLE * k)
    if near is None:
        return None
    return np.concatenate([near, np.fromiter(tail, np.int64, len(tail))])
