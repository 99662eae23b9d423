"""What a phone takes along of a library: vectors, dates and small thumbnails.

    index/vectors.bin   every photo's vector, int8 (flat.py)
    index/photos.db     SQLite: one row a photo, with its date, name and thumbnail

A delta holds the same two files for what is new or changed since a previous
export, and the ids of what went. Exports of one space form a chain: each names
the state it makes, a delta also the state it needs.
"""

from __future__ import annotations

import hashlib
import io
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from photosearch.bundle import Bundle, load_golden
from photosearch.errors import BundleError
from photosearch.flat import Flat, open_flat, quantise, write_flat
from photosearch.library import LibraryReader
from photosearch.thumbnails import Thumbnails
from photosearch.types import Ids, Matrix, Vector

FOLDER: Final = "index"
VECTORS: Final = "vectors.bin"
PHOTOS: Final = "photos.db"
FORMAT: Final = 1
THUMBNAIL_PX: Final = 128
THUMBNAIL_QUALITY: Final = 60  # WebP: 2 to 4 KB a photo
BATCH: Final = 500
RECALL_AT: Final = 10
RECALL_QUERIES: Final = 200


@dataclass(frozen=True)
class Entry:
    """A photo as the phone shows it."""

    photo_id: int
    taken: str | None
    name: str
    width_px: int
    height_px: int
    content_hash: bytes


@dataclass(frozen=True)
class Packed:
    """What was written; goes into the manifest."""

    photos: int
    new: int  # rows in the files: all of them, or those of a delta
    removed: int
    state: str
    base: str | None  # the state a delta needs
    recall: dict[str, float]  # of int8 against the library's exact search, at RECALL_AT

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "vectors": f"{FOLDER}/{VECTORS}",
            "database": f"{FOLDER}/{PHOTOS}",
            "photos": self.photos,
            "new": self.new,
            "removed": self.removed,
            "state": self.state,
            "base": self.base,
            f"recall_at_{RECALL_AT}": self.recall,
        }


def pack(
    folder: Path,
    bundle: Bundle,
    reader: LibraryReader,
    thumbnails: Thumbnails,
    *,
    since: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, to_do: None,
) -> Packed:
    """Write the index of a library, or what changed in it since a previous export's folder.

    Photos of folders that are offline are in it: they are searchable here, too. Hidden ones are
    not, and a delta takes away those that were hidden since.
    """
    out = folder / FOLDER
    out.mkdir(parents=True)
    ids, vectors = reader.vectors(bundle.space, bundle.dim)
    entries = {entry.photo_id: entry for entry in _entries(reader, ids)}
    keep = np.asarray([photo_id in entries for photo_id in ids.tolist()], bool)
    ids, vectors = ids[keep], vectors[keep]  # a photo may have gone between the two reads
    state = _state(bundle.space, entries.values())
    base, known = _previous(since, bundle.space) if since is not None else (None, {})
    marks = {photo_id: _mark(entry) for photo_id, entry in entries.items()}
    new = [n for n, photo_id in enumerate(ids.tolist()) if known.get(photo_id) != marks[photo_id]]
    removed = sorted(known.keys() - entries.keys())
    write_flat(out / VECTORS, bundle.space, ids[new], vectors[new])
    about = {"format": str(FORMAT), "space": bundle.space, "state": state, "base": base or ""}
    _write_photos(
        out / PHOTOS,
        about,
        [entries[photo_id] for photo_id in ids[new].tolist()],
        removed,
        thumbnails,
        on_progress,
    )
    recall = recall_of(bundle, ids, vectors) if base is None else {}
    return Packed(len(ids), len(new), len(removed), state, base, recall)


def recall_of(bundle: Bundle, ids: Ids, vectors: Matrix) -> dict[str, float]:
    """Share of the library's exact best ten that int8 also has among its best ten, in percent:
    for the bundle's golden texts, and for photos asked as examples."""
    if not len(ids):
        return {}
    rows, scales = quantise(vectors)
    small = Flat(bundle.space, ids, scales, rows)
    step = max(1, len(ids) // RECALL_QUERIES)
    queries = {"photos": vectors[::step][:RECALL_QUERIES]}
    if bundle.golden is not None:
        queries["texts"] = load_golden(bundle).text_vectors
    found: dict[str, float] = {}
    k = min(RECALL_AT, len(ids))
    for name, asked in queries.items():
        hits = 0
        for query in asked:
            scores = vectors @ query
            exact = ids[np.lexsort((ids, -scores))[:k]]
            hits += len(np.intersect1d(exact, small.best(query, k)))
        found[name] = round(100.0 * hits / (k * len(asked)), 2)
    return found


def merge(whole: Path, delta: Path, out: Path) -> None:
    """A whole export's folder and a delta's -> one whole index in `out`.

    What a phone does, which keeps the whole export and replaces its delta. BundleError
    where the delta was not made for this export.
    """
    vectors: dict[int, Vector] = {}
    rows: dict[int, tuple[Any, ...]] = {}
    space, state, dim = "", "", 0
    for number, folder in enumerate((whole, delta)):
        flat = open_flat(folder / FOLDER / VECTORS)
        with closing(_open(folder / FOLDER / PHOTOS)) as db:
            about = _about(db, folder)
            if number == 0 and about["base"]:
                raise BundleError(f"{folder}: a delta; a whole export comes first")
            if number == 1 and (about["space"], about["base"]) != (space, state):
                raise BundleError(f"{folder}: is no delta of {whole}")
            space, state, dim = about["space"], about["state"], flat.rows.shape[1]
            for (photo_id,) in db.execute("SELECT id FROM removed"):
                vectors.pop(photo_id, None)
                rows.pop(photo_id, None)
            rows.update((row[0], row) for row in db.execute(f"SELECT {COLUMNS} FROM photos"))
        for photo_id, scale, row in zip(flat.ids.tolist(), flat.scales, flat.rows, strict=True):
            vectors[photo_id] = row.astype(np.float32) * scale
    target = out / FOLDER
    target.mkdir(parents=True)
    ids = np.asarray(sorted(vectors), np.int64)
    stacked = np.empty((len(ids), dim), np.float32)
    for position, photo_id in enumerate(ids.tolist()):
        stacked[position] = vectors[photo_id]
    write_flat(target / VECTORS, space, ids, stacked)
    with closing(_create(target / PHOTOS)) as db, db:
        _put_about(db, {"format": str(FORMAT), "space": space, "state": state, "base": ""})
        db.executemany(INSERT, (rows[photo_id] for photo_id in sorted(rows)))


# --- the database ---------------------------------------------------------------------------------

COLUMNS: Final = "id, taken, name, width_px, height_px, mark, thumbnail"
INSERT: Final = f"INSERT INTO photos ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"


def _create(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file)
    db.execute("PRAGMA journal_mode = DELETE")  # one file, without a journal beside it
    db.execute("CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT")
    db.execute(
        "CREATE TABLE photos ("
        " id INTEGER PRIMARY KEY,"
        " taken TEXT,"  # local time, ISO 8601
        " name TEXT NOT NULL,"
        " width_px INTEGER NOT NULL, height_px INTEGER NOT NULL,"
        " mark TEXT NOT NULL,"  # changes when anything here does
        " thumbnail BLOB"  # WebP
        ") STRICT"
    )
    db.execute("CREATE INDEX photos_taken ON photos(taken)")
    db.execute("CREATE TABLE removed (id INTEGER PRIMARY KEY) STRICT")
    return db


def _write_photos(
    file: Path,
    about: dict[str, str],
    entries: list[Entry],
    removed: list[int],
    thumbnails: Thumbnails,
    on_progress: Callable[[int, int], None],
) -> None:
    with closing(_create(file)) as db, db:
        _put_about(db, about)
        db.executemany("INSERT INTO removed (id) VALUES (?)", ((photo_id,) for photo_id in removed))
        for start in range(0, len(entries), BATCH):
            part = entries[start : start + BATCH]
            db.executemany(
                INSERT,
                (_row(entry, thumbnails) for entry in part),
            )
            on_progress(start + len(part), len(entries))


def _row(entry: Entry, thumbnails: Thumbnails) -> tuple[Any, ...]:
    """In the order of COLUMNS."""
    size = (entry.width_px, entry.height_px)
    picture = _small(thumbnails.find(entry.content_hash))
    return (entry.photo_id, entry.taken, entry.name, *size, _mark(entry), picture)


def _put_about(db: sqlite3.Connection, about: dict[str, str]) -> None:
    db.executemany("INSERT INTO about (key, value) VALUES (?, ?)", about.items())


def _open(file: Path) -> sqlite3.Connection:
    if not file.is_file():
        raise BundleError(f"{file}: missing; not an export with an index")
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)


def _about(db: sqlite3.Connection, folder: Path) -> dict[str, str]:
    try:
        about = dict(db.execute("SELECT key, value FROM about").fetchall())
        if int(about["format"]) > FORMAT:
            raise BundleError(f"{folder}: its index is of a newer format. Update photosearch.")
        return {key: about[key] for key in ("format", "space", "state", "base")}
    except (sqlite3.DatabaseError, KeyError, ValueError) as error:
        raise BundleError(f"{folder}: its index is damaged ({error})") from error


def _previous(folder: Path, space: str) -> tuple[str, dict[int, str]]:
    """State and marks of a previous export. It must be a whole one, of this space."""
    flat = open_flat(folder / FOLDER / VECTORS)
    with closing(_open(folder / FOLDER / PHOTOS)) as db:
        about = _about(db, folder)
        if about["space"] != space or flat.space != space:
            raise BundleError(
                f"{folder}: was made with another model, whose vectors cannot be compared. "
                "Export whole, without --since."
            )
        if about["base"]:
            raise BundleError(f"{folder}: is a delta itself. Name the last whole export.")
        try:
            return about["state"], dict(db.execute("SELECT id, mark FROM photos").fetchall())
        except sqlite3.DatabaseError as error:
            raise BundleError(f"{folder}: its index is damaged ({error})") from error


# --- photos ---------------------------------------------------------------------------------------


def _entries(reader: LibraryReader, ids: Ids) -> Iterator[Entry]:
    for start in range(0, len(ids), BATCH):
        places = reader.places(list(reader.findable(ids[start : start + BATCH].tolist())))
        for photo_id, place in places.items():
            photo = place.photo
            name = Path(place.path).name.encode("utf-8", "replace").decode()
            yield Entry(
                photo_id, photo.taken, name, photo.width_px, photo.height_px, photo.content_hash
            )


def _mark(entry: Entry) -> str:
    """Changes when a row of the phone's must."""
    parts = (entry.taken, entry.name, entry.width_px, entry.height_px)
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _state(space: str, entries: Iterable[Entry]) -> str:
    digest = hashlib.sha256(space.encode())
    for entry in sorted(entries, key=lambda entry: entry.photo_id):
        digest.update(f"\0{entry.photo_id} {_mark(entry)}".encode())
    return digest.hexdigest()[:32]


def _small(picture: bytes | None) -> bytes | None:
    """A thumbnail of ours at the phone's size; None where there is none."""
    if picture is None:
        return None
    try:
        with Image.open(io.BytesIO(picture), formats=("WEBP",)) as image:
            image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            out = io.BytesIO()
            image.convert("RGB").save(out, "WEBP", quality=THUMBNAIL_QUALITY)
            return out.getvalue()
    except (OSError, UnidentifiedImageError, ValueError):
        return None  # a damaged cache entry costs its thumbnail, as it does on the desktop
