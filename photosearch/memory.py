"""Give memory back to the system. glibc keeps what a program has freed, in case it asks again.

Loading two models and a hundred thousand vectors frees as much as it keeps, and
the daemon lives for weeks. Elsewhere than on glibc these do nothing.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
from typing import Final

M_ARENA_MAX: Final = -8  # malloc.h
ARENAS: Final = 2  # each thread that finds the others busy makes one more, and none is given back


def keep_few_arenas() -> bool:
    """Before the first threads start: let them share. True where the system took it."""
    libc = _glibc()
    return libc is not None and libc.mallopt(M_ARENA_MAX, ARENAS) == 1


def give_back() -> bool:
    """After much was freed. True where the system got something back."""
    libc = _glibc()
    if libc is None:
        return False
    gc.collect()
    return bool(libc.malloc_trim(0) == 1)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.malloc_trim.argtypes, libc.malloc_trim.restype = [ctypes.c_size_t], ctypes.c_int
        libc.mallopt.argtypes, libc.mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    except (OSError, AttributeError):  # another C library: musl has neither
        return None
    return libc
