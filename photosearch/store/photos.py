"""One named function per query about roots, photos and locations.

Writers run inside the caller's transaction. Rows come back as the nouns of
types.py.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from photosearch.store.connection import Connection
from photosearch.types import Location, Photo, Root, Stamp

MAX_LISTED: Final = 20_000  # locations whose folders are counted
MAX_SQL_VARIABLES: Final = 500  # ids bound in one statement
UNREAD: Final = -1  # as a size: no file has it, so the next look reads the file


# --- roots ---------------------------------------------------------------------------------


def roots(db: Connection) -> list[Root]:
    rows = db.execute("SELECT id, path, offline FROM roots ORDER BY id")
    return [Root(root_id, os.fsdecode(path), bool(offline)) for root_id, path, offline in rows]


def add_root(db: Connection, path: str) -> int:
    """Remember a folder; returns its id whether or not it was known."""
    assert db.in_transaction
    blob = os.fsencode(path)
    db.execute("INSERT INTO roots (path) VALUES (?) ON CONFLICT (path) DO NOTHING", (blob,))
    root_id: int = db.execute("SELECT id FROM roots WHERE path = ?", (blob,)).fetchone()[0]
    return root_id


def delete_root(db: Connection, root_id: int, now_ns: int) -> set[int]:
    """Forget a folder and every location in it. Returns the photos that had one there,
    marked orphaned where it was their last."""
    assert db.in_transaction
    rows = db.execute(
        "SELECT DISTINCT photo_id FROM locations WHERE root_id = ? AND photo_id IS NOT NULL",
        (root_id,),
    ).fetchall()
    held = {row[0] for row in rows}
    db.execute("DELETE FROM roots WHERE id = ?", (root_id,))  # takes its locations along
    mark_orphans(db, sorted(held), now_ns)
    return held


def move_root(db: Connection, root_id: int, path: str) -> None:
    """A folder is called something else now; what is known of its photos stays."""
    assert db.in_transaction
    db.execute("UPDATE roots SET path = ? WHERE id = ?", (os.fsencode(path), root_id))


def orphan_hashes(db: Connection, root_id: int) -> list[bytes]:
    """Content hashes of the photos that no other folder would hold if this one went."""
    rows = db.execute(
        "SELECT content_hash FROM photos p WHERE NOT EXISTS"
        " (SELECT 1 FROM locations WHERE photo_id = p.id AND root_id != ?)",
        (root_id,),
    )
    return [row[0] for row in rows]


def set_offline(db: Connection, root_id: int, offline: bool) -> None:
    assert db.in_transaction
    db.execute("UPDATE roots SET offline = ? WHERE id = ?", (int(offline), root_id))


# --- locations -----------------------------------------------------------------------------

LOCATION_COLUMNS: Final = "root_id, path, size_bytes, mtime_ns, device, inode, photo_id, rejected"


def locations(db: Connection, root_id: int) -> dict[bytes, Location]:
    rows = db.execute(f"SELECT {LOCATION_COLUMNS} FROM locations WHERE root_id = ?", (root_id,))
    return {row[1]: to_location(row) for row in rows}


def location(db: Connection, root_id: int, path: bytes) -> Location | None:
    row = db.execute(
        f"SELECT {LOCATION_COLUMNS} FROM locations WHERE root_id = ? AND path = ?", (root_id, path)
    ).fetchone()
    return to_location(row) if row else None


def holder(db: Connection, root_id: int, path: bytes) -> int | None:
    """The photo that is known at a path; None for a rejected file too."""
    row = db.execute(
        "SELECT photo_id FROM locations WHERE root_id = ? AND path = ?", (root_id, path)
    ).fetchone()
    return row[0] if row else None


def locations_under(db: Connection, root_id: int, folder: bytes) -> dict[bytes, Location]:
    """What we know inside a folder, at any depth; b"" is the whole root."""
    where, values = below(folder)
    rows = db.execute(
        f"SELECT {LOCATION_COLUMNS} FROM locations WHERE root_id = ? AND {where}",
        (root_id, *values),
    )
    return {row[1]: to_location(row) for row in rows}


def below(folder: bytes) -> tuple[str, tuple[bytes, ...]]:
    """SQL for paths at a folder or below it, and what is bound in it; b"" is everything."""
    if not folder:
        return "1", ()
    # b"0" is the byte after b"/": the range holds exactly the paths below folder.
    return "(path = ? OR (path > ? AND path < ?))", (folder, folder + b"/", folder + b"0")


def photo_at_stamp(db: Connection, stamp: Stamp) -> int | None:
    """The photo another path holds under the same device, inode, size and time: the
    same file by another name, so its bytes need not be read."""
    if not stamp.inode:
        return None
    row = db.execute(
        "SELECT photo_id FROM locations WHERE inode = ? AND size_bytes = ? AND mtime_ns = ?"
        " AND device = ? AND photo_id IS NOT NULL LIMIT 1",
        (stamp.inode, stamp.size_bytes, stamp.mtime_ns, stamp.device),
    ).fetchone()
    return row[0] if row else None


def online_places(db: Connection, photo_id: int) -> list[tuple[Root, bytes]]:
    """Where a photo lies in roots that are there, in order of root and path."""
    rows = db.execute(
        "SELECT r.id, r.path, l.path FROM locations l JOIN roots r ON r.id = l.root_id"
        " WHERE l.photo_id = ? AND NOT r.offline ORDER BY r.id, l.path",
        (photo_id,),
    )
    return [(Root(root_id, os.fsdecode(root), False), path) for root_id, root, path in rows]


def count_in(db: Connection, root_id: int) -> int:
    """Files known in a root."""
    row = db.execute("SELECT count(*) FROM locations WHERE root_id = ?", (root_id,)).fetchone()
    return int(row[0])


def devices(db: Connection, root_id: int) -> set[int]:
    """The devices that a root's files were on when they were last looked at."""
    rows = db.execute("SELECT DISTINCT device FROM locations WHERE root_id = ?", (root_id,))
    return {row[0] for row in rows}


def other_names(db: Connection, root_id: int, stamp: Stamp) -> list[bytes]:
    """Paths known in a root under this device and inode: hard links, if there is more than one."""
    if not stamp.inode:
        return []
    rows = db.execute(
        "SELECT path FROM locations WHERE inode = ? AND device = ? AND root_id = ?",
        (stamp.inode, stamp.device, root_id),
    )
    return [row[0] for row in rows]


def put_locations(db: Connection, places: Sequence[Location]) -> None:
    """Insert or replace what is known of these paths."""
    assert db.in_transaction
    db.executemany(
        f"INSERT INTO locations ({LOCATION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (root_id, path) DO UPDATE SET size_bytes = excluded.size_bytes,"
        " mtime_ns = excluded.mtime_ns, device = excluded.device, inode = excluded.inode,"
        " photo_id = excluded.photo_id, rejected = excluded.rejected",
        (
            (
                place.root_id,
                place.path,
                place.stamp.size_bytes,
                place.stamp.mtime_ns,
                place.stamp.device,
                place.stamp.inode,
                place.photo_id,
                place.rejected,
            )
            for place in places
        ),
    )


def clear_rejected(db: Connection, root_id: int, under: bytes) -> list[bytes]:
    """Make the next look read again what could not be used: the file at `under`, or all
    below it; b"" is the whole root. Returns the paths."""
    assert db.in_transaction
    where, values = below(under)
    rows = db.execute(
        "UPDATE locations SET size_bytes = ? WHERE root_id = ? AND rejected IS NOT NULL"
        f" AND {where} RETURNING path",
        (UNREAD, root_id, *values),
    ).fetchall()
    return sorted(row[0] for row in rows)


def paths_rejected_for(db: Connection, root_id: int, reason: str) -> list[bytes]:
    """Files of a root that could not be used for this very reason."""
    rows = db.execute(
        "SELECT path FROM locations WHERE photo_id IS NULL AND root_id = ? AND rejected = ?",
        (root_id, reason),
    )
    return sorted(row[0] for row in rows)


def delete_location(db: Connection, root_id: int, path: bytes) -> None:
    assert db.in_transaction
    db.execute("DELETE FROM locations WHERE root_id = ? AND path = ?", (root_id, path))


def rejected(db: Connection) -> list[tuple[Root, Location]]:
    """Every file we could not use, with its root."""
    known = {root.root_id: root for root in roots(db)}
    rows = db.execute(
        f"SELECT {LOCATION_COLUMNS} FROM locations WHERE rejected IS NOT NULL"
        " ORDER BY root_id, path"
    )
    return [(known[row[0]], to_location(row)) for row in rows]


def to_location(row: tuple[int, bytes, int, int, int, int, int | None, str | None]) -> Location:
    root_id, path, size_bytes, mtime_ns, device, inode, photo_id, reason = row
    return Location(root_id, path, Stamp(size_bytes, mtime_ns, device, inode), photo_id, reason)


# --- photos --------------------------------------------------------------------------------


def photo_with_hash(db: Connection, content_hash: bytes) -> int | None:
    row = db.execute("SELECT id FROM photos WHERE content_hash = ?", (content_hash,)).fetchone()
    return row[0] if row else None


def sizes(db: Connection) -> NDArray[np.int64]:
    """The size in bytes of every photo that is known, in no order."""
    return np.fromiter((row[0] for row in db.execute("SELECT size_bytes FROM photos")), np.int64)


def photo(db: Connection, photo_id: int) -> Photo | None:
    row = db.execute(
        "SELECT id, content_hash, width_px, height_px, format, taken, colour"
        " FROM photos WHERE id = ?",
        (photo_id,),
    ).fetchone()
    return Photo(*row) if row else None


def add_photo(
    db: Connection,
    *,
    content_hash: bytes,
    size_bytes: int,
    format: str,
    width_px: int,
    height_px: int,
    taken: str | None,
    colour: int | None = None,
) -> tuple[int, bool]:
    """Insert a photo, or find the one with these bytes: its id, and whether it is new."""
    assert db.in_transaction
    cursor = db.execute(
        "INSERT INTO photos"
        " (id, content_hash, size_bytes, format, width_px, height_px, taken, colour)"
        # Never an id that was ever given, though its photo may have gone.
        " VALUES ((SELECT max(ifnull((SELECT max(id) FROM photos), 0), highest_gone) + 1"
        " FROM photo_ids), ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (content_hash) DO NOTHING",
        (content_hash, size_bytes, format, width_px, height_px, taken, colour),
    )
    new = cursor.rowcount == 1
    photo_id = cursor.lastrowid if new else photo_with_hash(db, content_hash)
    assert photo_id is not None
    return photo_id, new


def set_colour(db: Connection, photo_id: int, colour: int | None) -> None:
    """The mean colour of a photo that was added before colours were kept."""
    assert db.in_transaction
    db.execute("UPDATE photos SET colour = coalesce(?, colour) WHERE id = ?", (colour, photo_id))


def mark_orphans(db: Connection, photo_ids: Iterable[int], now_ns: int) -> list[int]:
    """Of these photos, note which have no location left, and which have one again.

    Returns the ids without a location.
    """
    assert db.in_transaction
    orphans: list[int] = []
    for photo_id in photo_ids:
        placed, orphaned = db.execute(
            "SELECT EXISTS (SELECT 1 FROM locations WHERE photo_id = ?1),"
            " (SELECT orphaned_ns IS NOT NULL FROM photos WHERE id = ?1)",
            (photo_id,),
        ).fetchone()
        if not placed:
            orphans.append(photo_id)
        if placed == orphaned:
            noted = None if placed else now_ns
            db.execute("UPDATE photos SET orphaned_ns = ? WHERE id = ?", (noted, photo_id))
    return orphans


def purge_orphans(db: Connection, before_ns: int) -> list[bytes]:
    """Delete photos whose last location went before this time; returns their content hashes."""
    assert db.in_transaction
    rows = db.execute(
        "DELETE FROM photos WHERE orphaned_ns IS NOT NULL AND orphaned_ns < ?"
        " AND NOT EXISTS (SELECT 1 FROM locations WHERE photo_id = photos.id)"
        " RETURNING content_hash",
        (before_ns,),
    ).fetchall()
    return [row[0] for row in rows]


def existing(db: Connection, photo_ids: Iterable[int]) -> set[int]:
    """Those of these photos that are still known."""
    return {
        photo_id
        for photo_id in photo_ids
        if db.execute("SELECT 1 FROM photos WHERE id = ?", (photo_id,)).fetchone()
    }


@dataclass(frozen=True)
class Place:
    """Where a photo can be opened."""

    photo: Photo
    path: str  # absolute
    offline: bool
    town: str  # where it was taken, as "Vanves, Paris, France"; "" where nothing says
    hidden: bool


PLACE: Final = (  # of a photo p, its location l and its root r; `to_place` reads it
    "p.id, p.content_hash, p.width_px, p.height_px, p.format, p.taken, p.colour, r.path, l.path,"
    " r.offline, ifnull((SELECT place FROM facts WHERE photo_id = p.id), ''),"
    " EXISTS (SELECT 1 FROM hidden WHERE photo_id = p.id)"
)


def to_place(row: tuple[Any, ...]) -> Place:
    *photo, root, path, offline, town, hidden = row
    return Place(Photo(*photo), join(root, path), bool(offline), town, bool(hidden))


def places(db: Connection, photo_ids: Sequence[int]) -> dict[int, Place]:
    """For each photo that has one: its first location, in a root that is online where possible.

    A photo without a location is left out, so nothing that was deleted is ever shown.
    """
    found: dict[int, Place] = {}
    for start in range(0, len(photo_ids), MAX_SQL_VARIABLES):
        part = [int(photo_id) for photo_id in photo_ids[start : start + MAX_SQL_VARIABLES]]
        marks = ", ".join("?" * len(part))
        rows = db.execute(
            f"SELECT {PLACE} FROM photos p"
            " JOIN locations l ON l.photo_id = p.id JOIN roots r ON r.id = l.root_id"
            f" WHERE p.id IN ({marks})"
            # The row itself is asked, not the index that led to it: that may be damaged.
            " AND (SELECT photo_id FROM locations WHERE id = l.id) = p.id"
            " ORDER BY r.offline, l.id",
            part,
        )
        for row in rows:
            if row[0] not in found:
                found[row[0]] = to_place(row)
    return found


def findable(db: Connection, photo_ids: Sequence[int], *, hidden: bool) -> set[int]:
    """Those of these photos that have a location and are hidden, or are not. By indexes alone: a
    third of what it takes to say where, which `places` does for the few that are shown."""
    found: set[int] = set()
    for start in range(0, len(photo_ids), MAX_SQL_VARIABLES):
        part = [int(photo_id) for photo_id in photo_ids[start : start + MAX_SQL_VARIABLES]]
        marks = ", ".join("?" * len(part))
        rows = db.execute(
            f"SELECT photo_id FROM locations WHERE photo_id IN ({marks})"
            f" AND photo_id {'IN' if hidden else 'NOT IN'} (SELECT photo_id FROM hidden)",
            part,
        )
        found.update(row[0] for row in rows)
    return found


def join(root: bytes, path: bytes) -> str:
    """A root and a stored path -> the absolute path as the system spells it."""
    parts = os.fsdecode(path).split("/")
    return os.path.join(os.fsdecode(root), *parts)


def newest(db: Connection, limit: int) -> list[int]:
    """Ids of the photos taken last, but hidden ones; those without a date by their file's time."""
    rows = db.execute(
        "SELECT p.id FROM photos p JOIN locations l ON l.photo_id = p.id"
        " WHERE NOT EXISTS (SELECT 1 FROM hidden WHERE photo_id = p.id) GROUP BY p.id"
        " ORDER BY coalesce(p.taken, strftime('%Y-%m-%dT%H:%M:%S', max(l.mtime_ns) / 1000000000,"
        " 'unixepoch')) DESC, p.id DESC LIMIT ?",
        (limit,),
    )
    return [row[0] for row in rows]


def years(db: Connection) -> list[tuple[str, int]]:
    """Years that photos were taken in, with how many photos, most first."""
    return db.execute(
        "SELECT substr(taken, 1, 4) AS year, count(*) FROM photos"
        # The plus: in the table's order, not by the index of dates and row by row.
        " WHERE +taken IS NOT NULL AND orphaned_ns IS NULL"
        " GROUP BY year ORDER BY count(*) DESC, year DESC"
    ).fetchall()


def folders(db: Connection) -> list[tuple[str, int]]:
    """Names of the folders that hold photos, as of the first MAX_LISTED of them, most first."""
    rows = db.execute(
        "SELECT path FROM locations WHERE photo_id IS NOT NULL AND instr(path, X'2F')"
        " ORDER BY id LIMIT ?",
        (MAX_LISTED,),
    )
    names = Counter(path.rsplit(b"/", 2)[-2] for (path,) in rows)
    return [(os.fsdecode(name), count) for name, count in names.most_common(8) if _is_text(name)]


def _is_text(name: bytes) -> bool:
    try:
        return name.decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


@dataclass(frozen=True)
class Counts:
    """What the library holds."""

    photos: int  # distinct, with at least one location
    locations: int
    rejected: int
    embedded: int  # photos with a location that are searchable in the space


def counts(db: Connection, space_id: int | None) -> Counts:
    # Each from the index of locations by photo alone; a location without a photo is a rejected
    # one. 10 ms at 100,000 photos, where one pass over the table took 23.
    found, placed, refused = db.execute(
        "SELECT (SELECT count(*) FROM"
        " (SELECT DISTINCT photo_id FROM locations WHERE photo_id IS NOT NULL)),"
        " (SELECT count(photo_id) FROM locations),"
        " (SELECT count(*) FROM locations WHERE photo_id IS NULL)"
    ).fetchone()
    embedded = db.execute(
        "SELECT count(*) FROM embeddings e WHERE space_id = ?"
        " AND EXISTS (SELECT 1 FROM locations WHERE photo_id = e.photo_id)",
        (space_id,),
    ).fetchone()[0]
    return Counts(found, placed, refused, embedded)
