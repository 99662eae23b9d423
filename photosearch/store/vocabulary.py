"""Words this library itself can be asked by: folders, places, cameras, keywords, years."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from photosearch.store.connection import Connection

MAX_WORDS: Final = 2000  # of one kind, the commonest


@dataclass(frozen=True)
class Vocabulary:
    """Of each kind its words, those of most photos first."""

    folders: tuple[str, ...] = ()
    places: tuple[str, ...] = ()  # each part of "Vanves, Paris, France"
    cameras: tuple[str, ...] = ()
    lenses: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    years: tuple[str, ...] = ()


def vocabulary(db: Connection) -> Vocabulary:
    """Read it, but from hidden photos; about 0.2 s at 100,000 photos, for the paths."""
    return Vocabulary(
        folders=_commonest(_folders(db)),
        places=_commonest(_each(db, "place", ", ")),
        cameras=_commonest(_each(db, "camera", None)),
        lenses=_commonest(_each(db, "lens", None)),
        keywords=_commonest(_each(db, "keywords", "\n")),
        years=_commonest(_years(db)),
    )


def _folders(db: Connection) -> Counter[str]:
    found: Counter[str] = Counter()
    rows = db.execute(
        "SELECT path FROM locations WHERE photo_id IS NOT NULL"
        " AND photo_id NOT IN (SELECT photo_id FROM hidden)"
    )
    for (path,) in rows:
        for part in path.split(b"/")[:-1]:
            found[part.decode("utf-8", "ignore")] += 1
    return found


def _each(db: Connection, column: str, parting: str | None) -> Counter[str]:
    """The values of a column of facts, or what `parting` parts in them, by photos."""
    found: Counter[str] = Counter()
    rows = db.execute(
        f"SELECT {column}, count(*) FROM facts f WHERE {column} != ''"
        f" AND EXISTS (SELECT 1 FROM locations WHERE photo_id = f.photo_id)"
        f" AND f.photo_id NOT IN (SELECT photo_id FROM hidden) GROUP BY {column}"
    )
    for text, count in rows:
        for part in (text,) if parting is None else text.split(parting):
            found[part] += count
    return found


def _years(db: Connection) -> Counter[str]:
    rows = db.execute(
        "SELECT substr(taken, 1, 4) AS year, count(*) FROM photos p WHERE taken IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM locations WHERE photo_id = p.id)"
        " AND p.id NOT IN (SELECT photo_id FROM hidden) GROUP BY year"
    )
    return Counter({year: count for year, count in rows if year.isdigit()})


def _commonest(found: Counter[str]) -> tuple[str, ...]:
    order: Iterable[tuple[str, int]] = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return tuple(word for word, _ in order if word.strip())[:MAX_WORDS]
