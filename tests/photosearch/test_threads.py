"""A search's arithmetic stays on the thread that asked."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MULTIPLY = """
import os
import photosearch.cli
import numpy as np
rows = np.ones((50_000, 256), np.float32)
rows @ rows[0]
rows[:2000] @ rows[:2000].T
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")
def test_products_start_no_threads_that_would_spin() -> None:
    settings = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    ran = subprocess.run(
        [sys.executable, "-c", MULTIPLY], capture_output=True, text=True, env=settings, check=True
    )
    assert ran.stdout.strip() == "1"
