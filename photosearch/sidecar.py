"""XMP files beside photos, `IMG_1.xmp` or `IMG_1.jpg.xmp`: where darktable, digiKam, Lightroom
and others keep what people write, rather than change a photo."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from typing import Final

from photosearch import xmp

_SUFFIXES: Final = (".xmp", ".XMP")
# Neither a link out of the library nor a pipe that nobody writes to.
_HOW: Final = (
    getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)


def read_beside(path: str) -> bytes:
    """What the XMP file beside a photo holds; b"" where there is none. One with the photo's
    whole name is its own, and goes before one that a RAW file and its JPEG may share."""
    for name in (path, os.path.splitext(path)[0]):
        for suffix in _SUFFIXES:
            if data := _read(name + suffix):
                return data
    return b""


def digest(data: bytes) -> bytes | None:
    """By which a sidecar is known again; None for none."""
    return hashlib.blake2b(data, digest_size=16).digest() if data else None


def _read(file: str) -> bytes:
    with contextlib.suppress(OSError, ValueError):
        # As an opener, so that what turns out to be a folder is closed again.
        with open(file, "rb", opener=lambda path, flags: os.open(path, flags | _HOW)) as stream:
            found = os.fstat(stream.fileno())
            if stat.S_ISREG(found.st_mode) and found.st_size <= xmp.MAX_BYTES:
                return stream.read(xmp.MAX_BYTES)
    return b""
