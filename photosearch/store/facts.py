"""One named function per query about what photos say of themselves, and the text in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from photosearch.store.connection import Connection
from photosearch.store.photos import MAX_SQL_VARIABLES
from photosearch.types import Facts, Stamp

_COLUMNS: Final = (
    "taken_from, camera, lens, iso, exposure_s, aperture, focal_mm, latitude, longitude, rating,"
    " caption, keywords, kind, burst, live, seconds, dhash, beside"
)


@dataclass(frozen=True)
class Told:
    """Facts as stored, with the place's name."""

    facts: Facts
    place: str


def put_facts(db: Connection, photo_id: int, facts: Facts, *, place: str, reader: int) -> None:
    """Insert or replace a photo's facts; `reader` numbers the code that read them."""
    assert db.in_transaction
    row = (
        facts.taken_from, facts.camera, facts.lens, facts.iso, facts.exposure_s, facts.aperture,
        facts.focal_mm, facts.latitude, facts.longitude, facts.rating, facts.caption,
        "\n".join(facts.keywords), facts.kind, facts.burst, facts.live, facts.seconds,
        facts.dhash, facts.beside,
    )  # fmt: skip
    marks = ", ".join("?" * (len(row) + 3))
    # Not INSERT OR REPLACE: it would delete without the trigger that keeps the words in step.
    changed = ", ".join(
        f"{name} = excluded.{name}" for name in ("reader", "place", *_COLUMNS.split(", "))
    )
    db.execute(
        f"INSERT INTO facts (photo_id, reader, place, {_COLUMNS}) VALUES ({marks})"
        f" ON CONFLICT (photo_id) DO UPDATE SET {changed}",
        (photo_id, reader, place, *row),
    )
    db.execute(
        "UPDATE photos SET taken = ?1 WHERE id = ?2 AND taken IS NOT ?1", (facts.taken, photo_id)
    )


def facts_of(db: Connection, photo_ids: Sequence[int]) -> dict[int, Told]:
    """The facts of those of these photos that have any."""
    found: dict[int, Told] = {}
    for start in range(0, len(photo_ids), MAX_SQL_VARIABLES):
        part = [int(photo_id) for photo_id in photo_ids[start : start + MAX_SQL_VARIABLES]]
        marks = ", ".join("?" * len(part))
        rows = db.execute(
            f"SELECT f.photo_id, f.place, p.taken, {_COLUMNS} FROM facts f"
            f" JOIN photos p ON p.id = f.photo_id WHERE f.photo_id IN ({marks})",
            part,
        )
        for photo_id, place, taken, *row in rows:
            row[11] = tuple(row[11].split("\n")) if row[11] else ()
            found[photo_id] = Told(Facts(taken, *row), place)
    return found


def without_facts(db: Connection, root_id: int, reader: int) -> list[tuple[bytes, Stamp]]:
    """One location of each photo in a root that was not read by this code yet; newest first."""
    rows = db.execute(
        "SELECT path, size_bytes, mtime_ns, device, inode FROM locations l"
        " WHERE root_id = ? AND photo_id IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM facts WHERE photo_id = l.photo_id AND reader >= ?)"
        " GROUP BY photo_id ORDER BY mtime_ns DESC",
        (root_id, reader),
    )
    return [(path, Stamp(*stamp)) for path, *stamp in rows]


def beside(db: Connection, photo_id: int) -> bytes | None:
    """Digest of the XMP file that a photo's facts were read with; None for none."""
    row = db.execute("SELECT beside FROM facts WHERE photo_id = ?", (photo_id,)).fetchone()
    return row[0] if row else None


def told_beside(db: Connection, photo_ids: Sequence[int]) -> set[int]:
    """Those of these photos whose facts were read with an XMP file."""
    found: set[int] = set()
    for start in range(0, len(photo_ids), MAX_SQL_VARIABLES):
        part = list(photo_ids[start : start + MAX_SQL_VARIABLES])
        marks = ", ".join("?" * len(part))
        found.update(
            row[0]
            for row in db.execute(
                f"SELECT photo_id FROM facts WHERE beside IS NOT NULL AND photo_id IN ({marks})",
                part,
            )
        )
    return found


def photos_beside(db: Connection, root_id: int, sidecar: bytes) -> set[int]:
    """Photos that an XMP file of this path belongs to: `a.xmp` to `a.jpg` and `a.cr2`, and
    `a.jpg.xmp` to `a.jpg`."""
    stem = sidecar[: sidecar.rindex(b".")]
    rows = db.execute(  # from "name." to "name/", the byte after the dot
        "SELECT path, photo_id FROM locations WHERE root_id = ? AND photo_id IS NOT NULL"
        " AND (path = ? OR (path > ? AND path < ?))",
        (root_id, stem, stem + b".", stem + b"/"),
    )
    return {id_ for path, id_ in rows if stem in (path, path[: path.rindex(b".")])}


def without_texts(db: Connection, reader: int, limit: int) -> list[tuple[bytes, bytes, int]]:
    """Root, path and id of pictures in which nobody has looked for text; those that are most
    likely to hold some first, then the newest."""
    return db.execute(
        "SELECT r.path, min(l.path), f.photo_id FROM facts f"
        " JOIN photos p ON p.id = f.photo_id JOIN locations l ON l.photo_id = f.photo_id"
        " JOIN roots r ON r.id = l.root_id"
        " WHERE NOT r.offline AND p.format != 'VIDEO' AND NOT EXISTS"
        " (SELECT 1 FROM texts WHERE photo_id = f.photo_id AND reader >= ?)"
        " GROUP BY f.photo_id ORDER BY f.kind = 'photo', p.taken DESC, p.id DESC LIMIT ?",
        (reader, limit),
    ).fetchall()


def put_texts(db: Connection, texts: Mapping[int, str], *, reader: int) -> None:
    """Store what is written in these pictures; "" for nothing."""
    assert db.in_transaction
    db.executemany(
        "INSERT INTO texts (photo_id, reader, text) VALUES (?, ?, ?)"
        " ON CONFLICT (photo_id) DO UPDATE SET reader = excluded.reader, text = excluded.text",
        ((photo_id, reader, text) for photo_id, text in texts.items()),
    )


def text_of(db: Connection, photo_id: int) -> str | None:
    """What is written in a picture; None where nobody has looked yet."""
    row = db.execute("SELECT text FROM texts WHERE photo_id = ?", (photo_id,)).fetchone()
    return row[0] if row else None
