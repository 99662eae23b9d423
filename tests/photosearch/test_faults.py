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
from pathlib import Path

import pytest
from numbered import DIM, SPACE, batch, contents, digest, name, open_library, vector

from benchmarks import kill9
from photosearch.errors import PhotosearchError
from photosearch.index.neighbours import Index
from photosearch.library import Changes, LibraryReader
from photosearch.store import connection, embeddings
from photosearch.store.connection import problems

CHECKOUT = Path(__file__).parent.parent.parent
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")


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


def test_a_commit_between_two_of_a_readers_questions_is_not_seen_by_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an index is loaded: of all that is in it, room is made before it is read."""
    library = open_library(tmp_path / "library.db")
    library.commit(batch(library, range(3)), now_ns=1)
    before = library.index.exact.ids().tolist()
    todo = batch(library, range(3, 9))
    todo.forgotten = [name(0)]
    room = embeddings.room

    def room_and_commit(db: connection.Connection, space_id: int) -> int:
        found = room(db, space_id)
        monkeypatch.undo()
        library.commit(todo, now_ns=2)
        return found

    monkeypatch.setattr(embeddings, "room", room_and_commit)
    assert library.reader.load_index(SPACE, DIM).exact.ids().tolist() == before
    assert contents(library) == set(range(1, 9))
    assert set(library.reader.load_index(SPACE, DIM).exact.ids().tolist()) == set(
        library.index.exact.ids().tolist()
    )
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


@posix
def test_what_kill_9_loses_or_invents_is_counted() -> None:
    before, after = {"a": 1, "b": None}, {"a": 1, "b": None, "c": 3}
    for there in (before, after):
        assert kill9.amiss(there, (before, after)) == (0, 0)
    assert kill9.amiss({"a": 1}, (before, after)) == (1, 0)
    assert kill9.amiss({"a": 2, "b": None}, (before, after)) == (1, 1)
    assert kill9.amiss({**after, "d": 4}, (before, after)) == (0, 1)
    fine = {"lost": 0, "invented": 0, "looked_for": 9000, "passed_over": 9}
    assert kill9.failures(fine) == []
    assert kill9.failures({**fine, "lost": 1, "passed_over": 10}) == ["lost", "passed_over"]


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
