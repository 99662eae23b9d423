"""Photos that their owner does not want to find: kept, indexed, and left out of every answer."""

from __future__ import annotations

from collections.abc import Iterable

from photosearch.store.connection import Connection


def hide(db: Connection, photo_ids: Iterable[int]) -> list[int]:
    """Hide photos; returns those that were there and not hidden, so that it can be undone."""
    assert db.in_transaction
    return [
        photo_id
        for photo_id in photo_ids
        if db.execute(
            "INSERT INTO hidden (photo_id) SELECT id FROM photos WHERE id = ?"
            " ON CONFLICT DO NOTHING",
            (photo_id,),
        ).rowcount
    ]


def unhide(db: Connection, photo_ids: Iterable[int]) -> list[int]:
    """Let photos be found again; returns those that were hidden."""
    assert db.in_transaction
    return [
        photo_id
        for photo_id in photo_ids
        if db.execute("DELETE FROM hidden WHERE photo_id = ?", (photo_id,)).rowcount
    ]


def hide_edit(db: Connection, root_id: int, path: bytes, photo_id: int) -> None:
    """Hide new bytes that take the place of a hidden photo's: an edit of it."""
    assert db.in_transaction
    db.execute(
        "INSERT INTO hidden (photo_id) SELECT ? FROM locations l JOIN hidden h"
        " ON h.photo_id = l.photo_id WHERE l.root_id = ? AND l.path = ? ON CONFLICT DO NOTHING",
        (photo_id, root_id, path),
    )


def count(db: Connection) -> int:
    """Hidden photos that have a location."""
    found: int = db.execute(
        "SELECT count(*) FROM hidden h"
        " WHERE EXISTS (SELECT 1 FROM locations WHERE photo_id = h.photo_id)"
    ).fetchone()[0]
    return found
