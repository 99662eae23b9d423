"""How this program is started again, by whoever keeps it or shows it: a command, word by word."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from photosearch.errors import PhotosearchError
from photosearch.home import Home

PACKAGE = Path(__file__).parent


def command(python: str | None = None) -> list[str]:
    """The words that start this program from any folder.

    A checkout is started by its app.py, which also finds its environment; an installed
    package as a module of the Python it is installed in.
    """
    starter = PACKAGE.parent / "app.py"
    how = [str(starter)] if starter.is_file() else ["-m", "photosearch"]
    return [python or sys.executable, *how]


def windowless(python: str) -> str:
    """On Windows, the Python that opens no console; elsewhere the same one."""
    path = Path(python)
    quiet = path.with_name("pythonw.exe")
    return str(quiet) if path.name.lower() == "python.exe" and quiet.is_file() else python


def start_detached(words: Sequence[str], *, errors: Path) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one; what it says on stderr goes to a private file."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=descriptor,
            start_new_session=True,
            creationflags=flags,
        )
    except OSError as error:
        raise PhotosearchError(
            f"{words[0]} cannot be started ({os.strerror(error.errno or 0)})."
        ) from error
    finally:
        os.close(descriptor)


def serve_command(place: Home) -> list[str]:
    """The daemon of one home, without a window: it serves the libraries it remembers."""
    return [*command(), "--home", str(place.directory), "serve", "--no-open"]
