"""Made-up photos in clumps, and an index that has them in cells."""

from __future__ import annotations

import numpy as np

from photosearch.index.cells import Cells
from photosearch.index.neighbours import Index
from photosearch.types import Matrix

DIM = 16


def clustered(count: int, *, dim: int = DIM, seed: int = 0) -> Matrix:
    """Unit rows in a hundred clumps."""
    rnd = np.random.default_rng(seed)
    middles = rnd.standard_normal((100, dim))
    rows = middles[rnd.integers(0, 100, count)] + 0.4 * rnd.standard_normal((count, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def in_cells(count: int, *, dim: int = DIM, seed: int = 0) -> Index:
    rows = clustered(count, dim=dim, seed=seed)
    index = Index(np.arange(1, count + 1), rows, cells_from_bytes=0)
    index.learn_cells()
    assert index.kind == "cells"
    return index


def rest(index: Index) -> None:
    """Tend it until it needs nothing more, which must come."""
    for _ in range(100):
        if not index.tend(threads=1):
            return
    raise AssertionError("it finds no rest")


def require(index: Index) -> Cells:
    assert index.cells is not None
    return index.cells
