"""Open the library file. Pragmas and transactions are set here and nowhere else."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from photosearch.errors import LibraryDamaged, PhotosearchError

BUSY_TIMEOUT_MS: Final = 10_000
PAGE_BYTES: Final = 8192
MAX_JOURNAL_BYTES: Final = 64 << 20  # the WAL file is cut back to this after a checkpoint

Connection = sqlite3.Connection

# What SQLite says when the file itself, not our SQL, is at fault.
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_writer(file: Path) -> Connection:
    """The one connection that writes. Creates the file; it must be closed."""
    # FULL: a commit survives a power cut. Costs one fsync a batch, and nothing was
    # measurable beside decoding.
    with named_damage(file):
        db = _connect(f"{file.absolute().as_uri()}?mode=rwc")
        try:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA journal_size_limit = {MAX_JOURNAL_BYTES}")
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
def snapshot(db: Connection) -> Iterator[None]:
    """Several reads that see one committed state."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")


@contextlib.contextmanager
def named_damage(file: Path) -> Iterator[None]:
    """Turn SQLite's own words about a damaged, locked or full file into ours."""
    try:
        yield
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
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR):
            raise PhotosearchError(f"{file}: cannot be opened for this ({error}).") from error
        raise
