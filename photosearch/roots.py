"""Roots as folders on disk: named by the user, at hand, or away with their drive."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from photosearch import scan
from photosearch.errors import RootMissing, UsageError
from photosearch.types import Root

Devices = Callable[[int], set[int]]  # a root's id -> the devices its photo files were on


def require_folders(folders: Sequence[str]) -> list[str]:
    """Absolute paths of the libraries named, links resolved. Raises for one that is not there."""
    found: list[str] = []
    for folder in folders:
        if not folder:  # else it would be the current folder
            raise UsageError("a folder of photos has no name. Name it: --library DIR")
        path = os.path.realpath(os.path.expanduser(folder))
        if not os.path.isdir(path):
            what = "is not a folder" if os.path.exists(path) else "does not exist"
            raise RootMissing(f"{folder}: {what}. Name a folder of photos with --library.")
        try:
            os.scandir(path).close()
        except OSError as error:
            raise RootMissing(
                f"{folder}: cannot be read ({error.strerror}). Check its permissions."
            ) from error
        if path not in found:
            found.append(path)
    return found


def can_list(root: Root) -> bool:
    """Whether a root can be listed right now; its drive may be away all the same."""
    try:
        with os.scandir(root.path):
            return True
    except OSError:
        return False


def is_at_hand(root: Root, devices: Devices) -> bool:
    """Whether what lies in a root now is what the library knows of it, or became of that."""
    return can_list(root) and not is_bare(root, devices)


def is_bare(root: Root, devices: Devices) -> bool:
    """A folder without photos where photos were, on another device than they were on: the
    mount point of a drive that is away. Emptied by its owner, it would be the same device.

    The walk ends at the first photo, so that a root at hand costs next to nothing."""
    if scan.holds_photos(root.path):
        return False
    try:
        device = os.stat(root.path).st_dev & scan.INT63
    except OSError:
        return True
    known = devices(root.root_id)
    return bool(known) and device not in known
