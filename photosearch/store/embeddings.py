"""Spaces, and what their encoders made of each photo. One named function per query.

A vector is a record in a slab: 64 of them side by side in one BLOB, so that loading a
library is copying and storing one photo dirties one page. A row of `embeddings` says in
which slot a photo's record lies. A slab fills in order, and the newest says by its records
how far; once something was deleted in it `slabs.free` says which of its slots hold zeros.

A record names its photo and its space, and its words add up to a fixed sum, so that no
changed byte, and no other photo's vector, passes for this one's. A deleted row leaves a
mark (`slabs.stale`, by a trigger, whoever deletes), and `scrub` writes zeros over what the
marks name: call it before the transaction ends.

Writers run inside the caller's transaction.
"""

from __future__ import annotations

import functools
import itertools
import sqlite3
import struct
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from photosearch.store.connection import Connection
from photosearch.types import Ids, Matrix, Stamp, Vector

MAX_NORM_ERROR: Final = 1e-3  # a vector further from unit length was not written by us
SLOTS: Final = 64  # records a slab: the bits of one integer
SLABS_AT_ONCE: Final = 32  # read together: two megabytes
ALL_SLOTS: Final = -1  # every bit
WORDS_SUM: Final = 0x9E3779B9  # of a sound record's 32-bit words; an empty one's is zero
_FLOAT: Final = np.dtype("<f4")
_WORD: Final = np.dtype("<u4")
_HEAD: Final = struct.Struct("<qII")  # of a record: photo id, space id, fill


@functools.cache
def record_type(dim: int) -> np.dtype[np.void]:
    """One record, little-endian whatever the machine. Photo 0 is nobody's: the slot is empty."""
    return np.dtype(
        [("photo_id", "<i8"), ("space_id", "<u4"), ("fill", "<u4"), ("vector", "<f4", (dim,))]
    )


def space(db: Connection, name: str) -> tuple[int, int] | None:
    """(id, dim) of a space, if the library has it."""
    row = db.execute("SELECT id, dim FROM spaces WHERE name = ?", (name,)).fetchone()
    return (row[0], row[1]) if row else None


def add_space(db: Connection, name: str, dim: int, bundle: str) -> int:
    assert db.in_transaction
    db.execute(
        "INSERT INTO spaces (name, dim, bundle) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
        (name, dim, bundle),
    )
    found = space(db, name)
    assert found is not None
    return found[0]


def other_spaces(db: Connection, name: str) -> list[str]:
    """Bundles of the other spaces that still hold embeddings."""
    rows = db.execute(
        "SELECT bundle FROM spaces s WHERE name != ?"
        " AND EXISTS (SELECT 1 FROM slabs WHERE space_id = s.id) ORDER BY id",
        (name,),
    )
    return [row[0] for row in rows]


def answering(db: Connection) -> tuple[str, int, str] | None:
    """(name, dim, bundle) of the space that answers: the oldest that holds any vector.

    While a library moves to another space the new one is younger; when it is
    complete the old one is deleted, in one transaction. So there is no moment
    without an answer, and nothing to repair after a crash.
    """
    row = db.execute(
        "SELECT name, dim, bundle FROM spaces s"
        # Slabs that hold nothing go at once.
        " WHERE EXISTS (SELECT 1 FROM slabs WHERE space_id = s.id) ORDER BY id LIMIT 1"
    ).fetchone()
    return (row[0], row[1], row[2]) if row else None


def delete_space(db: Connection, space_id: int) -> None:
    """Forget a space with all its vectors and graphs."""
    assert db.in_transaction
    db.execute("DELETE FROM spaces WHERE id = ?", (space_id,))


def spaces_but(db: Connection, space_id: int) -> list[int]:
    return [row[0] for row in db.execute("SELECT id FROM spaces WHERE id != ?", (space_id,))]


def missing_by_root(db: Connection, space_id: int) -> dict[int, int]:
    """How many photos of each root have no vector in a space; roots without any are left out."""
    rows = db.execute(
        "SELECT root_id, count(DISTINCT photo_id) FROM locations l WHERE photo_id IS NOT NULL"
        " AND NOT EXISTS"
        " (SELECT 1 FROM embeddings WHERE space_id = ? AND photo_id = l.photo_id)"
        " GROUP BY root_id",
        (space_id,),
    )
    return dict(rows.fetchall())


def add(
    db: Connection, space_id: int, vectors: Mapping[int, Vector], *, new: Container[int] = ()
) -> None:
    """Store unit vectors by photo id; a photo that has one in this space keeps it. Those of which
    the caller knows that they are `new` are not asked about."""
    assert db.in_transaction
    wanted = [i for i in vectors if i in new or not exists(db, i, space_id)]
    at, full = 0, False
    while at < len(wanted):
        some = wanted[at : at + SLOTS]
        records = _records(space_id, some, [vectors[photo_id] for photo_id in some])
        found = None if full else _slab_to_fill(db, space_id)
        slab_id, free = found or (_add_slab(db, space_id, len(records[0])), 0)
        places = _write(db, slab_id, free, records)
        db.executemany(
            "INSERT INTO embeddings (photo_id, space_id, slot) VALUES (?, ?, ?)",
            [
                (photo_id, space_id, slab_id * SLOTS + place)
                for place, photo_id in zip(places, some, strict=False)
            ],
        )
        if free:
            # A damaged slab is not tried again.
            free = free & ~sum(1 << place for place in places) if places else 0
            db.execute("UPDATE slabs SET free = ? WHERE id = ?", (_signed(free), slab_id))
        at += len(places)
        full = not places


def _write(db: Connection, slab_id: int, free: int, records: Sequence[bytes]) -> Sequence[int]:
    """Put as many of these records into a slab as there is room for; returns their places."""
    size = len(records[0])
    # Once a slab: until the connection is closed CPython keeps 95 bytes of each that was opened.
    with db.blobopen("slab_records", "data", slab_id) as blob:
        if len(blob) != SLOTS * size:
            return ()  # damaged
        if free:
            places: Sequence[int] = [place for place in range(SLOTS) if free >> place & 1]
        else:
            places = range(_filled(blob), SLOTS)
        places = places[: len(records)]
        at = 0
        for run in _runs(places):
            blob.seek(run[0] * size)
            blob.write(b"".join(records[at : at + len(run)]))
            at += len(run)
    return places


def _runs(places: Sequence[int]) -> Iterator[Sequence[int]]:
    """Ascending places -> those that lie side by side."""
    start = 0
    for at in range(1, len(places) + 1):
        if at == len(places) or places[at] != places[at - 1] + 1:
            yield places[start:at]
            start = at


def _records(space_id: int, photo_ids: list[int], vectors: list[Vector]) -> list[bytes]:
    """As `record_type` has them. By hand: a commit of one photo spends a tenth less."""
    found = []
    for photo_id, vector in zip(photo_ids, vectors, strict=True):
        row = np.ascontiguousarray(vector, _FLOAT)
        total = int(np.add.reduce(row.view(_WORD), dtype=np.uint32))
        rest = (photo_id & 0xFFFFFFFF) + (photo_id >> 32) + space_id
        fill = (WORDS_SUM - total - rest) & 0xFFFFFFFF
        found.append(_HEAD.pack(photo_id, space_id, fill) + row.tobytes())
    return found


def _sums(records: NDArray[np.void]) -> NDArray[np.uint32]:
    """Each record's words added up, modulo 2 ** 32."""
    words = records.view("<u4").reshape(len(records), -1)
    found: NDArray[np.uint32] = np.add.reduce(words, axis=1, dtype=np.uint32)
    return found


def _slab_to_fill(db: Connection, space_id: int) -> tuple[int, int] | None:
    """A slab that may have room, and its `free`: one with holes, or else the newest."""
    holed, newest = db.execute(
        # Named, since the other index would be read to its end.
        "SELECT (SELECT min(id) FROM slabs INDEXED BY slabs_free"
        " WHERE space_id = ?1 AND free != 0), (SELECT max(id) FROM slabs WHERE space_id = ?1)",
        (space_id,),
    ).fetchone()
    if holed is not None:
        row = db.execute("SELECT free FROM slabs WHERE id = ?", (holed,)).fetchone()
        return holed, row[0] & (1 << SLOTS) - 1
    return None if newest is None else (newest, 0)


def _add_slab(db: Connection, space_id: int, record_bytes: int) -> int:
    cursor = db.execute("INSERT INTO slabs (space_id, free) VALUES (?, 0)", (space_id,))
    db.execute(
        "INSERT INTO slab_records (slab_id, data) VALUES (?, zeroblob(?))",
        (cursor.lastrowid, SLOTS * record_bytes),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _filled(blob: sqlite3.Blob) -> int:
    """How many places are taken in a slab that fills in order."""
    size = len(blob) // SLOTS
    low, high = 0, SLOTS
    while low < high:
        middle = (low + high) // 2
        blob.seek(middle * size)
        if any(blob.read(8)):  # a photo's id
            low = middle + 1
        else:
            high = middle
    return low


def _signed(bits: int) -> int:
    """64 bits as SQLite's integer."""
    return bits - (1 << SLOTS) if bits >> (SLOTS - 1) else bits


def scrub(db: Connection) -> None:
    """Write zeros over the records whose rows were deleted, and drop slabs that hold nothing."""
    assert db.in_transaction
    stale = db.execute("SELECT id, free, stale FROM slabs WHERE stale != 0").fetchall()
    for slab_id, free, marks in stale:
        with db.blobopen("slab_records", "data", slab_id) as blob:
            if free == 0:  # it has filled in order so far
                free = ALL_SLOTS << _filled(blob)
            free = _signed((free | marks) & (1 << SLOTS) - 1)
            if free != ALL_SLOTS:
                size = len(blob) // SLOTS
                for place in range(SLOTS):
                    if marks >> place & 1:
                        blob.seek(place * size)
                        blob.write(bytes(size))
        if free == ALL_SLOTS:
            db.execute("DELETE FROM slabs WHERE id = ?", (slab_id,))  # takes its records along
        else:
            db.execute("UPDATE slabs SET free = ?, stale = 0 WHERE id = ?", (free, slab_id))


def exists(db: Connection, photo_id: int, space_id: int) -> bool:
    row = db.execute(
        "SELECT EXISTS (SELECT 1 FROM embeddings WHERE photo_id = ? AND space_id = ?)",
        (photo_id, space_id),
    ).fetchone()
    return bool(row[0])


def of_photo(db: Connection, photo_id: int, space_id: int) -> Vector | None:
    """A photo's vector in a space; None where it has none, or a damaged one."""
    row = db.execute(
        "SELECT substr(r.data, 1 + (e.slot & 63) * (length(r.data) / 64), length(r.data) / 64)"
        " FROM embeddings e JOIN slab_records r ON r.slab_id = e.slot >> 6"
        " WHERE e.photo_id = ? AND e.space_id = ?",
        (photo_id, space_id),
    ).fetchone()
    if row is None or len(row[0]) <= 16 or len(row[0]) % 4:
        return None
    record = np.frombuffer(row[0], record_type((len(row[0]) - 16) // 4))
    named = record["photo_id"][0] == photo_id and record["space_id"][0] == space_id
    if not named or _sums(record)[0] != WORDS_SUM:
        return None
    vector: Vector = record["vector"][0].astype(np.float32)
    return vector


def parts(db: Connection, space_id: int, dim: int) -> Iterator[tuple[Ids, Matrix]]:
    """Photo ids and unit rows of every sound record of a space, slabs at a time: (n,), (n, D).

    Ids and rows are views, good until the next ones. Those of photos that have no location
    any more are left out, and so is a record whose words do not add up or that belongs to
    another space: it is damage, named by `doctor`, and dropped by the next writer, so that
    its photo is read again. A thread reads and adds up the next ones while the caller puts
    these away: a fifth less time (docs/index.md). Meanwhile `db` is that thread's.
    """
    found = _parts(db, space_id, dim)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, found, None)
        while (part := coming.result()) is not None:
            coming = thread.submit(next, found, None)
            yield part


def _parts(db: Connection, space_id: int, dim: int) -> Iterator[tuple[Ids, Matrix]]:
    gone = np.fromiter(
        (row[0] for row in db.execute("SELECT id FROM photos WHERE orphaned_ns IS NOT NULL")),
        np.int64,
    )
    kind = record_type(dim)
    rows = db.execute(
        "SELECT data FROM slabs s JOIN slab_records r ON r.slab_id = s.id WHERE s.space_id = ?"
        " ORDER BY s.id",
        (space_id,),
    )
    size = SLOTS * kind.itemsize
    # Two in turn: memory that is asked for and given back each time costs as much as reading.
    buffers = itertools.cycle([np.empty(SLABS_AT_ONCE * size, np.uint8) for _ in range(2)])
    # A look at each slab by itself would take half as long as reading it.
    while len(data := _read(rows, size, next(buffers))):
        records = data.view(kind)
        sound = (_sums(records) == WORDS_SUM) & (records["space_id"] == space_id)
        ids = records["photo_id"]
        if len(gone):
            sound &= ~np.isin(ids, gone)
        if sound.all():
            yield ids, records["vector"]
        elif sound.any():
            yield ids[sound], records["vector"][sound]


def _read(rows: Iterator[tuple[bytes]], size: int, buffer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The next slabs, side by side in the buffer, as many as it has room for; those of another
    size are passed over."""
    end = 0
    while end < len(buffer) and (row := next(rows, None)) is not None:
        if len(row[0]) == size:
            buffer[end : end + size] = np.frombuffer(row[0], np.uint8)
            end += size
    return buffer[:end]


def load(db: Connection, space_id: int, dim: int) -> tuple[Ids, Matrix]:
    """Photo ids (N,) and unit rows (N, D) of every located photo, in id order."""
    found = [
        (np.array(ids, np.int64), np.array(rows, np.float32))  # the views go on to others
        for ids, rows in parts(db, space_id, dim)
    ]
    if not found:
        return np.empty(0, np.int64), np.empty((0, dim), np.float32)
    ids = np.concatenate([part[0] for part in found])
    order = np.argsort(ids)
    return ids[order], np.concatenate([part[1] for part in found])[order]


def is_unit(vector: Vector) -> bool:
    """The same of one vector (D,)."""
    return abs(float(vector.dot(vector)) - 1) <= 2 * MAX_NORM_ERROR


def are_unit(vectors: Matrix) -> NDArray[np.bool_]:
    """Which rows are unit vectors; infinities and NaN are not."""
    with np.errstate(over="ignore", invalid="ignore"):
        found: NDArray[np.bool_] = (
            np.abs(np.einsum("nd,nd->n", vectors, vectors) - 1) <= 2 * MAX_NORM_ERROR
        )
    return found


def unsound(db: Connection, space_id: int, dim: int) -> list[int]:
    """Photos of this space whose vector `parts` would leave out, though they have a row."""
    kind = record_type(dim)
    rows = db.execute(
        "SELECT e.photo_id, e.slot, r.data FROM embeddings e"
        " LEFT JOIN slab_records r ON r.slab_id = e.slot / ? WHERE e.space_id = ?"
        " ORDER BY e.photo_id",
        (SLOTS, space_id),
    )
    found: list[int] = []
    for photo_id, slot, data in rows:
        if data is None or len(data) != SLOTS * kind.itemsize:
            found.append(photo_id)
            continue
        record = np.frombuffer(data, kind, 1, slot % SLOTS * kind.itemsize)
        whole = _sums(record)[0] == WORDS_SUM and are_unit(record["vector"])[0]
        if not whole or (record["photo_id"][0], record["space_id"][0]) != (photo_id, space_id):
            found.append(photo_id)
    return found


def count(db: Connection, space_id: int) -> int:
    """Vectors of located photos in a space, sound or not."""
    row = db.execute(
        "SELECT count(*) FROM embeddings e WHERE space_id = ?"
        " AND photo_id NOT IN (SELECT id FROM photos WHERE orphaned_ns IS NOT NULL)",
        (space_id,),
    ).fetchone()
    return int(row[0])


def room(db: Connection, space_id: int) -> int:
    """For how many vectors the slabs of a space have room: no fewer than it holds. Told by a
    walk over the slabs, which takes a sixty-fourth of counting the vectors."""
    row = db.execute("SELECT count(*) FROM slabs WHERE space_id = ?", (space_id,)).fetchone()
    return int(row[0]) * SLOTS


def delete(db: Connection, space_id: int, photo_ids: Iterable[int]) -> None:
    assert db.in_transaction
    db.executemany(
        "DELETE FROM embeddings WHERE space_id = ? AND photo_id = ?",
        ((space_id, photo_id) for photo_id in photo_ids),
    )


def unembedded(db: Connection, root_id: int, space_id: int) -> list[tuple[bytes, Stamp]]:
    """One location of each photo in a root that has no embedding in this space yet."""
    rows = db.execute(
        "SELECT path, size_bytes, mtime_ns, device, inode FROM locations l"
        " WHERE root_id = ? AND photo_id IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM embeddings WHERE space_id = ? AND photo_id = l.photo_id)"
        " GROUP BY photo_id ORDER BY mtime_ns DESC",
        (root_id, space_id),
    )
    return [(path, Stamp(*stamp)) for path, *stamp in rows]


def unembedded_places(db: Connection, space_id: int) -> list[tuple[bytes, bytes]]:
    """Root and path of every located photo without an embedding in this space."""
    return db.execute(
        "SELECT r.path, l.path FROM locations l JOIN roots r ON r.id = l.root_id"
        " WHERE l.photo_id IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM embeddings WHERE space_id = ? AND photo_id = l.photo_id)"
        " ORDER BY r.id, l.path",
        (space_id,),
    ).fetchall()
