"""Thumbnails as files named by their photo's content hash: a cache that may be emptied."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

DAY_SECONDS: Final = 24 * 3600
KEPT_SHARE: Final = 0.9
FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)


class Thumbnails:
    """WebP files under one folder, `ab/abcd....webp`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content_hash: bytes, picture: bytes) -> None:
        """Write whole or not at all. A full disk costs the thumbnail, not the photo."""
        file = self._file(content_hash)
        part = file.with_suffix(f".{os.getpid()}.part")
        with contextlib.suppress(OSError):
            try:
                _write(part, picture)
                os.replace(part, file)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    def find(self, content_hash: bytes) -> bytes | None:
        """The picture, if it is there; that it was wanted is noted, to the day."""
        file = self._file(content_hash)
        try:
            with file.open("rb") as stream:
                picture = stream.read()
                if time.time() - os.fstat(stream.fileno()).st_mtime > DAY_SECONDS:
                    os.utime(file)
            return picture
        except OSError:
            return None

    def remove(self, content_hash: bytes) -> None:
        with contextlib.suppress(OSError):
            self._file(content_hash).unlink(missing_ok=True)

    def size_bytes(self) -> int:
        total = 0
        for folder, _, names in os.walk(self._folder):
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.stat(os.path.join(folder, name)).st_size
        return total

    def trim(self, limit_bytes: int) -> int:
        """Where there is more than the limit, remove what was wanted longest ago, down to
        nine tenths of it. Returns how many bytes went."""
        if (total := self.size_bytes()) <= limit_bytes:
            return 0  # nearly always, and names of a hundred thousand files take 30 MB
        found: list[tuple[float, int, str]] = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    stat = os.stat(path)
                    found.append((stat.st_mtime, stat.st_size, path))
        before = total
        for _, size, path in sorted(found):
            if total <= limit_bytes * KEPT_SHARE:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
                total -= size
        return before - total

    def _file(self, content_hash: bytes) -> Path:
        name = content_hash.hex()
        return self._folder / name[:2] / f"{name}.webp"


def _write(file: Path, data: bytes) -> None:
    """Into a folder that is nearly always there: asked only where writing fails. For its owner
    alone, whoever may enter the home."""
    try:
        descriptor = os.open(file, FLAGS, 0o600)
    except FileNotFoundError:
        for folder in (file.parent.parent, file.parent):  # each: `parents` would ignore the mode
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, FLAGS, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
