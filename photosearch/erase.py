"""Delete everything photosearch keeps about a user's photos. The photos are never touched.

Only what we made ourselves goes, by name: a home may be a folder that holds other things.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from photosearch import home
from photosearch.errors import PhotosearchError
from photosearch.home import Home

LIBRARY_PARTS: Final = ("", "-wal", "-shm", "-journal")
LOG_PARTS: Final = ("", ".1", ".2")
THUMBNAIL: Final = re.compile(r"[0-9a-f]{64}\.(webp|\d+\.part)")
PRIVATE_PART: Final = re.compile(
    r"(token|run\.json|owner\.json|bar\.json|history\.json)\.\d+\.part"
)


@dataclass
class Erased:
    """What went, and what was left because it is not ours."""

    files: int = 0
    size_bytes: int = 0
    left: list[Path] = field(default_factory=list)


def erase(place: Home) -> Erased:
    """Delete this home's library, thumbnails, bundles, logs, settings and token.

    Raises HomeInUse while another process owns the home.
    """
    if not place.directory.is_dir():
        raise PhotosearchError(f"{place.directory}: there is no data here.")
    erased = Erased()
    with home.owned(place):
        for folder in (place.thumbnails, place.bundles):
            _refuse_links(folder)
        for file in _files(place):
            _remove(file, erased)
        _remove_thumbnails(place.thumbnails, erased)
        _remove_bundles(place.bundles, erased)
    for file in (place.lock, place.directory / ".nomedia"):  # the lock was held until now
        _remove(file, erased)
    erased.left = sorted(place.directory.iterdir())
    if not erased.left:
        place.directory.rmdir()
    return erased


def _files(place: Home) -> list[Path]:
    library = [place.library.with_name(place.library.name + part) for part in LIBRARY_PARTS]
    logs = [
        log.with_name(log.name + part)
        for log in (place.log, place.bar_log, place.start_log, place.service_log)
        for part in LOG_PARTS
    ]
    parts = [each for each in place.directory.iterdir() if PRIVATE_PART.fullmatch(each.name)]
    return [
        *library,
        *logs,
        *parts,
        place.settings,
        place.chosen_bundle,
        place.sound_bundles,
        place.history,
        place.token,
        place.bar,
        place.bar_lock,
    ]


def _refuse_links(folder: Path) -> None:
    if folder.is_symlink():
        raise PhotosearchError(
            f"{folder} is a link to another place, and nothing was deleted. "
            "Remove the link by hand, and what it leads to if you want that gone as well."
        )


def _remove(file: Path, erased: Erased) -> None:
    """Remove a file, or a link itself; never what a link leads to."""
    try:
        size = file.lstat().st_size
        file.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise PhotosearchError(
            f"{file}: cannot be deleted ({error.strerror}). Run this again when it can."
        ) from error
    erased.files += 1
    erased.size_bytes += size


def _remove_thumbnails(folder: Path, erased: Erased) -> None:
    """Files named by a content hash, two levels down, as thumbnails.py makes them."""
    for shelf in _folders(folder):
        for file in shelf.iterdir():
            if THUMBNAIL.fullmatch(file.name):
                _remove(file, erased)
        with contextlib.suppress(OSError):  # holds something that is not ours
            shelf.rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _remove_bundles(folder: Path, erased: Erased) -> None:
    """Folders with a manifest: bundles that were imported or made here."""
    for bundle in _folders(folder):
        if not (bundle / "manifest.json").is_file():
            continue
        for directory, _, names in os.walk(bundle):
            for name in names:
                erased.files += 1
                erased.size_bytes += os.lstat(os.path.join(directory, name)).st_size
        shutil.rmtree(bundle)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [each for each in folder.iterdir() if each.is_dir() and not each.is_symlink()]
