"""Schema, transactions and damage."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photosearch.errors import LibraryDamaged, LibraryTooNew, PhotosearchError
from photosearch.library import LibraryReader, open_library_reader
from photosearch.store import connection, embeddings, graphs, photos, schema
from photosearch.store.connection import Connection, open_reader, open_writer, transaction
from photosearch.types import Location, Matrix, Stamp

STAMP = Stamp(10, 20, 30, 40)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "library.db"


@pytest.fixture
def db(file: Path) -> Connection:
    opened = open_writer(file)
    schema.migrate(opened, file)
    return opened


def test_a_new_library_is_at_the_newest_schema_and_migrating_again_does_nothing(
    db: Connection, file: Path
) -> None:
    assert schema.schema_version(db) == len(schema.MIGRATIONS)
    schema.migrate(db, file)
    assert schema.schema_version(db) == len(schema.MIGRATIONS)


def test_a_migration_that_fails_leaves_the_library_as_it_was(
    db: Connection, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(db: Connection) -> None:
        db.execute("CREATE TABLE half_done (id INTEGER) STRICT")
        raise sqlite3.OperationalError("the power went")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, half))
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(db, file)
    assert schema.schema_version(db) == len(schema.MIGRATIONS) - 1
    assert not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'half_done'").fetchone()


def test_a_newer_library_is_refused_by_writer_and_reader(db: Connection, file: Path) -> None:
    db.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    with pytest.raises(LibraryTooNew, match="newer photosearch"):
        schema.migrate(db, file)
    with pytest.raises(LibraryTooNew):
        open_library_reader(file)


def test_a_forgotten_folders_number_never_comes_to_mean_another(db: Connection) -> None:
    """Whoever asks for it late (a page that is open, a hint) must not be given the next one."""
    with transaction(db):
        first = photos.add_root(db, "/photos")
        photos.delete_root(db, first, 1)
        assert photos.add_root(db, "/other") != first


def test_two_that_read_before_they_write_both_come_to_their_end(db: Connection, file: Path) -> None:
    """A transaction that took the lock with its first write would have read what is no more true
    by then: SQLite refuses it at once (SQLITE_BUSY_SNAPSHOT), and nobody waits."""
    db.execute("CREATE TABLE counter (n INTEGER) STRICT")
    db.execute("INSERT INTO counter VALUES (0)")
    has_read, committed = threading.Event(), threading.Event()
    failed: list[sqlite3.Error] = []

    def count_too() -> None:
        with contextlib.closing(open_writer(file)) as db:
            try:
                with transaction(db):
                    (n,) = db.execute("SELECT n FROM counter").fetchone()
                    has_read.set()
                    committed.wait(10.0)
                    db.execute("UPDATE counter SET n = ?", (n + 1,))
            except sqlite3.Error as error:
                failed.append(error)

    other = threading.Thread(target=count_too)
    with transaction(db):
        (n,) = db.execute("SELECT n FROM counter").fetchone()
        other.start()
        has_read.wait(0.3)  # it should not get so far yet
        db.execute("UPDATE counter SET n = ?", (n + 1,))
    committed.set()
    other.join()
    assert failed == []
    assert db.execute("SELECT n FROM counter").fetchone() == (2,)


@pytest.mark.parametrize("damage", ["garbage", "header", "cut"])
def test_a_damaged_library_is_named_and_not_touched(
    db: Connection, file: Path, damage: str
) -> None:
    with transaction(db):
        photos.add_root(db, "/photos")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    whole = file.read_bytes()
    broken = {
        "garbage": b"this is no database, whatever its name says" * 100,
        "header": b"\0" * 100 + whole[100:],
        "cut": whole[: len(whole) // 2],
    }[damage]
    file.write_bytes(broken)
    with pytest.raises(LibraryDamaged, match="damaged"):
        LibraryReader(file).counts("any")
    assert file.read_bytes() == broken


def test_a_reader_cannot_write(db: Connection, file: Path) -> None:
    reader = open_reader(file)
    with pytest.raises(sqlite3.OperationalError):
        reader.execute("DELETE FROM roots")


def test_an_error_inside_a_transaction_undoes_all_of_it(db: Connection) -> None:
    with pytest.raises(ZeroDivisionError), transaction(db):
        photos.add_root(db, "/photos")
        raise ZeroDivisionError
    assert photos.roots(db) == []
    assert not db.in_transaction


def test_bulk_statements_leave_the_transaction_to_its_caller(db: Connection) -> None:
    with pytest.raises(ZeroDivisionError), transaction(db):
        root_id = photos.add_root(db, "/photos")
        photos.put_locations(db, [Location(root_id, b"a.jpg", STAMP, None, "damaged")])
        raise ZeroDivisionError
    assert db.execute("SELECT count(*) FROM locations").fetchone() == (0,)


def add_photo(db: Connection, number: int) -> int:
    photo_id, _ = photos.add_photo(
        db,
        content_hash=bytes([number]) * 32,
        size_bytes=1,
        format="JPEG",
        width_px=1,
        height_px=1,
        taken=None,
    )
    return photo_id


def test_ids_are_never_reused(db: Connection) -> None:
    with transaction(db):
        first = add_photo(db, 1)
        db.execute("DELETE FROM photos")
        assert add_photo(db, 2) > first


def test_the_largest_id_is_not_given_again_after_a_restart(db: Connection, file: Path) -> None:
    with transaction(db):
        ids = [add_photo(db, number) for number in range(3)]
        db.execute("DELETE FROM photos WHERE id = ?", (ids[2],))
        db.execute("DELETE FROM photos WHERE id = ?", (ids[0],))
    db.close()
    again = open_writer(file)
    with transaction(again):
        assert add_photo(again, 9) == ids[2] + 1
        assert add_photo(again, 1) == ids[1]  # known bytes


def test_ids_that_an_older_program_gave_are_not_given_again(file: Path) -> None:
    db = open_writer(file)
    with transaction(db):
        for number, step in enumerate(schema.MIGRATIONS[:7]):
            step(db)
            db.execute(f"PRAGMA user_version = {number + 1}")
        for number in range(3):
            db.execute(
                "INSERT INTO photos (content_hash, size_bytes, format, width_px, height_px)"
                " VALUES (?, 1, 'JPEG', 1, 1)",
                (bytes([number]) * 32,),
            )
        db.execute("DELETE FROM photos WHERE id = 3")
    schema.migrate(db, file)
    assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)
    with transaction(db):
        assert add_photo(db, 9) == 4
    assert db.execute("SELECT id FROM photos").fetchall() == [(1,), (2,), (4,)]


def test_a_location_is_a_photo_or_a_reason_never_both_nor_neither(db: Connection) -> None:
    with transaction(db):
        root_id, photo_id = photos.add_root(db, "/photos"), add_photo(db, 1)
    for photo, reason in ((photo_id, "damaged"), (None, None)):
        with pytest.raises(sqlite3.IntegrityError), transaction(db):
            photos.put_locations(db, [Location(root_id, b"a.jpg", STAMP, photo, reason)])


def test_names_that_are_not_utf8_come_back_as_they_went(db: Connection) -> None:
    name = b"caf\xe9 \xff\n.jpg"
    with transaction(db):
        root_id = photos.add_root(db, "/photos/\udcff")
        photos.put_locations(db, [Location(root_id, name, STAMP, add_photo(db, 1), None)])
    assert list(photos.locations(db, root_id)) == [name]
    assert photos.roots(db)[0].path == "/photos/\udcff"


def test_locations_under_a_folder_are_those_below_it_alone(db: Connection) -> None:
    names = [b"a/1.jpg", b"a/b/2.jpg", b"ab/3.jpg", b"a.jpg", b"a/\xff.jpg"]
    with transaction(db):
        root_id, photo_id = photos.add_root(db, "/photos"), add_photo(db, 1)
        photos.put_locations(db, [Location(root_id, n, STAMP, photo_id, None) for n in names])
    found = photos.locations_under(db, root_id, b"a")
    assert set(found) == {b"a/1.jpg", b"a/b/2.jpg", b"a/\xff.jpg"}


def stored(db: Connection, count: int, dim: int = 4) -> tuple[int, list[int], Matrix]:
    """A space with so many photos' vectors: its id, theirs, and the rows."""
    rows = np.random.default_rng(count).standard_normal((count, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with transaction(db):
        space_id = embeddings.add_space(db, f"s{dim}", dim, "b")
        ids = [add_photo(db, number) for number in range(count)]
        embeddings.add(db, space_id, dict(zip(ids, rows, strict=True)))
    return space_id, ids, rows


def slots(db: Connection) -> tuple[int, int]:
    """Slots that hold a record, and slots that hold zeros, by the bytes themselves."""
    full, empty = 0, 0
    for slab_id, free, data in db.execute(
        "SELECT s.id, s.free, r.data FROM slabs s JOIN slab_records r ON r.slab_id = s.id"
    ):
        size, gap = len(data) // embeddings.SLOTS, False
        for bit in range(embeddings.SLOTS):
            used = any(data[bit * size : (bit + 1) * size])
            if free:
                assert used != bool(free >> bit & 1), "the bits of a slab differ from its bytes"
            else:
                gap = gap or not used
                assert used != gap, "a slab that never lost a record was not filled in order"
            slot = slab_id * embeddings.SLOTS + bit
            held = db.execute("SELECT 1 FROM embeddings WHERE slot = ?", (slot,)).fetchone()
            assert bool(held) == used, "a record without a row, or a row without a record"
            full, empty = full + used, empty + (not used)
    return full, empty


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_vectors_come_back_as_they_were_put(db: Connection, count: int) -> None:
    space_id, ids, rows = stored(db, count)
    found, back = embeddings.load(db, space_id, 4)
    assert found.tolist() == ids
    np.testing.assert_array_equal(back, rows)
    assert slots(db) == (count, -count % 64)
    one = embeddings.of_photo(db, ids[-1], space_id)
    assert one is not None
    np.testing.assert_array_equal(one, rows[-1])


def test_photos_without_a_location_are_not_loaded(db: Connection) -> None:
    space_id, ids, _ = stored(db, 3)
    with transaction(db):
        root_id = photos.add_root(db, "/photos")
        photos.put_locations(db, [Location(root_id, b"a.jpg", STAMP, ids[0], None)])
        assert photos.mark_orphans(db, ids[:2], 5) == [ids[1]]
        assert photos.mark_orphans(db, ids[:2], 9) == [ids[1]]
    assert embeddings.load(db, space_id, 4)[0].tolist() == [ids[0], ids[2]]
    assert db.execute("SELECT id, orphaned_ns FROM photos ORDER BY id").fetchall() == [
        (ids[0], None), (ids[1], 5), (ids[2], None),
    ]  # fmt: skip
    with transaction(db):
        photos.put_locations(db, [Location(root_id, b"a.jpg", STAMP, ids[1], None)])
        assert photos.mark_orphans(db, ids[:2], 11) == [ids[0]]
    assert embeddings.load(db, space_id, 4)[0].tolist() == ids[1:]


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 80)), max_size=30))
def test_slots_are_reused_and_what_leaves_one_is_zeroed(steps: list[tuple[bool, int]]) -> None:
    """Whatever is added and deleted, by whom: bits, rows and bytes agree."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "library.db"
        db = open_writer(file)
        schema.migrate(db, file)
        space_id, ids, rows = stored(db, 81)
        there = set(ids)
        for adds, number in steps:
            with transaction(db):
                some = ids[number : number + 9]
                if adds:
                    embeddings.add(db, space_id, {i: rows[ids.index(i)] for i in some})
                    there.update(some)
                else:
                    marks = ", ".join("?" * len(some))
                    db.execute(f"DELETE FROM embeddings WHERE photo_id IN ({marks})", some)
                    there.difference_update(some)
                embeddings.scrub(db)
            slots(db)
        found, back = embeddings.load(db, space_id, 4)
        assert set(found.tolist()) == there
        np.testing.assert_array_equal(back, rows[[ids.index(i) for i in found.tolist()]])
        assert slots(db)[1] < 81 + 64  # slabs that hold nothing went
        assert len(there) <= embeddings.room(db, space_id) == sum(slots(db))
        db.close()


def test_deleting_a_photo_or_a_space_takes_its_records_along(db: Connection) -> None:
    space_id, ids, _ = stored(db, 70)
    other, _, _ = stored(db, 10, dim=8)
    with transaction(db):
        db.execute("DELETE FROM photos WHERE id = ?", (ids[3],))
        db.execute("DELETE FROM spaces WHERE id = ?", (other,))
        embeddings.scrub(db)
    assert slots(db) == (69, 59)
    assert embeddings.of_photo(db, ids[3], space_id) is None


def test_a_slab_that_holds_nothing_any_more_goes(db: Connection) -> None:
    _, ids, _ = stored(db, 130)
    assert slots(db) == (130, 62)
    with transaction(db):
        db.executemany("DELETE FROM photos WHERE id = ?", [(photo_id,) for photo_id in ids[:64]])
        embeddings.scrub(db)
    assert slots(db) == (66, 62)


def test_one_photo_dirties_few_pages(db: Connection, file: Path) -> None:
    stored(db, 30, dim=1024)
    wal = Path(f"{file}-wal")
    connection.checkpoint(db)
    with transaction(db):
        root_id = photos.add_root(db, "/photos")
        photo_id = add_photo(db, 100)
        embeddings.add(db, 1, {photo_id: np.full(1024, 1 / 32, np.float32)})
        photos.put_locations(db, [Location(root_id, b"a.jpg", STAMP, photo_id, None)])
    # Three of the root, three of the photo, four of its location, one row and one or two pages
    # of a slab for its vector, and the first. A slab alone would be 33.
    assert wal.stat().st_size <= 14 * (connection.PAGE_BYTES + 24) + 32


def test_a_slab_of_another_length_is_not_written_to(db: Connection) -> None:
    space_id, ids, rows = stored(db, 70)
    with transaction(db):
        embeddings.delete(db, space_id, ids[:5])
        embeddings.scrub(db)
    db.execute("UPDATE slab_records SET data = zeroblob(77)")
    for turn in range(2):
        with transaction(db):
            embeddings.add(db, space_id, {ids[turn]: rows[turn]})
    found, back = embeddings.load(db, space_id, 4)
    assert found.tolist() == ids[:2]
    np.testing.assert_array_equal(back, rows[:2])
    assert db.execute("SELECT count(*) FROM slabs").fetchone() == (3,)


def test_any_changed_byte_of_a_record_is_noticed(db: Connection) -> None:
    space_id, ids, _ = stored(db, 3)
    size = embeddings.record_type(4).itemsize
    for at in range(3 * size):
        with db.blobopen("slab_records", "data", 1) as blob:
            before = blob[at]
            blob[at] = before ^ 0x10
        left_out = ids[at // size]
        assert left_out not in embeddings.load(db, space_id, 4)[0].tolist()
        assert embeddings.unsound(db, space_id, 4) == [left_out]
        assert embeddings.of_photo(db, left_out, space_id) is None
        with db.blobopen("slab_records", "data", 1) as blob:
            blob[at] = before
    assert embeddings.unsound(db, space_id, 4) == []


def test_a_slab_of_another_length_is_left_out(db: Connection) -> None:
    space_id, ids, _ = stored(db, 3)
    db.execute("UPDATE slab_records SET data = zeroblob(77)")
    assert embeddings.load(db, space_id, 4)[0].tolist() == []
    assert embeddings.unsound(db, space_id, 4) == ids
    assert embeddings.of_photo(db, ids[0], space_id) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts in /proc/self/fd")
def test_threads_that_come_and_go_leave_no_connections_behind(db: Connection, file: Path) -> None:
    reader = LibraryReader(file)

    def opened() -> int:
        return sum(
            os.path.realpath(f"/proc/self/fd/{fd}") == str(file)
            for fd in os.listdir("/proc/self/fd")
        )

    before = opened()
    for _ in range(20):
        thread = threading.Thread(target=reader.roots)
        thread.start()
        thread.join()
    assert opened() <= before + 1
    reader.close()


def test_a_graph_comes_back_whole_or_not_at_all(
    db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "CHUNK_BYTES", 10)
    with transaction(db):
        space_id = embeddings.add_space(db, "s", 4, "b")
    data = bytes(range(95))
    graphs.save_graph(db, space_id, "v1", data)
    assert graphs.load_graph(db, space_id, "v1") == data
    assert graphs.load_graph(db, space_id, "v2") is None
    with transaction(db):
        db.execute("UPDATE graph_chunks SET data = x'00' WHERE part = 3")
    assert graphs.load_graph(db, space_id, "v1") is None
    graphs.save_graph(db, space_id, "v1", data[:50])
    assert graphs.load_graph(db, space_id, "v1") == data[:50]
    assert db.execute("SELECT count(*) FROM graphs").fetchone() == (1,)


def test_every_vector_comes_back_though_slabs_are_read_a_few_at_a_time(
    db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory that one batch lay in holds the one after the next: ids that were not copied
    were those of other photos."""
    monkeypatch.setattr(embeddings, "SLABS_AT_ONCE", 1)
    space_id, ids, rows = stored(db, 250)
    found, back = embeddings.load(db, space_id, 4)
    assert found.tolist() == ids
    np.testing.assert_array_equal(back, rows)


def test_graphs_of_older_programs_are_kept_where_they_add_up(file: Path) -> None:
    db = open_writer(file)
    with connection.without_foreign_keys(db), transaction(db):
        for step in schema.MIGRATIONS[:10]:
            step(db)
        db.execute("PRAGMA user_version = 10")
        space_id = embeddings.add_space(db, "s", 4, "b")
        for layout, sha256 in (("links-1", hashlib.sha256(b"sound").digest()), ("cells-4", b"no")):
            cursor = db.execute(
                "INSERT INTO graphs (space_id, ready, layout, size_bytes, sha256)"
                " VALUES (?, 1, ?, 5, ?)",
                (space_id, layout, sha256),
            )
            for part, data in enumerate((b"sou", b"nd")):
                db.execute(
                    "INSERT INTO graph_chunks VALUES (?, ?, ?)", (cursor.lastrowid, part, data)
                )
    schema.migrate(db, file)
    assert graphs.load_graph(db, space_id, "links-1") == b"sound"
    assert graphs.load_graph(db, space_id, "cells-4") is None
    assert db.execute("SELECT count(*) FROM graph_chunks").fetchone() == (2,)
    db.close()


def test_a_graph_whose_writing_was_cut_short_is_not_read(
    db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "CHUNK_BYTES", 10)
    with transaction(db):
        space_id = embeddings.add_space(db, "s", 4, "b")
    graphs.save_graph(db, space_id, "v1", b"old graph")
    with pytest.raises(TypeError):
        graphs.save_graph(db, space_id, "v1", memoryview_that_ends(b"x" * 30))
    assert graphs.load_graph(db, space_id, "v1") == b"old graph"


def memoryview_that_ends(data: bytes) -> bytes:
    class Cut(bytes):
        def __getitem__(self, key: object) -> bytes:  # type: ignore[override]
            assert isinstance(key, slice)
            if key.start >= 20:
                raise TypeError("cut short")
            return bytes(data)[key]

    return Cut(data)


def test_a_full_disk_is_said_in_words_and_undone(file: Path, db: Connection) -> None:
    db.execute("VACUUM")  # migrations leave free pages
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")  # SQLite reports SQLITE_FULL beyond it
    with pytest.raises(PhotosearchError, match="disk is full"), connection.named_damage(file):
        with transaction(db):
            for number in range(200):
                add_photo(db, number)
    assert not db.in_transaction
    assert db.execute("SELECT count(*) FROM photos").fetchone() == (0,)
