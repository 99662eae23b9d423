"""A small library of made-up photos, each known by its number, and what it must hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from photosearch.index.hnsw import available
from photosearch.library import Changes, Embedded, Library
from photosearch.types import Stamp, Vector

DIM = 64
SPACE = "faults"
needs_hnswlib = pytest.mark.skipif(not available(), reason="no build of hnswlib is installed")


def vector(number: int) -> Vector:
    row = np.random.default_rng(number).standard_normal(DIM).astype(np.float32)
    return row / np.float32(np.linalg.norm(row))


def name(number: int) -> bytes:
    return b"%d.jpg" % number


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def open_library(file: Path, *, graph_from: int = 1 << 40) -> Library:
    return Library(file, space=SPACE, dim=DIM, bundle="b", graph_from=graph_from)


def batch(library: Library, numbers: range) -> Changes:
    root = library.add_root("/photos")
    changes = Changes(root.root_id)
    for number in numbers:
        place = (name(number), Stamp(number, number, 1, number))
        changes.embedded.append(
            Embedded(digest(number), "JPEG", 1, 1, None, vector(number), (place,))
        )
    return changes


def contents(library: Library) -> set[int]:
    """Numbers of the photos in the library; the index must agree, vector for vector."""
    rows = library._db.execute(
        "SELECT p.id, p.content_hash, l.path FROM photos p JOIN locations l ON l.photo_id = p.id"
    ).fetchall()
    numbers = {photo_id: int.from_bytes(content, "big") for photo_id, content, _ in rows}
    assert all(path == name(numbers[photo_id]) for photo_id, _, path in rows)
    library.index.exact.check()
    assert set(library.index.exact.ids().tolist()) == set(numbers)
    for photo_id, number in numbers.items():
        np.testing.assert_array_equal(library.index.exact.vector(photo_id), vector(number))
    return set(numbers.values())
