"""Open a library's index, and refuse a damaged file by name."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from photosearch.errors import LibraryDamaged
from photosearch.index import cells
from photosearch.index.exact import MAX_ID, ExactIndex
from photosearch.index.neighbours import CELLS_FROM_BYTES, GRAPH_FROM_BYTES, Index
from photosearch.store import embeddings, graphs
from photosearch.store.connection import Connection

log = logging.getLogger(__name__)


def open_index(
    db: Connection,
    file: Path,
    space_id: int,
    dim: int,
    *,
    graph_from: int = GRAPH_FROM_BYTES,
    cells_from: int = CELLS_FROM_BYTES,
) -> Index:
    """Every located photo's vector, each put at once where its cell is."""
    kept = _kept_cells(db, space_id, dim)
    count = embeddings.room(db, space_id)
    if kept is None:
        exact = ExactIndex.reserve(
            dim, np.empty(0, np.int64), np.empty(0, np.int64), block_count=0, count=count
        )
    else:
        block_count = len(kept.cells.middles)
        exact = ExactIndex.reserve(
            dim, kept.ids, kept.where, kept.signs, block_count=block_count, count=count
        )
    for ids, rows in embeddings.parts(db, space_id, dim):
        if not 0 < int(ids.min()) <= int(ids.max()) <= MAX_ID:
            raise LibraryDamaged(file, f"photo id {ids.max()} is out of range")
        exact.fill(ids, rows)
    exact.settle()
    found = None if kept is None else kept.cells
    return Index.of(exact, found, graph_from_bytes=graph_from, cells_from_bytes=cells_from)


def _kept_cells(db: Connection, space_id: int, dim: int) -> cells.Kept | None:
    data = graphs.load_graph(db, space_id, cells.layout(dim))
    if data is None:
        return None
    try:
        return cells.from_bytes(data, dim)
    except cells.UnsoundCells as error:
        log.warning("cells.unsound reason=%s", error)
        return None


def require_sound(db: Connection, file: Path) -> None:
    """Refuse a damaged file by name.

    quick_check reads every page and every record's types; the second looks at what
    a wrong photo could come from, the index by which a photo's location is found.
    0.13 s together at 100,000 photos; `doctor` runs the full check.
    """
    for check in ("quick_check(1)", "integrity_check(locations)"):
        found = db.execute(f"PRAGMA {check}").fetchone()[0]
        if found != "ok":
            raise LibraryDamaged(file, str(found))
