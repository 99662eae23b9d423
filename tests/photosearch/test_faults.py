"""Full disks, failing disks, damaged pages, other processes, kill -9: nothing committed is
lost, and an answer is right or an error is named."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from photosearch.errors import PhotosearchError
from photosearch.index.hnsw import EF_CONSTRUCTION, HnswGraph, M, available
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
from photosearch.library import Changes, Embedded, Library, LibraryReader
from photosearch.store import connection, graphs
from photosearch.store.connection import problems
from photosearch.types import Ids, Matrix, Stamp, Vector

CHECKOUT = Path(__file__).parent.parent.parent
DIM = 64
SPACE = "faults"
needs_hnswlib = pytest.mark.skipif(not available(), reason="no build of hnswlib is installed")
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")


def vector(number: int) -> Vector:
    row = np.random.default_rng(number).standard_normal(DIM).astype(np.float32)
    return row / np.float32(np.linalg.norm(row))


def name(number: int) -> bytes:
    return b"%d.jpg" % number


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def open_library(file: Path, *, graph_from: int = 1 << 40) -> Library:
    return Library(file, space=SPACE, dim=DIM, bundle="b", graph_from=graph_from)


def batch(library: Library, numbers: range) -> Changes:
    root = library.add_root("/photos")
    changes = Changes(root.root_id)
    for number in numbers:
        place = (name(number), Stamp(number, number, 1, number))
        changes.embedded.append(
            Embedded(digest(number), "JPEG", 1, 1, None, vector(number), (place,))
        )
    return changes


def contents(library: Library) -> set[int]:
    """Numbers of the photos in the library; the index must agree, vector for vector."""
    rows = library._db.execute(
        "SELECT p.id, p.content_hash, l.path FROM photos p JOIN locations l ON l.photo_id = p.id"
    ).fetchall()
    numbers = {photo_id: int.from_bytes(content, "big") for photo_id, content, _ in rows}
    assert all(path == name(numbers[photo_id]) for photo_id, _, path in rows)
    library.index.exact.check()
    assert set(library.index.exact.ids().tolist()) == set(numbers)
    for photo_id, number in numbers.items():
        np.testing.assert_array_equal(library.index.exact.vector(photo_id), vector(number))
    return set(numbers.values())


# --- the disk is full, or fails -----------------------------------------------------------------


def test_a_disk_that_fills_up_at_any_page_loses_nothing_committed(tmp_path: Path) -> None:
    """SQLite reports SQLITE_FULL at every page a batch may need, one after the other."""
    library = open_library(tmp_path / "library.db")
    library.commit(batch(library, range(20)), now_ns=1)
    todo = batch(library, range(20, 200))
    pages = library._db.execute("PRAGMA page_count").fetchone()[0]
    failed = 0
    for room in range(200):
        library._db.execute(f"PRAGMA max_page_count = {pages + room}")
        try:
            library.commit(todo, now_ns=2)
        except PhotosearchError as error:
            assert "disk is full" in str(error)
            failed += 1
            assert contents(library) == set(range(20))
        else:
            break
    assert failed > 5
    assert contents(library) == set(range(200))
    assert problems(library._db) == []
    library.close()
    again = open_library(tmp_path / "library.db")
    assert contents(again) == set(range(200))
    again.close()


@contextlib.contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond this: write() fails with EFBIG, a true error of the system."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@posix
def test_a_write_that_fails_at_any_point_is_undone_and_said(tmp_path: Path) -> None:
    library = open_library(tmp_path / "library.db")
    library.commit(batch(library, range(20)), now_ns=1)
    assert connection.checkpoint(library._db)
    todo = batch(library, range(20, 60))
    failed = 0
    for limit in range(8192, 1 << 21, 8192):  # the WAL is empty: every write of it may fail
        with largest_file(limit):
            try:
                library.commit(todo, now_ns=2)
            except PhotosearchError as error:
                assert "disk" in str(error)
                failed += 1
                assert contents(library) == set(range(20))
                continue
        break
    assert failed > 3
    assert contents(library) == set(range(60))
    library.close()
    again = open_library(tmp_path / "library.db")
    assert contents(again) == set(range(60))
    assert problems(again._db) == []
    again.close()


@posix
def test_a_checkpoint_that_fails_keeps_the_log_and_is_said(tmp_path: Path) -> None:
    library = open_library(tmp_path / "library.db")
    library.commit(batch(library, range(200)), now_ns=1)
    assert (tmp_path / "library.db").stat().st_size < 60_000  # most of it is in the WAL
    with largest_file(65536), pytest.raises(PhotosearchError, match="disk"):
        library.rest()
    assert contents(library) == set(range(200))
    library.rest()
    assert (tmp_path / "library.db-wal").stat().st_size == 0
    library.close()


@posix
def test_a_backup_onto_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    library = open_library(tmp_path / "library.db")
    library.commit(batch(library, range(100)), now_ns=1)
    with largest_file(20_000), pytest.raises(PhotosearchError):
        library.reader.backup(tmp_path / "copy.db")
    assert not list(tmp_path.glob("*copy*"))
    library.reader.backup(tmp_path / "copy.db")
    assert problems(sqlite3.connect(tmp_path / "copy.db")) == []
    library.close()


# --- other processes ----------------------------------------------------------------------------

HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


def test_another_process_holding_the_lock_is_said_and_the_batch_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 200)
    library = open_library(tmp_path / "library.db")
    library.commit(batch(library, range(3)), now_ns=1)
    todo = batch(library, range(3, 6))
    command = [sys.executable, "-c", HOLDER, str(library.file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(PhotosearchError, match="another program has held it"):
            library.commit(todo, now_ns=2)
        assert contents(library) == {0, 1, 2}
        began = time.monotonic()
        library.rest()  # what has no hurry does not wait
        assert time.monotonic() - began < 0.15
        assert LibraryReader(library.file).counts(SPACE).photos == 3  # reading goes on
        holder.stdin.close()
    library.commit(todo, now_ns=2)
    assert contents(library) == set(range(6))
    library.close()


READER = """
import sys
from pathlib import Path
from photosearch.library import open_library_reader
from photosearch.store.connection import snapshot
looks, most = 0, 0
while True:
    reader = open_library_reader(Path(sys.argv[1]))
    ids = reader.load_index("faults", 64).exact.ids().tolist()
    counts = reader.counts("faults")
    assert len(ids) % 3 == 0, ids
    assert counts.photos % 3 == 0 and counts.photos == counts.embedded, counts
    assert counts.photos >= len(ids) >= most, "a commit was undone"
    assert len(reader.places(ids)) == len(ids)
    looks, most = looks + 1, len(ids)
    reader.close()
    if looks == 1 or most >= int(sys.argv[2]):
        print(looks, flush=True)
    if most >= int(sys.argv[2]):
        break
"""


def test_a_reader_in_another_process_sees_whole_commits_alone(tmp_path: Path) -> None:
    library = open_library(tmp_path / "library.db")
    library.commit(batch(library, range(3)), now_ns=1)
    command = [sys.executable, "-c", READER, str(library.file), "300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=CHECKOUT) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline()
        for start in range(3, 300, 3):
            library.commit(batch(library, range(start, start + 3)), now_ns=2)
            if start % 30 == 0:
                library.rest()
            time.sleep(0.002)
        looks = int(reader.stdout.readline())
        assert reader.wait(timeout=30) == 0
    assert looks > 3
    library.close()


def test_a_reader_that_stays_cannot_make_the_log_grow_without_end(tmp_path: Path) -> None:
    """The WAL cannot be emptied under a reader, but is as soon as it has gone."""
    library = open_library(tmp_path / "library.db")
    library.commit(batch(library, range(3)), now_ns=1)
    reader = LibraryReader(library.file)
    wal = tmp_path / "library.db-wal"
    with reader.reading() as db, connection.snapshot(db):
        db.execute("SELECT count(*) FROM photos").fetchone()
        library.commit(batch(library, range(3, 500)), now_ns=1)
        library.rest()
        assert wal.stat().st_size > 0
    library.rest()
    assert wal.stat().st_size == 0
    reader.close()
    library.close()


def test_the_log_is_bounded_while_there_is_no_rest(tmp_path: Path) -> None:
    library = open_library(tmp_path / "library.db")
    wal = tmp_path / "library.db-wal"
    most = 0
    for start in range(0, 6000, 500):
        library.commit(batch(library, range(start, start + 500)), now_ns=1)
        most = max(most, wal.stat().st_size)
    bound = connection.CHECKPOINT_PAGES * (connection.PAGE_BYTES + 24)
    assert most < 2 * bound  # one commit beyond the mark, at most
    library.close()


def test_searches_and_commits_at_once_return_only_committed_photos(tmp_path: Path) -> None:
    library = open_library(tmp_path / "library.db", graph_from=100 * DIM * 4)
    stop = threading.Event()
    wrong: list[object] = []

    def search() -> None:
        rnd = random.Random(1)
        while not stop.is_set():
            number = rnd.randrange(400)
            ids, scores = library.index.search(vector(number), 5)
            if len(ids) and scores[0] > 0.999:
                placed = library.reader.places([int(ids[0])])
                for place in placed.values():
                    if place.photo.content_hash != digest(number):
                        wrong.append((number, place))

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    root_id = library.add_root("/photos").root_id
    for start in range(0, 400, 20):
        library.commit(batch(library, range(start, start + 20)), now_ns=1)
        library.tend_graph(threads=1)
        gone = [name(number) for number in range(start, start + 5)]
        library.commit(Changes(root_id, forgotten=gone), now_ns=2)
        library.purge_orphans(before_ns=3)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert contents(library) == {number for number in range(400) if number % 20 >= 5}
    library.close()


@posix
@pytest.mark.parametrize("rounds", [8, pytest.param(150, marks=pytest.mark.slow)])
def test_kill_9_at_random_moments_loses_nothing_acknowledged(rounds: int) -> None:
    """benchmarks/kill9.py says what is checked; it is run there a thousand times over."""
    kill9 = [sys.executable, str(CHECKOUT / "benchmarks" / "kill9.py"), "--rounds", str(rounds)]
    seed = str(random.SystemRandom().randrange(1 << 30))
    done = subprocess.run([*kill9, "--seed", seed], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["lost"], result["invented"], result["rounds"]) == (0, 0, rounds)
    assert result["commits"] > 0  # on a machine that does much else


# --- damaged pages ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of 300 photos, closed."""
    file = tmp_path_factory.mktemp("sound") / "library.db"
    library = open_library(file)
    for start in range(0, 300, 50):
        library.commit(batch(library, range(start, start + 50)), now_ns=1)
    library.close()
    return file


@pytest.mark.parametrize("width", [1, 16, 512, 8192])
def test_damage_anywhere_is_named_or_harmless(sound: Path, tmp_path: Path, width: int) -> None:
    """Random bytes at random places: an error that names the file, or right answers.

    A photo may be missing (its vector is garbage, and is left out): never another in
    its place. A flipped bit inside a vector or a path is beyond what SQLite can see.
    """
    rnd = random.Random(width)
    whole = sound.read_bytes()
    named, answered = 0, 0
    for attempt in range(60):
        file = tmp_path / f"{attempt}.db"
        broken = bytearray(whole)
        at = rnd.randrange(len(whole) - width)
        broken[at : at + width] = rnd.randbytes(width)
        file.write_bytes(broken)
        for opened in (look_as_reader, look_as_writer):
            try:
                opened(file)
                answered += 1
            except PhotosearchError as error:
                assert str(file) in str(error)
                named += 1
        for leaving in tmp_path.glob(f"{attempt}.db*"):
            leaving.unlink()
    assert named > 0 or width <= 16  # so little is mostly in one vector, which is left out
    assert answered > 0 or width == 8192


def look_as_reader(file: Path) -> None:
    reader = LibraryReader(file)
    try:
        index = reader.load_index(SPACE, DIM)
        answers_are_right(index, reader)
    finally:
        reader.close()


def look_as_writer(file: Path) -> None:
    library = open_library(file)
    try:
        answers_are_right(library.index, library.reader)
    finally:
        library.close()


def answers_are_right(index: Index, reader: LibraryReader) -> None:
    """Every photo that a search returns is the one its path holds, at its true score."""
    for number in range(0, 300, 30):
        ids, scores = index.search(vector(number), 5)
        for photo_id, place in reader.places(ids.tolist()).items():
            held = int.from_bytes(place.photo.content_hash, "big")
            score = scores[ids.tolist().index(photo_id)]
            if held < 300:  # else its own hash was hit, which nothing is looked up by here
                truth = float(vector(held) @ vector(number))
                path_is_whole = os.fsencode(place.path) == b"/photos/" + name(held)
                assert abs(score - truth) < 0.02 or not path_is_whole, (number, held)


# --- damaged, stale and foreign graphs ----------------------------------------------------------


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


def test_a_copy_taken_while_writing_is_one_moment(tmp_path: Path, sound: Path) -> None:
    file = tmp_path / "library.db"
    shutil.copy(sound, file)
    library = open_library(file)
    stop = threading.Event()

    def write() -> None:
        start = 300
        while not stop.is_set():
            library.commit(batch(library, range(start, start + 7)), now_ns=1)
            start += 7

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(5):
            library.reader.backup(tmp_path / f"{number}.db")
    finally:
        stop.set()
        thread.join()
    library.close()
    for number in range(5):
        copy = open_library(tmp_path / f"{number}.db")
        assert (len(contents(copy)) - 300) % 7 == 0
        copy.close()
