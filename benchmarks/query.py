"""Where a search's time goes: each stage of a whole query, beside one pass over all vectors.

    python -m benchmarks.query [--photos 100000] [--queries 60] [--home DIR] [--json]

Makes a library of that many photos that exist nowhere (benchmarks/search_bar.py), lays it
out in cells, and asks queries of new words, so that no text's vector is remembered. Every
stage is timed by the process's own CPU time, in turn with the yardstick: one product of all
vectors with the query, by one thread. On a shared machine the ratios hold where milliseconds
do not. The stages, of which `whole` is the first six with loops of its own:

  parse     what was typed -> Query
  encode    words -> vector (the text encoder)
  written   the words, looked for in names, captions, keywords, places and read texts
  index     the nearest photos, for a page of 60
  cut       the decision where relevance ends
  describe  their places and groups
  whole     all of these, and what is told of each photo: a page of 60 hits
  again     the same words once more: their vector is remembered

--home keeps the library for the next run.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import search_bar
from photosearch.bundle import Bundle, load_background, require_bundle, shipped_bundles
from photosearch.encoder import open_encoder
from photosearch.library.reader import open_library_reader
from photosearch.query import parse
from photosearch.relevance import NEAREST, OWN_PHOTOS, scale
from photosearch.search import SPARE, Search
from photosearch.types import Matrix, Vector

PAGE: Final = 60
WORDS: Final = ("red", "old", "small", "two", "wet", "white", "big", "funny", "dark", "young")


def queries(count: int) -> list[str]:
    topics = search_bar.TOPICS
    made = [f"{topic} {word}" for word in WORDS for topic in topics]
    return (made * (count // len(made) + 1))[:count]


def measure(home: Path, bundle: Bundle, count: int) -> dict[str, Any]:
    encoder = open_encoder(bundle, threads=1)
    background = load_background(bundle)
    assert background is not None, f"{bundle.directory} holds no background"
    reader = open_library_reader(home / "library.db")
    assert reader is not None, f"{home} holds no library"
    index = reader.load_index(bundle.space, bundle.dim)
    if index.kind == "exact":
        index.learn_cells()
    search = Search(encoder, index, reader, background)
    rows = index.exact.snapshot()[1]
    own = index.sample(OWN_PHOTOS)
    now = datetime.datetime.now(datetime.UTC).astimezone()
    search.run(parse("warm up", now=now), k=PAGE)
    spent: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.process_time()
        result = work()
        spent.setdefault(name, []).append((time.process_time() - began) * 1000)
        return result

    for typed in queries(count):
        query = timed("parse", lambda t=typed: parse(t, now=now))  # type: ignore[misc]
        vector = timed("encode", lambda q=query: encoder.texts([q.text])[0])  # type: ignore[misc]
        timed("written", lambda q=query: reader.mentions(q.words))  # type: ignore[misc]
        ids = timed("index", lambda v=vector: index.search(v, PAGE + 1 + SPARE)[0].tolist())  # type: ignore[misc]
        nearest = index.exact.rows_of(np.asarray(ids[:NEAREST]))[1]

        def decide(vector: Vector = vector, nearest: Matrix = nearest) -> float:
            found = scale(vector, background, library=own)
            return found.cutoff(len(index), float(nearest[0] @ vector), nearest)

        timed("cut", decide)

        def describe(ids: list[int] = ids) -> None:
            reader.places(ids)
            reader.groups_of(ids)
            reader.group_sizes(ids[:PAGE])

        timed("describe", describe)
        for name in ("whole", "again"):
            timed(name, lambda t=typed: search.run(parse(t + " now", now=now), k=PAGE))  # type: ignore[misc]
        timed("yardstick", lambda v=vector: rows @ v)  # type: ignore[misc]
        for name, values in spent.items():
            ratios.setdefault(name, []).append(values[-1] / max(spent["yardstick"][-1], 1e-6))
    reader.close()
    return {
        "photos": len(index),
        "queries": count,
        "bundle": bundle.name,
        "cpu_ms": {name: round(statistics.median(values), 3) for name, values in spent.items()},
        "cpu_ms_p95": {
            name: round(float(np.percentile(values, 95)), 3) for name, values in spent.items()
        },
        "ratio": {name: round(statistics.median(values), 3) for name, values in ratios.items()},
    }


@contextlib.contextmanager
def library(home: Path | None, photos: int, bundle: Bundle) -> Iterator[Path]:
    if home is not None:
        if not (home / "library.db").exists():
            search_bar.make_library(home, photos, bundle, thumbnails=0)
        yield home
        return
    with tempfile.TemporaryDirectory() as folder:
        search_bar.make_library(Path(folder) / "home", photos, bundle, thumbnails=0)
        yield Path(folder) / "home"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--bundle")
    parser.add_argument("--home", type=Path, help="keep the library here for the next run")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args()
    bundle = require_bundle(args.bundle, [shipped_bundles()])
    with library(args.home, args.photos, bundle) as home:
        found = measure(home, bundle, args.queries)
    if args.json:
        print(json.dumps(found))
        return
    print(f"{found['photos']:,} photos, {found['queries']} queries, {found['bundle']}")
    print("| stage | CPU ms, median | 95 % | of the yardstick |\n|---|---|---|---|")
    for name, ms in found["cpu_ms"].items():
        print(
            f"| {name} | {ms:.2f} | {found['cpu_ms_p95'][name]:.2f} | {found['ratio'][name]:.2f} |"
        )


if __name__ == "__main__":
    main()
