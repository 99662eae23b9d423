"""Size, time and memory of a bundle's targets, as ratios to ONNX Runtime in float32.

    python -m benchmarks.targets --bundle ONNX [OTHER ...] [--rounds 30]

Each target of each bundle runs in a process of its own: one thread, the median
processor time of a photo and of a text, the growth of its resident memory. The first
bundle's ONNX encoders are the unit of every column: they compute in float32 whether
their weights are stored so or as int8, which counts for their size alone. Only
ratios within one run mean anything; what a phone does is not measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SHORT, LONG = "a dog on a beach", "two children in red jackets run along the beach " * 2


def measure(directory: Path, runtime: str, rounds: int) -> dict[str, float]:
    """In this process: milliseconds of processor time and MB, after one call to warm up."""
    import numpy as np

    from photosearch.bundle import open_bundle
    from photosearch.encoder import open_encoder

    bundle = open_bundle(directory)
    if runtime == "executorch":
        open_encoder(bundle, runtime=runtime).texts([])  # torch itself is not counted
        import executorch.runtime  # noqa: F401
    before = resident_mb()
    encoder = open_encoder(bundle, runtime=runtime, threads=1)
    side = bundle.preprocess.side_px
    photo = np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)
    found: dict[str, float] = {}
    for name, call in (
        ("photo_ms", lambda: encoder.images(photo)),
        ("short_ms", lambda: encoder.texts([SHORT])),
        ("long_ms", lambda: encoder.texts([LONG])),
    ):
        call()
        times = []
        for _ in range(rounds):
            started = time.process_time()
            call()
            times.append(time.process_time() - started)
        found[name] = 1000 * statistics.median(times)
    found["memory_mb"] = resident_mb() - before
    return found


def resident_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def in_child(directory: Path, runtime: str, rounds: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.targets", "--child", runtime]
    command += ["--rounds", str(rounds), "--bundle", str(directory)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def rows(bundles: list[Path], rounds: int) -> list[dict[str, Any]]:
    from photosearch.bundle import open_bundle
    from photosearch.verify import why_not

    found: list[dict[str, Any]] = []
    for directory in bundles:
        for target, entry in open_bundle(directory).targets.items():
            row: dict[str, Any] = {"target": target, "precision": entry.get("precision", "?")}
            row["megabytes"] = entry.get("bytes", 0) / 1e6
            if why_not(target) is None:
                row |= in_child(directory, target, rounds)
            found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.bundle[0], args.child, args.rounds)))
        return
    found = rows(args.bundle, args.rounds)
    unit = found[0]
    if unit["target"] != "onnx":
        parser.error("the first bundle's first target must be ONNX: it is the unit")
    print(
        "| target | precision | MB | size | photo | short text | long text | memory | on a phone |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for row in found:
        cells = [row["target"], row["precision"], f"{row['megabytes']:.2f}"]
        cells.append(f"{row['megabytes'] / unit['megabytes']:.2f}")
        for name in ("photo_ms", "short_ms", "long_ms", "memory_mb"):
            cells.append(f"{row[name] / unit[name]:.2f}" if name in row else "")
        print(f"| {' | '.join(cells)} | |")


if __name__ == "__main__":
    main()
