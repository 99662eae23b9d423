"""What is on disk: walk a root and stamp its photo files, opening none.

Symbolic links are not followed: a link back up the tree would list the same
photos for ever, and one that leaves the root would take files into the library
that its owner never named. To search a linked folder, name it as a library.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import marshal
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from photosearch import extras
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
SIDECAR_SUFFIX: Final = b".xmp"  # what programs write beside a photo instead of into it
PARTIAL_SUFFIXES: Final = (b".tmp", b".part", b".partial", b".crdownload")

WINDOWS: Final = os.name == "nt"
INT63: Final = (1 << 63) - 1  # SQLite integers are signed; Windows file ids may use more bits


@dataclass(frozen=True)
class Folder:
    """A folder as it was listed: what a later listing is compared with, at the cost of a hash."""

    inode: int
    files: int  # photo files directly in it
    digest: bytes  # of the names in it and, for what is no folder, inode, size and time


EMPTY: Final[Mapping[bytes, Folder]] = {}


@dataclass
class Tree:
    """One walk over a root, or over a folder in it."""

    files: dict[bytes, Stamp] = field(default_factory=dict)  # by path relative to the root
    # Folders and files that cannot be looked at, with the reason; b"" is the root itself.
    unreadable: dict[bytes, str] = field(default_factory=dict)
    sidecars: dict[bytes, Stamp] = field(default_factory=dict)  # in the folders that changed
    same: dict[bytes, Folder] = field(default_factory=dict)  # look as they did; files left out
    # All others met: None where there is nothing to take, or nothing that may be remembered.
    changed: dict[bytes, Folder | None] = field(default_factory=dict)
    inodes: set[int] = field(default_factory=set)  # of every folder met

    @property
    def seen(self) -> int:
        """Photo files in all folders listed."""
        return len(self.files) + sum(folder.files for folder in self.same.values())


def is_photo_name(name: bytes) -> bool:
    """Whether a file of this name may be a photo; says nothing of its bytes."""
    lower = name.lower()
    if lower.startswith((b".", b"~")) or lower.endswith(PARTIAL_SUFFIXES):
        return False
    return os.path.splitext(lower)[1] in readable()


def is_sidecar_name(name: bytes) -> bool:
    lower = name.lower()
    return lower.endswith(SIDECAR_SUFFIX) and not lower.startswith((b".", b"~"))


@functools.cache
def readable() -> frozenset[bytes]:
    """Suffixes of the files we read: photos, and what the installed extras can."""
    return SUFFIXES | extras.suffixes()


def is_skipped_folder(name: bytes) -> bool:
    return name.startswith(b".") or name in SKIPPED_FOLDERS


def is_watched_path(path: bytes) -> bool:
    """Whether a path relative to a root could be listed by `scan`, as a photo or beside one."""
    *folders, name = path.split(b"/")
    if any(is_skipped_folder(folder) for folder in folders):
        return False
    return is_photo_name(name) or is_sidecar_name(name)


def scan(root: str, *, under: bytes = b"", known: Mapping[bytes, Folder] = EMPTY) -> Tree:
    """Every photo file below `under`, but for folders that look as `known` has them: of those
    it says only that. Folders that cannot be read are named, not guessed empty."""
    tree = Tree()
    if is_left_alone(root, under):
        tree.changed[under] = None
        return tree
    pending = [(under, _inode(_absolute(root, under)))]
    while pending:
        folder, inode = pending.pop()
        tree.inodes.add(inode)
        try:
            entries, rows = _list(_absolute(root, folder))
        except FileNotFoundError:
            if folder == under:
                tree.unreadable[folder] = "not there"
            else:  # it went away while we walked, and its photos with it
                tree.changed[folder] = None
            continue
        except OSError as error:
            log.warning("scan.unreadable folder=%r reason=%s", folder, error.strerror)
            tree.unreadable[folder] = error.strerror or str(error)
            continue
        digest = hashlib.blake2b(marshal.dumps(rows, 2), digest_size=16).digest()
        before = known.get(folder)
        if before is not None and before.digest == digest:
            tree.same[folder] = before
            pending += _subfolders(folder, entries)
        else:
            _take_all(tree, pending, folder, inode, entries, digest)
    return tree


def holds_photos(root: str) -> bool:
    """Whether `scan` would meet a photo file; the walk ends at the first. True where a folder
    cannot be read: not seen is not gone."""
    pending = [b""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(_absolute(root, folder)) as listing:
                entries = list(listing)
            if any(entry.name == IGNORE_MARK for entry in entries):
                continue
            for entry in entries:
                if is_photo_name(entry.name) and entry.is_file(follow_symlinks=False):
                    return True
        except FileNotFoundError:
            continue
        except OSError:
            return True
        pending += (path for path, _ in _subfolders(folder, entries))
    return False


def unreadable_folders(root: str) -> dict[bytes, str]:
    """Folders that `scan` could not look into, with the reason: not to be listed, or, where only
    that is allowed, not to be entered."""
    found: dict[bytes, str] = {}
    pending = [b""]
    while pending:
        folder = pending.pop()
        path = _absolute(root, folder)
        try:
            with os.scandir(path) as listing:
                entries = list(listing)
            os.lstat(os.path.join(path, b"."))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            found[folder] = error.strerror or str(error)
            continue
        if all(entry.name != IGNORE_MARK for entry in entries):
            pending += (path for path, _ in _subfolders(folder, entries))
    return found


def _inode(folder: bytes) -> int:
    """Zero where it is not to be had."""
    try:
        return os.lstat(folder).st_ino & INT63
    except OSError:
        return 0


Row = tuple[bytes, int, int, int] | tuple[bytes] | tuple[bytes, bool]


def _list(path: bytes) -> tuple[list[os.DirEntry[bytes]], list[Row]]:
    """A folder's entries, and what its digest is made of. This loop is what a sweep costs."""
    with os.scandir(path) as listing:
        entries = list(listing)
    rows: list[Row] = []
    add = rows.append
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            add((entry.name,))
            continue
        try:
            # Windows lists sizes and times that may be old, and no inode.
            found = os.lstat(entry.path) if WINDOWS else entry.stat(follow_symlinks=False)
        except OSError:
            add((entry.name, False))  # looked at, and named, by _take
            continue
        add((entry.name, found.st_ino, found.st_size, found.st_mtime_ns))
    return entries, rows


def _subfolders(
    folder: bytes, entries: Iterable[os.DirEntry[bytes]]
) -> Iterator[tuple[bytes, int]]:
    """Those to be walked, with their inodes."""
    for entry in entries:
        if (
            entry.is_dir(follow_symlinks=False)
            and not is_skipped_folder(entry.name)
            and not _is_junction(entry)
        ):
            yield (folder + b"/" + entry.name if folder else entry.name), entry.inode() & INT63


def _take_all(
    tree: Tree,
    pending: list[tuple[bytes, int]],
    folder: bytes,
    inode: int,
    entries: Sequence[os.DirEntry[bytes]],
    digest: bytes,
) -> None:
    """Stamp the photo files of a folder that is new or looks different."""
    if any(entry.name == IGNORE_MARK for entry in entries):
        tree.changed[folder] = None
        return
    pending += _subfolders(folder, entries)
    files, failed = len(tree.files), len(tree.unreadable)
    for entry in entries:
        if is_photo_name(entry.name):
            _take(tree, tree.files, folder, entry)
        elif is_sidecar_name(entry.name):
            _take(tree, tree.sidecars, folder, entry)
    sound = len(tree.unreadable) == failed
    tree.changed[folder] = Folder(inode, len(tree.files) - files, digest) if sound else None


def _take(tree: Tree, into: dict[bytes, Stamp], folder: bytes, entry: os.DirEntry[bytes]) -> None:
    path = folder + b"/" + entry.name if folder else entry.name
    try:
        if entry.is_file(follow_symlinks=False):
            # Stamped by the listing's own look, so that digest and stamp are of one moment.
            found = os.lstat(entry.path) if WINDOWS else entry.stat(follow_symlinks=False)
            into[path] = stamp_of(found)
    except FileNotFoundError:
        return  # gone between listing and looking
    except OSError as error:
        log.warning("scan.unreadable path=%r reason=%s", path, error.strerror)
        tree.unreadable[path] = error.strerror or str(error)


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
    folder = path.rpartition(b"/")[0]
    marked = os.path.lexists(os.path.join(_absolute(root, folder), IGNORE_MARK))
    return None if marked or is_left_alone(root, folder) else stamp_of(found)


def linked(file: str | bytes) -> Stamp | None:
    """Stamp a file that has more than one name (hard links), whatever this one is."""
    try:
        found = os.lstat(file)
    except (OSError, ValueError):
        return None
    return stamp_of(found) if stat.S_ISREG(found.st_mode) and found.st_nlink > 1 else None


def is_left_alone(root: str, folder: bytes) -> bool:
    """Whether a walk from the root would never come to this folder: behind a symbolic link, or
    in a folder that holds the mark."""
    if not folder:
        return False
    parts = folder.split(b"/")
    for depth in range(len(parts)):
        if os.path.lexists(
            os.path.join(_absolute(root, b"/".join(parts[:depth])), IGNORE_MARK)
        ) or os.path.islink(_absolute(root, b"/".join(parts[: depth + 1]))):
            return True
    return False


def stamp_of(found: os.stat_result) -> Stamp:
    return Stamp(
        size_bytes=found.st_size,
        mtime_ns=max(-INT63, min(INT63, found.st_mtime_ns)),
        device=found.st_dev & INT63,
        inode=found.st_ino & INT63,
    )


def _absolute(root: str, path: bytes) -> bytes:
    return os.path.join(os.fsencode(root), *path.split(b"/")) if path else os.fsencode(root)
