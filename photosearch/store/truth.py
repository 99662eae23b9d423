"""What a library says of its photos without anyone labelling them: the weak truth of evaluate."""

from __future__ import annotations

from dataclasses import dataclass

from photosearch.store.connection import Connection


@dataclass(frozen=True)
class Said:
    """One photo with a location, and what is said of it."""

    photo_id: int
    folders: tuple[str, ...]  # names of the folders it lies in, below the library's own
    caption: str
    keywords: tuple[str, ...]
    kind: str  # photo, screenshot or document
    group: int | None  # of the photos shown as one with it
    why: str  # how it came into that group


def said(db: Connection) -> list[Said]:
    """Of each photo that has a location, the first of these; in id order."""
    rows = db.execute(
        "SELECT p.id, min(l.path), coalesce(f.caption, ''), coalesce(f.keywords, ''),"
        " coalesce(f.kind, 'photo'), g.group_id, coalesce(g.why, '')"
        " FROM photos p JOIN locations l ON l.photo_id = p.id"
        " LEFT JOIN facts f ON f.photo_id = p.id LEFT JOIN groups g ON g.photo_id = p.id"
        " GROUP BY p.id ORDER BY p.id"
    )
    return [
        Said(
            photo_id,
            tuple(path.decode("utf-8", "replace").split("/")[:-1]),
            caption,
            tuple(keywords.split("\n")) if keywords else (),
            kind,
            group,
            why,
        )
        for photo_id, path, caption, keywords, kind, group, why in rows
    ]
