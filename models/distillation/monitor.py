"""What a run says while it runs: progress with time left, metrics as CSV, early warnings."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

log = logging.getLogger(__name__)

COLLAPSED: Final = 0.95  # mean cosine between different items
PATIENCE_STEPS: Final = 100


class CollapseWatch:
    """Warns when the student maps everything to nearly one point for many steps on end."""

    def __init__(self, *, above: float = COLLAPSED, steps: int = PATIENCE_STEPS) -> None:
        self.above, self.steps = above, steps
        self.run = 0
        self.warned = False

    def see(self, rows: Tensor, step: int) -> bool:
        """(N, d) unit student rows of one modality; True when the warning is given now."""
        mean = mean_off_diagonal(rows)
        self.run = self.run + 1 if mean > self.above else 0
        if self.run == 0:
            self.warned = False
        if self.run < self.steps or self.warned:
            return False
        self.warned = True
        log.warning(
            "train.collapse step=%d mean_cosine=%.3f for %d steps: the student tells nothing "
            "apart. Lower the weight of sym_* cells, or add infonce or fd.",
            step,
            mean,
            self.run,
        )
        return True


@torch.no_grad()
def mean_off_diagonal(rows: Tensor) -> float:
    """Mean cosine of different rows in O(N d): (|sum|^2 - sum of squares) / (N (N - 1))."""
    count = len(rows)
    if count < 2:
        return 0.0
    rows = rows.detach().float()
    squares = rows.square().sum()
    return float((rows.sum(dim=0).square().sum() - squares) / (count * (count - 1)))


class Progress:
    """Rate and time left, from a clock that is passed in; `done` steps were taken before."""

    def __init__(
        self, steps: int, photos_per_step: int, clock: Callable[[], float], *, done: int = 0
    ) -> None:
        self.steps, self.photos_per_step, self.clock = steps, photos_per_step, clock
        self.started = clock()
        self.done = done

    def line(self, step: int, loss: float) -> str:
        """After `step` steps; the rate is over this process's own, not a resumed run's."""
        seconds = max(self.clock() - self.started, 1e-9)
        per_second = (step - self.done) / seconds
        left = (self.steps - step) / per_second
        return (
            f"step {step}/{self.steps} loss {loss:.4f} "
            f"{per_second * self.photos_per_step:.0f} photos/s, {duration(left)} left"
        )


def duration(seconds: float) -> str:
    """3725 -> 1 h 2 min."""
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole} s" if minutes else f"{whole} s"


class CsvMetrics:
    """One row a logged step; columns are fixed by the first row. Cut to `step` on resume."""

    def __init__(self, file: Path, *, resume_step: int = 0) -> None:
        self.file = file
        self.columns: list[str] | None = None
        if not file.is_file():
            return
        with file.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            rows = [row for row in reader if int(row["step"]) <= resume_step]
            columns = list(reader.fieldnames or ())
        file.unlink()
        if rows:
            self.columns = columns
            self._append([columns, *([row[name] for name in columns] for row in rows)])

    def write(self, step: int, values: Mapping[str, float]) -> None:
        row = {"step": float(step), **values}
        if self.columns is None:
            self.columns = list(row)
            self._append([self.columns])
        if set(row) != set(self.columns):
            raise ValueError(f"{self.file}: columns changed from {self.columns} to {list(row)}")
        cells = [step if name == "step" else f"{row[name]:.6g}" for name in self.columns]
        self._append([cells])

    def _append(self, lines: Sequence[Sequence[object]]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(lines)
