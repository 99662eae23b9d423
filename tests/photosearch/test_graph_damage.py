"""Graphs that are damaged, stale, of other photos or worn: an answer is right all the same."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numbered import DIM, batch, needs_hnswlib, open_library, vector

from photosearch.index.hnsw import EF_CONSTRUCTION, HnswGraph, M
from photosearch.index.links import (
    FILE_HEADER,
    Links,
    UnsoundGraph,
    file_parts,
    pack,
    read_file,
    unpack,
)
from photosearch.index.neighbours import Index
from photosearch.store import graphs
from photosearch.types import Ids, Matrix


def unit_rows(count: int, seed: int) -> Matrix:
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def graph() -> tuple[Ids, Matrix, bytes]:
    """800 photos with gaps in their ids, and their packed graph."""
    ids, rows = np.arange(800, dtype=np.int64) * 3 + 5, unit_rows(800, 1)
    index = Index(ids, rows, graph_from_bytes=0)
    index.build_graph(threads=1)
    packed = index.graph_bytes()
    assert packed is not None
    return ids, rows, packed


def exact_until_rebuilt(ids: Ids, rows: Matrix, data: bytes) -> None:
    """The graph is refused; exact search answers at once, and a new graph is built later."""
    index = Index(ids, rows, graph_from_bytes=0)
    assert not index.load_graph(data)
    assert index.kind == "exact"
    query = unit_rows(1, 2)[0]
    np.testing.assert_array_equal(index.search(query, 10)[0], index.exact.search(query, 10)[0])
    assert index.wants_graph
    while index.tend(threads=1):
        pass
    assert index.kind == "hnsw"


def altered(found: Links, **change: object) -> Links:
    return replace(found, **change)  # type: ignore[arg-type]


def set_at(array: np.ndarray, place: object, value: int) -> np.ndarray:
    copy = array.copy()
    copy[place] = value
    return copy


DAMAGE = {
    "a link leads nowhere": lambda g: altered(g, links=set_at(g.links, 17, 800)),
    "an upper link leads nowhere": lambda g: altered(g, upper=set_at(g.upper, (0, 1), 2**32 - 1)),
    "leads below its layer": lambda g: altered(
        g, upper=set_at(g.upper, (0, 1), int(np.flatnonzero(g.levels == 0)[0]))
    ),
    "an upper node has too many": lambda g: altered(g, upper=set_at(g.upper, (0, 0), M + 1)),
    "a node has too many links": lambda g: altered(g, counts=set_at(g.counts, 3, 2 * M + 1)),
    "links are missing": lambda g: altered(g, links=g.links[:-1]),
    "a label comes twice": lambda g: altered(g, labels=set_at(g.labels, 1, int(g.labels[0]))),
    "label is out of range": lambda g: altered(g, labels=set_at(g.labels, 1, -1)),
    "label is out of ran": lambda g: altered(g, labels=set_at(g.labels, 1, 1 << 40)),
    "entry node does not exist": lambda g: altered(g, entry=800),
    "entry is not at the top": lambda g: altered(g, entry=int(np.flatnonzero(g.levels == 0)[0])),
    "it is too high": lambda g: altered(g, levels=set_at(g.levels, g.entry, 33)),
    "upper links are missing": lambda g: altered(
        g, levels=set_at(g.levels, int(np.flatnonzero(g.levels == 0)[0]), 1)
    ),
    "it has no nodes": lambda g: altered(
        g, labels=g.labels[:0], counts=g.counts[:0], levels=g.levels[:0], links=g.links[:0],
        upper=g.upper[:0],
    ),
}  # fmt: skip


@needs_hnswlib
@pytest.mark.parametrize("reason", DAMAGE)
def test_what_would_lead_hnswlib_astray_is_refused_by_name(
    graph: tuple[Ids, Matrix, bytes], reason: str
) -> None:
    ids, rows, packed = graph
    broken = pack(DAMAGE[reason](unpack(packed, M)))
    with pytest.raises(UnsoundGraph, match=reason):
        unpack(broken, M)
    exact_until_rebuilt(ids, rows, broken)


@needs_hnswlib
@pytest.mark.parametrize("kept", [0, 3, 15, 16, 100, 6416, -4, -1])
def test_a_graph_cut_short_is_refused(graph: tuple[Ids, Matrix, bytes], kept: int) -> None:
    ids, rows, packed = graph
    exact_until_rebuilt(ids, rows, packed[:kept])


@needs_hnswlib
def test_any_byte_of_a_graph_may_be_wrong_and_no_answer_is(
    graph: tuple[Ids, Matrix, bytes],
) -> None:
    """Beneath the SHA-256, which would have caught each of these already."""
    ids, rows, packed = graph
    rnd = random.Random(3)
    queries = unit_rows(4, 4)
    refused = 0
    for _ in range(150):
        broken = bytearray(packed)
        for _ in range(rnd.choice((1, 1, 8))):
            broken[rnd.randrange(len(broken))] = rnd.randrange(256)
        index = Index(ids, rows, graph_from_bytes=0)
        if not index.load_graph(bytes(broken)):
            refused += 1
            continue
        for query in queries:
            found, scores = index.search(query, 10)
            np.testing.assert_allclose(scores, rows[(found - 5) // 3] @ query, atol=1e-6)
        assert index.recall(queries) > 0.9
    assert refused > 20


@needs_hnswlib
def test_a_graph_of_other_photos_is_refused(graph: tuple[Ids, Matrix, bytes]) -> None:
    """Sound, with every label known, but its links join what is not near."""
    ids, _, packed = graph
    index = Index(ids, unit_rows(800, 77), graph_from_bytes=0)
    near = index.exact.search(unit_rows(1, 5)[0], 5)[0]
    loaded = index.load_graph(packed)
    # At this size the beam (640) all but covers the graph: either refused, or good enough.
    if loaded:
        assert index.recall(unit_rows(20, 5)) > 0.9
    assert near.tolist() == index.search(unit_rows(1, 5)[0], 5)[0].tolist()


@needs_hnswlib
def test_a_graph_that_finds_too_little_is_not_taken_into_use(
    graph: tuple[Ids, Matrix, bytes],
) -> None:
    """All links lead to the node itself: sound for hnswlib, and of no use."""
    ids, rows, packed = graph
    found = unpack(packed, M)
    counts = np.ones_like(found.counts)
    alone = replace(found, counts=counts, links=np.arange(800, dtype=np.uint32))
    exact_until_rebuilt(ids, rows, pack(alone))


@needs_hnswlib
def test_what_the_graph_cannot_reach_is_found_all_the_same(
    graph: tuple[Ids, Matrix, bytes],
) -> None:
    """No link leads to 40 of 800 photos: the graph finds enough to be used, and none of these. It
    says so where it is asked for more than it can reach, and exact search answers."""
    ids, rows, packed = graph
    found = unpack(packed, M)
    places = np.flatnonzero(found.levels == 0)[:40]  # upper links lead to higher nodes alone
    left = ~np.isin(found.links, places)
    owners = np.repeat(np.arange(800), found.counts)[left]
    counts = np.bincount(owners, minlength=800).astype(found.counts.dtype)
    index = Index(ids, rows, graph_from_bytes=0)
    assert index.load_graph(pack(replace(found, counts=counts, links=found.links[left])))
    assert index.kind == "hnsw"
    query = unit_rows(1, 2)[0]
    assert sorted(index.search(query, 800)[0].tolist()) == ids.tolist()
    cut_off = set(found.labels[places].tolist())
    for photo_id in ids.tolist():
        if photo_id not in cut_off:
            index.remove(photo_id)
    assert index.kind == "hnsw"
    for k in (1, 10, 40):
        np.testing.assert_array_equal(index.search(query, k)[0], index.exact.search(query, k)[0])
        assert len(index.search(query, k)[0]) == k


@needs_hnswlib
def test_a_stale_graph_is_brought_up_to_date(graph: tuple[Ids, Matrix, bytes]) -> None:
    ids, rows, packed = graph
    new_ids, new_rows = np.arange(3000, 3100, dtype=np.int64), unit_rows(100, 6)
    left = np.arange(800) % 8 != 0
    index = Index(
        np.concatenate([ids[left], new_ids]),
        np.concatenate([rows[left], new_rows]),
        graph_from_bytes=0,
    )
    assert index.load_graph(packed)
    graph_now = index._graph
    assert isinstance(graph_now, HnswGraph)
    near = graph_now.candidates(rows[0], 800)  # rows[0] is gone: it must not even be proposed
    assert near is not None
    assert set(near.tolist()) <= set(ids[left].tolist())
    for query in unit_rows(20, 7):
        np.testing.assert_array_equal(index.search(query, 10)[0], index.exact.search(query, 10)[0])
    assert set(index.search(rows[0], 800)[0].tolist()) <= set(index.exact.ids().tolist())
    index.add(int(ids[0]), rows[0])  # one that was gone is back
    assert index.search(rows[0], 1)[0].tolist() == [ids[0]]
    again = index.graph_bytes()
    assert again is not None
    assert index.load_graph(again)


@needs_hnswlib
def test_links_survive_the_way_through_hnswlibs_own_file(
    graph: tuple[Ids, Matrix, bytes], tmp_path: Path
) -> None:
    ids, rows, packed = graph
    found = unpack(packed, M)
    for spare in (0, 1):
        parts = file_parts(
            found,
            DIM,
            ef_construction=EF_CONSTRUCTION,
            rows_of=Index(ids, rows).exact.rows_of,
            dead=np.zeros(800, np.bool_),
            spare_words=spare,
        )
        file = np.frombuffer(b"".join(parts), np.uint8)
        assert pack(read_file(file, M, DIM, spare_words=spare)) == packed
        for size in (10, FILE_HEADER.size, 5000, len(file) - 4):
            with pytest.raises(UnsoundGraph):
                read_file(file[:size], M, DIM, spare_words=spare)
        with pytest.raises(UnsoundGraph, match="another layout"):
            read_file(file, M, DIM + 1, spare_words=spare)


@needs_hnswlib
@pytest.mark.parametrize("damage", ["flip", "cut", "swap", "layout", "unfinished", "none"])
def test_a_library_with_a_damaged_graph_answers_exactly_at_once(
    tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "library.db"
    library = open_library(file, graph_from=0)
    library.commit(batch(library, range(300)), now_ns=1)
    while library.tend_graph(threads=1):
        pass
    assert library.index.kind == "hnsw"
    db = library._db
    assert db.execute("SELECT count(*) FROM graphs WHERE ready = 1").fetchone() == (1,)
    data = db.execute("SELECT data FROM graph_chunks WHERE part = 0").fetchone()[0]
    if damage == "flip":
        flipped = data[:2420] + bytes([data[2420] ^ 1]) + data[2421:]  # a link that still fits
        db.execute("UPDATE graph_chunks SET data = ? WHERE part = 0", (flipped,))
    elif damage == "cut":
        db.execute("DELETE FROM graph_chunks")
    elif damage == "swap":  # another graph with its own right hash, but not of these photos
        graphs.save_graph(db, library._space_id, "links-1 ip d64 M16 efc200", data[:-1] + b"\7")
    elif damage == "layout":
        db.execute("UPDATE graphs SET layout = 'from the future'")
    elif damage == "unfinished":
        db.execute("UPDATE graphs SET ready = 0")
    library.close()
    again = open_library(file, graph_from=0)
    query = vector(1234)
    exact = again.index.exact.search(query, 10)[0].tolist()
    assert again.index.kind == "exact"
    assert again.index.search(query, 10)[0].tolist() == exact
    again.tend_graph(threads=1)
    assert (again.index.kind == "hnsw") == (damage == "none")
    while again.tend_graph(threads=1):
        assert again.index.search(query, 10)[0].tolist() == exact
    assert again.index.kind == "hnsw"
    assert again.index.search(query, 10)[0].tolist() == exact
    again.close()


@needs_hnswlib
def test_a_new_graph_is_kept_at_once_however_large_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old one is kept again only after changes to a tenth of the library."""
    monkeypatch.setattr("photosearch.library.writer.KEEP_AFTER", 3)
    library = open_library(tmp_path / "library.db", graph_from=0)
    kept = "SELECT max(id) FROM graphs WHERE ready = 1"
    seen = []
    for start, end in ((0, 300), (300, 310), (310, 400)):
        library.commit(batch(library, range(start, end)), now_ns=1)
        while library.tend_graph(threads=1):
            pass
        seen.append(library._db.execute(kept).fetchone()[0])
    assert seen == [1, 1, 2]
    root_id = library.add_root("/other").root_id
    library.forget_root(root_id, now_ns=2)
    assert library._db.execute(kept).fetchone() == (None,)
    library.tend_graph(threads=1)
    assert library._db.execute(kept).fetchone()[0] == 3
    library.close()


@needs_hnswlib
def test_recall_holds_through_ten_times_its_size_in_churn() -> None:
    """Ten full turnovers, tended in between: as good as a graph built afresh."""
    rnd = np.random.default_rng(0)
    centres = unit_rows(30, 8)

    def clustered(count: int) -> Matrix:
        rows = centres[rnd.integers(0, 30, count)] + 0.6 * unit_rows(
            count, int(rnd.integers(1 << 30))
        )
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    size = 1500
    index = Index(np.arange(size), clustered(size), graph_from_bytes=0)
    index.build_graph(threads=2)
    next_id = size
    for _ in range(20):
        ids = index.exact.ids()
        for photo_id in rnd.choice(ids, size // 2, replace=False).tolist():
            index.remove(photo_id)
        for row in clustered(size // 2):
            index.add(next_id, row)
            next_id += 1
        while index.tend(threads=2):
            pass
    index.exact.check()
    queries = clustered(60)
    fresh = Index(*index.exact.snapshot(), graph_from_bytes=0)
    fresh.build_graph(threads=2)
    assert index.recall(queries) >= fresh.recall(queries) - 0.01
    assert index.recall(queries) >= 0.97
    graph = index._graph
    assert isinstance(graph, HnswGraph)
    unreachable = [
        photo_id
        for photo_id in graph.live().tolist()
        if index.search(index.exact.vector(photo_id), 1)[0].tolist() != [photo_id]  # type: ignore[arg-type]
    ]
    assert unreachable == []
