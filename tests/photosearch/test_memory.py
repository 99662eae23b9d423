"""What was freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from photosearch import memory

FREED = """
import numpy as np
from pathlib import Path
from photosearch import memory

def resident_mb():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in l)
    return int(line.split()[1]) / 1024

assert memory.keep_few_arenas()
blocks = [np.ones(8_000) for _ in range(2_000)]  # 64 KB each: below malloc's mmap threshold
pin = [blocks[number] for number in range(0, 2_000, 200)] + [blocks[-1]]
full = resident_mb()
del blocks
assert memory.give_back()
print(full - resident_mb())
"""


@pytest.mark.skipif(memory._glibc() is None, reason="this system has another C library")
def test_freed_memory_is_given_back() -> None:
    run = subprocess.run(
        [sys.executable, "-c", FREED], capture_output=True, text=True, check=True, timeout=120
    )
    assert float(run.stdout) > 90  # of 122 MB, some of it between blocks still in use


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    assert not memory.keep_few_arenas()
    assert not memory.give_back()
