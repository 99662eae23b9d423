"""Thumbnails as files named by their photo's content hash: a cache that may be emptied."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class Thumbnails:
    """WebP files under one folder, `ab/abcd....webp`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content_hash: bytes, picture: bytes) -> None:
        """Write whole or not at all. A full disk costs the thumbnail, not the photo."""
        file = self._file(content_hash)
        part = file.with_suffix(f".{os.getpid()}.part")
        with contextlib.suppress(OSError):
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                part.write_bytes(picture)
                os.replace(part, file)
            finally:
                part.unlink(missing_ok=True)

    def find(self, content_hash: bytes) -> bytes | None:
        try:
            return self._file(content_hash).read_bytes()
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

    def _file(self, content_hash: bytes) -> Path:
        name = content_hash.hex()
        return self._folder / name[:2] / f"{name}.webp"
