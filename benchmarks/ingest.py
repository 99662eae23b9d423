"""How close indexing comes to its two physical costs: decoding and embedding.

    python -m benchmarks.ingest --photos DIR [--bundle DIR] [--count 60]

Side by side in one run, on copies of the same photos at 12 and at 0.3 megapixels, in CPU
seconds: Pillow alone, decoding (JPEG at reduced scale, as we do) and resizing to the
encoder's side; the image encoder alone, on batches of 16; and the whole ingest into a
fresh library: reading, hashing, decoding, metadata, thumbnail, embedding, commit. Starting
the decode processes is paid once and told apart. `ratio` is the whole over 1.0 x Pillow
plus the model; the bar allows 1.5 x Pillow plus the model.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from photosearch.bundle import Bundle, require_bundle, shipped_bundles
from photosearch.decode import DecodePool, Task
from photosearch.encoder import Encoder, open_encoder
from photosearch.ingest import Ingest, Totals
from photosearch.library import Library
from photosearch.preprocess import DRAFT_OVERSAMPLING
from photosearch.scan import scan
from photosearch.thumbnails import Thumbnails
from photosearch.types import Preprocess

SIZES = {"12 MP": (4000, 3000), "0.3 MP": (640, 480)}
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def cpu_of(pool: DecodePool) -> float:
    """CPU seconds of this process and of the living workers."""
    total = time.process_time()
    for worker in pool._workers:
        fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def copies(photos: list[str], folder: Path, size: tuple[int, int], count: int) -> list[str]:
    """Distinct JPEGs of this size, quality 90, as a camera would write them."""
    made = []
    for number in range(count):
        with Image.open(photos[number % len(photos)]) as image:
            large = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        large.putpixel((number % size[0], 0), (number % 255, 9, 9))
        file = folder / f"{number}.jpg"
        large.save(file, quality=90)
        made.append(str(file))
    return made


def pillow_alone(paths: list[str], how: Preprocess) -> float:
    """Decode and resize with nothing but Pillow, at the scale we decode at."""
    side = how.side_px
    began = time.process_time()
    for path in paths:
        with Image.open(path) as image:
            least = max(320, DRAFT_OVERSAMPLING * side)
            image.draft("RGB", (least, least))
            image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return time.process_time() - began


def model_alone(encoder: Encoder, count: int) -> float:
    side = encoder.preprocess.side_px
    batch = np.random.default_rng(0).standard_normal((16, 3, side, side)).astype(np.float32)
    encoder.images(batch)
    began = time.process_time()
    for start in range(0, count, 16):
        encoder.images(batch[: min(16, count - start)])
    return time.process_time() - began


def whole(paths: list[str], home: Path, bundle: Bundle, encoder: Encoder) -> tuple[float, float]:
    """(CPU of indexing these, CPU of starting the processes)."""
    library = Library(home / "library.db", space=bundle.space, dim=bundle.dim, bundle=bundle.name)
    pool = DecodePool(workers=os.cpu_count() or 1)
    try:
        before = cpu_of(pool)
        warm = [Task(str(n).encode(), path, bundle.preprocess) for n, path in enumerate(paths[:4])]
        for _ in pool.run(iter(warm)):
            pass
        began = cpu_of(pool)
        ingest = Ingest(library, encoder, pool, Thumbnails(home / "thumbnails"), settle_ns=0)
        totals = Totals()
        ingest.sync(library.add_root(os.path.dirname(paths[0])), totals)
        assert totals.added == len(paths), totals
        return cpu_of(pool) - began, began - before
    finally:
        pool.close()
        library.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", required=True)
    parser.add_argument("--bundle")
    parser.add_argument("--count", type=int, default=60)
    args = parser.parse_args()
    bundle = require_bundle(args.bundle, [shipped_bundles()])
    encoder = open_encoder(bundle, threads=os.cpu_count() or 1)
    root = os.path.realpath(args.photos)
    photos = [os.path.join(root, os.fsdecode(path)) for path in sorted(scan(root).files)]
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            disk, home = Path(folder) / "disk", Path(folder) / "home"
            disk.mkdir()
            home.mkdir()
            paths = copies(photos, disk, size, args.count)
            pillow, model = pillow_alone(paths, bundle.preprocess), model_alone(encoder, args.count)
            cost, start = whole(paths, home, bundle, encoder)
        report = {
            "size": name,
            "photos": args.count,
            "bundle": bundle.name,
            "pillow_ms": 1e3 * pillow / args.count,
            "model_ms": 1e3 * model / args.count,
            "ingest_ms": 1e3 * cost / args.count,
            "ratio": cost / (pillow + model),
            "times_pillow_beside_model": (cost - model) / pillow,
            "start_s": start,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "peak_worker_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        }
        print(json.dumps(report, default=lambda value: round(value, 2)), flush=True)


if __name__ == "__main__":
    main()
