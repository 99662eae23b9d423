"""What the index and the store cost, beside yardsticks of the same run.

    OPENBLAS_NUM_THREADS=1 python benchmarks/index.py 10000 100000 1000000 \
        [--parts query filter disk churn graph rivals graphs] [--dim 256]

Without --parts: query, filter and disk. `churn` replaces every photo ten times over; `graph`
builds our HNSW graph, `rivals` compares with other exact searches (numpy, faiss, usearch,
sqlite-vec), and `graphs` with other indexes, slow from 100,000 photos on: each where it can be
imported (benchmarks/rivals.py; `pip install 'photosearch[rivals]'` brings all), at any size.
The vectors are those of benchmarks/vectors.py. One JSON object a line.

Times are CPU milliseconds of this process. What is compared takes turns, a batch each, and
counts with the median of its batches, so that other work on the machine is shared alike.
Yardsticks: `pass`, the scores of all photos, `rows @ query` (and `row_by_row`, `np.vecdot`, which
is quicker where no cache holds the rows, and what our exact search does); for a filter `gather`,
the same of the photos that match and the ten best of them, as numpy does it, and `strip`, one pass
over as many rows side by side; `read`, the library's file read once; `insert`, one transaction
that inserts the same bytes as one row of one table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import sqlite3
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two threads on a busy machine mostly wait
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.rivals import EXACT, NEAR, Maker, Rival
from benchmarks.vectors import make
from photosearch.index import hnsw
from photosearch.index.neighbours import Index
from photosearch.library import Changes, Embedded, Library, LibraryReader
from photosearch.store import embeddings, photos, schema
from photosearch.store.connection import PAGE_BYTES, open_writer, transaction
from photosearch.types import Facts, Ids, Matrix, Stamp, Vector

QUERIES = 200
K = 10
SHARES = (0.001, 0.01, 0.1, 0.5)
BATCH_MS = 40.0
BATCHES = 9
COMMIT_BATCHES = 25  # a log is copied into its file once in a hundred commits
PARTS = ("query", "filter", "disk", "churn", "graph", "rivals", "graphs")
GRAPH_M = 16  # of the formula that memory is held against
Work = Callable[[int], object]


def in_turns(batches: int = BATCHES, **works: Work) -> dict[str, float]:
    """CPU ms of one call of each: work(0), work(1), ... in batches that take turns."""
    calls = {}
    for name, work in works.items():
        work(0)
        began = time.process_time()
        work(1)
        calls[name] = max(1, int(BATCH_MS / 1e3 / max(1e-6, time.process_time() - began)))
    spent: dict[str, list[float]] = {name: [] for name in works}
    at = dict.fromkeys(works, 2)
    for _ in range(batches):
        for name, work in works.items():
            began = time.process_time()
            for number in range(at[name], at[name] + calls[name]):
                work(number)
            spent[name].append((time.process_time() - began) / calls[name] * 1e3)
            at[name] += calls[name]
    return {name: float(np.median(times)) for name, times in spent.items()}


def seconds(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it returned, its CPU seconds, its wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def say(**row: Any) -> None:
    short = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}
    print(json.dumps(short), flush=True)


def in_cells(rows: Matrix) -> Index:
    """The index as a library of these photos has it."""
    index = Index(np.arange(1, len(rows) + 1), rows)
    _, cpu, _ = seconds(lambda: settled(index))
    cells = index.cells
    say(
        what="layout", photos=len(rows), kind=index.kind, cpu_s=cpu,
        cells=0 if cells is None else len(cells.middles), reach=cells.reach if cells else 0,
    )  # fmt: skip
    return index


def settled(index: Index) -> None:
    while index.tend(threads=1):
        pass


def queries_of(name: str, index: Index, rows: Matrix, texts: Matrix, images: Matrix) -> None:
    ms = in_turns(
        one_pass=lambda i: rows @ texts[i % len(texts)],
        row_by_row=lambda i: np.vecdot(rows, texts[i % len(texts)]),
        text=lambda i: index.search(texts[i % len(texts)], K),
        text_50=lambda i: index.search(texts[i % len(texts)], 50),
        image=lambda i: index.search(images[i % len(images)], K),
    )
    one_pass = ms.pop("one_pass")
    say(
        what="query", index=name, photos=len(index), pass_ms=one_pass,
        text_ms=ms["text"], **{f"{kind}_passes": each / one_pass for kind, each in ms.items()},
        text_recall_10=index.recall(texts, k=10), text_recall_50=index.recall(texts, k=50),
        image_recall_10=index.recall(images, k=10),
    )  # fmt: skip


def filters(index: Index, texts: Matrix) -> None:
    """Random sets of photos. Rows are gathered from the index's own matrix."""
    r = np.random.default_rng(1)
    held, rows = index.exact.snapshot()
    for share in SHARES:
        some = np.sort(r.choice(len(rows), max(1, int(share * len(rows))), replace=False))
        filter_of(share, some, index, held, rows, texts)


def filter_of(
    share: float, some: Ids, index: Index, held: Ids, rows: Matrix, texts: Matrix
) -> None:
    ids, count = np.sort(held[some]), len(some)

    def gather(i: int) -> object:
        scores = rows[some] @ texts[i % len(texts)]
        top = np.argpartition(scores, -K)[-K:]
        return top[np.argsort(-scores[top])]

    ms = in_turns(
        ours=lambda i: index.search(texts[i % len(texts)], K, allowed=ids),
        gather=gather,
        strip=lambda i: rows[:count] @ texts[i % len(texts)],
    )
    found = wanted = 0
    for text in texts[:50]:
        least = np.sort(rows[some] @ text)[-K:][0]
        found += int((index.search(text, K, allowed=ids)[1] >= least - 1e-6).sum())
        wanted += min(K, len(some))
    say(
        what="filter", photos=len(rows), share=share, cpu_ms=ms["ours"],
        of_gathering=ms["ours"] / ms["gather"], of_a_strip=ms["ours"] / ms["strip"],
        recall=found / wanted,
    )  # fmt: skip


def changes_of(index: Index, rows: Matrix) -> None:
    """Adding to and removing from the index in memory; leaves it as it was."""
    fresh = iter(range(2 * len(rows), 10**8))
    gone = iter(range(2 * len(rows), 10**8))
    ms = in_turns(
        one_pass=lambda i: rows @ rows[i],
        add=lambda i: index.add(next(fresh), rows[i % len(rows)]),
    )
    add = ms["add"]
    last = next(fresh)
    removed = []
    for _ in range(last - 2 * len(rows)):
        began = time.process_time()
        index.remove(next(gone))
        removed.append(time.process_time() - began)
    say(
        what="index change", photos=len(rows), add_ms=add,
        remove_ms=float(np.median(removed)) * 1e3, add_passes=add / ms["one_pass"],
    )  # fmt: skip


def churn(index: Index, rows: Matrix, texts: Matrix, images: Matrix, dim: int) -> None:
    """Replace every photo ten times, by others of the same kind, and tend as a daemon would."""
    count = len(rows)
    start = 0
    began = time.process_time()
    for turn in range(10):
        fresh = make(count, dim, queries=1, seed=100 + turn)[0] if turn < 9 else rows
        spent = time.process_time()
        for number in range(count):
            index.remove(start + number + 1)
            index.add(start + count + number + 1, fresh[number])
            if number % 1000 == 999:
                index.tend(threads=1)
        start += count
        settled(index)
        say(
            what="churn",
            turn=turn + 1,
            cpu_s=time.process_time() - spent,
            tail=index.exact.tail_count,
        )
    say(what="churned", photos=len(index), cpu_s=time.process_time() - began)
    index.exact.check()
    queries_of("after 10x churn", index, index.exact.snapshot()[1], texts, images)


def others(makers: dict[str, Maker], rows: Matrix, texts: Matrix, images: Matrix) -> None:
    """The same by other programs, where they are installed; what is missing says why."""
    floors = floors_of(rows, texts), floors_of(rows, images)

    def asking(rival: Rival) -> float:
        """Says what a query costs and finds. CPU ms of a pass, meanwhile."""
        ms = in_turns(
            one_pass=lambda i: rows @ texts[i % len(texts)],
            text=lambda i: rival.search(texts[i % len(texts)]),
        )
        say(
            what="other", index=rival.name, photos=len(rows), text_ms=ms["text"],
            text_passes=ms["text"] / ms["one_pass"],
            text_recall_10=found_of(rows, texts, floors[0], rival),
            image_recall_10=found_of(rows, images, floors[1], rival),
        )  # fmt: skip
        return ms["one_pass"]

    for name, make_rival in makers.items():
        began, building = time.process_time(), 0.0
        try:
            for rival in make_rival(rows):
                building = building or time.process_time() - began  # the others are but wider
                one_pass = asking(rival)
        except ImportError as error:
            say(what="other", index=name, missing=str(error))
        else:
            keeping(name, rival, rows, images, building, one_pass)


def keeping(
    name: str, rival: Rival, rows: Matrix, images: Matrix, building: float, one_pass: float
) -> None:
    """What it takes to make and to keep, and what one more photo costs: unseen ones, by itself
    each. Comes last, because those stay in it."""
    kept = rival.kept_bytes() / len(rows)
    added = {}
    if rival.add:
        spent = [seconds(partial(rival.add, image))[1] * 1e3 for image in images]
        add = float(np.median(spent))
        added = {"add_ms": add, "add_passes": add / one_pass}
    say(
        what="other, kept", index=name, photos=len(rows), build_cpu_s=building,
        bytes_per_photo=kept, **added,
    )  # fmt: skip


def floors_of(rows: Matrix, queries: Matrix) -> Vector:
    """The K-th best score of each query, by one pass each."""
    blocks = (queries[at : at + 20] @ rows.T for at in range(0, len(queries), 20))
    return np.concatenate([np.partition(scores, -K, axis=1)[:, -K] for scores in blocks])


def found_of(rows: Matrix, queries: Matrix, floors: Vector, rival: Rival) -> float:
    found = 0
    for query, floor in zip(queries, floors, strict=True):
        near = np.unique(np.asarray(rival.search(query), np.int64))
        found += int((rows[near[near >= 0]] @ query >= floor - 1e-6).sum())
    return found / (K * len(queries))


# --- the store --------------------------------------------------------------------------------


def fill(file: Path, rows: Matrix) -> None:
    """A library of these photos, with its cells where it has some."""
    db = open_writer(file)
    schema.migrate(db, file)
    with transaction(db):
        root = photos.add_root(db, "/photos")
        space = embeddings.add_space(db, "bench", rows.shape[1], "bench")
        numbers = range(1, len(rows) + 1)
        db.executemany(
            "INSERT INTO photos (id, content_hash, size_bytes, format, width_px, height_px)"
            " VALUES (?, ?, ?, 'JPEG', 4000, 3000)",
            ((n, digest(n), n) for n in numbers),
        )
        db.executemany(
            "INSERT INTO locations (root_id, path, size_bytes, mtime_ns, device, inode, photo_id)"
            " VALUES (?, ?, ?, ?, 1, ?, ?)",
            ((root, b"2024/06/IMG_%07d.jpg" % n, n, n, n, n) for n in numbers),
        )
        embeddings.add(db, space, {n: rows[n - 1] for n in numbers})
    db.close()
    library = Library(file, space="bench", dim=rows.shape[1], bundle="bench")
    while library.tend_graph(threads=1):
        pass
    library.rest()
    library.close()


def digest(n: int) -> bytes:
    """As a content hash lies: anywhere."""
    return hashlib.blake2b(n.to_bytes(8, "big"), digest_size=32).digest()


def told(n: int) -> Facts:
    """What most photos of a camera say."""
    taken = f"{2000 + n % 25}-{1 + n % 12:02}-{1 + n % 28:02}T{n % 24:02}:{n % 60:02}:{n % 59:02}"
    return Facts(
        taken=taken, taken_from="camera", camera="Canon EOS 80D", lens="EF-S18-135mm", iso=200,
        exposure_s=0.005, aperture=5.6, focal_mm=35.0, dhash=int.from_bytes(digest(n)[:7], "big"),
    )  # fmt: skip


def batch(root_id: int, numbers: range, rows: Matrix, *, facts: bool = False) -> Changes:
    changes = Changes(root_id)
    for n in numbers:
        place = (b"new/%07d.jpg" % n, Stamp(n, n, 1, n))
        said = told(n) if facts else None
        taken = said.taken if said else None
        vector = rows[n % len(rows)]
        changes.embedded.append(
            Embedded(digest(n), "JPEG", 1, 1, taken, vector, (place,), None, said)
        )
    return changes


def disk(rows: Matrix, texts: Matrix, folder: Path) -> None:
    """Size, start-up, memory, and what a commit costs beside a raw insert."""
    count, dim = rows.shape
    file = folder / "library.db"
    fill(file, rows)
    say(what="disk", photos=count, bytes_per_photo=file.stat().st_size / count)
    start_up(file, texts, count)
    tracemalloc.start()
    library = Library(file, space="bench", dim=dim, bundle="bench")
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    bound = count * (4 * dim + 8 * GRAPH_M + 12)
    say(
        what="memory", photos=count, mb=now / 1e6, bytes_per_photo=now / count,
        of_bound=now / bound, peak_of_bound=peak / bound,
    )  # fmt: skip
    commits(library, rows, folder)
    library.close()


def start_up(file: Path, texts: Matrix, count: int) -> None:
    def first_answer(i: int) -> None:
        reader = LibraryReader(file)
        reader.load_index("bench", texts.shape[1]).search(texts[i % len(texts)], K)
        reader.close()

    ms = in_turns(read=lambda _: file.read_bytes(), start=first_answer)
    walls = [(seconds(lambda: first_answer(0))[2], seconds(file.read_bytes)[2]) for _ in range(9)]
    ours, reading = (float(np.median(each)) * 1e3 for each in zip(*walls, strict=True))
    say(
        what="start to first answer", photos=count, cpu_ms=ms["start"], read_cpu_ms=ms["read"],
        wall_ms=ours, of_reading_cpu=ms["start"] / ms["read"], of_reading_wall=ours / reading,
    )  # fmt: skip


def commits(library: Library, rows: Matrix, folder: Path) -> None:
    root_id = library.roots()[0].root_id
    for turn, (size, facts) in enumerate(((1, False), (1, True), (16, False))):
        numbers = iter(range(10**7 * (turn + 1), 10**9, size))

        def add(_: int, numbers: Any = numbers, size: int = size, facts: bool = facts) -> None:
            at = next(numbers)
            changes = batch(root_id, range(at, at + size), rows, facts=facts)
            library.commit(changes, now_ns=1)

        insert = raw_insert(folder / f"raw{turn}.db", rows, size, facts=facts)
        ms = in_turns(batches=COMMIT_BATCHES, ours=add, insert=insert)
        walls: list[list[float]] = [[], []]
        for number in range(60):
            for wall, work in zip(walls, (add, insert), strict=True):
                wall.append(seconds(partial(work, number))[2])
        ours, raw = (float(np.median(wall)) * 1e3 for wall in walls)
        say(
            what="commit", photos=len(rows), size=size, facts=facts, cpu_ms=ms["ours"],
            insert_cpu_ms=ms["insert"], wall_ms=ours, inserts=ms["ours"] / ms["insert"],
            inserts_wall=ours / raw, pages=pages_of(library, add),
        )  # fmt: skip
    gone = iter(range(1, len(rows)))

    def delete(_: int) -> None:
        path = b"2024/06/IMG_%07d.jpg" % next(gone)
        library.commit(Changes(root_id, forgotten=[path]), now_ns=1)

    say(what="delete", photos=len(rows), cpu_ms=in_turns(delete=delete)["delete"])


def pages_of(library: Library, work: Work) -> float:
    """Pages that a commit writes to the log, by how far the log grows; it begins anew at 1,000."""
    log = Path(f"{library.file}-wal")
    library.rest()
    for number in range(20):
        work(number)
    return log.stat().st_size / (PAGE_BYTES + 24) / 20


def raw_insert(file: Path, rows: Matrix, size: int, *, facts: bool) -> Work:
    """One transaction, one table without an index, the same bytes a photo, the same pragmas."""
    db = open_writer(file)
    columns = "hash, path, size, mtime, device, inode, format, vector"
    if facts:
        columns += ", taken, taken_from, camera, lens, iso, exposure_s, aperture, focal_mm, dhash"
    db.execute(f"CREATE TABLE raw (id INTEGER PRIMARY KEY, {columns})")
    marks = ", ".join("?" * len(columns.split(",")))
    numbers = iter(range(10**9))

    def row(n: int) -> tuple[object, ...]:
        path, vector = b"new/%07d.jpg" % n, rows[n % len(rows)].tobytes()
        plain = (digest(n), path, n, n, 1, n, "JPEG", vector)
        if not facts:
            return plain
        said = told(n)
        return (*plain, said.taken, said.taken_from, said.camera, said.lens, said.iso,
                said.exposure_s, said.aperture, said.focal_mm, said.dhash)  # fmt: skip

    def insert(_: int) -> None:
        with transaction(db):
            db.executemany(
                f"INSERT INTO raw ({columns}) VALUES ({marks})",
                [row(next(numbers)) for _ in range(size)],
            )

    return insert


def graph(rows: Matrix, texts: Matrix, images: Matrix) -> None:
    """Our HNSW graph: what it costs to build, to keep and to ask."""
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
    queries_of(f"hnsw ef {hnsw.ef_search(count)}, ours", index, rows, texts, images)
    for ef in (160, 320, 640, 1280):
        hnsw.EF_SEARCH_MIN = hnsw.EF_SEARCH_MAX = ef  # type: ignore[misc]
        queries_of(f"hnsw ef {ef}", index, rows, texts, images)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=int, nargs="+")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:3])
    args = parser.parse_args()
    say(what="machine", python=sys.version.split()[0], numpy=np.__version__, cpus=os.cpu_count(),
        sqlite=sqlite3.sqlite_version)  # fmt: skip
    for count in args.photos:
        run(set(args.parts), count, args.dim)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    say(what="benchmark's own peak memory", mb=peak / 1e3)
    return 0


def run(parts: set[str], count: int, dim: int) -> None:
    rows, texts, images = make(count, dim, queries=QUERIES)
    if parts & {"query", "filter", "churn"}:
        index = in_cells(rows)
        queries_of("as built", index, rows, texts, images)
        if "query" in parts:
            changes_of(index, rows)
        if "filter" in parts:
            filters(index, texts)
        if "churn" in parts:
            churn(index, rows, texts, images, dim)
        del index
    if "rivals" in parts:
        others(EXACT, rows, texts, images)
    if "graphs" in parts:
        others(NEAR, rows, texts, images)
    if "graph" in parts and hnsw.available():
        graph(rows, texts, images)
    if "disk" in parts:
        with tempfile.TemporaryDirectory() as folder:
            disk(rows, texts, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
