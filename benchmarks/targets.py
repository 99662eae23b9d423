"""Size, time and memory of a bundle's targets, as ratios to ONNX Runtime in float32.

    python -m benchmarks.targets --bundle ONNX [OTHER ...] [--rounds 30]
    python -m benchmarks.targets --untrained candle --out DIR [--precision int8]

Each target of each bundle runs in a process of its own: one thread, the median
processor time of a photo and of a text, the growth of its resident memory. The first
bundle's ONNX encoders are the unit of every column: they compute in float32 whether
their weights are stored so or as int8, which counts for their size alone. Only
ratios within one run mean anything; what a phone does is not measured here.

A student's size and time do not depend on what it has learned, so one that nobody has
trained is written with random weights by `--untrained`: for this table, and for no other use.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
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
    calls: dict[str, Callable[[], object]] = {
        "photo_ms": lambda: encoder.images(photo),
        "short_ms": lambda: encoder.texts([SHORT]),
        "long_ms": lambda: encoder.texts([LONG]),
    }
    for name, call in calls.items():
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
            row["student"] = open_bundle(directory).name
            row["megabytes"] = entry.get("bytes", 0) / 1e6
            row["lost"] = ", ".join(
                f"{held['r1_lost']:+.2f}"
                for held in entry.get("held_out", {}).values()
                if isinstance(held, dict) and "r1_lost" in held
            )
            if why_not(target) is None:
                row |= in_child(directory, target, rounds)
            found.append(row)
    return found


def write_untrained(name: str, out: Path, precision: str) -> Path:
    """A bundle of a student with random weights, for ONNX and ExecuTorch; no gate is asked."""
    import torch

    from export.bundle import Wanted, calibration_photos
    from export.manifest import Checked, write_manifest
    from export.source import from_checkpoint
    from export.targets import TARGETS
    from models.checkpoint import Checkpoint
    from models.layers import minilm_vocabulary
    from models.recipes import Recipe
    from models.students import STUDENTS, DualEncoder
    from photosearch.bundles import staging

    torch.manual_seed(0)
    pieces = tuple(minilm_vocabulary())
    config = STUDENTS[name](vocabulary=len(pieces)) if name == "tiny" else STUDENTS[name]()
    student = DualEncoder(config).eval()
    checkpoint = Checkpoint(
        recipe=Recipe(
            name=f"untrained-{name}", version="0", title="Random weights: finds nothing",
            student=name, side_px=config.side_px, val="",
        ),
        student=config,
        vocabulary=pieces[: config.text.vocabulary],
        step=0,
        weights=student.state_dict(),
        training={},
        background=None,
        metrics={},
    )  # fmt: skip
    source, wanted = from_checkpoint(checkpoint), Wanted()
    photos = calibration_photos(source, wanted)
    with staging(out) as folder:
        checked = [
            Checked(TARGETS[target](source.towers, folder, photos, precision), precision, {}, {})
            for target in ("onnx", "executorch")
        ]
        for file, data in source.tokenizer_files.items():
            (folder / file).write_bytes(data)
        write_manifest(folder, source, checked)
    return out


def print_table(found: list[dict[str, Any]]) -> None:
    unit = found[0]
    names = (
        "student", "target", "precision", "MB", "size", "photo", "short text", "long text",
        "memory", "R@1 lost", "on a phone",
    )  # fmt: skip
    print(f"| {' | '.join(names)} |")
    print("|---" * len(names) + "|")
    for row in found:
        cells = [row["student"], row["target"], row["precision"], f"{row['megabytes']:.2f}"]
        cells.append(f"{row['megabytes'] / unit['megabytes']:.2f}")
        for name in ("photo_ms", "short_ms", "long_ms", "memory_mb"):
            cells.append(f"{row[name] / unit[name]:.2f}" if name in row else "")
        print(f"| {' | '.join([*cells, row['lost']])} | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, nargs="+", default=[])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--untrained", metavar="STUDENT", help="write one with random weights")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where, for --untrained")
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.untrained:
        if args.out is None:
            parser.error("--untrained needs --out DIR")
        print(write_untrained(args.untrained, args.out, args.precision))
        return
    if not args.bundle:
        parser.error("--bundle DIR or --untrained STUDENT is needed")
    if args.child:
        print(json.dumps(measure(args.bundle[0], args.child, args.rounds)))
        return
    found = rows(args.bundle, args.rounds)
    if found[0]["target"] != "onnx":
        parser.error("the first bundle's first target must be ONNX: it is the unit")
    print_table(found)


if __name__ == "__main__":
    main()
