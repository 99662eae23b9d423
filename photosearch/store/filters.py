"""Which photos meet the conditions of a query. One named function per question.

A condition becomes a piece of SQL over `p` (photos) or, where it looks at a
path, over `l` (locations). Whatever the user typed travels as a bound value;
inside FTS5's own query language it stands between double quotes, in which only
the quote itself means anything, and that is doubled.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from photosearch.conditions import (
    Condition,
    Favourite,
    Group,
    Hidden,
    InFolder,
    NameHas,
    OfFormat,
    OfKind,
    OfShape,
    Part,
    Says,
    Sensitivity,
    TakenEvery,
    TakenIn,
    TakenNear,
    Written,
    asks_for_hidden,
)
from photosearch.store.connection import Connection
from photosearch.store.names import locations_named
from photosearch.store.photos import MAX_SQL_VARIABLES, PLACE, Place, roots, to_place
from photosearch.store.places import KM_PER_DEGREE, distance_km, named
from photosearch.types import Ids
from photosearch.wording import has_bytes

TRIGRAM: Final = 3  # characters; FTS5 finds nothing shorter
FAVOURITE_STARS: Final = 4  # of five, in the file's own rating
MAX_ISO: Final = 1 << 40
PANORAMA: Final = 2.0  # times as wide as high

# Newest first: by the camera's date, else by the file's, as `photos.newest` has it.
_NEWEST: Final = (
    "coalesce(p.taken, (SELECT strftime('%Y-%m-%dT%H:%M:%S', max(mtime_ns) / 1000000000,"
    " 'unixepoch') FROM locations WHERE photo_id = p.id)) DESC, p.id DESC"
)
_SHAPES: Final = {
    "portrait": "p.height_px > p.width_px",
    "landscape": "p.width_px > p.height_px",
    "panorama": f"p.width_px >= {PANORAMA} * p.height_px",
}


@dataclass(frozen=True)
class _Clause:
    """SQL that is true or false of a row, and the values bound in it."""

    sql: str
    values: tuple[str | int | bytes, ...] = ()
    of_location: bool = False  # speaks of l, not of p


def matching(db: Connection, groups: Sequence[Group], *, newest_first: bool = False) -> Ids:
    """Photos with a location that meet every group: by id, or newest first. Hidden ones are
    among them only where the groups ask for them."""
    where, values = _where(db, groups)
    if not asks_for_hidden(groups):
        where += " AND p.id NOT IN (SELECT photo_id FROM hidden)"
    rows = db.execute(
        "SELECT p.id FROM photos p WHERE"
        f" EXISTS (SELECT 1 FROM locations WHERE photo_id = p.id){where}"
        f" ORDER BY {_NEWEST if newest_first else 'p.id'}",
        values,
    ).fetchall()
    return np.fromiter((row[0] for row in rows), np.int64, len(rows))


def meeting(db: Connection, condition: Condition, photo_ids: Sequence[int]) -> set[int]:
    """Which of these photos meet one condition."""
    where, values = _where(db, [Group((condition,))])
    found: set[int] = set()
    for start in range(0, len(photo_ids), MAX_SQL_VARIABLES):
        part = [int(photo_id) for photo_id in photo_ids[start : start + MAX_SQL_VARIABLES]]
        marks = ", ".join("?" * len(part))
        rows = db.execute(
            f"SELECT p.id FROM photos p WHERE p.id IN ({marks}){where}", [*part, *values]
        )
        found.update(row[0] for row in rows)
    return found


def places_matching(
    db: Connection, photo_ids: Sequence[int], groups: Sequence[Group]
) -> dict[int, Place]:
    """As `photos.places`, but of a photo's locations the one that meets most of the groups:
    who looks in a folder must not be shown the copy in another."""
    met: list[str] = []
    values: list[str | int | bytes] = []
    for group in groups:
        clauses = [clause for clause in _clauses(db, group) if clause.of_location]
        if clauses and not group.negative:
            met.append("(" + " OR ".join(clause.sql for clause in clauses) + ")")
            values += [value for clause in clauses for value in clause.values]
    best = f"{' + '.join(met)} DESC, " if met else ""
    found: dict[int, Place] = {}
    for start in range(0, len(photo_ids), MAX_SQL_VARIABLES):
        part = [int(photo_id) for photo_id in photo_ids[start : start + MAX_SQL_VARIABLES]]
        marks = ", ".join("?" * len(part))
        rows = db.execute(
            f"SELECT {PLACE} FROM photos p"
            " JOIN locations l ON l.photo_id = p.id JOIN roots r ON r.id = l.root_id"
            f" WHERE p.id IN ({marks}) AND (SELECT photo_id FROM locations WHERE id = l.id) = p.id"
            f" ORDER BY {best}r.offline, l.id",
            [*part, *values],
        )
        for row in rows:
            if row[0] not in found:
                found[row[0]] = to_place(row)
    return found


def photo_at(db: Connection, path: str) -> int | None:
    """The photo at a path: absolute, or below one of the roots."""
    for root in roots(db):
        inside = os.path.normpath(path)
        if os.path.isabs(inside):
            if not inside.startswith(root.path.rstrip(os.sep) + os.sep):
                continue
            inside = os.path.relpath(inside, root.path)
        row = db.execute(
            "SELECT photo_id FROM locations WHERE root_id = ? AND path = ?",
            (root.root_id, os.fsencode(inside.replace(os.sep, "/"))),
        ).fetchone()
        if row and row[0] is not None:
            return int(row[0])
    return None


def _where(db: Connection, groups: Sequence[Group]) -> tuple[str, list[str | int | bytes]]:
    """ " AND ..." for all groups, and the values bound in it."""
    sql: list[str] = []
    values: list[str | int | bytes] = []
    for group in groups:
        options: list[str] = []
        for clause in _clauses(db, group):
            if clause.of_location:
                options.append(f"p.id IN (SELECT l.photo_id FROM locations l WHERE {clause.sql})")
            else:
                options.append(f"({clause.sql})")
            values += clause.values
        held = " OR ".join(options)
        # A photo without a date is in no year: found by none, and left out by none.
        sql.append(f" AND NOT coalesce({held}, 0)" if group.negative else f" AND ({held})")
    return "".join(sql), values


def _clauses(db: Connection, group: Group) -> list[_Clause]:
    return [_clause(db, option) for option in group.options]


def _clause(db: Connection, condition: Condition) -> _Clause:
    match condition:
        case Written(_, text) | Says(_, text) if has_bytes(text):
            return _Clause("0")  # what is said is text, and only names hold other bytes
        case TakenIn(start, end):
            return _Clause("p.taken >= ? AND p.taken < ?", (start, end))
        case TakenEvery():
            return _taken_every(condition)
        case InFolder(parts):
            return _in_folder(db, parts)
        case NameHas(text):
            return _name_has(db, text)
        case OfFormat(formats):
            return _Clause(f"p.format IN ({', '.join('?' * len(formats))})", formats)
        case OfShape(shape):
            return _Clause(_SHAPES[shape])
        case Says(part, text):
            return _says(part, text)
        case OfKind(kind):
            return _Clause(_facts("kind = ?"), (kind,))
        case Written(field, text):
            return _Clause(
                _facts(f"{field} LIKE ? ESCAPE '\\'"), (f"%{_escaped(_bindable(text))}%",)
            )
        case Sensitivity(low, high):
            bounds = (0 if low is None else low, MAX_ISO if high is None else high)
            return _Clause(_facts("iso BETWEEN ? AND ?"), bounds)
        case TakenNear(place, within_km):
            return _near(db, place, within_km)
        case Favourite():
            return _Clause(_facts("rating >= ?"), (FAVOURITE_STARS,))
        case Hidden():
            return _Clause("p.id IN (SELECT photo_id FROM hidden)")


def _facts(sql: str) -> str:
    return f"p.id IN (SELECT photo_id FROM facts WHERE {sql})"


def _says(part: Part, text: str) -> _Clause:
    """By three characters through the index of words; shorter text by looking at every row."""
    text = _bindable(text)
    table, column = {
        "caption": ("facts", "caption"),
        "keyword": ("facts", "keywords"),
        "place": ("facts", "place"),
        "picture": ("texts", "text"),
    }[part]
    texts = _spellings(text)
    if min(len(text) for text in texts) >= TRIGRAM:
        phrases = " OR ".join('"' + text.replace('"', '""') + '"' for text in texts)
        sql = f"p.id IN (SELECT rowid FROM {table}_words WHERE {table}_words MATCH ?)"
        return _Clause(sql, (f"{column} : ({phrases})",))
    likes = " OR ".join([f"{column} LIKE ? ESCAPE '\\'"] * len(texts))
    return _Clause(
        f"p.id IN (SELECT photo_id FROM {table} WHERE {likes})",
        tuple(f"%{_escaped(text)}%" for text in texts),
    )


def _near(db: Connection, place: str | tuple[float, float], within_km: float) -> _Clause:
    """A point by its circle. A name by its town's, or as text in the names of places."""
    if isinstance(place, str) and has_bytes(place):
        return _Clause("0")
    if isinstance(place, str):
        town = named(db, _bindable(place))
        if town is None:  # a country, a district: text in the names of places
            return _says("place", place)
        return _circle(db, town.latitude, town.longitude, max(within_km, town.reach_km))
    return _circle(db, *place, within_km)


def _circle(db: Connection, latitude: float, longitude: float, within_km: float) -> _Clause:
    """The photos in it, found by a band of latitudes first."""
    high = within_km / KM_PER_DEGREE
    rows = db.execute(
        "SELECT photo_id, latitude, longitude FROM facts WHERE latitude BETWEEN ? AND ?",
        (latitude - high, latitude + high),
    )
    inside = [
        photo_id
        for photo_id, lat, lon in rows
        if distance_km(latitude, longitude, lat, lon) <= within_km
    ]
    return _Clause("p.id IN (SELECT value FROM json_each(?))", (json.dumps(inside),))


def _bindable(text: str) -> str:
    """Without what FTS5 ends a phrase at, or SQLite cannot store: NUL and lone surrogates."""
    return "".join(char for char in text if char != "\0" and not "\ud800" <= char <= "\udfff")


def _taken_every(condition: TakenEvery) -> _Clause:
    """`taken` is YYYY-MM-DDTHH:MM:SS, perhaps with an offset: its first characters are the
    photographer's own date, whatever the zone."""
    if condition.weekday is not None:
        sunday_first = (condition.weekday + 1) % 7
        return _Clause("strftime('%w', substr(p.taken, 1, 10)) = ?", (str(sunday_first),))
    assert condition.month is not None
    if condition.day is not None:
        return _Clause("substr(p.taken, 6, 5) = ?", (f"{condition.month:02}-{condition.day:02}",))
    return _Clause("substr(p.taken, 6, 2) = ?", (f"{condition.month:02}",))


def _in_folder(db: Connection, parts: tuple[str, ...]) -> _Clause:
    """A run of whole folder names at any depth, of which the root's own name is the first."""
    clauses = [_path_has(db, "/" + "/".join(parts) + "/")]
    for root in roots(db):
        if _folded(_own_name(root.path)) != _folded(parts[0]):
            continue
        if len(parts) == 1:
            clauses.append(_Clause("l.root_id = ?", (root.root_id,)))
        elif has_bytes("/".join(parts)):
            start = _bytes_in_path("/" + "/".join(parts[1:]) + "/", "= 1")
            clauses.append(_Clause(f"l.root_id = ? AND {start.sql}", (root.root_id, *start.values)))
        else:
            for text in _spellings("/".join(parts[1:])):
                pattern = f"{_escaped(text)}/%"
                clauses.append(
                    _Clause(
                        "l.root_id = ? AND CAST(l.path AS TEXT) LIKE ? ESCAPE '\\'",
                        (root.root_id, pattern),
                    )
                )
    return _any(clauses)


def _name_has(db: Connection, text: str) -> _Clause:
    clauses = [_path_has(db, text)]
    for root in roots(db):
        if _folded(text) in _folded(_own_name(root.path)):
            clauses.append(_Clause("l.root_id = ?", (root.root_id,)))
    return _any(clauses)


def _path_has(db: Connection, text: str) -> _Clause:
    """The path, as the index has it, contains the text in any case."""
    if has_bytes(text):
        return _bytes_in_path(text, "> 0")
    texts = _spellings(_bindable(text))
    if min(len(text) for text in texts) >= TRIGRAM:
        phrases = " OR ".join('"' + text.replace('"', '""') + '"' for text in texts)
        sql, values = locations_named(db, phrases)
        return _Clause(f"l.id IN ({sql})", values, of_location=True)
    # Two characters are a whole word in Chinese. LIKE folds the case of ASCII alone.
    cases = dict.fromkeys(c for text in texts for c in (text, text.lower(), text.upper()))
    likes = ["'/' || CAST(l.path AS TEXT) LIKE ? ESCAPE '\\'"] * len(cases)
    parts = tuple(f"%{_escaped(text)}%" for text in cases)
    return _Clause("(" + " OR ".join(likes) + ")", parts, of_location=True)


def _bytes_in_path(text: str, where: str) -> _Clause:
    """Where the path has these very bytes: the index of text takes all that are no UTF-8 for one
    and the same sign. In any case of ASCII, as in bytes there is no other."""
    path = "CAST(lower('/' || CAST(l.path AS TEXT)) AS BLOB)"
    return _Clause(f"instr({path}, ?) {where}", (os.fsencode(text).lower(),), of_location=True)


def _any(clauses: Sequence[_Clause]) -> _Clause:
    values = tuple(value for clause in clauses for value in clause.values)
    return _Clause("(" + " OR ".join(clause.sql for clause in clauses) + ")", values, True)


def _spellings(text: str) -> tuple[str, ...]:
    """Composed and decomposed accents: macOS has long written names the second way."""
    forms = (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))
    return tuple(dict.fromkeys(forms))


def _escaped(text: str) -> str:
    """For LIKE with ESCAPE '\\'."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _own_name(path: str) -> str:
    return os.path.basename(path.rstrip("/" + os.sep))
