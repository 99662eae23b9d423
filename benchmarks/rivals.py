"""The same search by other programs, where they are installed: pip install usearch faiss-cpu
sqlite-vec. Each is a function of a query, given rows; row numbers from 0, best first."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from photosearch.types import Matrix, Vector

K = 10
M, EF_CONSTRUCTION = 16, 200  # of every graph, as ours
Search = Callable[[Vector], Any]


def numpy_exact(rows: Matrix) -> Search:
    def search(query: Vector) -> Any:
        scores = rows @ query
        top = np.argpartition(scores, -K)[-K:]
        return top[np.argsort(-scores[top])]

    return search


def faiss_flat(rows: Matrix) -> Search:
    import faiss

    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    return lambda query: flat.search(query[None], K)[1][0]


def usearch_exact(rows: Matrix) -> Search:
    from usearch.index import search

    return lambda query: search(rows, query, K, exact=True, threads=1).keys


def sqlite_vec(rows: Matrix) -> Search:
    import sqlite_vec

    db = sqlite3.connect(":memory:")
    db.enable_load_extension(True)
    sqlite_vec.load(db)
    db.execute(f"CREATE VIRTUAL TABLE v USING vec0(x float[{rows.shape[1]}])")
    db.executemany("INSERT INTO v(x) VALUES (?)", ((row.tobytes(),) for row in rows))
    ask = f"SELECT rowid - 1 FROM v WHERE x MATCH ? ORDER BY distance LIMIT {K}"
    return lambda query: [row[0] for row in db.execute(ask, (query.tobytes(),))]


def faiss_ivf(rows: Matrix) -> Iterator[tuple[str, Search]]:
    """As many lists as our cells; wider and wider."""
    import faiss

    faiss.omp_set_num_threads(1)
    lists = max(1, min(8192, len(rows) // 48))
    coarse = faiss.IndexFlatIP(rows.shape[1])
    found = faiss.IndexIVFFlat(coarse, rows.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    found.train(rows[:: max(1, len(rows) // (32 * lists))])
    found.add(rows)
    for probes in (32, 64, 128, 256):
        found.nprobe = probes
        yield f"faiss IVF {lists}, {probes} read", lambda query: found.search(query[None], K)[1][0]


def faiss_hnsw(rows: Matrix) -> Iterator[tuple[str, Search]]:
    import faiss

    faiss.omp_set_num_threads(1)
    graph = faiss.IndexHNSWFlat(rows.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = EF_CONSTRUCTION
    graph.add(rows)
    for ef in (160, 640, 1280):
        graph.hnsw.efSearch = ef
        yield f"faiss HNSW, ef {ef}", lambda query: graph.search(query[None], K)[1][0]


def usearch_hnsw(rows: Matrix) -> Iterator[tuple[str, Search]]:
    from usearch.index import Index

    graph = Index(
        ndim=rows.shape[1], metric="ip", connectivity=M, expansion_add=EF_CONSTRUCTION, dtype="f32"
    )
    graph.add(np.arange(len(rows)), rows, threads=1)
    for ef in (160, 640, 1280):
        graph.expansion_search = ef
        yield f"usearch HNSW, ef {ef}", lambda query: graph.search(query, K, threads=1).keys


EXACT: tuple[tuple[str, Callable[[Matrix], Search]], ...] = (
    ("numpy exact", numpy_exact),
    ("faiss flat", faiss_flat),
    ("usearch exact", usearch_exact),
    ("sqlite-vec", sqlite_vec),
)
NEAR: tuple[tuple[str, Callable[[Matrix], Iterator[tuple[str, Search]]]], ...] = (
    ("faiss IVF", faiss_ivf),
    ("faiss HNSW", faiss_hnsw),
    ("usearch HNSW", usearch_hnsw),
)
