"""A library with cells, whatever is done to it and whenever it is cut off: held against a dict."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from photosearch.index.hnsw import available
from photosearch.library import Changes, Embedded, Library
from photosearch.types import Matrix, Stamp

COUNT = 300
DIM = 16
SPACES = ("one", "other")


def clumps(seed: int) -> Matrix:
    rnd = np.random.default_rng(seed)
    rows = rnd.standard_normal((30, DIM))[rnd.integers(0, 30, COUNT)]
    rows = rows + 0.4 * rnd.standard_normal((COUNT, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


ROWS = {space: clumps(seed) for seed, space in enumerate(SPACES)}


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def path(number: int) -> bytes:
    return b"%d.jpg" % number


class LibraryMachine(RuleBasedStateMachine):
    """True after every step: the index holds exactly the photos that have a place, each with
    the vector it was given; rows lie where their cells are; and no search shows another."""

    graph_from, cells_from = 1 << 60, 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.file = self.folder / "0.db"
        self.space = SPACES[0]
        self.now = 1
        self.model: set[int] = set()
        self.open()
        self.add(0, 120)

    def open(self) -> None:
        self.library = Library(
            self.file,
            space=self.space,
            dim=DIM,
            bundle="b",
            graph_from=self.graph_from,
            cells_from=self.cells_from,
        )
        self.root = self.library.add_root("/photos")

    def commit(self, changes: Changes) -> None:
        self.now += 1
        self.library.commit(changes, now_ns=self.now)

    def coming(self, numbers: range) -> Changes:
        """New photos with their vectors; those that are waiting out their grace by their ids."""
        changes = Changes(self.root.root_id)
        for number in numbers:
            stamp = Stamp(number, number, 1, number)
            known = self.library.photo_with_hash(digest(number))
            if known is not None:
                changes.located.append((path(number), stamp, known))
                continue
            row = ROWS[self.space][number]
            place = (path(number), stamp)
            changes.embedded.append(Embedded(digest(number), "JPEG", 1, 1, None, row, (place,)))
        return changes

    @rule(start=st.integers(0, COUNT - 1), count=st.integers(1, 60))
    def add(self, start: int, count: int) -> None:
        numbers = range(start, min(COUNT, start + count))
        self.commit(self.coming(numbers))
        self.model |= set(numbers)

    @rule(start=st.integers(0, COUNT - 1), count=st.integers(1, 60))
    def forget(self, start: int, count: int) -> None:
        numbers = range(start, min(COUNT, start + count))
        self.commit(Changes(self.root.root_id, forgotten=[path(number) for number in numbers]))
        self.model -= set(numbers)

    @rule()
    def forget_all(self) -> None:
        self.library.forget_root(self.root.root_id, now_ns=self.now)
        self.root = self.library.add_root("/photos")
        self.model = set()

    @rule()
    def purge(self) -> None:
        self.library.purge_orphans(before_ns=self.now + 1)

    @rule(steps=st.integers(1, 12))
    def tend(self, steps: int) -> None:
        for _ in range(steps):
            self.library.tend_graph(threads=1)

    @rule()
    def rest(self) -> None:
        self.library.rest()

    @rule()
    def reopen(self) -> None:
        self.library.close()
        self.open()

    @rule()
    def lose_power(self) -> None:
        """What is on the disk at this moment is all that the next start has."""
        after = self.folder / f"{self.now}-{len(list(self.folder.iterdir()))}.db"
        for end in ("", "-wal"):
            if (old := Path(f"{self.file}{end}")).exists():
                shutil.copy(old, f"{after}{end}")
        self.library.close()
        self.file = after
        self.open()

    @rule(start=st.integers(0, COUNT - 60), instructions=st.integers(50, 20_000))
    def die_in_a_commit(self, start: int, instructions: int) -> None:
        numbers = range(start, start + 60)
        changes = self.coming(numbers)
        changes.forgotten = [path(number) for number in sorted(self.model - set(numbers))[:30]]
        gone = {int(name[:-4]) for name in changes.forgotten}
        calls = 0

        def count() -> int:
            nonlocal calls
            calls += 1
            return 1 if calls > instructions // 50 else 0

        self.library._db.set_progress_handler(count, 50)  # SQLite aborts
        try:
            self.commit(changes)
            self.model = self.model - gone | set(numbers)
        except Exception as error:
            assert "interrupted" in str(error)
        self.library._db.set_progress_handler(None, 0)
        self.reopen()

    @rule(whole=st.booleans())
    def switch_space(self, whole: bool) -> None:
        to = SPACES[1 - SPACES.index(self.space)]
        succession = self.library.begin_succession(space=to, dim=DIM, bundle="b")
        numbers = sorted(self.model) if whole else sorted(self.model)[::2]
        succession.add({digest(number): ROWS[to][number] for number in numbers})
        if whole:
            self.library.take_over(succession)
            self.space = to
        else:
            self.reopen()  # cut off half-way: the old one answers
            self.library.drop_other_spaces()

    @rule(number=st.integers(0, COUNT - 1), share=st.sampled_from([0, 2, 7]))
    def search(self, number: int, share: int) -> None:
        query = ROWS[self.space][number]
        held = self.held()
        allowed = None
        if share:
            allowed = np.asarray(sorted(i for i in held if i % share == 0), np.int64)
        among = sorted(held) if allowed is None else allowed.tolist()
        ids, scores = self.library.index.search(query, 5, allowed=allowed)
        assert set(ids.tolist()) <= set(among)
        truth = {i: float(ROWS[self.space][held[i]] @ query) for i in among}
        np.testing.assert_allclose(scores, [truth[i] for i in ids.tolist()], atol=1e-5)
        assert len(ids) == min(5, len(among))
        if truth:
            assert scores[0] == pytest.approx(max(truth.values()), abs=1e-5) or number not in [
                held[i] for i in among
            ]

    def held(self) -> dict[int, int]:
        """Photo id -> number, as the library has it."""
        found = {}
        for number in self.model:
            photo_id = self.library.photo_with_hash(digest(number))
            assert photo_id is not None, number
            found[photo_id] = number
        return found

    @invariant()
    def sound(self) -> None:
        index = self.library.index
        index.exact.check()
        held = self.held()
        ids, rows = index.exact.snapshot()
        assert set(ids.tolist()) == set(held)
        np.testing.assert_array_equal(
            rows, ROWS[self.space][[held[photo_id] for photo_id in ids.tolist()]].reshape(-1, DIM)
        )
        if index.cells is not None:
            index.cells.check(index.exact)

    def teardown(self) -> None:
        self.library.close()
        shutil.rmtree(self.folder)


class GraphLibraryMachine(LibraryMachine):
    """The same with a graph, which knows each photo that has a place or leaves it to its tail.
    Its beam is wider than the library, so that even its answers are exact."""

    graph_from, cells_from = 0, 1 << 60

    @rule()
    def tend_to_the_end(self) -> None:
        while self.library.tend_graph(threads=1):
            pass
        assert self.library.index.kind == "hnsw" or not self.model

    @invariant()
    def known_to_the_graph(self) -> None:
        index = self.library.index
        if index._graph is not None:
            known = set(index._graph.live().tolist())
            assert known.isdisjoint(index._tail)
            held = self.held()
            assert known | index._tail == set(held)
            for photo_id in sorted(index._tail)[-1:]:  # what came last is found at once
                query = ROWS[self.space][held[photo_id]]
                assert index.search(query, 1)[1][0] == pytest.approx(1.0, abs=1e-5)


TestLibraryMachine = LibraryMachine.TestCase
TestLibraryMachine.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)
if available():
    TestGraphLibraryMachine = GraphLibraryMachine.TestCase
    TestGraphLibraryMachine.settings = settings(
        max_examples=10, stateful_step_count=25, deadline=None
    )
