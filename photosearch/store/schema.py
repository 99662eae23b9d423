"""The schema as an append-only list of migrations.

Each step and its number commit together or not at all. A released step is
never edited: libraries in the wild have already taken it.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from photosearch.errors import LibraryTooNew
from photosearch.store.connection import Connection, transaction, without_foreign_keys


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


def m004_colours(db: Connection) -> None:
    """The mean colour of each photo, to show in its place until it is there.

    Photos from before have none, and a neutral grey stands for it.
    """
    db.execute("ALTER TABLE photos ADD COLUMN colour INTEGER CHECK (colour BETWEEN 0 AND 0xffffff)")


def m005_facts(db: Connection) -> None:
    """What files say of themselves, where that is, text inside pictures, and what belongs
    together; and what each folder looked like when it was last in order.

    `facts.reader` and `texts.reader` number the code that read them: rows of an older one
    are read again. Captions, keywords and places are found by any three characters.
    """
    db.execute(
        "CREATE TABLE facts ("
        " photo_id INTEGER PRIMARY KEY REFERENCES photos(id) ON DELETE CASCADE,"
        " reader INTEGER NOT NULL,"
        " taken_from TEXT CHECK (taken_from IN ('camera', 'name')),"
        " camera TEXT, lens TEXT, iso INTEGER, exposure_s REAL, aperture REAL, focal_mm REAL,"
        " latitude REAL CHECK (latitude BETWEEN -90 AND 90),"
        " longitude REAL CHECK (longitude BETWEEN -180 AND 180),"
        " place TEXT NOT NULL DEFAULT '',"  # "Neuilly-sur-Seine, Paris, France"; "" where unknown
        " rating INTEGER CHECK (rating BETWEEN -1 AND 5),"
        " caption TEXT NOT NULL DEFAULT '',"
        " keywords TEXT NOT NULL DEFAULT '',"  # one a line
        " kind TEXT NOT NULL CHECK (kind IN ('photo', 'screenshot', 'document')),"
        " burst TEXT, live TEXT, seconds REAL,"
        " dhash INTEGER,"
        " CHECK ((latitude IS NULL) = (longitude IS NULL))"
        ") STRICT"
    )
    for column in ("latitude", "iso", "burst", "live"):
        db.execute(f"CREATE INDEX facts_{column} ON facts({column}) WHERE {column} IS NOT NULL")
    # Two hashes that differ in at most three bits agree in one of four quarters.
    for quarter in range(4):
        db.execute(
            f"CREATE INDEX facts_dhash{quarter} ON facts((dhash >> {16 * quarter}) & 65535)"
            " WHERE dhash IS NOT NULL"
        )
    db.execute(
        "CREATE TABLE texts ("  # what is written in a picture; "" where nothing is
        " photo_id INTEGER PRIMARY KEY REFERENCES photos(id) ON DELETE CASCADE,"
        " reader INTEGER NOT NULL,"
        " text TEXT NOT NULL"
        ") STRICT"
    )
    _index_words(db, "facts", ("caption", "keywords", "place"))
    _index_words(db, "texts", ("text",))
    db.execute(
        "CREATE TABLE groups ("  # photos shown as one; a photo in no group has no row
        " photo_id INTEGER PRIMARY KEY REFERENCES photos(id) ON DELETE CASCADE,"
        " group_id INTEGER NOT NULL,"  # the id of the photo it began with, gone or not
        " why TEXT NOT NULL CHECK (why IN ('first', 'near', 'burst', 'raw', 'live'))"
        ") STRICT"
    )
    db.execute("CREATE INDEX groups_group ON groups(group_id)")
    db.execute(
        "CREATE TABLE folders ("  # in which library and disk agreed, and what was there then
        " root_id INTEGER NOT NULL REFERENCES roots(id) ON DELETE CASCADE,"
        " path BLOB NOT NULL,"
        " inode INTEGER NOT NULL,"
        " files INTEGER NOT NULL,"  # photo files
        " digest BLOB NOT NULL,"
        " PRIMARY KEY (root_id, path)"
        ") STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE places ("  # towns, from GeoNames; filled by the program
        " id INTEGER PRIMARY KEY,"
        " name TEXT NOT NULL,"
        " country TEXT NOT NULL,"
        " latitude REAL NOT NULL,"
        " longitude REAL NOT NULL,"
        " population INTEGER NOT NULL"
        ") STRICT"
    )
    db.execute("CREATE INDEX places_latitude ON places(latitude)")
    db.execute(
        "CREATE TABLE place_names ("  # folded, in every spelling we keep
        " name TEXT NOT NULL,"
        " place_id INTEGER NOT NULL REFERENCES places(id) ON DELETE CASCADE,"
        " PRIMARY KEY (name, place_id)"
        ") STRICT, WITHOUT ROWID"
    )


def _index_words(db: Connection, table: str, columns: tuple[str, ...]) -> None:
    """A trigram index over a table's columns, kept in step by triggers; for m005."""
    names = ", ".join(columns)
    db.execute(
        f"CREATE VIRTUAL TABLE {table}_words USING fts5({names}, content = '{table}',"
        " content_rowid = 'photo_id', tokenize = 'trigram')"
    )
    new, old = (", ".join(f"{row}.{name}" for name in columns) for row in ("new", "old"))
    add = f"INSERT INTO {table}_words (rowid, {names}) VALUES (new.photo_id, {new});"
    drop = (
        f"INSERT INTO {table}_words ({table}_words, rowid, {names})"
        f" VALUES ('delete', old.photo_id, {old});"
    )
    db.execute(f"CREATE TRIGGER {table}_added AFTER INSERT ON {table} BEGIN {add} END")
    db.execute(f"CREATE TRIGGER {table}_dropped AFTER DELETE ON {table} BEGIN {drop} END")
    db.execute(
        f"CREATE TRIGGER {table}_changed AFTER UPDATE OF photo_id, {names} ON {table}"
        f" BEGIN {drop} {add} END"
    )


def m006_slabs(db: Connection) -> None:
    """Vectors side by side, 64 to a BLOB, each in a record that names its photo and adds up.

    Loading is then copying, and one photo's record is one page of one slab. Until here each
    vector was a row of its own, and a changed byte in it could not be seen.
    """
    db.execute("ALTER TABLE embeddings RENAME TO old_embeddings")
    db.execute("DROP INDEX embeddings_photo")
    db.execute(
        "CREATE TABLE slabs ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " space_id INTEGER NOT NULL REFERENCES spaces(id) ON DELETE CASCADE,"
        " free INTEGER NOT NULL,"  # a bit for each slot that holds zeros alone
        " stale INTEGER NOT NULL DEFAULT 0"  # a bit for each whose row has gone, but not its record
        ") STRICT"
    )
    db.execute("CREATE INDEX slabs_free ON slabs(space_id) WHERE free != 0")
    db.execute("CREATE INDEX slabs_stale ON slabs(id) WHERE stale != 0")
    db.execute(
        "CREATE TABLE slab_records ("
        " slab_id INTEGER PRIMARY KEY REFERENCES slabs(id) ON DELETE CASCADE,"
        " data BLOB NOT NULL"  # 64 of: photo id (8 bytes), space id (4), fill (4), D float32
        ") STRICT"
    )
    db.execute(
        "CREATE TABLE embeddings ("
        " slot INTEGER PRIMARY KEY,"  # slab id * 64 + place in it
        " photo_id INTEGER NOT NULL REFERENCES photos(id) ON DELETE CASCADE,"
        " space_id INTEGER NOT NULL REFERENCES spaces(id) ON DELETE CASCADE,"
        " UNIQUE (space_id, photo_id)"
        ") STRICT"
    )
    db.execute("CREATE INDEX embeddings_photo ON embeddings(photo_id)")
    spaces = db.execute("SELECT id, dim FROM spaces").fetchall()
    for space_id, dim in spaces:
        rows = db.execute(
            "SELECT photo_id, vector FROM old_embeddings WHERE space_id = ? AND length(vector) = ?"
            " ORDER BY photo_id",
            (space_id, 4 * dim),
        )
        while some := rows.fetchmany(64):
            _fill_slab(db, space_id, some)
    db.execute("DROP TABLE old_embeddings")
    db.execute(
        "CREATE TRIGGER embedding_dropped AFTER DELETE ON embeddings BEGIN"
        " UPDATE slabs SET stale = stale | (1 << (old.slot & 63)) WHERE id = old.slot >> 6; END"
    )


def _fill_slab(db: Connection, space_id: int, some: list[tuple[int, bytes]]) -> None:
    """One slab of up to 64 (photo id, vector); for m006."""
    size = 16 + len(some[0][1])
    data = bytearray(64 * size)
    for place, (photo_id, vector) in enumerate(some):
        words = struct.unpack(f"<{len(vector) // 4}I", vector)
        rest = (photo_id & 0xFFFFFFFF) + (photo_id >> 32) + space_id
        fill = (0x9E3779B9 - sum(words) - rest) % (1 << 32)
        struct.pack_into("<qII", data, place * size, photo_id, space_id, fill)
        data[place * size + 16 : (place + 1) * size] = vector
    taken = (1 << len(some)) - 1
    slab_id = db.execute(
        "INSERT INTO slabs (space_id, free) VALUES (?, ?) RETURNING id",
        (space_id, ~taken if taken >> 63 == 0 else 0),
    ).fetchone()[0]
    db.execute("INSERT INTO slab_records (slab_id, data) VALUES (?, ?)", (slab_id, data))
    db.executemany(
        "INSERT INTO embeddings (slot, photo_id, space_id) VALUES (?, ?, ?)",
        [(slab_id * 64 + place, some[place][0], space_id) for place in range(len(some))],
    )


def m007_sidecars(db: Connection) -> None:
    """XMP files beside photos: which one each photo's facts were read with.

    Folders are compared anew once, since until here nobody looked at their XMP files.
    """
    db.execute("ALTER TABLE facts ADD COLUMN beside BLOB")
    db.execute("DELETE FROM folders")


def m008_few_pages(db: Connection) -> None:
    """A photo that comes dirties half as many pages: each is written to the log and, later, to
    the file, and is half of what a commit costs (docs/index.md).

    The next photo's id follows from the largest one, of those that are there and of those that
    went, so that no counter is written. A row of `embeddings` is found by its photo alone. What
    looked into indexes of whole stamps and of every date is served by smaller ones. Names enter
    their index 64 at a time: `store.names` looks through those that wait.
    """
    assert not db.execute("PRAGMA foreign_keys").fetchone()[0]  # else DROP TABLE empties others
    columns = (
        "id, content_hash, size_bytes, format, width_px, height_px, taken, orphaned_ns, colour"
    )
    db.execute("CREATE TABLE photo_ids (highest_gone INTEGER NOT NULL) STRICT")  # one row
    db.execute(
        "INSERT INTO photo_ids"
        " SELECT ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'photos'), 0)"
    )
    db.execute(
        "CREATE TABLE new_photos ("  # as it was, but for AUTOINCREMENT
        " id INTEGER PRIMARY KEY,"
        " content_hash BLOB NOT NULL UNIQUE CHECK (length(content_hash) = 32),"
        " size_bytes INTEGER NOT NULL,"
        " format TEXT NOT NULL,"
        " width_px INTEGER NOT NULL CHECK (width_px > 0),"
        " height_px INTEGER NOT NULL CHECK (height_px > 0),"
        " taken TEXT,"
        " orphaned_ns INTEGER,"
        " colour INTEGER CHECK (colour BETWEEN 0 AND 0xffffff)"
        ") STRICT"
    )
    db.execute(f"INSERT INTO new_photos ({columns}) SELECT {columns} FROM photos ORDER BY id")
    db.execute("DROP TABLE photos")
    db.execute("ALTER TABLE new_photos RENAME TO photos")
    db.execute("CREATE INDEX photos_size ON photos(size_bytes)")
    db.execute("CREATE INDEX photos_orphaned ON photos(orphaned_ns) WHERE orphaned_ns IS NOT NULL")
    db.execute("CREATE INDEX photos_taken ON photos(taken) WHERE taken IS NOT NULL")
    db.execute(
        "CREATE TRIGGER photo_dropped AFTER DELETE ON photos"
        " WHEN old.id > (SELECT highest_gone FROM photo_ids)"
        " BEGIN UPDATE photo_ids SET highest_gone = old.id; END"
    )
    db.execute("DROP INDEX locations_identity")
    db.execute("CREATE INDEX locations_inode ON locations(inode)")
    _embeddings_by_photo(db)
    _names_by_64(db)


def _embeddings_by_photo(db: Connection) -> None:
    """One tree in place of three; for m008. `slabs.free` is written from here on only where a
    record was deleted: other slabs fill in order, and the records themselves say how far."""
    db.execute("DROP TRIGGER embedding_dropped")
    db.execute("DROP INDEX embeddings_photo")
    db.execute("ALTER TABLE embeddings RENAME TO old_embeddings")
    db.execute(
        "CREATE TABLE embeddings ("
        " photo_id INTEGER NOT NULL REFERENCES photos(id) ON DELETE CASCADE,"
        " space_id INTEGER NOT NULL REFERENCES spaces(id) ON DELETE CASCADE,"
        " slot INTEGER NOT NULL,"  # slab id * 64 + place in it
        " PRIMARY KEY (photo_id, space_id)"
        ") STRICT, WITHOUT ROWID"
    )
    db.execute(
        "INSERT INTO embeddings (photo_id, space_id, slot)"
        " SELECT photo_id, space_id, slot FROM old_embeddings ORDER BY photo_id, space_id"
    )
    db.execute("DROP TABLE old_embeddings")
    db.execute(
        "CREATE TRIGGER embedding_dropped AFTER DELETE ON embeddings BEGIN"
        " UPDATE slabs SET stale = stale | (1 << (old.slot & 63)) WHERE id = old.slot >> 6; END"
    )
    db.execute("CREATE INDEX slabs_space ON slabs(space_id)")


def _names_by_64(db: Connection) -> None:
    """Index names 64 at a time, whoever writes; for m008.

    Ids of locations are given in order, and each name that is in the index has a row of that
    id in the index's own table of lengths: names with a larger id than all of these wait.
    """
    last = "(SELECT ifnull(max(id), 0) FROM location_names_docsize)"
    indexed = "EXISTS (SELECT 1 FROM location_names_docsize WHERE id = old.id)"
    add = "INSERT INTO location_names (rowid, path) SELECT id, '/' || CAST(path AS TEXT)"
    drop = (
        "INSERT INTO location_names (location_names, rowid, path)"
        f" SELECT 'delete', old.id, '/' || CAST(old.path AS TEXT) WHERE {indexed};"
    )
    for trigger in ("added", "dropped", "renamed"):
        db.execute(f"DROP TRIGGER location_{trigger}")
    db.execute("DROP VIEW location_paths")
    db.execute(
        "CREATE VIEW location_paths AS SELECT id, '/' || CAST(path AS TEXT) AS path"
        f" FROM locations WHERE id <= {last}"
    )
    db.execute(
        "CREATE TRIGGER location_added AFTER INSERT ON locations WHEN new.id % 64 = 0"
        f" BEGIN {add} FROM locations WHERE id > {last}; END"
    )
    db.execute(f"CREATE TRIGGER location_dropped AFTER DELETE ON locations BEGIN {drop} END")
    db.execute(
        "CREATE TRIGGER location_renamed AFTER UPDATE OF id, path ON locations"
        " WHEN old.id != new.id OR old.path != new.path"
        f" BEGIN {drop} {add} FROM locations WHERE id = new.id AND id < {last}; END"
    )


def m009_hidden(db: Connection) -> None:
    """Photos that are left out of every answer until they are asked for as hidden ones."""
    db.execute(
        "CREATE TABLE hidden ("
        " photo_id INTEGER PRIMARY KEY REFERENCES photos(id) ON DELETE CASCADE"
        ") STRICT"
    )


def m010_no_sizes(db: Connection) -> None:
    """One page less that a photo dirties: the writer keeps the sizes of all photos in memory
    (`library.sizes`), and nobody else looks for any."""
    db.execute("DROP INDEX photos_size")


def m011_crc32(db: Connection) -> None:
    """Kept cells and graphs add up by CRC-32, which takes a third to a twelfth of what SHA-256
    does: they are on the way to a first answer."""
    db.execute("ALTER TABLE graphs RENAME COLUMN sha256 TO crc32")
    for graph_id, sha256 in db.execute("SELECT id, crc32 FROM graphs").fetchall():
        chunks = db.execute(
            "SELECT data FROM graph_chunks WHERE graph_id = ? ORDER BY part", (graph_id,)
        )
        graph = b"".join(row[0] for row in chunks)
        if hashlib.sha256(graph).digest() == sha256:
            crc32 = zlib.crc32(graph).to_bytes(4)
            db.execute("UPDATE graphs SET crc32 = ? WHERE id = ?", (crc32, graph_id))
        else:  # damaged, or never finished
            db.execute("DELETE FROM graph_chunks WHERE graph_id = ?", (graph_id,))
            db.execute("DELETE FROM graphs WHERE id = ?", (graph_id,))


MIGRATIONS: Final[tuple[Callable[[Connection], None], ...]] = (
    m001_first_light,
    m002_graphs,
    m003_names,
    m004_colours,
    m005_facts,
    m006_slabs,
    m007_sidecars,
    m008_few_pages,
    m009_hidden,
    m010_no_sizes,
    m011_crc32,
)


def migrate(db: Connection, file: Path) -> None:
    """Bring the library to this program's schema. Raises LibraryTooNew for a newer one."""
    while True:
        with without_foreign_keys(db), transaction(db):
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
