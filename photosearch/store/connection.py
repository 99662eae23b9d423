"""Open the library file. Pragmas and transactions are set here and nowhere else."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from photosearch.errors import LibraryDamaged, PhotosearchError

BUSY_TIMEOUT_MS: Final = 10_000
# Of a new file; one keeps what it was made with. With 8 KiB a commit takes 7 % more CPU, for the
# log's check sums and copies, and loading is no quicker (docs/index.md).
PAGE_BYTES: Final = 4096
MAX_JOURNAL_BYTES: Final = 64 << 20  # the WAL file is cut back to this after a checkpoint
# Pages in the WAL after which a commit copies them into the file: 8 MiB. Larger gains nothing
# beside decoding, and every reader looks through the WAL.
CHECKPOINT_PAGES: Final = 2000

Connection = sqlite3.Connection

# What SQLite says when the file itself, not our SQL, is at fault.
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_HELD: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def open_writer(file: Path) -> Connection:
    """The one connection that writes. Creates the file; it must be closed."""
    # FULL: a commit survives a power cut. Costs one fsync a batch, and nothing was
    # measurable beside decoding.
    with named_damage(file):
        with contextlib.suppress(OSError):  # what is wrong, SQLite says next
            # Readable by its owner alone, whatever the folder is; SQLite makes WAL and shared
            # memory with the same mode.
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        db = _connect(f"{file.absolute().as_uri()}?mode=rwc")
        try:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA journal_size_limit = {MAX_JOURNAL_BYTES}")
            db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            # A forgotten photo's vector must not linger in free pages.
            db.execute("PRAGMA secure_delete = ON")
            db.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            db.close()
            raise
        return db


def open_reader(file: Path) -> Connection:
    """A connection that cannot write, for any thread that closes it itself."""
    with named_damage(file):
        db = _connect(f"{file.absolute().as_uri()}?mode=ro")
        try:
            db.execute("PRAGMA query_only = ON")
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except BaseException:
            db.close()
            raise
        return db


def _connect(uri: str) -> Connection:
    # isolation_level None: transactions are ours alone to open, see transaction().
    return sqlite3.connect(
        uri,
        uri=True,
        isolation_level=None,
        timeout=BUSY_TIMEOUT_MS / 1000,
        check_same_thread=False,
    )


@contextlib.contextmanager
def transaction(db: Connection) -> Iterator[None]:
    """All or nothing. IMMEDIATE: the write lock is taken first, so no step can fail half-way
    because another process wrote in between."""
    assert not db.in_transaction, "transactions do not nest"
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk makes SQLite roll back by itself
            db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def without_foreign_keys(db: Connection) -> Iterator[None]:
    """For migrations: to drop a table is then not to delete what points to it. SQLite hears
    of it only between transactions."""
    assert not db.in_transaction
    kept = db.execute("PRAGMA foreign_keys").fetchone()[0]
    db.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        db.execute(f"PRAGMA foreign_keys = {kept}")


@contextlib.contextmanager
def snapshot(db: Connection) -> Iterator[None]:
    """Several reads that see one committed state."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")


def checkpoint(db: Connection) -> bool:
    """Copy the WAL into the file and empty it, unless a reader is in the way; then as far
    as that reader lets us. True where it is empty now. Waits for nobody.

    Only the writer may call: before SQLite 3.51.3, two connections that checkpoint at
    once can lose a commit (the "WAL-reset" bug), and readers never do.
    """
    busy = 1
    with unless_held(db):
        busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy


@contextlib.contextmanager
def unless_held(db: Connection) -> Iterator[None]:
    """Do this now, or leave it where another program holds the file. Waits for nobody."""
    db.execute("PRAGMA busy_timeout = 0")
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _HELD:
            raise
    finally:
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def problems(db: Connection, *, most: int = 20) -> list[str]:
    """What SQLite finds wrong with the whole file, in its own words; reads all of it."""
    found = [str(row[0]) for row in db.execute(f"PRAGMA integrity_check({most})")]
    if found == ["ok"]:
        found = []
    for table, row_id, parent, _ in db.execute("PRAGMA foreign_key_check").fetchmany(most):
        found.append(f"row {row_id} of {table} points to no row of {parent}")
    return found


def rows_by_table(db: Connection) -> dict[str, int]:
    """How many rows each of our tables holds; the parts of a search index are not named apart."""
    from sqlite_utils import Database  # 0.2 s of import that only `doctor` pays

    # Without its plug-ins, which would run other packages' code inside the library.
    tables = Database(db, recursive_triggers=False, execute_plugins=False).tables
    # SQLite's own, those behind the indexes of words, and one that counts.
    inner = ("sqlite_", "location_names", "facts_words", "texts_words", "photo_ids")
    return {table.name: table.count for table in tables if not table.name.startswith(inner)}


def backup(source: Connection, target: Path) -> None:
    """Copy the library as committed at this moment into a new file, and sync it to disk.

    One step, under one read lock: a daemon goes on writing, and its commits do not
    make the copy start again.
    """
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy:
        source.backup(copy, pages=-1)
        copy.execute("PRAGMA journal_mode = DELETE")  # a copy is one file
        if found := problems(copy):
            raise LibraryDamaged(target, found[0])
    with target.open("rb+") as stream:
        os.fsync(stream.fileno())


@contextlib.contextmanager
def named_damage(file: Path) -> Iterator[None]:
    """Turn SQLite's own words about a damaged, locked or full file into ours."""
    try:
        yield
    except UnicodeDecodeError as error:  # SQLite's message quotes a damaged schema
        raise LibraryDamaged(file, "its schema is garbled") from error
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGE:
            raise LibraryDamaged(file, str(error)) from error
        if code == sqlite3.SQLITE_FULL:
            raise PhotosearchError(
                f"{file}: the disk is full. What was indexed so far is kept; "
                "free some space and start again."
            ) from error
        if code == sqlite3.SQLITE_BUSY:
            raise PhotosearchError(
                f"{file}: another program has held it for {BUSY_TIMEOUT_MS // 1000} seconds. "
                "Close that program and try again."
            ) from error
        if code == sqlite3.SQLITE_IOERR:
            raise PhotosearchError(
                f"{file}: the disk failed while it was read or written ({error}). What was "
                "indexed before is kept. Check the disk and its free space, and start again."
            ) from error
        if not code and "decode" in str(error):  # Python's own words: text that is no text
            raise LibraryDamaged(file, str(error)) from error
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise PhotosearchError(f"{file}: cannot be opened for this ({error}).") from error
        raise
