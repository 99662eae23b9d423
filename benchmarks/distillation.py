"""Which kinds of distillation help, in a world small enough to ask often.

    python -m benchmarks.distillation run [--only E5 E6] [--rows FILE]
    python -m benchmarks.distillation table [--rows FILE]

`run` appends one JSON line a training run and skips those it finds there, so it can be
stopped and started at any time; every line carries the configuration it came from. The
world is that of models/distillation/toy.py: it shows orders, not magnitudes. Weights of
the grid (E1) are those of the best tuning row, which is measured on pairs of their own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.toy_plan import PLAN
from benchmarks.toy_student import Bench, Trial
from benchmarks.toy_verdicts import print_tables

ROWS = Path("benchmarks/results/distillation.jsonl")


def read(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


def measured(bench: Bench, trial: Trial) -> dict[str, Any]:
    """One row: what was trained, what it reached, what it cost."""
    started = time.process_time()
    found = {name: round(value, 3) for name, value in bench.run(trial).items()}
    return {
        "experiment": trial.experiment,
        "name": trial.name,
        "seed": trial.seed,
        "key": trial.key,
        **found,
        "cpu_s": round(time.process_time() - started, 2),
        "config": dataclasses.asdict(trial),
    }


def run(file: Path, only: list[str], cache: Path) -> None:
    bench = Bench(cache)
    file.parent.mkdir(parents=True, exist_ok=True)
    for experiment, plan in PLAN.items():
        if only and experiment not in only:
            continue
        rows = read(file)
        done = {row["key"] for row in rows}
        for trial in plan(rows):
            if trial.key not in done:
                with file.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(measured(bench, trial)) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--only", nargs="*", default=[], choices=tuple(PLAN))
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    args = parser.parse_args()
    if args.what == "run":
        run(args.rows, args.only, args.cache)
    else:
        print_tables(read(args.rows))


if __name__ == "__main__":
    main()
