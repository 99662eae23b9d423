"""Thousands of files made, renamed, moved and deleted in new folders while the library is watched.

    python -m benchmarks.storm [--files 20000] [--idle 20]

Real files, real events, the indexing thread as the daemon runs it, a fake model. At the end
the library must list exactly what is on disk: `missed` and `ghosts` are what is wrong.
Then nothing happens for a while, and the CPU that costs is counted.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from photosearch.indexer import Indexer
from photosearch.library import Library
from photosearch.pace import Throttle
from photosearch.runtimes.fake import FakeEncoder
from photosearch.scan import scan
from photosearch.settings import Settings
from photosearch.thumbnails import Thumbnails

CONTENTS = 300  # distinct photos; the storm is of names, and decoding them would be the wait
SETTLED_SECONDS = 3.0


@dataclass
class Outcome:
    """What the library says against what is on disk."""

    operations: int
    on_disk: int
    missed: int
    ghosts: int
    seconds: float
    idle_cpu_percent: float


def pictures(rng: random.Random, count: int) -> list[bytes]:
    found = []
    for _ in range(count):
        image = Image.new("RGB", (4, 3))
        image.putdata([tuple(rng.randrange(256) for _ in range(3)) for _ in range(12)])
        file = io.BytesIO()
        image.resize((32, 24)).save(file, "JPEG")
        found.append(file.getvalue())
    return found


def strike(disk: Path, rng: random.Random, files: int, contents: list[bytes]) -> int:
    """Make `files` files in folders made on the fly, renaming and deleting among them."""
    here: list[Path] = []
    folders = [disk]
    operations = 0
    made = 0
    while made < files:
        what = rng.random()
        if what < 0.02:
            folder = rng.choice(folders) / f"d{operations}"
            if len(folder.relative_to(disk).parts) < 6:
                folder.mkdir(parents=True, exist_ok=True)
                folders.append(folder)
        elif what < 0.80 or not here:
            file = rng.choice(folders[-40:]) / f"{made}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(rng.choice(contents))
            here.append(file)
            made += 1
        elif what < 0.90:
            file = here.pop(rng.randrange(len(here)))
            if file.exists():
                target = rng.choice(folders[-40:]) / f"r{operations}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                file.rename(target)
                here.append(target)
        elif what < 0.985:
            here.pop(rng.randrange(len(here))).unlink(missing_ok=True)
        elif what < 0.995 and len(folders) > 5:
            folder = folders[rng.randrange(1, len(folders))]
            if folder.exists():
                target = folder.with_name(f"m{operations}")
                folder.rename(target)
                folders.append(target)
        elif len(folders) > 20:
            shutil.rmtree(folders.pop(rng.randrange(10, len(folders))), ignore_errors=True)
        operations += 1
    return operations


def storm(base: Path, *, files: int, seed: int = 1, idle: float = 0.0, patience: float) -> Outcome:
    """Strike while an indexer runs, wait until it is quiet, and compare."""
    rng = random.Random(seed)
    disk, home = base / "disk", base / "home"
    disk.mkdir()
    home.mkdir()
    encoder = FakeEncoder()
    library = Library(home / "library.db", space=encoder.space, dim=encoder.dim, bundle="fake")
    root = library.add_root(str(disk))
    indexer = Indexer(
        library, encoder, Thumbnails(home / "thumbnails"), Settings(max_cpu=50, read_text=False)
    )
    indexer.ingest.throttle = Throttle(max_cpu=100, threads=1, cores=1)
    contents = pictures(rng, CONTENTS)
    indexer.start()
    began = time.monotonic()
    try:
        while root.root_id not in indexer._swept:
            time.sleep(0.05)
        operations = strike(disk, rng, files, contents)
        wanted = set(scan(str(disk)).files)
        until = time.monotonic() + patience
        quiet_since = time.monotonic()
        while time.monotonic() < until:
            busy = len(indexer.hints) or indexer.indexing().state != "idle"
            if busy:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > SETTLED_SECONDS:
                break
            time.sleep(0.1)
        seconds = time.monotonic() - began
        used = time.process_time()
        time.sleep(idle)
        percent = 100 * (time.process_time() - used) / idle if idle else 0.0
    finally:
        indexer.stop()
    known = set(library.known_under(root.root_id, b""))
    library.close()
    return Outcome(
        operations, len(wanted), len(wanted - known), len(known - wanted),
        round(seconds, 1), round(percent, 3),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--idle", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = storm(
            Path(folder), files=args.files, seed=args.seed, idle=args.idle, patience=1800.0
        )
    print(json.dumps(found.__dict__))


if __name__ == "__main__":
    main()
