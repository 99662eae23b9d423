"""Keep what is derived of a space's vectors, its cells or its HNSW graph, as checked chunks.

Layouts begin with a word for the kind ("cells-1 d256"); a space keeps one of each kind.
Anything doubtful reads as "none".
"""

from __future__ import annotations

import zlib
from typing import Final

from photosearch.store.connection import Connection, transaction

CHUNK_BYTES: Final = 1 << 20  # one small transaction each: searches and commits go on between


def save_graph(db: Connection, space_id: int, layout: str, graph: bytes) -> None:
    """Write chunk by chunk, then let one row flip make it the graph, then drop the old one."""
    same_kind = layout.split("-")[0]
    with transaction(db):
        db.execute(
            "DELETE FROM graphs WHERE space_id = ? AND ready = 0 AND substr(layout, 1, ?) = ?",
            (space_id, len(same_kind), same_kind),
        )
        cursor = db.execute(
            "INSERT INTO graphs (space_id, ready, layout, size_bytes, crc32)"
            " VALUES (?, 0, ?, ?, ?)",
            (space_id, layout, len(graph), _sum(graph)),
        )
        graph_id = cursor.lastrowid
    for part, start in enumerate(range(0, len(graph), CHUNK_BYTES)):
        with transaction(db):
            db.execute(
                "INSERT INTO graph_chunks (graph_id, part, data) VALUES (?, ?, ?)",
                (graph_id, part, graph[start : start + CHUNK_BYTES]),
            )
    with transaction(db):
        db.execute("UPDATE graphs SET ready = 1 WHERE id = ?", (graph_id,))
        db.execute(
            "DELETE FROM graphs WHERE space_id = ? AND id != ? AND substr(layout, 1, ?) = ?",
            (space_id, graph_id, len(same_kind), same_kind),
        )


def load_graph(db: Connection, space_id: int, layout: str) -> bytes | None:
    """The newest finished graph, or None where there is none, it is damaged, or its layout
    is not the one we read."""
    row = db.execute(
        "SELECT id, size_bytes, crc32 FROM graphs WHERE space_id = ? AND ready = 1"
        " AND layout = ? ORDER BY id DESC LIMIT 1",
        (space_id, layout),
    ).fetchone()
    if row is None:
        return None
    graph_id, size_bytes, crc32 = row
    rows = db.execute("SELECT data FROM graph_chunks WHERE graph_id = ? ORDER BY part", (graph_id,))
    graph = b"".join(row[0] for row in rows)
    if len(graph) != size_bytes or _sum(graph) != crc32:
        return None
    return graph


def drop_graphs(db: Connection, space_id: int) -> None:
    assert db.in_transaction
    db.execute("DELETE FROM graphs WHERE space_id = ?", (space_id,))


def _sum(graph: bytes) -> bytes:
    """CRC-32, big-endian. Against accidents: who can write here can write the vectors too."""
    return zlib.crc32(graph).to_bytes(4)
