"""Errors a user can act on: what was found, what was needed, what to do next.

Front ends print the message and exit with `exit_code`. Anything that is not a
PhotosearchError is a bug and keeps its traceback.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class PhotosearchError(Exception):
    """Base of every error a user can act on."""

    exit_code: ClassVar[int] = 3


class UsageError(PhotosearchError):
    """The command line or a setting asks for something that does not exist."""

    exit_code = 2


class SettingsError(PhotosearchError):
    """config.toml holds a key or a value we do not understand."""

    exit_code = 2


class HomeInUse(PhotosearchError):
    """Another process owns this home directory."""

    exit_code = 4

    def __init__(self, home: Path, pid: int | None, command: str = "") -> None:
        who = f"process {pid}" if pid else "another process"
        end = "Stop it with `photosearch stop`"
        if command:  # one that ends by itself, and hears no `stop`
            who += f", a run of `photosearch {command}`"
            end = "Wait for its end, or press Ctrl+C where it runs"
        super().__init__(f"{home} is in use by {who}. {end}, or give this one another --home.")
        self.pid = pid


class RootMissing(PhotosearchError):
    """A library folder is not there, or cannot be read."""

    exit_code = 5


class LibraryDamaged(PhotosearchError):
    """SQLite says the library file is not sound."""

    exit_code = 6

    def __init__(self, file: Path, detail: str) -> None:
        super().__init__(
            f"{file} is damaged ({detail}). Your photos are not affected. Move this file away, "
            "or restore a copy of it, and start again: the library is rebuilt from the photos."
        )


class LibraryTooNew(PhotosearchError):
    """The library was written by a newer photosearch."""

    exit_code = 6

    def __init__(self, file: Path, found: int, known: int) -> None:
        super().__init__(
            f"{file} was written by a newer photosearch (schema {found}; this one knows {known}). "
            "Update photosearch, or use another --home."
        )


class BundleError(PhotosearchError):
    """A bundle is missing, damaged, foreign or newer than this program."""


class SpaceMismatch(PhotosearchError):
    """The library was embedded by another bundle than the one that is loaded."""


class DaemonUnreachable(PhotosearchError):
    """The daemon is not running, or does not answer."""


class PhotoRejected(Exception):
    """One file cannot be used. Recorded with its reason; never stops the others.

    Not a PhotosearchError: no front end prints it, the library keeps it.
    """
