"""Which files are surely new: those of a size that no photo has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


class Sizes:
    """Sizes in bytes that photos have or had: sorted numbers, `read` when they are first asked for
    (eight bytes each), and a set of those that came since. One that no photo has any more costs a
    needless look at a file."""

    def __init__(self, read: Callable[[], NDArray[np.int64]]) -> None:
        self._read = read
        self._known: NDArray[np.int64] | None = None
        self._since: set[int] = set()

    def add(self, size_bytes: int) -> None:
        if self._known is not None:  # else it is read with the others
            self._since.add(size_bytes)

    def __contains__(self, size_bytes: int) -> bool:
        if self._known is None:
            self._known = np.unique(self._read())
        at = int(self._known.searchsorted(size_bytes))
        known = at < len(self._known) and int(self._known[at]) == size_bytes
        return known or size_bytes in self._since
