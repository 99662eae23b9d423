"""The same search by other programs, where they are installed: pip install 'photosearch[rivals]'.

Each is made of rows and says what was found as row numbers from 0, best first. One thread, in
memory. sqlite-vec is loaded by apsw, which brings an SQLite that takes extensions, or by the
interpreter's sqlite3 where that does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from photosearch.types import Matrix, Vector

K = 10
M, EF_CONSTRUCTION = 16, 200  # of every graph, as ours


@dataclass(frozen=True)
class Rival:
    """How to ask it, how many bytes it would be kept in, and how it takes one more photo.

    `add` is None where there is nothing to add to: the rows are an array of the caller's.
    """

    name: str
    search: Callable[[Vector], Any]
    kept_bytes: Callable[[], int]
    add: Callable[[Vector], object] | None = None


def numpy_exact(rows: Matrix) -> Iterator[Rival]:
    def search(query: Vector) -> Any:
        scores = rows @ query
        top = np.argpartition(scores, -K)[-K:]
        return top[np.argsort(-scores[top])]

    yield Rival("numpy exact", search, lambda: rows.nbytes)


def usearch_exact(rows: Matrix) -> Iterator[Rival]:
    from usearch.index import search

    yield Rival(
        "usearch exact",
        lambda query: search(rows, query, K, exact=True, threads=1).keys,
        lambda: rows.nbytes,
    )


def of_faiss(name: str, index: Any) -> Rival:
    import faiss

    return Rival(
        name,
        lambda query: index.search(query[None], K)[1][0],
        lambda: int(faiss.serialize_index(index).nbytes),
        lambda row: index.add(row[None]),
    )


def faiss_flat(rows: Matrix) -> Iterator[Rival]:
    import faiss

    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    yield of_faiss("faiss flat", flat)


def extensible() -> Any:
    """A database in memory that loads extensions. ImportError where nothing here does."""
    try:
        import apsw

        db: Any = apsw.Connection(":memory:")
    except ImportError:
        db = sqlite3.connect(":memory:", isolation_level=None)
    if not hasattr(db, "enable_load_extension"):
        raise ImportError("no apsw, and this Python's sqlite3 loads no extensions")
    db.enable_load_extension(True)
    return db


def sqlite_vec(rows: Matrix) -> Iterator[Rival]:
    """Of unit vectors the nearest (L2, what vec0 measures by itself) are those of best score."""
    import sqlite_vec

    db = extensible()
    db.load_extension(sqlite_vec.loadable_path())
    db.execute(f"CREATE VIRTUAL TABLE v USING vec0(x float[{rows.shape[1]}])")
    insert = "INSERT INTO v(x) VALUES (?)"
    db.execute("BEGIN")
    db.executemany(insert, ((row.tobytes(),) for row in rows))
    db.execute("COMMIT")
    # `k = ?`, not LIMIT: SQLite tells a virtual table of a LIMIT only since 3.41.
    ask = f"SELECT rowid - 1 FROM v WHERE x MATCH ? AND k = {K} ORDER BY distance"
    size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    yield Rival(
        "sqlite-vec",
        lambda query: [row[0] for row in db.execute(ask, (query.tobytes(),))],
        lambda: int(next(iter(db.execute(size)))[0]),
        lambda row: db.execute(insert, (row.tobytes(),)),
    )


def faiss_ivf(rows: Matrix) -> Iterator[Rival]:
    """As many lists as our cells; wider and wider."""
    import faiss

    faiss.omp_set_num_threads(1)
    lists = max(1, min(8192, len(rows) // 48))
    coarse = faiss.IndexFlatIP(rows.shape[1])
    found = faiss.IndexIVFFlat(coarse, rows.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    found.train(rows[:: max(1, len(rows) // (32 * lists))])
    found.add(rows)
    for probes in (32, 64, 128, 256):
        if probes < 2 * lists:
            found.nprobe = min(probes, lists)
            yield of_faiss(f"faiss IVF {lists}, {found.nprobe} read", found)


def faiss_hnsw(rows: Matrix) -> Iterator[Rival]:
    import faiss

    faiss.omp_set_num_threads(1)
    graph = faiss.IndexHNSWFlat(rows.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = EF_CONSTRUCTION
    graph.add(rows)
    for ef in (160, 640, 1280):
        graph.hnsw.efSearch = ef
        yield of_faiss(f"faiss HNSW, ef {ef}", graph)


def usearch_hnsw(rows: Matrix) -> Iterator[Rival]:
    from usearch.index import Index

    graph: Any = Index(  # where its types are there, they call what is set below read-only
        ndim=rows.shape[1], metric="ip", connectivity=M, expansion_add=EF_CONSTRUCTION, dtype="f32"
    )
    graph.add(np.arange(len(rows)), rows, threads=1)
    for ef in (160, 640, 1280):
        graph.expansion_search = ef
        yield Rival(
            f"usearch HNSW, ef {ef}",
            lambda query: graph.search(query, K, threads=1).keys,
            lambda: int(graph.serialized_length),
            lambda row: graph.add(len(graph), row, threads=1),
        )


Maker = Callable[[Matrix], Iterator[Rival]]
EXACT: dict[str, Maker] = {
    "numpy exact": numpy_exact,
    "faiss flat": faiss_flat,
    "usearch exact": usearch_exact,
    "sqlite-vec": sqlite_vec,
}
NEAR: dict[str, Maker] = {
    "faiss IVF": faiss_ivf,
    "faiss HNSW": faiss_hnsw,
    "usearch HNSW": usearch_hnsw,
}
