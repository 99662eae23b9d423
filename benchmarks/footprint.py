"""What a program and all it started hold in memory and have used of the processor, from /proc."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
LOOK_SECONDS: Final = 0.05


def cpu_seconds(pid: int) -> float:
    """Of one living process, its ended children left out."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def tree(pid: int) -> list[int]:
    """A process and all below it that live now."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


@dataclass
class Peak:
    """In MB. PSS counts a page that several processes share once: only it may be added up."""

    pss_of_all: float = 0.0
    rss: dict[int, float] = field(default_factory=dict)  # by process

    @property
    def rss_of_largest(self) -> float:
        return max(self.rss.values(), default=0.0)

    @property
    def rss_added_up(self) -> float:
        """Pages that are shared counted as often as they are: more than was ever there."""
        return sum(self.rss.values())


class MemoryWatch(threading.Thread):
    """Looks at a process and all below it until it is told to stop.

    ru_maxrss will not do for this: what a child was before exec, its parent's size, counts there.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = Peak()
        self._pid = pid
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        total = 0.0
        for pid in tree(self._pid):
            with contextlib.suppress(OSError, KeyError, ValueError):
                rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
                sizes = {row.split(":")[0]: int(row.split()[1]) / 1024 for row in rows}
                total += sizes["Pss"]
                self.peak.rss[pid] = max(self.peak.rss.get(pid, 0.0), sizes["Rss"])
        self.peak.pss_of_all = max(self.peak.pss_of_all, total)

    def stop(self) -> Peak:
        self._over.set()
        self.join()
        return self.peak
