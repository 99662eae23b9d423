"""The library as files: how large they are, and how a finished one gets its name."""

from __future__ import annotations

import os
from pathlib import Path


def move_into_place(part: Path, target: Path) -> None:
    """Give a finished file its name, which must be free, and sync the folder."""
    try:
        os.link(part, target)  # fails where the name is taken; a rename would replace
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        os.rename(part, target)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def size_bytes(file: Path) -> int:
    """Bytes on disk of the library with its journal."""
    total = 0
    for name in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        if os.path.exists(name):
            total += os.path.getsize(name)
    return total
