"""On which photos a word is written: in their paths, captions, keywords, places and pictures.

The index of text knows threes of letters, so what it gives are candidates, and each is
looked at. A word on very many photos tells none of them apart, and is not looked at: that
bounds what one common name costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from photosearch.store.connection import Connection
from photosearch.store.names import locations_named
from photosearch.wording import MIN_LETTERS, is_han, stands_in, stems

MAX_CANDIDATES: Final = 5000  # rows looked at for one word in one kind of text
_EDGES: Final = "/ _-.(\n,#["  # what may stand before a word; keywords stand a line each

Where = Literal["file name", "folder", "caption", "keyword", "place", "the text in the picture"]


@dataclass(frozen=True)
class Mentions:
    """Where one word is written, by photo; None where it is on more than can be looked at."""

    word: str
    photos: dict[int, tuple[Where, ...]] | None


def mentions(db: Connection, words: Sequence[str]) -> list[Mentions]:
    """For each word the photos that it is written on."""
    return [_mentions(db, word) for word in words]


def _mentions(db: Connection, word: str) -> Mentions:
    found: dict[int, list[Where]] = {}
    for source in (_in_paths, _in_facts, _in_pictures):
        rows = source(db, word)
        if rows is None:
            return Mentions(word, None)
        for photo_id, where in rows:
            places = found.setdefault(photo_id, [])
            if where not in places:
                places.append(where)
    return Mentions(word, {photo_id: tuple(places) for photo_id, places in found.items()})


def _in_paths(db: Connection, word: str) -> list[tuple[int, Where]] | None:
    rows = _candidates(
        db,
        word,
        index="location_names",
        select="SELECT photo_id, path FROM locations WHERE photo_id IS NOT NULL AND {where}",
        key="id",
        columns=("path",),
    )
    return None if rows is None else list(_of_paths(word, rows))


def _of_paths(word: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Where]]:
    in_folder: dict[str, bool] = {"": False}  # one folder holds many
    for photo_id, path in rows:
        folder, _, name = path.decode("utf-8", "replace").rpartition("/")
        stem = name.rpartition(".")[0] or name
        if stands_in(word, stem):
            yield photo_id, "file name"
        if folder not in in_folder:
            in_folder[folder] = stands_in(word, folder)
        if in_folder[folder]:
            yield photo_id, "folder"


def _in_facts(db: Connection, word: str) -> list[tuple[int, Where]] | None:
    rows = _candidates(
        db,
        word,
        index="facts_words",
        select="SELECT photo_id, caption, keywords, place FROM facts WHERE {where}",
        key="photo_id",
        columns=("caption", "keywords", "place"),
    )
    if rows is None:
        return None
    parts: tuple[Where, ...] = ("caption", "keyword", "place")
    return [
        (photo_id, part)
        for photo_id, *texts in rows
        for part, text in zip(parts, texts, strict=True)
        if text and stands_in(word, text)
    ]


def _in_pictures(db: Connection, word: str) -> list[tuple[int, Where]] | None:
    rows = _candidates(
        db,
        word,
        index="texts_words",
        select="SELECT photo_id, text FROM texts WHERE {where}",
        key="photo_id",
        columns=("text",),
    )
    if rows is None:
        return None
    return [
        (photo_id, "the text in the picture") for photo_id, text in rows if stands_in(word, text)
    ]


def _candidates(
    db: Connection, word: str, *, index: str, select: str, key: str, columns: tuple[str, ...]
) -> list[tuple[Any, ...]] | None:
    """Rows that have the word's letters somewhere; None where they are too many."""
    if len(word) < MIN_LETTERS:  # two letters are a word in Chinese, and no three of them
        # Of two BLOBs, as paths are, bytes are compared; of a text and a BLOB, the text's bytes.
        where = (
            "("
            + " OR ".join(f"instr(CAST({column} AS BLOB), CAST(? AS BLOB))" for column in columns)
            + ")"
        )
        found = db.execute(
            f"{select.format(where=where)} LIMIT {MAX_CANDIDATES + 1}", (word,) * len(columns)
        ).fetchall()
        return None if len(found) > MAX_CANDIDATES else found
    starts = [stem.replace('"', '""') for stem in stems(word)]
    patterns = [" OR ".join(f'"{stem}"' for stem in starts)]
    if not is_han(word):  # letters within other words, as cat in vacation, may be what are too many
        edged = [f'"{edge}{stem}"' for stem in starts for edge in _EDGES]
        patterns.append(" OR ".join([*edged, *(f'^"{stem}"' for stem in starts)]))
    for pattern in patterns:
        ids, values = _listed(db, index, pattern)
        found = db.execute(select.format(where=f"{key} IN ({ids})"), values).fetchall()
        if len(found) <= MAX_CANDIDATES:
            return found
    return None


def _listed(db: Connection, index: str, pattern: str) -> tuple[str, tuple[str, ...]]:
    """SQL that lists what an index of text finds, and what is bound in it."""
    if index == "location_names":
        return locations_named(db, pattern, most=MAX_CANDIDATES + 1)
    most = MAX_CANDIDATES + 1
    return f"SELECT rowid FROM {index} WHERE {index} MATCH ? LIMIT {most}", (pattern,)
