"""Kill the writer at random moments and see that nothing committed is lost.

    python benchmarks/kill9.py --rounds 1000 [--seed N]

Each round forks a writer that adds, moves, rejects and deletes photos in batches, learns and
keeps cells and, in every other round, a graph (from the first photos on), empties the WAL,
deletes what was waiting out its grace and forgets roots, telling the parent before and after
every commit. The parent kills it (SIGKILL) after up to 200 ms of work, then opens the library
as the next start would and checks:

- integrity_check and foreign_key_check find nothing;
- every acknowledged change is there, nothing that was never asked for is, and of
  the change in hand either all or nothing;
- the index holds exactly the located photos, with the vectors they were given;
- the rows lie where their cells are, with the signs that the cells' middles give them;
- a search for a photo's own vector finds it, by cells and graph as by exact search; more than one
  in a thousand passed over is a failure.

What was lost or invented is counted, path by path, and the exit code is 1 unless it is nothing.

POSIX only: it forks, so that a round costs milliseconds, not the start of Python.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads do not survive a fork
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from photosearch.index import cells, hnsw, neighbours
from photosearch.library import Changes, Embedded, Library, writer
from photosearch.store import graphs
from photosearch.store.connection import problems
from photosearch.types import Stamp, Vector

DIM = 16
Model = dict[str, int | None]  # path -> the number of its content; None: rejected
Message = dict[str, Any]
MAX_PASSED_OVER = 0.001  # of the photos looked for by their own vectors


def vector(number: int) -> Vector:
    row = np.random.default_rng(number).standard_normal(DIM).astype(np.float32)
    return row / np.float32(np.linalg.norm(row))


def digest(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=32).digest()


def stamp(number: int) -> Stamp:
    return Stamp(number, number, 1, number)


def open_small(file: Path, *, graph: bool) -> Library:
    """A library that learns and keeps its cells, or builds its graph, from the first photos on."""
    writer.KEEP_AFTER = 8  # type: ignore[misc]
    graphs.CHUNK_BYTES = 4096  # type: ignore[misc]
    neighbours.TAKE_IN, neighbours.MAX_HOMELESS = 8, 16  # type: ignore[misc]
    cells.ROWS_A_CELL, cells.FIRST_ROWS = 4, 4  # type: ignore[misc]
    return Library(
        file,
        space="kill9",
        dim=DIM,
        bundle="kill9",
        graph_from=40 * DIM * 4 if graph else 1 << 60,
        cells_from=40 * DIM * 4,
    )


def apply(model: Model, change: Message) -> Model:
    """What the library must hold after a change."""
    after = dict(model)
    if change["op"] == "forget":
        return {}
    for path in change["forgotten"]:
        after.pop(path, None)
    for path, number in change["placed"]:
        after[path] = number
    for path in change["rejected"]:
        after[path] = None
    return after


def draw(model: Model, rnd: random.Random, counter: int) -> Message:
    """A random change that makes sense for what is there."""
    if model and rnd.random() < 0.01:
        return {"op": "forget"}
    placed: list[tuple[str, int]] = []
    forgotten = rnd.sample(sorted(model), min(len(model), rnd.choice((0, 0, 1, 5))))
    for offset in range(rnd.choice((0, 1, 4, 16))):
        placed.append((f"{counter + offset}.jpg", counter + offset))
    for path in forgotten[: rnd.choice((0, 2))]:
        if (number := model[path]) is not None:  # a move
            placed.append((f"moved-{counter}-{path}"[:60], number))
    rejected = [f"bad-{counter}.jpg"] if rnd.random() < 0.2 else []
    return {"op": "change", "placed": placed, "forgotten": forgotten, "rejected": rejected}


def commit(library: Library, change: Message) -> None:
    root = library.add_root("/photos")
    if change["op"] == "forget":
        library.forget_root(root.root_id, now_ns=time.time_ns())
        return
    todo = Changes(root.root_id, forgotten=[path.encode() for path in change["forgotten"]])
    for path, number in change["placed"]:
        photo_id = library.photo_with_hash(digest(number))
        place = (path.encode(), stamp(number))
        if photo_id is not None:
            todo.located.append((*place, photo_id))
        else:
            row = vector(number)
            todo.embedded.append(Embedded(digest(number), "JPEG", 1, 1, None, row, (place,)))
    todo.rejected = [(path.encode(), stamp(1), "bad") for path in change["rejected"]]
    library.commit(todo, now_ns=time.time_ns())


def write_until_killed(file: Path, model: Model, seed: int, counter: int, pipe: int) -> None:
    """The writer: says what it will do, does it, says that it did."""
    rnd = random.Random(seed)

    def say(message: Message) -> None:
        os.write(pipe, json.dumps(message).encode() + b"\n")

    library = open_small(file, graph=seed % 2 == 1)
    say({"op": "up"})
    while True:
        change = draw(model, rnd, counter)
        counter += 20
        say(change)
        commit(library, change)
        model = apply(model, change)
        say({"op": "done"})
        for _ in range(rnd.choice((0, 3))):
            library.tend_graph(threads=1)
        if rnd.random() < 0.2:
            library.rest()
        if rnd.random() < 0.2:
            library.purge_orphans(before_ns=time.time_ns())


def one_round(file: Path, model: Model, seed: int, counter: int) -> tuple[Model, Message | None]:
    """Fork a writer, kill it; returns what was acknowledged, and what was in hand."""
    pause = random.Random(seed).uniform(0.0, 0.2)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            write_until_killed(file, model, seed, counter, write)
        except BaseException:
            import traceback

            traceback.print_exc()
        os._exit(1)  # reached by an error alone
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        first = stream.readline()
        assert json.loads(first) == {"op": "up"}, "the writer did not come up"
        time.sleep(pause)
        os.kill(child, signal.SIGKILL)
        said = stream.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer failed by itself"
    in_hand: Message | None = None
    for line in said.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        message = json.loads(line)
        if message["op"] == "done":
            assert in_hand is not None
            model, in_hand = apply(model, in_hand), None
        else:
            in_hand = message
    return model, in_hand


def amiss(now: Model, allowed: Sequence[Model]) -> tuple[int, int]:
    """How many paths of what should be there are not, or hold something else; and how many of
    those that are there should not be so: by whichever of these models leaves the fewest."""
    nothing = object()

    def differ(one: Model, other: Model) -> int:
        return sum(other.get(path, nothing) != number for path, number in one.items())

    return min(((differ(model, now), differ(now, model)) for model in allowed), key=sum)


def held(library: Library) -> Model:
    """What the library says it holds."""
    found: Model = {}
    hashes = {row[0]: row[1] for row in library._db.execute("SELECT id, content_hash FROM photos")}
    for root in library.roots():
        for path, place in library.known_under(root.root_id, b"").items():
            number = None if place.photo_id is None else place.stamp.size_bytes
            if number is not None:
                assert place.photo_id is not None
                assert hashes[place.photo_id] == digest(number), "a path has another's photo"
            found[path.decode()] = number
    return found


def verify(
    file: Path, model: Model, in_hand: Message | None, tally: dict[str, int], *, graph: bool
) -> Model:
    """Open as the next start would; returns what is there, and counts what is not as promised."""
    library = open_small(file, graph=graph)
    try:
        assert not (found := problems(library._db)), found
        now = held(library)
        after = apply(model, in_hand) if in_hand is not None else model
        lost, invented = amiss(now, (model, after))
        tally["lost"] += lost
        tally["invented"] += invented
        tally["in_hand_kept"] += now != model
        library.index.exact.check()
        numbers = {number for number in now.values() if number is not None}
        by_id = {library.photo_with_hash(digest(number)): number for number in numbers}
        assert set(library.index.exact.ids().tolist()) == set(by_id), "index and library differ"
        if library.index.cells is not None:
            library.index.cells.check(library.index.exact)
            tally["cells_taken_up"] += 1
        if library.index.wants_graph:
            kept = library._db.execute("SELECT count(*) FROM graphs WHERE ready = 1").fetchone()[0]
            library.tend_graph(threads=1)
            tally["graphs_kept"] += kept
            tally["graphs_loaded"] += library.index.kind == "hnsw"
        else:
            for _ in range(20):
                if not library.tend_graph(threads=1):
                    break
        if library.index.cells is not None:
            library.index.cells.check(library.index.exact)
            tally["cells_made"] += library.index.cells_made
        for photo_id, number in list(by_id.items())[:40]:
            ids, scores = library.index.exact.search(vector(number), 1)
            assert ids.tolist() == [photo_id], "a photo is not its own nearest"
            assert abs(scores[0] - 1) < 1e-5
            # Cells and graph may pass one over, now and then; what they give is right.
            ids, scores = library.index.search(vector(number), 1)
            assert by_id.keys() >= set(ids.tolist()), "what was deleted is found"
            assert abs(scores[0] - vector(by_id[int(ids[0])]) @ vector(number)) < 1e-5
            tally["looked_for"] += 1
            tally["passed_over"] += ids.tolist() != [photo_id]
        tally["photos_checked"] += len(by_id)
        return now
    finally:
        library.close()


def run(rounds: int, seed: int, folder: Path) -> dict[str, Any]:
    file = folder / "library.db"
    tally = dict.fromkeys(
        (
            "lost",
            "invented",
            "in_hand_kept",
            "cells_taken_up",
            "cells_made",
            "graphs_kept",
            "graphs_loaded",
            "photos_checked",
            "looked_for",
            "passed_over",
        ),
        0,
    )
    tally["commits"] = 0
    model: Model = {}
    open_small(file, graph=False).close()
    if hnsw.available():
        hnsw.spare_words()  # imports hnswlib here, once, and not in every child
    began = time.monotonic()
    for number in range(rounds):
        counter = 1 + number * 1_000_000 // 10
        before = model
        model, in_hand = one_round(file, model, seed + number, counter)
        tally["commits"] += model != before
        amiss_before = tally["lost"] + tally["invented"]
        try:
            model = verify(file, model, in_hand, tally, graph=(seed + number) % 2 == 1)
        except BaseException:
            print(f"round {number} of seed {seed}: {folder} is kept", file=sys.stderr)
            raise
        if tally["lost"] + tally["invented"] > amiss_before:
            print(f"round {number} of seed {seed}: lost or invented", file=sys.stderr)
    return {"rounds": rounds, **tally, "seconds": round(time.monotonic() - began, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="photosearch-kill9-"))
    result = run(args.rounds, args.seed, folder)
    print(json.dumps(result))
    if failed := failures(result):
        print(f"{', '.join(failed)}: {folder} is kept", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


def failures(result: dict[str, Any]) -> list[str]:
    """Which of the counts are more than was promised."""
    failed = [name for name in ("lost", "invented") if result[name]]
    if result["passed_over"] > max(1, MAX_PASSED_OVER * result["looked_for"]):
        failed.append("passed_over")
    return failed


if __name__ == "__main__":
    sys.exit(main())
