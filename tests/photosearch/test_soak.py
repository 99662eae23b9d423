"""Minutes of random operations under the whole indexing thread, each check against the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak import soak


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4])
def test_whatever_happens_to_files_the_library_ends_equal_to_the_disk(
    tmp_path: Path, seed: int
) -> None:
    """A part of what `python -m benchmarks.soak --seconds 600` does."""
    found = soak(tmp_path, seconds=100.0, seed=seed, check_every=15.0)
    assert found.checks >= 2
    assert found.operations > 100
    assert found.wrong == []
