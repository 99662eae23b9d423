"""The streams a command writes to, where they are closed, full, or read no more."""

from __future__ import annotations

import os
import sys


def mend() -> None:
    """Have both streams, also where the shell closed them (`>&-`): what is written to a closed
    output is then an error like any other, and never lands in a file that got its number."""
    if os.name != "posix":
        return  # a Windows program without a console has none, and needs none
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def flush() -> None:
    """Raises OSError where what was printed cannot be written."""
    if sys.stdout is not None:
        sys.stdout.flush()


def give_up() -> None:
    """Nobody reads on, or nothing can be written: let what is left go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
