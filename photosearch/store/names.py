"""The index of names, and those that wait to enter it.

Names enter it 64 at a time, by a trigger, and when the writer rests: one at a time each would
cost a commit as much as all else that it writes. What waits is looked through with every
question, by an index of its own in memory, kept while the same names wait: so the two agree
on what a name contains, down to the case of every script.
"""

from __future__ import annotations

import functools
import json
import sqlite3
import threading
from typing import Final

from photosearch.store.connection import Connection

# The index keeps a row of lengths for each name it holds, and ids of locations ascend.
_WAITS: Final = "id > (SELECT ifnull(max(id), 0) FROM location_names_docsize)"


def locations_named(db: Connection, pattern: str, *, most: int = -1) -> tuple[str, tuple[str, ...]]:
    """SQL that lists the ids of locations whose path has what FTS5's `pattern` says, and what
    is bound in it; of those in the index at most so many."""
    sql = "SELECT rowid FROM location_names WHERE location_names MATCH ?"
    if most >= 0:
        sql = f"SELECT rowid FROM ({sql} LIMIT {most})"
    waiting = _waiting_named(db, pattern)
    if not waiting:
        return sql, (pattern,)
    return f"{sql} UNION ALL SELECT value FROM json_each(?)", (pattern, json.dumps(waiting))


def _waiting_named(db: Connection, pattern: str) -> list[int]:
    rows = db.execute(f"SELECT id, path FROM locations WHERE {_WAITS}").fetchall()
    if not rows:
        return []
    with _ONE_AT_A_TIME:  # threads share it
        found = _aside(tuple(rows)).execute(
            "SELECT rowid FROM names WHERE names MATCH ?", (pattern,)
        )
        return [row[0] for row in found]


_ONE_AT_A_TIME: Final = threading.Lock()


@functools.lru_cache(maxsize=2)
def _aside(rows: tuple[tuple[int, bytes], ...]) -> sqlite3.Connection:
    """An index of these names alone. Making it takes longer than a dozen questions."""
    aside = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    aside.execute("CREATE VIRTUAL TABLE names USING fts5(path, tokenize = 'trigram')")
    # Cast there: bytes that are not UTF-8 could not pass through a str.
    aside.executemany("INSERT INTO names (rowid, path) VALUES (?, '/' || CAST(? AS TEXT))", rows)
    return aside


def are_waiting(db: Connection) -> bool:
    row = db.execute(f"SELECT EXISTS (SELECT 1 FROM locations WHERE {_WAITS})").fetchone()
    return bool(row[0])


def index_waiting(db: Connection) -> None:
    """Let every name that waits enter the index."""
    assert db.in_transaction
    db.execute(
        "INSERT INTO location_names (rowid, path)"
        f" SELECT id, '/' || CAST(path AS TEXT) FROM locations WHERE {_WAITS}"
    )
