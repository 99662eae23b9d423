"""The schema as an append-only list of migrations.

Each step and its number commit together or not at all. A released step is
never edited: libraries in the wild have already taken it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from photosearch.errors import LibraryTooNew
from photosearch.store.connection import Connection, transaction


def m001_first_light(db: Connection) -> None:
    """Roots, photos, where they lie, and what the encoders made of them.

    Paths are BLOBs: file names are bytes on most systems and need not be UTF-8.
    Ids are AUTOINCREMENT: a photo's id that was ever shown, or is a label in a
    graph, never comes to mean another photo.
    """
    db.execute(
        "CREATE TABLE roots ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " path BLOB NOT NULL UNIQUE,"
        " offline INTEGER NOT NULL DEFAULT 0 CHECK (offline IN (0, 1))"
        ") STRICT"
    )
    db.execute(
        "CREATE TABLE photos ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " content_hash BLOB NOT NULL UNIQUE CHECK (length(content_hash) = 32),"
        " size_bytes INTEGER NOT NULL,"
        " format TEXT NOT NULL,"
        " width_px INTEGER NOT NULL CHECK (width_px > 0),"
        " height_px INTEGER NOT NULL CHECK (height_px > 0),"
        " taken TEXT,"
        # When its last location went away. Kept a while, so that a move seen as
        # a deletion and a creation costs no decode.
        " orphaned_ns INTEGER"
        ") STRICT"
    )
    db.execute("CREATE INDEX photos_size ON photos(size_bytes)")
    db.execute("CREATE INDEX photos_orphaned ON photos(orphaned_ns) WHERE orphaned_ns IS NOT NULL")
    db.execute(
        "CREATE TABLE locations ("
        " id INTEGER PRIMARY KEY,"
        " root_id INTEGER NOT NULL REFERENCES roots(id) ON DELETE CASCADE,"
        " path BLOB NOT NULL,"
        " size_bytes INTEGER NOT NULL,"
        " mtime_ns INTEGER NOT NULL,"
        " device INTEGER NOT NULL,"
        " inode INTEGER NOT NULL,"
        " photo_id INTEGER REFERENCES photos(id),"
        " rejected TEXT,"
        " CHECK ((photo_id IS NULL) != (rejected IS NULL)),"
        " UNIQUE (root_id, path)"
        ") STRICT"
    )
    db.execute("CREATE INDEX locations_photo ON locations(photo_id)")
    db.execute("CREATE INDEX locations_identity ON locations(inode, size_bytes, mtime_ns)")
    db.execute(
        "CREATE TABLE spaces ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " name TEXT NOT NULL UNIQUE,"
        " dim INTEGER NOT NULL CHECK (dim > 0),"
        " bundle TEXT NOT NULL"
        ") STRICT"
    )
    db.execute(
        "CREATE TABLE embeddings ("
        " photo_id INTEGER NOT NULL REFERENCES photos(id) ON DELETE CASCADE,"
        " space_id INTEGER NOT NULL REFERENCES spaces(id) ON DELETE CASCADE,"
        " vector BLOB NOT NULL,"  # D little-endian float32, unit length
        " UNIQUE (space_id, photo_id)"
        ") STRICT"
    )
    db.execute("CREATE INDEX embeddings_photo ON embeddings(photo_id)")


def m002_graphs(db: Connection) -> None:
    """The HNSW graph of a space, as checked chunks. Derived: may be dropped at any time."""
    db.execute(
        "CREATE TABLE graphs ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " space_id INTEGER NOT NULL REFERENCES spaces(id) ON DELETE CASCADE,"
        " ready INTEGER NOT NULL CHECK (ready IN (0, 1)),"
        " layout TEXT NOT NULL,"  # which program and settings wrote it
        " size_bytes INTEGER NOT NULL,"
        " sha256 BLOB NOT NULL"
        ") STRICT"
    )
    db.execute(
        "CREATE TABLE graph_chunks ("
        " graph_id INTEGER NOT NULL REFERENCES graphs(id) ON DELETE CASCADE,"
        " part INTEGER NOT NULL,"
        " data BLOB NOT NULL,"
        " PRIMARY KEY (graph_id, part)"
        ") STRICT"
    )


def m003_names(db: Connection) -> None:
    """Find text inside paths, and photos by their date.

    Trigrams find any three characters wherever they stand, in every script. The
    index keeps no copy of the paths: it reads them through the view, where each
    begins with "/", so that a folder is "/name/" at every depth. Bytes that are
    not UTF-8 pass the cast as they are, and FTS5 reads each as U+FFFD. The
    triggers keep the two in step whoever writes, a root's ON DELETE CASCADE too.
    """
    db.execute(
        "CREATE VIEW location_paths AS SELECT id, '/' || CAST(path AS TEXT) AS path FROM locations"
    )
    db.execute(
        "CREATE VIRTUAL TABLE location_names USING fts5("
        "path, content = 'location_paths', content_rowid = 'id', tokenize = 'trigram')"
    )
    add = "INSERT INTO location_names (rowid, path) VALUES (new.id, '/' || CAST(new.path AS TEXT));"
    drop = (
        "INSERT INTO location_names (location_names, rowid, path)"
        " VALUES ('delete', old.id, '/' || CAST(old.path AS TEXT));"
    )
    db.execute(f"CREATE TRIGGER location_added AFTER INSERT ON locations BEGIN {add} END")
    db.execute(f"CREATE TRIGGER location_dropped AFTER DELETE ON locations BEGIN {drop} END")
    db.execute(
        "CREATE TRIGGER location_renamed AFTER UPDATE OF id, path ON locations"
        f" WHEN old.id != new.id OR old.path != new.path BEGIN {drop} {add} END"
    )
    db.execute("INSERT INTO location_names (location_names) VALUES ('rebuild')")
    db.execute("CREATE INDEX photos_taken ON photos(taken)")


MIGRATIONS: Final[tuple[Callable[[Connection], None], ...]] = (
    m001_first_light,
    m002_graphs,
    m003_names,
)


def migrate(db: Connection, file: Path) -> None:
    """Bring the library to this program's schema. Raises LibraryTooNew for a newer one."""
    while True:
        with transaction(db):
            done = schema_version(db)
            if done > len(MIGRATIONS):
                raise LibraryTooNew(file, done, len(MIGRATIONS))
            if done == len(MIGRATIONS):
                return
            MIGRATIONS[done](db)
            db.execute(f"PRAGMA user_version = {done + 1}")


def require_current(db: Connection, file: Path) -> bool:
    """For readers, who cannot migrate: False where the schema is older than ours."""
    done = schema_version(db)
    if done > len(MIGRATIONS):
        raise LibraryTooNew(file, done, len(MIGRATIONS))
    return done == len(MIGRATIONS)


def schema_version(db: Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version
