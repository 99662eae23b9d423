"""What a sweep of an unchanged library costs, against looking at every file at all.

    python -m benchmarks.sweep [--files 100000] [--folders 326]

Side by side in one run, CPU time alone: os.scandir with a stat of every file, and our
whole sync of a root in which nothing changed. Also one in which a single file did.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from photosearch import scan
from photosearch.decode import DecodePool
from photosearch.ingest import Ingest, Totals
from photosearch.library import Changes, Library
from photosearch.runtimes.fake import FakeEncoder
from photosearch.thumbnails import Thumbnails


def look_at_all(root: str) -> int:
    """The floor: list every folder and stat every file."""
    count, pending = 0, [root]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    count += 1
    return count


def cpu_of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folders", type=int, default=326)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        disk, home = Path(folder) / "disk", Path(folder) / "home"
        home.mkdir()
        for number in range(args.folders):
            (disk / f"{number:04}").mkdir(parents=True)
        for number in range(args.files):
            (disk / f"{number % args.folders:04}" / f"IMG_{number:06}.jpg").touch()
        encoder = FakeEncoder()
        library = Library(home / "library.db", space=encoder.space, dim=encoder.dim, bundle="fake")
        root = library.add_root(str(disk))
        rejected = [(path, stamp, "x") for path, stamp in scan.scan(str(disk)).files.items()]
        library.commit(Changes(root.root_id, rejected=rejected), now_ns=time.time_ns())
        ingest = Ingest(
            library, encoder, DecodePool(workers=1), Thumbnails(home / "thumbnails"), settle_ns=0
        )
        ingest.sync(root, Totals())  # remembers every folder
        floors, sweeps, ones = [], [], []
        for number in range(args.rounds):
            floors.append(cpu_of(lambda: look_at_all(str(disk))))
            sweeps.append(cpu_of(lambda: ingest.sync(root, Totals())))
            (disk / "0000" / f"new{number}.txt").touch()  # its folder is compared row by row
            ones.append(cpu_of(lambda: ingest.sync(root, Totals())))
        library.close()
    floor, sweep = statistics.median(floors), statistics.median(sweeps)
    report = {
        "files": args.files,
        "scandir_stat_ms": floor * 1e3,
        "sweep_ms": sweep * 1e3,
        "ratio": statistics.median(s / f for s, f in zip(sweeps, floors, strict=True)),
        "one_folder_changed_ms": statistics.median(ones) * 1e3,
    }
    print(json.dumps(report, default=lambda value: round(value, 3)))


if __name__ == "__main__":
    main()
