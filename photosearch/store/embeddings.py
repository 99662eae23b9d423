"""Spaces, and what their encoders made of each photo. One named function per query.

Writers run inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from photosearch.store.connection import Connection
from photosearch.types import Ids, Matrix, Stamp, Vector

MAX_NORM_ERROR: Final = 1e-3  # a vector further from unit length was not written by us
FLOAT: Final = np.dtype("<f4")  # vectors on disk, whatever the machine


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
        " AND EXISTS (SELECT 1 FROM embeddings WHERE space_id = s.id) ORDER BY id",
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
        " WHERE EXISTS (SELECT 1 FROM embeddings WHERE space_id = s.id) ORDER BY id LIMIT 1"
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


def add(db: Connection, space_id: int, vectors: Mapping[int, Vector]) -> None:
    """Store unit vectors by photo id; a photo that has one in this space keeps it."""
    assert db.in_transaction
    db.executemany(
        "INSERT INTO embeddings (photo_id, space_id, vector) VALUES (?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (
            (photo_id, space_id, vector.astype(FLOAT).tobytes())
            for photo_id, vector in vectors.items()
        ),
    )


def exists(db: Connection, photo_id: int, space_id: int) -> bool:
    row = db.execute(
        "SELECT EXISTS (SELECT 1 FROM embeddings WHERE photo_id = ? AND space_id = ?)",
        (photo_id, space_id),
    ).fetchone()
    return bool(row[0])


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


def of_photo(db: Connection, photo_id: int, space_id: int) -> Vector | None:
    row = db.execute(
        "SELECT vector FROM embeddings WHERE photo_id = ? AND space_id = ?", (photo_id, space_id)
    ).fetchone()
    return np.frombuffer(row[0], FLOAT).astype(np.float32) if row else None


def load(db: Connection, space_id: int, dim: int) -> tuple[Ids, Matrix]:
    """Photo ids (N,) and unit rows (N, D) of every located photo, in id order.

    A vector that is not a unit vector of the space's length is damage: it would
    rank first or spoil every comparison. It is left out here, named by `doctor`,
    and dropped by the next writer, so that its photo is read again.
    """
    rows = db.execute(
        "SELECT e.photo_id, e.vector FROM embeddings e WHERE e.space_id = ?"
        " AND length(e.vector) = ?"
        " AND EXISTS (SELECT 1 FROM locations WHERE photo_id = e.photo_id) ORDER BY e.photo_id",
        (space_id, dim * FLOAT.itemsize),
    )
    ids: list[int] = []
    flat = bytearray()
    for photo_id, vector in rows:
        ids.append(photo_id)
        flat += vector
    vectors = np.frombuffer(flat, FLOAT).reshape(len(ids), dim).astype(np.float32, copy=False)
    sound = are_unit(vectors)
    found = np.asarray(ids, np.int64)
    return (found, vectors) if sound.all() else (found[sound], vectors[sound])


def are_unit(vectors: Matrix) -> NDArray[np.bool_]:
    """Which rows are unit vectors; infinities and NaN are not."""
    with np.errstate(over="ignore", invalid="ignore"):
        found: NDArray[np.bool_] = (
            np.abs(np.einsum("nd,nd->n", vectors, vectors) - 1) <= 2 * MAX_NORM_ERROR
        )
    return found


def unsound(db: Connection, space_id: int, dim: int) -> list[int]:
    """Photos of this space whose vector `embeddings` leaves out."""
    rows = db.execute(
        "SELECT photo_id, vector FROM embeddings WHERE space_id = ? ORDER BY photo_id", (space_id,)
    )
    found: list[int] = []
    for photo_id, vector in rows:
        right = len(vector) == dim * FLOAT.itemsize
        if not right or not are_unit(np.frombuffer(vector, FLOAT)[None, :])[0]:
            found.append(photo_id)
    return found


def count(db: Connection, space_id: int) -> int:
    """Vectors of located photos in a space, sound or not."""
    row = db.execute(
        "SELECT count(*) FROM embeddings e WHERE space_id = ?"
        " AND EXISTS (SELECT 1 FROM locations WHERE photo_id = e.photo_id)",
        (space_id,),
    ).fetchone()
    return int(row[0])


def delete(db: Connection, space_id: int, photo_ids: Iterable[int]) -> None:
    assert db.in_transaction
    db.executemany(
        "DELETE FROM embeddings WHERE space_id = ? AND photo_id = ?",
        ((space_id, photo_id) for photo_id in photo_ids),
    )


def unembedded_places(db: Connection, space_id: int) -> list[tuple[bytes, bytes]]:
    """Root and path of every located photo without an embedding in this space."""
    return db.execute(
        "SELECT r.path, l.path FROM locations l JOIN roots r ON r.id = l.root_id"
        " WHERE l.photo_id IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM embeddings WHERE space_id = ? AND photo_id = l.photo_id)"
        " ORDER BY r.id, l.path",
        (space_id,),
    ).fetchall()
