"""Photos that are shown as one: which belong together, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from photosearch.store.connection import Connection
from photosearch.store.photos import MAX_SQL_VARIABLES

_HERE: Final = "EXISTS (SELECT 1 FROM locations WHERE photo_id = g.photo_id)"
_IS_HIDDEN: Final = "EXISTS (SELECT 1 FROM hidden WHERE photo_id = {})"


def groups_of(db: Connection, photo_ids: Sequence[int]) -> dict[int, int]:
    """Photo -> its group, of those of these photos that are in one."""
    if len(photo_ids) > MAX_SQL_VARIABLES:  # one pass over the table costs less than many lists
        wanted = set(photo_ids)
        rows = db.execute("SELECT photo_id, group_id FROM groups").fetchall()
        return {photo_id: group_id for photo_id, group_id in rows if photo_id in wanted}
    marks = ", ".join("?" * len(photo_ids))
    rows = db.execute(
        f"SELECT photo_id, group_id FROM groups WHERE photo_id IN ({marks})",
        [int(photo_id) for photo_id in photo_ids],
    ).fetchall()
    return dict(rows)


def sizes(db: Connection, photo_ids: Sequence[int]) -> dict[int, int]:
    """Photo -> how many photos with a location its group holds, of those that are in one: hidden
    ones for a hidden photo, the others for any other."""
    alike = f"{_IS_HIDDEN.format('g.photo_id')} = {_IS_HIDDEN.format('m.photo_id')}"
    found: dict[int, int] = {}
    for start in range(0, len(photo_ids), MAX_SQL_VARIABLES):
        part = [int(photo_id) for photo_id in photo_ids[start : start + MAX_SQL_VARIABLES]]
        marks = ", ".join("?" * len(part))
        found.update(
            db.execute(
                "SELECT m.photo_id, (SELECT count(*) FROM groups g"
                f" WHERE g.group_id = m.group_id AND {_HERE} AND {alike})"
                f" FROM groups m WHERE m.photo_id IN ({marks})",
                part,
            ).fetchall()
        )
    return found


def members(db: Connection, photo_id: int) -> list[int]:
    """Every photo with a location in this photo's group, itself first, then in id order; itself
    alone where it is in none. Hidden ones for a hidden photo, the others for any other."""
    rows = db.execute(
        f"SELECT g.photo_id FROM groups g WHERE {_HERE}"
        " AND g.group_id = (SELECT group_id FROM groups WHERE photo_id = ?1)"
        f" AND {_IS_HIDDEN.format('g.photo_id')} = {_IS_HIDDEN.format('?1')}"
        " ORDER BY g.photo_id != ?1, g.photo_id",
        (photo_id,),
    ).fetchall()
    return [row[0] for row in rows] or [photo_id]
