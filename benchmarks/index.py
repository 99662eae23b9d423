"""What the index costs, beside yardsticks of the same run.

    OPENBLAS_NUM_THREADS=1 python benchmarks/index.py 10000 100000 [--dim 256] [--graph]

Data, after the measurements our design rests on (CLIP-like numbers; one seed, so every
run sees the same):

    photo = unit(sqrt(.5) m_i + sqrt(.5) unit(.35 topic + .30 event + .35 own)), the weights
            under square roots; spectrum of axis i falls as i^-.45 (own: i^-.30); 300 topics
            of Zipf popularity, N/50 events of lognormal size; 30 % repeat the photo before
            them but for a little noise (bursts)
    text  = unit(.27 m_i + .85 m_t + .35 unit(.6 semantic + .8 own)): off the photos' manifold,
            and two thirds of what tells it apart is shared with no photo
    image = an unseen photo of an event

Times are CPU milliseconds of this thread (median), which other work on the machine
disturbs least. Yardsticks: `pass`, one look at every vector (matrix.max()); `read`, the
library file read once; `insert`, one raw SQLite transaction of the same rows.
faiss, usearch and sqlite-vec are compared with where they can be imported.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two threads on a busy machine mostly wait
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from photosearch.index import hnsw
from photosearch.index.exact import best
from photosearch.index.neighbours import Index
from photosearch.library import Changes, Embedded, Library, LibraryReader
from photosearch.store import embeddings, photos, schema
from photosearch.store.connection import open_writer, transaction
from photosearch.types import Matrix, Stamp

QUERIES = 100


def unit(rows: Any) -> Any:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def make(count: int, dim: int, seed: int = 7) -> tuple[Matrix, Matrix, Matrix]:
    """Photos, text queries and image queries."""
    r = np.random.default_rng(seed)
    axis = np.arange(dim) + 1.0
    spectrum = unit(axis**-0.45).astype(np.float32)
    flat = unit(axis**-0.30).astype(np.float32)
    turn = np.linalg.qr(r.standard_normal((dim, dim)))[0].astype(np.float32)
    image_mean, text_mean = np.eye(dim, dtype=np.float32)[[dim // 3, dim // 2]]
    popularity = np.arange(1, 301) ** -0.9
    topics = r.standard_normal((300, dim)).astype(np.float32) * spectrum
    events = max(20, count // 50)
    topic_of = r.choice(300, events, p=popularity / popularity.sum())
    event = r.standard_normal((events, dim)).astype(np.float32) * spectrum
    size = r.lognormal(0, 1.0, events)

    def draw(which: Any) -> Any:
        own = r.standard_normal((len(which), dim)).astype(np.float32) * flat
        return (
            np.sqrt(0.35) * topics[topic_of[which]]
            + np.sqrt(0.30) * event[which]
            + np.sqrt(0.35) * own
        )

    def finish(raw: Any) -> Any:
        return unit((np.sqrt(0.5) * image_mean + np.sqrt(0.5) * unit(raw)) @ turn.T)

    rows = np.empty((count, dim), np.float32)
    event_of = np.empty(count, np.int64)
    for start in range(0, count, 50_000):
        part = min(50_000, count - start)
        which = r.choice(events, part, p=size / size.sum())
        raw = draw(which)
        burst = r.random(part) < 0.3
        burst[0] = False
        source = np.maximum.accumulate(np.where(burst, 0, np.arange(part)))
        noise = r.standard_normal((part, dim)).astype(np.float32) * flat * np.sqrt(0.02)
        raw = np.where(burst[:, None], raw[source] + noise, raw)
        rows[start : start + part] = finish(raw)
        event_of[start : start + part] = which[source]
    which = event_of[r.choice(count, QUERIES)]
    meaning = np.sqrt(0.5) * (topics[topic_of[which]] + event[which])
    meaning[:, dim // 4 :] = 0
    own = r.standard_normal((QUERIES, dim)).astype(np.float32) * flat
    told = unit(0.6 * unit(meaning) + 0.8 * unit(own))
    texts = unit((0.27 * image_mean + 0.85 * text_mean + 0.35 * told) @ turn.T)
    images = finish(draw(r.choice(events, QUERIES, p=size / size.sum())))
    return rows, texts.astype(np.float32), images.astype(np.float32)


def cpu_ms(work: Callable[[int], object], times: int = 30) -> float:
    """Median CPU milliseconds of work(0), work(1), ..."""
    work(0)
    spent = []
    for number in range(times):
        began = time.process_time()
        work(number)
        spent.append(time.process_time() - began)
    return float(np.median(spent)) * 1e3


def seconds(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it returned, its CPU seconds, its wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def say(**row: Any) -> None:
    short = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}
    print(json.dumps(short), flush=True)


def recall_at(index: Index, queries: Matrix, k: int) -> float:
    return index.recall(queries, k=k)


def queries_of(name: str, index: Index, texts: Matrix, images: Matrix, one_pass: float) -> None:
    ms = cpu_ms(lambda i: index.search(texts[i % QUERIES], 10))
    say(
        what="query", index=name, photos=len(index), cpu_ms=ms, passes=ms / one_pass,
        text_recall_10=recall_at(index, texts, 10), text_recall_50=recall_at(index, texts, 50),
        image_recall_10=recall_at(index, images, 10),
    )  # fmt: skip


def filters(index: Index, texts: Matrix, rows: Matrix, exact_ms: float) -> None:
    """Random sets of photos; against gathering those rows, and against their share of a pass."""
    r = np.random.default_rng(1)
    for share in (0.001, 0.01, 0.1, 0.5):
        some = np.sort(r.choice(len(rows), max(1, int(share * len(rows))), replace=False))
        ids = some.astype(np.int64) + 1
        ms = cpu_ms(lambda i, ids=ids: index.search(texts[i % QUERIES], 10, allowed=ids))
        naive = cpu_ms(lambda i, some=some: rows[some] @ texts[i % QUERIES])
        found = index.search(texts[0], 10, allowed=ids)[0]
        right = best(ids, rows[some] @ texts[0], 10)[0]
        say(
            what="filter", photos=len(rows), share=share, cpu_ms=ms, of_gathering=ms / naive,
            of_share_of_pass=ms / (exact_ms * share), right=found.tolist() == right.tolist(),
        )  # fmt: skip


def others(rows: Matrix, texts: Matrix, one_pass: float) -> None:
    """The same exact search by other programs, where they are installed."""

    def numpy_exact(i: int) -> object:
        scores = rows @ texts[i % QUERIES]
        top = np.argpartition(scores, -10)[-10:]
        return top[np.argsort(-scores[top])]

    def row(name: str, work: Callable[[int], object]) -> None:
        ms = cpu_ms(work)
        say(what="other", index=name, photos=len(rows), cpu_ms=ms, passes=ms / one_pass)

    row("numpy exact", numpy_exact)
    try:
        import faiss

        faiss.omp_set_num_threads(1)
        flat = faiss.IndexFlatIP(rows.shape[1])
        flat.add(rows)
        row("faiss flat", lambda i: flat.search(texts[i % QUERIES][None], 10))
    except ImportError:
        pass
    try:
        from usearch.index import search as usearch

        row("usearch exact", lambda i: usearch(rows, texts[i % QUERIES], 10, exact=True, threads=1))
    except ImportError:
        pass
    try:
        import sqlite_vec

        db = sqlite3.connect(":memory:")
        db.enable_load_extension(True)
        sqlite_vec.load(db)
        db.execute(f"CREATE VIRTUAL TABLE v USING vec0(x float[{rows.shape[1]}])")
        db.executemany("INSERT INTO v(x) VALUES (?)", ((r.tobytes(),) for r in rows))
        ask = "SELECT rowid FROM v WHERE x MATCH ? ORDER BY distance LIMIT 10"
        row("sqlite-vec", lambda i: db.execute(ask, (texts[i % QUERIES].tobytes(),)).fetchall())
    except (ImportError, AttributeError):
        pass


def fill(file: Path, rows: Matrix) -> None:
    db = open_writer(file)
    schema.migrate(db, file)
    with transaction(db):
        root = photos.add_root(db, "/photos")
        space = embeddings.add_space(db, "bench", rows.shape[1], "bench")
        numbers = range(1, len(rows) + 1)
        db.executemany(
            "INSERT INTO photos (id, content_hash, size_bytes, format, width_px, height_px)"
            " VALUES (?, ?, ?, 'JPEG', 4000, 3000)",
            ((n, n.to_bytes(32, "big"), n) for n in numbers),
        )
        db.executemany(
            "INSERT INTO locations (root_id, path, size_bytes, mtime_ns, device, inode, photo_id)"
            " VALUES (?, ?, ?, ?, 1, ?, ?)",
            ((root, b"2024/06/IMG_%07d.jpg" % n, n, n, n, n) for n in numbers),
        )
        embeddings.add(db, space, {n: rows[n - 1] for n in numbers})
    db.close()


def batch(root_id: int, numbers: range, rows: Matrix) -> Changes:
    changes = Changes(root_id)
    for n in numbers:
        place = (b"new/%07d.jpg" % n, Stamp(n, n, 1, n))
        changes.embedded.append(
            Embedded(n.to_bytes(32, "big"), "JPEG", 1, 1, None, rows[n % len(rows)], (place,))
        )
    return changes


def disk(rows: Matrix, texts: Matrix, folder: Path) -> None:
    """Size, start-up, and what a commit costs beside a raw insert."""
    count, dim = rows.shape
    file = folder / "library.db"
    fill(file, rows)
    _, read_cpu, read = seconds(file.read_bytes)
    say(what="disk", photos=count, bytes_per_photo=file.stat().st_size / count, read_s=read)

    def first_answer() -> None:
        reader = LibraryReader(file)
        reader.load_index("bench", dim).search(texts[0], 10)
        reader.close()

    _, cpu, wall = seconds(first_answer)
    say(what="start to first answer", photos=count, wall_s=wall, of_reading=cpu / read_cpu)
    tracemalloc.start()
    library = Library(file, space="bench", dim=dim, bundle="bench", graph_from=1 << 60)
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    say(
        what="memory", photos=count, mb=now / 1e6,
        of_vectors=now / rows.nbytes, peak_of_vectors=peak / rows.nbytes,
    )  # fmt: skip
    root_id = library.roots()[0].root_id
    raw = raw_insert_ms(folder, rows)
    for size in (1, 16):
        start = iter(range(10**6 + size * 10**5, 10**7, size))

        def add(_: int, start: Any = start, size: int = size) -> None:
            at = next(start)
            library.commit(batch(root_id, range(at, at + size), rows), now_ns=1)

        began = time.perf_counter()
        ms = cpu_ms(add)
        wall = (time.perf_counter() - began) / 31 * 1e3
        say(what="commit", photos=count, size=size, cpu_ms=ms, wall_ms=wall, inserts=ms / raw[size])
    gone = iter(range(1, count))

    def delete(_: int) -> None:
        path = b"2024/06/IMG_%07d.jpg" % next(gone)
        library.commit(Changes(root_id, forgotten=[path]), now_ns=1)

    say(what="delete", photos=count, cpu_ms=cpu_ms(delete))
    library.close()


def raw_insert_ms(folder: Path, rows: Matrix) -> dict[int, float]:
    """One transaction that inserts the same three rows a photo, and nothing else."""
    db = open_writer(folder / "raw.db")
    schema.migrate(db, folder / "raw.db")
    with transaction(db):
        root = photos.add_root(db, "/photos")
        space = embeddings.add_space(db, "bench", rows.shape[1], "bench")
    found = {}
    for size in (1, 16):
        start = iter(range(size * 10**5, 10**7, size))

        def insert(_: int, start: Any = start, size: int = size) -> None:
            at = next(start)
            with transaction(db):
                for n in range(at, at + size):
                    db.execute(
                        "INSERT INTO photos (id, content_hash, size_bytes, format, width_px,"
                        " height_px) VALUES (?, ?, 1, 'JPEG', 1, 1)",
                        (n, n.to_bytes(32, "big")),
                    )
                    db.execute(
                        "INSERT INTO embeddings VALUES (?, ?, ?)",
                        (n, space, rows[n % len(rows)].tobytes()),
                    )
                    db.execute(
                        "INSERT INTO locations (root_id, path, size_bytes, mtime_ns, device,"
                        " inode, photo_id) VALUES (?, ?, 1, 1, 1, 1, ?)",
                        (root, b"%d" % n, n),
                    )

        found[size] = cpu_ms(insert)
    db.close()
    return found


def graph(rows: Matrix, texts: Matrix, images: Matrix, one_pass: float) -> None:
    count = len(rows)
    index = Index(np.arange(1, count + 1), rows, graph_from_bytes=0)
    _, cpu, wall = seconds(lambda: index.build_graph(threads=os.cpu_count() or 1))
    say(what="graph build", photos=count, cpu_s=cpu, wall_s=wall, kind=index.kind)
    kept, cpu, _ = seconds(index.graph_bytes)
    say(what="graph keep", photos=count, cpu_s=cpu, bytes_per_photo=len(kept) / count)
    ids, vectors = index.exact.snapshot()
    fresh = Index(ids, vectors, graph_from_bytes=0)
    taken, cpu, _ = seconds(lambda: fresh.load_graph(kept))
    say(what="graph load with its checks", photos=count, cpu_s=cpu, taken=taken)
    queries_of(f"hnsw ef {hnsw.ef_search(count)}, ours", index, texts, images, one_pass)
    for ef in (160, 320, 640, 1280, 2560, 5120):
        hnsw.EF_SEARCH_MIN = hnsw.EF_SEARCH_MAX = ef  # type: ignore[misc]
        queries_of(f"hnsw ef {ef}", index, texts, images, one_pass)
    start = iter(range(count + 1, count + 10**6))
    say(what="index add", photos=count, cpu_ms=cpu_ms(lambda i: index.add(next(start), images[i])))
    gone = iter(range(1, count))
    say(what="index remove", photos=count, cpu_ms=cpu_ms(lambda i: index.remove(next(gone))))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=int, nargs="+")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--graph", action="store_true", help="also build the HNSW graph: slow")
    args = parser.parse_args()
    for count in args.photos:
        rows, texts, images = make(count, args.dim)
        one_pass = cpu_ms(lambda i, rows=rows: rows.max())
        say(what="yardstick", photos=count, dim=args.dim, pass_ms=one_pass)
        index = Index(np.arange(1, count + 1), rows)
        queries_of("exact", index, texts, images, one_pass)
        filters(index, texts, rows, cpu_ms(lambda i, rows=rows, texts=texts: rows @ texts[i]))
        others(rows, texts, one_pass)
        with tempfile.TemporaryDirectory() as folder:
            disk(rows, texts, Path(folder))
        del index
        if args.graph and hnsw.available():
            graph(rows, texts, images, one_pass)
    return 0


if __name__ == "__main__":
    sys.exit(main())
