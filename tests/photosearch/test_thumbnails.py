"""The cache of thumbnails stays within its limit, and keeps what is looked at."""

from __future__ import annotations

import os
import time
from pathlib import Path

from photosearch.thumbnails import DAY_SECONDS, Thumbnails


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    cache = Thumbnails(tmp_path)
    for number in range(10):
        cache.put(bytes([number]) * 32, b"x" * 1000)
        age = time.time() - (20 - number) * DAY_SECONDS
        os.utime(cache._file(bytes([number]) * 32), (age, age))
    assert cache.find(bytes(32)) is not None  # the oldest is wanted today
    assert cache.trim(10_000) == 0
    assert cache.trim(5_000) == 6_000
    left = [number for number in range(10) if cache.find(bytes([number]) * 32)]
    assert left == [0, 7, 8, 9]
    assert cache.size_bytes() <= 5_000


def test_a_damaged_cache_is_an_empty_one(tmp_path: Path) -> None:
    cache = Thumbnails(tmp_path / "none")
    assert cache.trim(1) == 0
    assert cache.find(bytes(32)) is None
