"""Schema, transactions and damage."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from photosearch.errors import LibraryDamaged, LibraryTooNew, PhotosearchError
from photosearch.library import LibraryReader, open_library_reader
from photosearch.store import connection, embeddings, graphs, photos, schema
from photosearch.store.connection import Connection, open_reader, open_writer, transaction
from photosearch.types import Location, Stamp

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
    return photos.add_photo(
        db,
        content_hash=bytes([number]) * 32,
        size_bytes=1,
        format="JPEG",
        width_px=1,
        height_px=1,
        taken=None,
    )


def test_ids_are_never_reused(db: Connection) -> None:
    with transaction(db):
        first = add_photo(db, 1)
        db.execute("DELETE FROM photos")
        assert add_photo(db, 2) > first


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


def test_vectors_of_another_length_are_left_out(db: Connection) -> None:
    with transaction(db):
        root_id, space_id = photos.add_root(db, "/p"), embeddings.add_space(db, "s", 4, "b")
        one, two = add_photo(db, 1), add_photo(db, 2)
        photos.put_locations(
            db,
            [
                Location(root_id, b"1.jpg", STAMP, one, None),
                Location(root_id, b"2.jpg", STAMP, two, None),
            ],
        )
        embeddings.add(
            db, space_id, {one: np.full(4, 0.5, np.float32), two: np.ones(3, np.float32)}
        )
    ids, rows = embeddings.load(db, space_id, 4)
    assert ids.tolist() == [one]
    assert rows.shape == (1, 4)


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
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")  # SQLite reports SQLITE_FULL beyond it
    with pytest.raises(PhotosearchError, match="disk is full"), connection.named_damage(file):
        with transaction(db):
            for number in range(200):
                add_photo(db, number)
    assert not db.in_transaction
    assert db.execute("SELECT count(*) FROM photos").fetchone() == (0,)
