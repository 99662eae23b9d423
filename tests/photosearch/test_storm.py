"""The library equals the disk after a storm of operations, with the whole indexing thread."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.storm import storm


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_leaves_no_photo_out_and_no_ghost(tmp_path: Path, seed: int) -> None:
    """A twentieth of the benchmark's size: python -m benchmarks.storm."""
    found = storm(tmp_path, files=1000, seed=seed, patience=300.0)
    assert found.on_disk > 400
    assert (found.missed, found.ghosts) == (0, 0)
