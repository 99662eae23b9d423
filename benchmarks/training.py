"""What distillation costs on top of the towers, what a cache saves, and what a batch weighs.

    python -m benchmarks.training [--side 96] [--batch 32] [--steps 3]
    python -m benchmarks.training --layouts 3 --side 192 --batch 128

Times are CPU seconds of one thread, so the ratios hold on a busy machine; memory is the
peak of a fresh process. Towers are first-light's (27 million parameters), all of them
learning; random pixels and tokens, because what they show does not change the cost.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.distillation.cells import GRID, CellSpec
from models.distillation.embeddings import EmbeddingSet
from models.distillation.graph import KnowledgeGraph
from models.distillation.loop import compute, keep_memory
from models.losses import info_nce
from models.students import DualEncoder, first_light, spark

TOKENS = 32


def towers(side: int) -> DualEncoder:
    torch.manual_seed(0)
    student = DualEncoder(first_light(side_px=side))
    return student.train()


def batch_of(count: int, side: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 3, side, side), torch.randint(1, 20_000, (count, TOKENS))


def seconds(steps: int, *kinds: Callable[[], None]) -> list[float]:
    """Median CPU seconds of a step of each kind, taken in turn so that all meet the same
    machine; the first of each is not counted."""
    times: list[list[float]] = [[] for _ in kinds]
    for step in kinds:
        step()
    for _ in range(steps):
        for step, mine in zip(kinds, times, strict=True):
            started = time.process_time()
            step()
            mine.append(time.process_time() - started)
    return [statistics.median(mine) for mine in times]


def plain_step(student: DualEncoder, pixels: Tensor, tokens: Tensor) -> Callable[[], None]:
    """The loop anyone would write: two towers, InfoNCE, AdamW."""
    optimizer = torch.optim.AdamW(student.parameters(), 1e-4)

    def step() -> None:
        image, text = student(pixels, tokens)
        loss = info_nce(image, text, scale=14.3)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def graph_step(
    student: DualEncoder, pixels: Tensor, tokens: Tensor, *, parts: int = 1
) -> Callable[[], None]:
    """The same with all 22 cells and the loop's own machinery."""
    graph = KnowledgeGraph({key: CellSpec(weight=0.1) for key in GRID})
    optimizer = torch.optim.AdamW(student.parameters(), 1e-4)
    count = len(pixels)
    v, x = (torch.randn(count, student.config.dim) for _ in range(2))

    def step() -> None:
        def loss_of(image: Tensor, text: Tensor) -> tuple[Tensor, None]:
            e = EmbeddingSet.build(image, text, v, x, pair_id=torch.arange(count))
            return graph(e).total, None

        optimizer.zero_grad(set_to_none=True)
        compute(lambda rows: student(pixels[rows], tokens[rows]), count, parts, loss_of)
        optimizer.step()

    return step


def losses_alone(count: int, width: int) -> float:
    """CPU seconds of all 22 cells, forward and backward, without towers."""
    graph = KnowledgeGraph({key: CellSpec(weight=0.1) for key in GRID})
    sets = [torch.randn(count, width, requires_grad=n < 2) for n in range(4)]

    def step() -> None:
        graph(EmbeddingSet.build(*sets)).total.backward()

    return seconds(5, step)[0]


def cached_and_not(side: int, count: int, steps: int) -> dict[str, float]:
    """A step with the teacher in it, and one with its vectors from disk."""
    student, teacher = towers(side), towers(side).eval().requires_grad_(False)
    pixels, tokens = batch_of(count, side)
    graph = KnowledgeGraph({key: CellSpec(weight=0.1) for key in GRID})
    optimizer = torch.optim.AdamW(student.parameters(), 1e-4)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.npy"
        np.save(file, np.random.default_rng(0).standard_normal((2, 4096, 256)).astype(np.float16))
        rows = np.load(file, mmap_mode="r")

        def step(cached: bool) -> None:
            if cached:
                chosen = np.random.default_rng(0).integers(0, 4096, count)
                v, x = (torch.from_numpy(np.asarray(side_[chosen], np.float32)) for side_ in rows)
            else:
                with torch.no_grad():
                    v, x = teacher(pixels, tokens)
            image, text = student(pixels, tokens)
            optimizer.zero_grad(set_to_none=True)
            graph(EmbeddingSet.build(image, text, v, x)).total.backward()
            optimizer.step()

        live, cached = seconds(steps, lambda: step(False), lambda: step(True))
    return {
        "live_s": round(live, 3),
        "cached_s": round(cached, 3),
        "cached_is_times_faster": round(live / cached, 2),
    }


def peak_mb(count: int, side: int, parts: int) -> float:
    """Peak memory of a fresh process that does one step, above one that only builds it."""
    command = [sys.executable, "-m", "benchmarks.training", "--peak", str(count), str(parts)]
    done = subprocess.run(
        [*command, "--side", str(side)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def one_peak(count: int, parts: int, side: int) -> float:
    torch.set_num_threads(1)
    student = towers(side)
    step = graph_step(student, *batch_of(count, side), parts=parts)
    before = memory_mb("VmRSS")
    step()
    return memory_mb("VmHWM") - before


LAYOUTS = ("planes", "channels last", "channels last, memory kept")


def image_step_ms(how: str, count: int, side: int) -> dict[str, float]:
    """CPU of this process for a photo, forward and backward through spark's image tower: the
    median of three steps after two, as user and system time; and peak memory."""
    if "kept" in how:
        keep_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tower = DualEncoder(spark(side_px=side)).image.train()
    if "channels" in how:
        tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = torch.randn(count, 3, side, side)
    found: list[tuple[float, float]] = []
    for _ in range(5):
        before = os.times()
        image = tower(pixels)
        (image * torch.arange(image.shape[1])).square().sum().backward()
        tower.zero_grad(set_to_none=True)
        after = os.times()
        found.append((after.user - before.user, after.system - before.system))
    user, system = sorted(found[2:], key=sum)[1]
    return {
        "user_ms": round(1000 * user / count, 1),
        "system_ms": round(1000 * system / count, 1),
        "peak_mb": round(memory_mb("VmHWM")),
    }


def layouts(count: int, side: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Every kind in a process of its own, in turn; what the C library keeps is kept for good."""
    found: dict[str, list[dict[str, float]]] = {how: [] for how in LAYOUTS}
    for _ in range(rounds):
        for how in LAYOUTS:
            command = [sys.executable, "-m", "benchmarks.training", "--layout", how]
            command += ["--batch", str(count), "--side", str(side)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[how].append(json.loads(done.stdout))
    return found


def memory_mb(which: str) -> float:
    """VmRSS now or VmHWM, its peak, of this process. Not getrusage: its peak is handed down
    by the process that started this one, and that is larger."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == which:
            return int(value.split()[0]) / 1024
    raise SystemExit(f"/proc/self/status says no {which}: memory is measured on Linux only")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--layouts", type=int, metavar="ROUNDS", help="of an image tower alone")
    parser.add_argument("--layout", choices=LAYOUTS, help=argparse.SUPPRESS)
    parser.add_argument("--peak", type=int, nargs=2, metavar=("BATCH", "PARTS"))
    args = parser.parse_args()
    if args.layout:
        print(json.dumps(image_step_ms(args.layout, args.batch, args.side)))
        return
    if args.layouts:
        print(json.dumps(layouts(args.batch, args.side, args.layouts), indent=1))
        return
    if args.peak:
        count, parts = args.peak
        print(one_peak(count, parts, args.side))
        return
    torch.set_num_threads(1)
    pixels, tokens = batch_of(args.batch, args.side)
    student = towers(args.side)
    plain, whole = seconds(
        args.steps, plain_step(student, pixels, tokens), graph_step(student, pixels, tokens)
    )
    report = {
        "side": args.side,
        "batch": args.batch,
        "plain_photos_per_cpu_s": round(args.batch / plain, 1),
        "all_cells_photos_per_cpu_s": round(args.batch / whole, 1),
        "on_top_percent": round(100 * (whole / plain - 1), 1),
        "losses_alone_ms": {n: round(1000 * losses_alone(n, 256), 1) for n in (32, 256, 1024)},
        "teacher": cached_and_not(args.side, args.batch, args.steps),
        "peak_mb": {
            f"batch {n}, {parts} parts": round(peak_mb(n, args.side, parts))
            for n, parts in ((16, 1), (32, 1), (64, 1), (64, 4))
        },
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
