"""How close indexing comes to its two physical costs: decoding and embedding.

    python -m benchmarks.ingest --photos DIR [--bundle DIR] [--count 32] [--rounds 3]

Side by side in one run, on copies of the same photos at 12 and at 0.3 megapixels, in CPU
seconds, by turns in every round: Pillow alone, decoding (JPEG at reduced scale, as we do)
and resizing to the encoder's side; the image encoder alone, on batches of 16; and the whole
ingest into a fresh library: reading, hashing, decoding, metadata, thumbnail, embedding,
commit. Starting the decode processes is paid once and left out.

`ratio` is the whole over Pillow plus the model. `times_pillow_beside_model` is stricter:
what the whole costs beside the model, over Pillow. Both have 1.5 as their limit.
`pillow_whole_ms` is Pillow without the reduced scale, as told by those who do not know of it.

Then the program itself (`photosearch serve`) indexes the 12-megapixel photos with an empty
home, and the memory of all its processes is watched.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.footprint import MemoryWatch, Peak, cpu_seconds
from photosearch.bundle import Bundle, require_bundle, shipped_bundles
from photosearch.decode import DecodePool, Task
from photosearch.encoder import Encoder, open_encoder
from photosearch.formats import THUMBNAIL_PX
from photosearch.ingest import Ingest, Totals
from photosearch.library import Library
from photosearch.preprocess import draft_px
from photosearch.scan import scan
from photosearch.thumbnails import Thumbnails
from photosearch.types import Preprocess

SIZES = {"12 MP": (4000, 3000), "0.3 MP": (640, 480)}
BATCH = 16


def cpu_of(pool: DecodePool) -> float:
    """CPU seconds of this process and of the living workers."""
    workers = (worker.process.pid for worker in pool._workers)
    return time.process_time() + sum(cpu_seconds(pid) for pid in workers if pid is not None)


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


def pillow_alone(paths: list[str], how: Preprocess, *, reduced: bool = True) -> float:
    """Decode and resize with nothing but Pillow, at the scale we decode at or whole."""
    side = how.side_px
    least = max(THUMBNAIL_PX, draft_px(how))
    began = time.process_time()
    for path in paths:
        with Image.open(path) as image:
            if reduced:
                image.draft("RGB", (least, least))
            image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return time.process_time() - began


def model_alone(encoder: Encoder, count: int) -> float:
    side = encoder.preprocess.side_px
    batch = np.random.default_rng(0).standard_normal((BATCH, 3, side, side)).astype(np.float32)
    began = time.process_time()
    for start in range(0, count, BATCH):
        encoder.images(batch[: min(BATCH, count - start)])
    return time.process_time() - began


def whole(
    paths: list[str], home: Path, bundle: Bundle, encoder: Encoder, pool: DecodePool
) -> float:
    """CPU seconds of indexing these into a fresh library, by processes that are up."""
    library = Library(home / "library.db", space=bundle.space, dim=bundle.dim, bundle=bundle.name)
    try:
        began = cpu_of(pool)
        ingest = Ingest(library, encoder, pool, Thumbnails(home / "thumbnails"), settle_ns=0)
        totals = Totals()
        ingest.sync(library.add_root(os.path.dirname(paths[0])), totals)
        assert totals.added == len(paths), totals
        return cpu_of(pool) - began
    finally:
        library.close()


@dataclass
class Cost:
    """CPU seconds, added up over the rounds."""

    photos: int = 0
    pillow: float = 0.0
    model: float = 0.0
    whole: float = 0.0


def side_by_side(
    paths: list[str], bundle: Bundle, encoder: Encoder, *, rounds: int
) -> tuple[Cost, list[float]]:
    """The costs, and each round's own ratio."""
    cost, ratios = Cost(), []
    pool = DecodePool(workers=os.cpu_count() or 1)
    try:
        warm = [Task(str(n).encode(), path, bundle.preprocess) for n, path in enumerate(paths[:4])]
        for _ in pool.run(iter(warm)):
            pass
        pillow_alone(paths[:4], bundle.preprocess)
        model_alone(encoder, BATCH)
        for _ in range(rounds):
            pillow = pillow_alone(paths, bundle.preprocess)
            model = model_alone(encoder, len(paths))
            with tempfile.TemporaryDirectory() as home:
                ours = whole(paths, Path(home), bundle, encoder, pool)
            ratios.append(ours / (pillow + model))
            cost.photos += len(paths)
            cost.pillow += pillow
            cost.model += model
            cost.whole += ours
    finally:
        pool.close()
    return cost, ratios


def memory_of_serve(folder: Path, count: int) -> Peak:
    """Peak of the real program, all its processes, while it indexes a folder."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "photosearch", "--home", home]
        daemon = subprocess.Popen(
            [*command, "serve", "--no-open", "--library", str(folder)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        watch = MemoryWatch(daemon.pid)
        watch.start()
        try:
            until = time.monotonic() + 300
            searchable = 0
            while searchable < count and time.monotonic() < until and daemon.poll() is None:
                time.sleep(1.0)
                said = subprocess.run(
                    [*command, "status", "--json"], capture_output=True, text=True, check=False
                )
                searchable = json.loads(said.stdout)["searchable"] if said.stdout else 0
            assert searchable == count, f"{searchable} of {count} photos after 300 s"
            subprocess.run([*command, "search", "a dog"], capture_output=True, check=False)
        finally:
            peak = watch.stop()
            daemon.terminate()
            daemon.wait()
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", required=True)
    parser.add_argument("--bundle")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    bundle = require_bundle(args.bundle, [shipped_bundles()])
    encoder = open_encoder(bundle, threads=os.cpu_count() or 1)
    root = os.path.realpath(args.photos)
    photos = [os.path.join(root, os.fsdecode(path)) for path in sorted(scan(root).files)]
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = copies(photos, Path(folder), size, args.count)
            few = paths[: max(1, args.count // 4)]
            cost, ratios = side_by_side(paths, bundle, encoder, rounds=args.rounds)
            report: dict[str, object] = {
                "size": name,
                "bundle": bundle.name,
                "photos": cost.photos,
                "pillow_ms": 1e3 * cost.pillow / cost.photos,
                "pillow_whole_ms": 1e3
                * pillow_alone(few, bundle.preprocess, reduced=False)
                / len(few),
                "model_ms": 1e3 * cost.model / cost.photos,
                "ingest_ms": 1e3 * cost.whole / cost.photos,
                "ratio": cost.whole / (cost.pillow + cost.model),
                "ratio_by_round": [round(ratio, 2) for ratio in ratios],
                "times_pillow_beside_model": (cost.whole - cost.model) / cost.pillow,
            }
            if size == max(SIZES.values()):
                peak = memory_of_serve(Path(folder), args.count)
                report["peak_pss_of_all_mb"] = peak.pss_of_all
                report["peak_rss_of_largest_mb"] = peak.rss_of_largest
                report["peak_rss_added_up_mb"] = peak.rss_added_up
                report["processes"] = len(peak.rss)
        print(
            json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in report.items()}),
            flush=True,
        )


if __name__ == "__main__":
    main()
