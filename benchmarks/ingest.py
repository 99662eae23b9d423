"""How close indexing comes to its two physical costs: decoding and embedding.

    python -m benchmarks.ingest --photos DIR [--bundle DIR] [--limit 500]

In one run on the same photos: the decode workers alone, the image encoder alone
on pixels already decoded, and the whole ingest into a fresh library. The ratio
is whole time over the longer of the two parts' times laid end to end on the
same cores; 1.0 would mean that hashing, thumbnails, commits and waiting are
free. Walls on a shared machine are noisy: run it on an idle one.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from photosearch.bundle import require_bundle, shipped_bundles
from photosearch.decode import DecodePool, Picture, Task
from photosearch.encoder import open_encoder
from photosearch.ingest import Ingest, Totals
from photosearch.library import Library
from photosearch.preprocess import normalise
from photosearch.scan import scan
from photosearch.thumbnails import Thumbnails


def cpu_seconds() -> float:
    """CPU of this process and of its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photos", required=True)
    parser.add_argument("--bundle")
    parser.add_argument("--limit", type=int, default=500)
    args = parser.parse_args()
    bundle = require_bundle(args.bundle, [shipped_bundles()])
    cores = os.cpu_count() or 1
    encoder = open_encoder(bundle, threads=cores)
    root = os.path.realpath(args.photos)
    paths = [os.path.join(root, os.fsdecode(path)) for path in sorted(scan(root).files)][
        : args.limit
    ]
    encoder.images(np.zeros((1, 3, *[bundle.preprocess.side_px] * 2), np.float32))

    began, used = time.perf_counter(), cpu_seconds()
    pool = DecodePool(workers=cores)
    tasks = (Task(path.encode("utf-8", "replace"), path, bundle.preprocess) for path in paths)
    pictures = [outcome for _, outcome in pool.run(tasks) if isinstance(outcome, Picture)]
    pool.close()
    decode = (time.perf_counter() - began, cpu_seconds() - used)

    began, used = time.perf_counter(), cpu_seconds()
    for start in range(0, len(pictures), 16):
        batch = np.stack([picture.pixels for picture in pictures[start : start + 16]])
        encoder.images(normalise(batch, bundle.preprocess))
    embed = (time.perf_counter() - began, cpu_seconds() - used)

    with tempfile.TemporaryDirectory() as folder:
        linked = Path(folder) / "photos"
        linked.mkdir()
        for number, path in enumerate(paths):
            (linked / f"{number}{os.path.splitext(path)[1]}").write_bytes(Path(path).read_bytes())
        library = Library(
            Path(folder) / "library.db", space=bundle.space, dim=bundle.dim, bundle=bundle.name
        )
        pool = DecodePool(workers=cores)
        thumbnails = Thumbnails(Path(folder) / "thumbnails")
        ingest = Ingest(library, encoder, pool, thumbnails, settle_ns=0)
        began, used = time.perf_counter(), cpu_seconds()
        ingest.sync(library.add_root(str(linked)), Totals())
        pool.close()
        whole = (time.perf_counter() - began, cpu_seconds() - used)
        library.close()

    count = len(pictures)
    report = {
        "photos": count,
        "decode": {"wall_ms": decode[0] / count * 1e3, "cpu_ms": decode[1] / count * 1e3},
        "embed": {"wall_ms": embed[0] / count * 1e3, "cpu_ms": embed[1] / count * 1e3},
        "ingest": {"wall_ms": whole[0] / count * 1e3, "cpu_ms": whole[1] / count * 1e3},
        "cpu_ratio": whole[1] / (decode[1] + embed[1]),
        "wall_ratio": whole[0] / (decode[0] + embed[0]),
        "photos_per_second": count / whole[0],
    }
    print(json.dumps(report, indent=1, default=lambda value: round(value, 3)))


if __name__ == "__main__":
    main()
