"""What is on disk: walk a root and stamp its photo files, opening none.

Symbolic links are not followed: a link back up the tree would list the same
photos for ever, and one that leaves the root would take files into the library
that its owner never named. To search a linked folder, name it as a library.
"""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass, field
from typing import Final

from photosearch.types import Stamp

log = logging.getLogger(__name__)

SUFFIXES: Final = frozenset(
    b".jpg .jpeg .jpe .jfif .mpo .png .webp .avif .gif .tif .tiff .bmp .dib"
    b" .heic .heif .hif".split()
)

# Not photos, though they may end in .jpg: thumbnails and versions other programs
# keep, downloads and copies under way, and bins.
SKIPPED_FOLDERS: Final = frozenset(
    b"@eaDir .stversions .dropbox.cache #recycle $RECYCLE.BIN lost+found node_modules".split()
) | {b"System Volume Information"}
# A folder that holds a file of this name is left alone with all below it: Android's
# convention for pictures that are not photos. Our own home directory has one.
IGNORE_MARK: Final = b".nomedia"
PARTIAL_SUFFIXES: Final = (b".tmp", b".part", b".partial", b".crdownload")

INT63: Final = (1 << 63) - 1  # SQLite integers are signed; Windows file ids may use more bits


@dataclass
class Tree:
    """One walk over a root, or over a folder in it."""

    files: dict[bytes, Stamp] = field(default_factory=dict)  # by path relative to the root
    unreadable: list[bytes] = field(default_factory=list)  # folders; b"" is the root itself


def is_photo_name(name: bytes) -> bool:
    """Whether a file of this name may be a photo; says nothing of its bytes."""
    lower = name.lower()
    if lower.startswith((b".", b"~")) or lower.endswith(PARTIAL_SUFFIXES):
        return False
    return os.path.splitext(lower)[1] in SUFFIXES


def is_skipped_folder(name: bytes) -> bool:
    return name.startswith(b".") or name in SKIPPED_FOLDERS


def is_watched_path(path: bytes) -> bool:
    """Whether a path relative to a root could be listed by `scan`."""
    *folders, name = path.split(b"/")
    return is_photo_name(name) and not any(is_skipped_folder(folder) for folder in folders)


def scan(root: str, *, under: bytes = b"") -> Tree:
    """Every photo file below `under`. Folders that cannot be read are named, not guessed empty."""
    tree = Tree()
    pending = [under]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(_absolute(root, folder)) as entries:
                found = list(entries)
            if any(entry.name == IGNORE_MARK for entry in found):
                continue
            for entry in found:
                _take(tree, pending, folder, entry)
        except FileNotFoundError:
            if folder == under:
                tree.unreadable.append(folder)
            # else: it went away while we walked, and its photos with it
        except OSError as error:
            log.warning("scan.unreadable folder=%r reason=%s", folder, error.strerror)
            tree.unreadable.append(folder)
    return tree


def _take(tree: Tree, pending: list[bytes], folder: bytes, entry: os.DirEntry[bytes]) -> None:
    name = entry.name
    path = folder + b"/" + name if folder else name
    try:
        if entry.is_dir(follow_symlinks=False):
            if not is_skipped_folder(name) and not _is_junction(entry):
                pending.append(path)
        elif is_photo_name(name) and entry.is_file(follow_symlinks=False):
            tree.files[path] = stamp_of(os.stat(entry.path, follow_symlinks=False))
    except FileNotFoundError:
        return  # gone between listing and looking
    except OSError as error:
        log.warning("scan.unreadable path=%r reason=%s", path, error.strerror)
        tree.unreadable.append(path)


def _is_junction(entry: os.DirEntry[bytes]) -> bool:
    """Windows' directory links; Python 3.12 can tell."""
    check = getattr(entry, "is_junction", None)
    return bool(check and check())


def look(root: str, path: bytes) -> Stamp | None:
    """Stamp one path; None where `scan` would list no file: nothing there, not a regular
    file, behind a symbolic link, or in a folder that is to be left alone."""
    try:
        found = os.stat(_absolute(root, path), follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    parts = path.split(b"/")
    for depth in range(len(parts)):
        folder = _absolute(root, b"/".join(parts[:depth]))
        if depth and os.path.islink(folder):
            return None
        if os.path.lexists(os.path.join(folder, IGNORE_MARK)):
            return None
    return stamp_of(found)


def stamp_of(found: os.stat_result) -> Stamp:
    return Stamp(
        size_bytes=found.st_size,
        mtime_ns=max(-INT63, min(INT63, found.st_mtime_ns)),
        device=found.st_dev & INT63,
        inode=found.st_ino & INT63,
    )


def _absolute(root: str, path: bytes) -> bytes:
    return os.path.join(os.fsencode(root), *path.split(b"/")) if path else os.fsencode(root)
