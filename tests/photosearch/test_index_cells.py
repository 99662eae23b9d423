"""Cells: what they leave unread, they may; none goes missing."""

from __future__ import annotations

import tracemalloc
import unittest.mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from photosearch.index import cells
from photosearch.index import exact as index_exact
from photosearch.index.cells import Numbers, from_bytes
from photosearch.index.exact import ExactIndex, trade_places
from photosearch.index.neighbours import Index
from photosearch.index.signs import Asked
from photosearch.types import Matrix, Vector
from tests.photosearch.clumps import DIM, clustered, in_cells, require, rest


def places(count: int) -> st.SearchStrategy[tuple[int, list[int], list[int]]]:
    """So many rows, and from which of them to which as many others go."""
    orders = st.tuples(st.permutations(range(count)), st.permutations(range(count)))
    return st.tuples(orders, st.integers(0, count)).map(
        lambda drawn: (count, drawn[0][0][: drawn[1]], drawn[0][1][: drawn[1]])
    )


def unit(rows: Matrix) -> Matrix:
    found: Matrix = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def sample() -> Index:
    return in_cells(6000)


def test_cells_find_what_exact_search_finds(sample: Index) -> None:
    near, off = sample.sample(50), cells.off_manifold(sample.exact, require(sample), 50)
    assert sample.recall(near) >= 0.99
    assert sample.recall(off) >= 0.95
    assert sample.recall(off, k=50) >= 0.95


def test_learning_cells_needs_no_second_copy_of_the_rows() -> None:
    """At the size of a library, where the peak is what a small machine has to bear."""
    count, dim = 30_000, 128
    ids = np.arange(1, count + 1)
    exact = ExactIndex.reserve(
        dim, ids[:0], np.empty(0, np.int64), None, block_count=0, count=count
    )
    exact.fill(ids, clustered(count, dim=dim))
    exact.settle()
    index = Index.of(exact, None, graph_from_bytes=1 << 60, cells_from_bytes=0)
    tracemalloc.start()
    try:
        index.learn_cells()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert index.kind == "cells"
    assert peak < 0.75 * count * dim * 4, f"{peak / (count * dim * 4):.2f} of the rows"


def test_a_filter_that_leaves_only_what_is_far_finds_the_best_of_it(sample: Index) -> None:
    """The promising cells hold none of it: one pass then, not a guess."""
    query = sample.sample(7)[2]
    every = sample.exact.search(query, len(sample))[0]
    far = np.sort(every[-900:])
    assert not set(sample.exact.tail_ids().tolist()) >= set(far.tolist())
    ids, scores = sample.search(query, 20, allowed=far)
    assert ids.tolist() == every[-900:-880].tolist()
    assert (np.diff(scores) <= 0).all()


def test_a_full_cell_takes_no_more() -> None:
    """A burst of one photo: its cell has room for a few, the others wait where all look."""
    index = in_cells(6000)
    noise = 0.02 * np.random.default_rng(3).standard_normal((400, DIM)).astype(np.float32)
    burst = unit(index.sample(7)[3] + noise)
    for number, row in enumerate(burst):
        index.add(10_000 + number, row)
    index.tend(threads=1)
    index.exact.check()
    assert index.exact.tail_count > 200
    assert index.recall(burst[:50], k=10) >= 0.97


def test_photos_unlike_all_others_are_found_among_their_like() -> None:
    """Far from every cell's middle, and like one another: what a new hobby looks like. Their cells
    would promise little, and be passed over."""
    index = in_cells(6000, dim=64)
    rnd = np.random.default_rng(5)
    novel = rnd.standard_normal(64) + 0.6 * rnd.standard_normal((400, 64))
    novel = (novel / np.linalg.norm(novel, axis=1, keepdims=True)).astype(np.float32)
    for number, row in enumerate(novel):
        index.add(7000 + number, row)
    rest(index)
    assert index.cells_made == 1, "they were learned of: nothing is shown"
    asked = novel + 0.05 * rnd.standard_normal(novel.shape).astype(np.float32)
    assert index.recall(unit(asked), k=1) == 1.0
    index.exact.check()


def test_many_photos_unlike_the_others_get_cells_of_their_own() -> None:
    index = in_cells(6000)
    novel = clustered(900, seed=77)
    for number, row in enumerate(novel):
        index.add(7000 + number, row)
    rest(index)
    assert index.cells_made > 1
    assert index.exact.tail_count <= 600
    assert index.recall(novel[:300], k=1) >= 0.99


def test_everything_may_go_while_cells_are_learned() -> None:
    index = Index(np.arange(1, 2001), clustered(2000), cells_from_bytes=0)
    learning = cells.build(index.exact)
    next(learning)
    for photo_id in range(1, 2001):
        index.remove(photo_id)
    assert not any(made is not None for made in learning)
    index.exact.check()


@given(st.integers(0, 60).flatmap(places))
def test_rows_that_trade_places_all_arrive(moves: tuple[int, list[int], list[int]]) -> None:
    count, sources, targets = moves
    rows = np.zeros((count, 2), np.float32)
    rows[sources] = [[1 + item, -item] for item in range(len(sources))] or np.empty((0, 2))
    with unittest.mock.patch.object(index_exact, "GATHER_ROWS", 7):
        trade_places(rows, np.asarray(sources, np.int64), np.asarray(targets, np.int64))
    assert rows[targets].tolist() == [[1 + item, -item] for item in range(len(sources))]
    assert np.count_nonzero(rows.any(axis=1)) == len(sources)


def test_scores_are_exact_and_in_order(sample: Index) -> None:
    query = sample.sample(7)[3]
    ids, scores = sample.search(query, 20)
    _, rows = sample.exact.rows_of(ids)
    np.testing.assert_allclose(scores, rows @ query, atol=1e-6)
    assert (np.diff(scores) <= 0).all()
    assert len(set(ids.tolist())) == 20


def test_a_pass_over_rows_in_cells_finds_every_photo_and_no_empty_place(sample: Index) -> None:
    ids, scores = sample.exact.search(sample.sample(3)[1], len(sample))
    assert sorted(ids.tolist()) == sorted(sample.exact.ids().tolist())
    assert scores[-1] < 0  # an empty place would score 0


def test_a_query_reads_a_part_of_the_rows(sample: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    read = {"looked at": 0, "read": 0}
    estimate, dot = ExactIndex.estimate, ExactIndex.dot

    def looked(self: ExactIndex, rows: Numbers, asked: Asked) -> tuple[Vector, Vector]:
        read["looked at"] += len(rows)
        return estimate(self, rows, asked)

    def dotted(self: ExactIndex, rows: Numbers, query: Vector) -> Vector:
        read["read"] += len(rows)
        return dot(self, rows, query)

    monkeypatch.setattr(ExactIndex, "estimate", looked)
    monkeypatch.setattr(ExactIndex, "dot", dotted)
    for query in sample.sample(20):
        sample.search(query, 10)
    assert 0 < read["looked at"] / 20 < 0.4 * len(sample)
    assert 0 < read["read"] / 20 < 0.1 * len(sample)


def test_photos_that_have_no_cell_yet_are_found_and_those_that_left_are_not() -> None:
    index = in_cells(6000)
    fresh = clustered(60, seed=9)
    for number, row in enumerate(fresh):
        index.add(10_000 + number, row)
    assert set(range(10_000, 10_060)) <= set(index.exact.tail_ids().tolist())
    most = np.asarray([*range(1, 6001), *range(10_000, 10_060, 2)])
    with index.exact.lock:  # by cells, not by one pass over all
        assert require(index).near(index.exact, fresh[0], 5) is not None
    for number, row in enumerate(fresh):
        ids, scores = index.search(row, 5)
        assert (ids[0], scores[0]) == (10_000 + number, pytest.approx(1, abs=1e-5))
        among = index.search(row, 5, allowed=most)[0]
        assert (10_000 + number in among.tolist()) == (number % 2 == 0)
        assert set(among.tolist()) <= set(most.tolist())
    index.remove(10_000)
    assert 10_000 not in index.search(fresh[0], 5)[0].tolist()


def test_a_cells_rows_keep_their_signs_when_others_leave_and_come() -> None:
    index = in_cells(6000)
    for photo_id in range(1, 6000, 3):
        index.remove(photo_id)
    require(index).check(index.exact)
    index.cleanse()
    waiting = index.exact.tail_count
    noise = np.random.default_rng(4).standard_normal((400, DIM)).astype(np.float32)
    for number, row in enumerate(unit(index.sample(400) + 0.05 * noise)):
        index.add(10_000 + number, row)
    index.tend(threads=1)
    assert index.exact.tail_count < waiting + 100
    require(index).check(index.exact)
    assert index.recall(index.sample(30)) >= 0.97
    index.cleanse()
    require(index).check(index.exact)
    for cell, middle in enumerate(require(index).middles):
        rows = index.exact.block(cell)
        if len(rows):
            np.testing.assert_allclose(middle, rows.mean(axis=0), atol=1e-5)


def test_a_photo_that_goes_and_comes_back_while_rows_are_laid_out_has_signs_or_no_cell() -> None:
    index = in_cells(6000)
    row, strays = index.exact.vector(5000), set(index.exact.tail_ids().tolist())
    assert row is not None and 5000 not in strays and 1 not in strays
    steps = cells.settle(index.exact, require(index))
    chunks = -(-6000 // cells.CHUNK)
    for _ in range(chunks):  # each photo has its cell
        next(steps)
    index.remove(5000)
    for _ in range(chunks):  # and those that are here their signs
        next(steps)
    index.add(5000, row)
    index.remove(1)
    (settled,) = [made for made in steps if made is not None]
    index.exact.check()
    settled.check(index.exact)
    came = set(index.exact.tail_ids().tolist()) - strays
    assert 5000 in came and 1 not in came and len(came) < 20  # middles moved, and some are far now
    for cell, middle in enumerate(settled.middles):  # of those that are there, no others
        np.testing.assert_allclose(middle, index.exact.block(cell).mean(axis=0), atol=1e-5)


def test_a_filter_on_the_far_side_of_the_library_is_answered_by_one_pass(sample: Index) -> None:
    query = sample.sample(5)[2]
    ids, _ = sample.exact.snapshot()
    scores = sample.exact.scores_of(ids, query)[1]
    ids = np.sort(ids)
    far = ids[np.argsort(scores)[:1200]]
    with sample.exact.lock:
        marks = sample.exact.marked(np.sort(far))
        assert require(sample).near(sample.exact, query, 10, among=marks) is None
    found = sample.search(query, 10, allowed=far)[1]
    np.testing.assert_allclose(found, np.sort(scores)[:1200][::-1][:10], atol=1e-6)


def test_queries_reach_further_along_directions_that_rows_are_strewn_in() -> None:
    rnd = np.random.default_rng(0)
    rows = clustered(3000)
    rows[:, :2] += rnd.standard_normal((3000, 2)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = Index(np.arange(3000), rows, cells_from_bytes=0)
    index.learn_cells()
    found = require(index)
    assert np.trace(found.shape) == pytest.approx(DIM, rel=1e-4)
    ids, cells_of = index.exact.blocks_of_rows()
    apart = index.exact.rows_of(ids)[1] - found.middles[cells_of]
    measured = (apart**2).mean(axis=0)
    np.testing.assert_allclose(np.diag(found.shape), measured / measured.mean(), rtol=0.1)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.99])
def test_a_filter_of_any_width_loses_nothing(sample: Index, share: float) -> None:
    rnd = np.random.default_rng(3)
    allowed = np.sort(rnd.choice(sample.exact.ids(), int(share * len(sample)), replace=False))
    for queries in (sample.sample(20), cells.off_manifold(sample.exact, require(sample), 60)):
        found, wanted = 0, 0
        for query in queries:
            ids, scores = sample.search(query, 10, allowed=allowed)
            assert set(ids.tolist()) <= set(allowed.tolist())
            least = np.sort(sample.exact.scores_of(allowed, query)[1])[-10:][0]
            found += int((scores >= least - 1e-6).sum())
            wanted += min(10, len(allowed))
        assert found >= 0.97 * wanted


def test_recall_holds_after_ten_times_as_many_changes_as_photos() -> None:
    index = in_cells(1500)
    rows = clustered(15_000, seed=5)
    for number in range(15_000):
        index.remove(number + 1)
        index.add(1501 + number, rows[number])
        if number % 1000 == 0:
            while index.tend(threads=1):
                pass
    index.exact.check()
    require(index).check(index.exact)
    assert sorted(index.exact.ids().tolist()) == list(range(15_001, 16_501))
    assert index.recall(index.sample(50)) >= 0.97
    assert index.recall(cells.off_manifold(index.exact, require(index), 50)) >= 0.95


def test_cells_are_learned_again_when_the_photos_are_of_other_things() -> None:
    index = in_cells(6000)
    other = -clustered(6000, seed=6)
    for number, row in enumerate(other):
        index.remove(number + 1)
        index.add(10_001 + number, row)
    rest(index)
    assert index.cells_made == 2
    with index.exact.lock:  # they are of use
        assert require(index).near(index.exact, other[7], 5) is not None
    assert index.recall(index.sample(30)) >= 0.97


class CellMachine(RuleBasedStateMachine):
    """Whatever comes and goes, and whenever cells are laid out: rows and ids agree, every photo
    is found by its own vector, and none that has gone."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = clustered(900, seed=2)
        self.model = set(range(600))
        self.index = Index(np.arange(600), self.rows[:600], cells_from_bytes=0)

    @rule(start=st.integers(0, 880), count=st.integers(1, 20))
    def add(self, start: int, count: int) -> None:
        for photo_id in range(start, min(900, start + count)):
            self.index.add(photo_id, self.rows[photo_id])
            self.model.add(photo_id)

    @rule(start=st.integers(0, 880), count=st.integers(1, 20))
    def remove(self, start: int, count: int) -> None:
        for photo_id in range(start, start + count):
            self.index.remove(photo_id)
            self.model.discard(photo_id)

    @rule()
    def tend(self) -> None:
        self.index.tend(threads=1)

    @rule()
    def learn(self) -> None:
        self.index.learn_cells()

    @rule()
    def keep_and_reopen(self) -> None:
        if (data := self.index.cells_bytes()) is not None:
            kept = from_bytes(data, DIM)
            exact = ExactIndex.reserve(
                DIM,
                kept.ids,
                kept.where,
                kept.signs,
                block_count=len(kept.cells.middles),
                count=len(self.model),
            )
            held = np.asarray(sorted(self.model), np.int64)
            for start in range(0, len(held), 50):
                exact.fill(held[start : start + 50], self.rows[held[start : start + 50]])
            exact.settle()
            self.index = Index.of(exact, kept.cells, graph_from_bytes=1 << 60, cells_from_bytes=0)

    @rule(photo_id=st.integers(0, 899))
    def search(self, photo_id: int) -> None:
        ids, scores = self.index.search(self.rows[photo_id], 5)
        assert set(ids.tolist()) <= self.model
        if photo_id in self.model:
            assert scores[0] == pytest.approx(1, abs=1e-5)

    @invariant()
    def sound(self) -> None:
        self.index.exact.check()
        assert set(self.index.exact.ids().tolist()) == self.model
        if self.index.cells is not None:
            self.index.cells.check(self.index.exact)


TestCellMachine = CellMachine.TestCase
TestCellMachine.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
