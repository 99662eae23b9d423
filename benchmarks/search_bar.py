"""What the search bar costs: from key press to painted results, and the daemon behind it.

    python -m benchmarks.search_bar [--page 10000] [--library 100000] [--bundle DIR] [--json FILE]
                                    [--against CHECKOUT] [--busy N] [--rounds N]

Makes a library of that many photos that exist nowhere (their folder is away, so
nothing is read from disk), lets the real daemon settle on it, and measures:

  weight   the page's files, compressed
  cold     from starting the process until a search is answered, five times; the first
           start of all, which compiles Python's modules, is left out
  api      searches over HTTP, every one of other words; wall, and the daemon's CPU
  memory   the daemon's resident memory afterwards, and its most while the index was made
  keys     in Chromium, each key press until its results are painted (benchmarks/keys.py)

`--against` another checkout: the same keys there, taking turns word by word, in a browser
and with a daemon of its own. `--busy` so many loops beside the keys that do nothing else.

Wall times on a shared machine say little: the ratio and the CPU times hold there too.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import keys
from benchmarks.footprint import cpu_seconds
from photosearch.bundle import require_bundle, shipped_bundles
from photosearch.encoder import open_encoder
from photosearch.formats import thumbnail
from photosearch.library import Changes, Embedded, Library
from photosearch.types import Stamp

CHECKOUT = Path(__file__).resolve().parent.parent
STATIC = CHECKOUT / "photosearch" / "static"
BATCH = 1000
MAX_LINKS = 50_000  # thumbnails, all one file; file systems allow some 65,000 names for one
STARTS = 5
QUIET_SECONDS = 8  # the daemon looks after its index when it has rested for some
KEEPS_NOTHING = "PYTHONDONTWRITEBYTECODE"
TOPICS = (
    *("a dog", "a beach", "mountains", "a cat", "flowers", "food", "a car", "people", "a house"),
    *("snow", "a boat", "a horse", "a street at night", "a child", "a bird", "a bridge"),
)


def make_library(home: Path, photos: int, bundle: Any, *, thumbnails: int = MAX_LINKS) -> None:
    """Photos with vectors spread around a few topics, and thumbnails that are one file."""
    encoder = open_encoder(bundle, threads=1)
    topics = encoder.texts(list(TOPICS))
    rng = np.random.default_rng(0)
    home.mkdir(mode=0o700, parents=True)
    library = Library(home / "library.db", space=bundle.space, dim=bundle.dim, bundle=bundle.name)
    root = library.add_root("/nowhere/photos")
    picture = thumbnail(natural(rng))
    kept = home / "thumbnails" / "one.webp"
    kept.parent.mkdir()
    kept.write_bytes(picture)
    for start in range(0, photos, BATCH):
        changes = Changes(root.root_id)
        count = min(BATCH, photos - start)
        rows = topics[rng.integers(0, len(topics), count)]
        rows = rows + rng.standard_normal(rows.shape).astype(np.float32) * 0.06
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        for number, row in zip(range(start, start + count), rows, strict=True):
            digest = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=32).digest()
            stamp = Stamp(number + 1, 10**18 + number, 1, number + 1)
            place = (f"{number // 1000:03}/photo {number:06}.jpg".encode(), stamp)
            taken = f"{2005 + number % 20}-{1 + number % 12:02}-{1 + number % 28:02}T12:00:00"
            colour = number % 0xFFFFFF
            changes.embedded.append(
                Embedded(digest, "JPEG", 320, 240, taken, row, (place,), colour)
            )
            if number < thumbnails:
                file = home / "thumbnails" / digest.hex()[:2] / f"{digest.hex()}.webp"
                file.parent.mkdir(exist_ok=True)
                os.link(kept, file)
        library.commit(changes, now_ns=10**18)
    library.set_offline(root.root_id, True)
    library.close()


def natural(rng: np.random.Generator) -> Image.Image:
    """A picture that costs a browser what a photo costs: its thumbnail has 10 KB and is decoded
    in 1 ms, the median of 40 photographs. Plain noise would have 48 KB and take 4 ms."""
    total = np.zeros((240, 320, 3), np.float32)
    for octave in range(7):
        coarse = rng.integers(0, 255, (3 * 2**octave, 4 * 2**octave, 3), dtype=np.uint8)
        fine = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)
        total += np.asarray(fine, np.float32) * 0.75**octave
    total -= total.min()
    return Image.fromarray((total / total.max() * 255).astype(np.uint8))


class Running:
    """The daemon, and what the system says of it."""

    def __init__(self, home: Path, bundle: str, checkout: Path = CHECKOUT) -> None:
        command = [sys.executable, str(checkout / "app.py"), "--home", str(home)]
        # As on a user's machine, where Python keeps its modules compiled.
        environ = {name: each for name, each in os.environ.items() if name != KEEPS_NOTHING}
        environ["PYTHONPYCACHEPREFIX"] = str(home.parent / "compiled")
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, "--bundle", bundle, "serve", "--no-open"],
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self.token = (home / "token").read_text().strip()
        self.port = int(urllib.parse.urlsplit(self.url).port or 0)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        self.search("a dog")
        self.cold_s = time.perf_counter() - began
        self.cold_cpu_s = self.cpu_s()

    def call(self, method: str, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        self.connection.request(method, "/api/v1" + path, headers=headers)
        return json.loads(self.connection.getresponse().read())

    def search(self, words: str, k: int = 60) -> Any:
        return self.call("GET", "/search?" + urllib.parse.urlencode({"q": words, "k": k}))

    def cpu_s(self) -> float:
        return cpu_seconds(self.process.pid)

    def memory_mb(self, field: str = "VmRSS") -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        return float("nan")

    def settle(self) -> None:
        """Wait until it has nothing more to do for the index."""
        quiet, used = 0, self.cpu_s()
        while quiet < QUIET_SECONDS:
            time.sleep(1)
            now = self.cpu_s()
            quiet, used = (quiet + 1 if now - used < 0.05 else 0), now

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.wait(timeout=60)


def page_weight() -> int:
    return sum(len(gzip.compress(file.read_bytes())) for file in STATIC.iterdir())


def measure_api(running: Running, searches: int) -> dict[str, float]:
    walls: list[float] = []
    told: list[float] = []
    used = running.cpu_s()
    for number in range(searches):
        words = f"{TOPICS[number % len(TOPICS)]} {number}"
        began = time.perf_counter()
        told.append(running.search(words)["milliseconds"])
        walls.append((time.perf_counter() - began) * 1000)
    used = running.cpu_s() - used
    return {
        "searches": searches,
        "wall_p50_ms": round(statistics.median(walls), 2),
        "wall_p95_ms": round(float(np.percentile(walls, 95)), 2),
        "wall_min_ms": round(min(walls), 2),
        "told_p50_ms": round(statistics.median(told), 2),
        "cpu_ms": round(used / searches * 1000, 2),
    }


def measure(home: Path, bundle: str, *, searches: int) -> dict[str, Any]:
    running = Running(home, bundle)
    try:
        running.settle()
        told: dict[str, Any] = {"load": round(os.getloadavg()[0], 1)}
        most = running.memory_mb("VmHWM")
    finally:
        running.stop()
    starts: list[tuple[float, float]] = []
    for number in range(STARTS):
        running = Running(home, bundle)
        try:
            starts.append((running.cold_s, running.cold_cpu_s))
            if number == STARTS - 1:
                running.settle()
                told["api"] = measure_api(running, searches)
                told["memory_mb"] = round(running.memory_mb(), 1)
        finally:
            running.stop()
    told["cold_s"], told["cold_cpu_s"] = (
        round(statistics.median(each), 2) for each in zip(*starts, strict=True)
    )
    told["memory_most_mb"] = round(most, 1)
    return told


def measure_keys(home: Path, bundle: str, how: argparse.Namespace) -> dict[str, Any]:
    """Of this checkout, and of another one on a copy of the same library."""
    checkouts = [CHECKOUT, *([how.against.resolve()] if how.against else [])]
    runnings: list[Running] = []
    try:
        for number, checkout in enumerate(checkouts):
            copy = home.with_name(f"{home.name}-{number}")
            # Thumbnails are hard links to one file already, and are never written to.
            shutil.copytree(home, copy, copy_function=link_thumbnails)
            runnings.append(Running(copy, bundle, checkout))
            runnings[-1].settle()
        found = keys.measure(runnings, rounds=how.rounds, busy=how.busy)
    finally:
        for running in runnings:
            running.stop()
    return dict(zip(("keys", "keys_against"), found, strict=False))


def link_thumbnails(source: str, target: str) -> None:
    if source.endswith(".webp"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--page", type=int, default=10_000, help="photos while keys are pressed")
    parser.add_argument("--library", type=int, default=100_000, help="photos for api and memory")
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--bundle")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    parser.add_argument("--rounds", type=int, default=1, help="of all words that are typed")
    parser.add_argument("--busy", type=int, default=0, help="loops beside the keys")
    parser.add_argument("--only-keys", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    bundle = require_bundle(args.bundle, [shipped_bundles()])
    found: dict[str, Any] = {"bundle": bundle.name, "weight_bytes": page_weight()}
    with tempfile.TemporaryDirectory() as folder:
        for name, photos in (("page", args.page), ("library", args.library)):
            if not photos:
                continue
            home = Path(folder) / name
            make_library(home, photos, bundle)
            found[name] = {"photos": photos}
            if not args.only_keys:
                found[name] |= measure(home, str(bundle.directory), searches=args.searches)
            if name == "page":
                found[name] |= measure_keys(home, str(bundle.directory), args)
            print(json.dumps({name: found[name]}), flush=True)
    print(json.dumps(found))
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
