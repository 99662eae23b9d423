"""The exact index against the definition, the graph against the exact index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from photosearch.index.exact import ExactIndex, best
from photosearch.index.hnsw import HnswGraph, available
from photosearch.index.neighbours import MAX_TAIL, Index
from photosearch.types import Matrix, Vector

DIM = 8
needs_hnswlib = pytest.mark.skipif(not available(), reason="no build of hnswlib is installed")


def unit_rows(count: int, *, dim: int = DIM, seed: int = 0) -> Matrix:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def brute(model: dict[int, Vector], query: Vector, k: int) -> list[int]:
    """The definition: sort by score, then id."""
    scored = sorted((-float(np.dot(v, query)), photo_id) for photo_id, v in model.items())
    return [photo_id for _, photo_id in scored[:k]]


def test_equal_scores_come_in_id_order_even_at_the_cut() -> None:
    scores = np.asarray([0.5, 0.9, 0.5, 0.5, 0.1], np.float32)
    ids, found = best(np.asarray([40, 30, 20, 10, 5]), scores, 3)
    assert ids.tolist() == [30, 10, 20]
    assert found.tolist() == pytest.approx([0.9, 0.5, 0.5])


def test_asking_for_more_than_there_is_gives_all() -> None:
    index = ExactIndex(np.arange(3), unit_rows(3))
    assert len(index.search(unit_rows(1)[0], 10)[0]) == 3
    assert len(ExactIndex(np.empty(0, np.int64), unit_rows(0)).search(unit_rows(1)[0], 5)[0]) == 0


def test_a_filter_may_be_unsorted_repeat_itself_and_name_strangers() -> None:
    rows = unit_rows(9)
    index = Index(np.arange(9), rows)
    for others in ([], [100, -5, 1 << 40]):
        ids, scores = index.search(rows[7], 9, allowed=np.asarray([7, 2, 7, *others, 2, 5]))
        assert sorted(ids.tolist()) == [2, 5, 7]
        np.testing.assert_allclose(scores, rows[ids] @ rows[7], atol=1e-6)


class IndexMachine(RuleBasedStateMachine):
    """Whatever is added and removed, a search is what a sort of a dict says."""

    graph_from = 1 << 40  # bytes: never a graph

    def __init__(self) -> None:
        super().__init__()
        self.index = Index(np.empty(0, np.int64), unit_rows(0), graph_from_bytes=self.graph_from)
        self.model: dict[int, Vector] = {}
        self.vectors = unit_rows(40, seed=1)

    @rule(photo_id=st.integers(0, 39))
    def add(self, photo_id: int) -> None:
        self.index.add(photo_id, self.vectors[photo_id])
        self.model[photo_id] = self.vectors[photo_id]

    @rule(photo_id=st.integers(0, 39))
    def remove(self, photo_id: int) -> None:
        self.index.remove(photo_id)
        self.model.pop(photo_id, None)

    @rule(seed=st.integers(0, 1000), k=st.integers(1, 50))
    def search(self, seed: int, k: int) -> None:
        query = unit_rows(1, seed=seed)[0]
        ids, scores = self.index.search(query, k)
        assert ids.tolist() == brute(self.model, query, k)
        np.testing.assert_allclose(
            scores, [self.model[int(photo_id)] @ query for photo_id in ids], atol=1e-6
        )

    @rule(seed=st.integers(0, 1000), k=st.integers(1, 50), allowed=st.sets(st.integers(0, 45)))
    def search_among(self, seed: int, k: int, allowed: set[int]) -> None:
        query = unit_rows(1, seed=seed)[0]
        ids, _ = self.index.search(query, k, allowed=np.asarray(sorted(allowed), np.int64))
        among = {photo_id: v for photo_id, v in self.model.items() if photo_id in allowed}
        assert ids.tolist() == brute(among, query, k)

    @invariant()
    def sound(self) -> None:
        self.index.exact.check()
        assert len(self.index) == len(self.model)
        assert self.index._tail <= set(self.model)


class GraphMachine(IndexMachine):
    """The same with a graph from the first photo on, rebuilt and reloaded at any time.

    At 40 photos the beam is wider than the graph, so even its answers are exact.
    """

    graph_from = 0

    @rule()
    def tend(self) -> None:
        self.index.tend(threads=1)

    @rule()
    def reload(self) -> None:
        saved = self.index.graph_bytes()
        if saved is not None:
            ids, rows = self.index.exact.snapshot()
            self.index = Index(ids, rows, graph_from_bytes=0)
            assert self.index.load_graph(saved)

    @rule()
    def rebuild(self) -> None:
        self.index.build_graph(threads=1)


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
if available():
    TestGraphMachine = GraphMachine.TestCase
    TestGraphMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


@needs_hnswlib
def test_the_graph_finds_what_exact_search_finds() -> None:
    rows = unit_rows(3000, dim=32)
    index = Index(np.arange(3000), rows, graph_from_bytes=0)
    index.build_graph(threads=2)
    assert index.kind == "hnsw"
    queries = unit_rows(50, dim=32, seed=9)
    shares = []
    for query in queries:
        found, wanted = index.search(query, 10)[0], index.exact.search(query, 10)[0]
        shares.append(len(set(found.tolist()) & set(wanted.tolist())) / 10)
    assert np.mean(shares) >= 0.99


@needs_hnswlib
def test_a_removed_photo_is_never_proposed_again_nor_is_its_slot_reused() -> None:
    rows = unit_rows(200)
    index = Index(np.arange(200), rows, graph_from_bytes=0)
    index.build_graph(threads=1)
    for photo_id in range(0, 200, 2):
        index.remove(photo_id)
    found = index.search(rows[0], 200)[0]
    assert set(found.tolist()) == set(range(1, 200, 2))


@needs_hnswlib
def test_a_photo_added_after_the_graph_was_built_is_found_at_once() -> None:
    rows = unit_rows(100)
    index = Index(np.arange(99), rows[:99], graph_from_bytes=0)
    index.build_graph(threads=1)
    index.add(99, rows[99])
    assert index.search(rows[99], 1)[0].tolist() == [99]


@needs_hnswlib
def test_the_graph_is_wanted_anew_when_it_is_worn_or_its_tail_is_long() -> None:
    index = Index(np.arange(100), unit_rows(100), graph_from_bytes=0)
    assert index.wants_graph
    index.build_graph(threads=1)
    assert not index.wants_graph
    for photo_id in range(26):
        index.remove(photo_id)
    assert index.wants_graph
    index.build_graph(threads=1)
    extra = unit_rows(MAX_TAIL + 1, seed=3)
    for number, row in enumerate(extra):
        index.add(1000 + number, row)
    assert index.wants_graph


@needs_hnswlib
def test_photos_that_come_after_the_graph_and_go_again_leave_it_as_it_was() -> None:
    index = Index(np.arange(100), unit_rows(100), graph_from_bytes=0)
    index.build_graph(threads=1)
    for number, row in enumerate(unit_rows(MAX_TAIL + 1, seed=3)):
        index.add(1000 + number, row)
    assert index.wants_graph
    for number in range(MAX_TAIL + 1):
        index.remove(1000 + number)
    assert not index.wants_graph


@needs_hnswlib
def test_a_photo_that_comes_back_to_the_graph_is_proposed_again() -> None:
    rows = unit_rows(50)
    graph = HnswGraph.build(np.arange(50), rows, threads=1)
    graph.remove(7)
    assert (graph.live_count, graph.dead_count) == (49, 1)
    near = graph.candidates(rows[7], 49)
    assert near is not None
    assert 7 not in near
    graph.add(np.asarray([7, 50]), unit_rows(2, seed=9), threads=1)
    assert (graph.live_count, graph.dead_count) == (51, 0)
    near = graph.candidates(rows[7], 51)
    assert near is not None
    assert sorted(near.tolist()) == list(range(51))


def test_small_libraries_want_no_graph() -> None:
    assert not Index(np.arange(100), unit_rows(100)).wants_graph


def test_an_index_leaves_the_vectors_it_was_made_of_as_they_were() -> None:
    rows = np.ascontiguousarray(unit_rows(5), np.float32)
    before = rows.copy()
    ExactIndex(np.arange(5), rows).remove(0)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("count", [10, 600, 1500, 2000])
def test_scores_of_a_few_of_many_and_of_all_are_each_photos_own(count: int) -> None:
    rows = unit_rows(2000)
    index = ExactIndex(np.arange(2000) * 2 + 1, rows)
    some = np.sort(np.random.default_rng(count).choice(2000, count, replace=False))
    ids, scores = index.scores_of(some * 2 + 1, rows[7])
    np.testing.assert_array_equal(ids, some * 2 + 1)
    np.testing.assert_allclose(scores, rows[some] @ rows[7], atol=1e-6)
