"""Which photos are put into one group: near duplicates, bursts, RAW with its JPEG, Live Photos.

A photo is compared when it comes, with the few others that could belong to it: those
whose hash agrees in a quarter, those taken within seconds by the same camera, and
those of the same name in the same folder. Of a group the photo that it began with
decides who belongs, so that no chain of small steps can join what looks different.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final

from photosearch.store.connection import Connection

NEAR_BITS: Final = 3  # of 64: saving again moves none, another photo at least 18 (docs/ingest.md)
BURST_BITS: Final = 14  # the camera moved a little between two shots of one thing
BURST_SECONDS: Final = 3
COLOUR_STEPS: Final = 24  # of 255, in each channel
MAX_CANDIDATES: Final = 200  # looked at for one photo
RAW: Final = "RAW"
VIDEO: Final = "VIDEO"


@dataclass(frozen=True)
class _Shown:
    """What is compared of a photo."""

    photo_id: int
    format: str
    width_px: int
    height_px: int
    colour: int | None
    dhash: int | None
    taken: str | None
    camera: str | None
    burst: str | None
    live: str | None


_SHOWN: Final = (
    "SELECT p.id, p.format, p.width_px, p.height_px, p.colour, f.dhash, p.taken, f.camera,"
    " f.burst, f.live FROM photos p JOIN facts f ON f.photo_id = p.id"
)


def regroup(db: Connection, photo_id: int) -> None:
    """Put a photo into the group it belongs to, if there is one."""
    assert db.in_transaction
    mine = _shown(db, photo_id)
    if mine is None:
        return
    for other in _candidates(db, mine):
        why = _belongs(mine, other) or _pairs(db, mine, other)
        if why is None:
            continue
        first = _first_of(db, other.photo_id)
        # Pairs are one shot whatever the group is like; others must resemble its first photo.
        leader = other if first == other.photo_id else _shown(db, first)
        if why not in ("raw", "live") and leader is not None and not _belongs(mine, leader):
            continue
        _join(db, photo_id, first, why)
        return


# --- who belongs together -----------------------------------------------------------------------


def _belongs(a: _Shown, b: _Shown) -> str | None:
    """Why two photos are one, by what they show and when they were taken."""
    if a.burst and a.burst == b.burst:
        return "burst"
    if a.dhash is None or b.dhash is None:
        return None
    bits = ((a.dhash ^ b.dhash) & ((1 << 64) - 1)).bit_count()
    if bits <= NEAR_BITS and _same_shape(a, b) and _same_colour(a.colour, b.colour):
        return "near"
    close = _seconds_apart(a, b) <= BURST_SECONDS and a.camera == b.camera and a.camera is not None
    return "burst" if bits <= BURST_BITS and close and _same_shape(a, b) else None


def _pairs(db: Connection, a: _Shown, b: _Shown) -> str | None:
    """Why two files are one shot: the same name in one folder, and formats that go in pairs."""
    if a.live and a.live == b.live:
        return "live"
    formats = {a.format, b.format}
    if len(formats) != 2 or not formats & {RAW, VIDEO}:
        return None
    if not _share_a_name(db, a.photo_id, b.photo_id):
        return None
    return "raw" if RAW in formats else "live"


def _same_shape(a: _Shown, b: _Shown) -> bool:
    return abs(a.width_px * b.height_px - b.width_px * a.height_px) <= (
        0.02 * max(a.width_px * b.height_px, b.width_px * a.height_px)
    )


def _same_colour(a: int | None, b: int | None) -> bool:
    if a is None or b is None:
        return a == b
    return all(abs((a >> shift & 255) - (b >> shift & 255)) <= COLOUR_STEPS for shift in (0, 8, 16))


def _seconds_apart(a: _Shown, b: _Shown) -> float:
    """By their cameras' local clocks; far apart where one has none, or only a day."""
    if not a.taken or not b.taken or min(len(a.taken), len(b.taken)) < 19:
        return float("inf")
    moments = [datetime.datetime.fromisoformat(shot.taken[:19]) for shot in (a, b) if shot.taken]
    return abs((moments[0] - moments[1]).total_seconds())


# --- SQL ----------------------------------------------------------------------------------------


def _shown(db: Connection, photo_id: int) -> _Shown | None:
    row = db.execute(f"{_SHOWN} WHERE p.id = ?", (photo_id,)).fetchone()
    return _Shown(*row) if row else None


def _candidates(db: Connection, mine: _Shown) -> list[_Shown]:
    """Photos that may belong to this one, the oldest acquaintance first."""
    found: dict[int, _Shown] = {}

    def add(where: str, *values: object) -> None:
        sql = f"{_SHOWN} WHERE p.id != ? AND {where} ORDER BY p.id LIMIT {MAX_CANDIDATES}"
        for row in db.execute(sql, (mine.photo_id, *values)):
            found.setdefault(row[0], _Shown(*row))

    if mine.dhash is not None:
        for quarter in range(4):
            part = f"(f.dhash >> {16 * quarter}) & 65535"
            add(f"f.dhash IS NOT NULL AND {part} = ?", mine.dhash >> 16 * quarter & 65535)
    if mine.taken and len(mine.taken) >= 19 and mine.camera:
        moment = datetime.datetime.fromisoformat(mine.taken[:19])
        reach = datetime.timedelta(seconds=BURST_SECONDS)
        add(
            "p.taken BETWEEN ? AND ? AND f.camera = ?",
            (moment - reach).isoformat(),
            (moment + reach).isoformat() + "~",  # behind any offset
            mine.camera,
        )
    for column in ("burst", "live"):
        if (value := getattr(mine, column)) is not None:
            add(f"f.{column} = ?", value)
    for photo_id in _namesakes(db, mine.photo_id):
        add("p.id = ?", photo_id)
    return [found[photo_id] for photo_id in sorted(found)]


def _namesakes(db: Connection, photo_id: int) -> list[int]:
    """Photos that lie beside this one under the same name but for the suffix."""
    found: set[int] = set()
    for root_id, stem in _stems(db, photo_id):
        rows = db.execute(  # from "name." to "name/", the byte after the dot
            "SELECT DISTINCT photo_id FROM locations WHERE root_id = ? AND path > ? AND path < ?"
            f" AND photo_id IS NOT NULL LIMIT {MAX_CANDIDATES}",
            (root_id, stem + b".", stem + b"/"),
        )
        found.update(row[0] for row in rows)
    return sorted(found - {photo_id})


def _share_a_name(db: Connection, a: int, b: int) -> bool:
    return bool(set(_stems(db, a)) & set(_stems(db, b)))


def _stems(db: Connection, photo_id: int) -> list[tuple[int, bytes]]:
    rows = db.execute("SELECT root_id, path FROM locations WHERE photo_id = ?", (photo_id,))
    return [(root_id, path.rpartition(b".")[0]) for root_id, path in rows if b"." in path]


def _first_of(db: Connection, photo_id: int) -> int:
    row = db.execute("SELECT group_id FROM groups WHERE photo_id = ?", (photo_id,)).fetchone()
    return row[0] if row else photo_id


def _join(db: Connection, photo_id: int, first: int, why: str) -> None:
    if db.execute("SELECT 1 FROM photos WHERE id = ?", (first,)).fetchone():
        db.execute(
            "INSERT INTO groups (photo_id, group_id, why) VALUES (?, ?, 'first')"
            " ON CONFLICT DO NOTHING",
            (first, first),
        )
    db.execute(
        "INSERT INTO groups (photo_id, group_id, why) VALUES (?, ?, ?)"
        " ON CONFLICT (photo_id) DO UPDATE SET group_id = excluded.group_id, why = excluded.why",
        (photo_id, first, why),
    )
