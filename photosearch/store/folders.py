"""What each folder looked like when library and disk agreed on it: sweeps go by these.

A folder's row is true as long as no location in it, or below it, changed since: whoever
changes one drops the rows in the same transaction. Below it, too: a new folder that is met by
itself and goes again unnoticed leaves what holds it looking as it did before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from photosearch.store.connection import Connection
from photosearch.store.photos import LOCATION_COLUMNS, below, to_location
from photosearch.types import Location

Row = tuple[int, int, bytes]  # inode, photo files, digest


def above(paths: Iterable[bytes]) -> set[bytes]:
    """Every folder that holds one of these paths, up to the root, which is b""."""
    found: set[bytes] = set()
    for path in paths:
        folder = path.rpartition(b"/")[0]
        while folder not in found:
            found.add(folder)
            folder = folder.rpartition(b"/")[0]
    return found


def folders(db: Connection, root_id: int, under: bytes) -> dict[bytes, Row]:
    """Every folder that is remembered at or below `under`; b"" is the whole root."""
    where, values = below(under)
    rows = db.execute(
        f"SELECT path, inode, files, digest FROM folders WHERE root_id = ? AND {where}",
        (root_id, *values),
    )
    return {path: (inode, files, digest) for path, inode, files, digest in rows}


def put_folders(db: Connection, root_id: int, seen: Mapping[bytes, Row]) -> None:
    assert db.in_transaction
    db.executemany(
        "INSERT INTO folders (root_id, path, inode, files, digest) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (root_id, path) DO UPDATE SET inode = excluded.inode,"
        " files = excluded.files, digest = excluded.digest",
        ((root_id, path, *row) for path, row in seen.items()),
    )


def drop_folders(db: Connection, root_id: int, paths: Iterable[bytes]) -> None:
    """Forget what these folders looked like: a location in them changes."""
    assert db.in_transaction
    db.executemany(
        "DELETE FROM folders WHERE root_id = ? AND path = ?", ((root_id, path) for path in paths)
    )


def drop_folders_under(db: Connection, root_id: int, under: bytes) -> None:
    assert db.in_transaction
    where, values = below(under)
    db.execute(f"DELETE FROM folders WHERE root_id = ? AND {where}", (root_id, *values))


def locations_in(
    db: Connection, root_id: int, folder: bytes, visited: Iterable[bytes]
) -> dict[bytes, Location]:
    """What is known directly in a folder, and in those below it that were not visited: they
    are gone, or not ours any more. The visited ones are jumped over."""
    skip = visited if isinstance(visited, set | frozenset | dict) else set(visited)
    prefix = folder + b"/" if folder else b""
    end = folder + b"0" if folder else None
    found: dict[bytes, Location] = {}
    after: bytes | None = prefix
    while after is not None:
        after = _collect(db, root_id, prefix, after, end, skip, found)
    return found


def _collect(
    db: Connection,
    root_id: int,
    prefix: bytes,
    after: bytes,
    end: bytes | None,
    skip: Iterable[bytes],
    found: dict[bytes, Location],
) -> bytes | None:
    """Rows from `after` on, up to a visited folder: returns where to go on behind it."""
    rows = db.execute(
        f"SELECT {LOCATION_COLUMNS} FROM locations WHERE root_id = ? AND path > ?"
        f"{' AND path < ?' if end is not None else ''} ORDER BY path",
        (root_id, after) if end is None else (root_id, after, end),
    )
    for row in rows:
        path: bytes = row[1]
        child, slash, _ = path[len(prefix) :].partition(b"/")
        if slash and prefix + child in skip:
            return prefix + child + b"0"  # the byte after "/": behind all that lies in it
        found[path] = to_location(row)
    return None
