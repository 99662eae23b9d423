"""What a path needs. Pure: what is known, what is on disk, what time it is."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from photosearch.types import Location, Stamp

SETTLE_NS: Final = 1_000_000_000  # a file changed more recently may still be being written


class Action(enum.Enum):
    """What to do about one path."""

    NOTHING = "nothing"
    READ = "read"  # new, or its stamp changed: identify it, and embed it if its bytes are new
    WAIT = "wait"  # still being written; look again
    FORGET = "forget"  # no longer there


def decide(
    known: Location | None, on_disk: Stamp | None, now_ns: int, *, settle_ns: int = SETTLE_NS
) -> Action:
    """The action for one path. A rejected file is read again only when its stamp changes."""
    if on_disk is None:
        return Action.NOTHING if known is None else Action.FORGET
    if known is not None and same_file(known.stamp, on_disk):
        return Action.NOTHING
    # A time in the future is a wrong clock, not a write in progress.
    if 0 <= now_ns - on_disk.mtime_ns < settle_ns:
        return Action.WAIT
    return Action.READ


def same_file(known: Stamp, on_disk: Stamp) -> bool:
    """Whether a path still holds the file we read.

    Size and time decide; on one device the inode too, which tells a file put in
    another's place. Device numbers change at every mount, so they prove nothing.
    """
    if (known.size_bytes, known.mtime_ns) != (on_disk.size_bytes, on_disk.mtime_ns):
        return False
    return known.device != on_disk.device or known.inode == on_disk.inode


@dataclass(frozen=True)
class Plan:
    """What a root, or a folder in it, needs."""

    read: tuple[tuple[bytes, Stamp], ...]  # newest first: what was just taken is asked for first
    wait: tuple[bytes, ...]
    forget: tuple[bytes, ...]
    unchanged: int


def plan(
    known: Mapping[bytes, Location],
    on_disk: Mapping[bytes, Stamp],
    now_ns: int,
    *,
    unreadable: tuple[bytes, ...] = (),
    settle_ns: int = SETTLE_NS,
) -> Plan:
    """Decide every path that is known or on disk.

    What lies in an unreadable folder is left as it is known: not seen is not gone.
    """
    read: list[tuple[bytes, Stamp]] = []
    wait: list[bytes] = []
    forget: list[bytes] = []
    unchanged = 0
    for path in known.keys() | on_disk.keys():
        stamp = on_disk.get(path)
        action = decide(known.get(path), stamp, now_ns, settle_ns=settle_ns)
        if action is Action.READ and stamp is not None:
            read.append((path, stamp))
        elif action is Action.WAIT:
            wait.append(path)
        elif action is Action.FORGET and not _inside_any(path, unreadable):
            forget.append(path)
        else:
            unchanged += 1
    read.sort(key=lambda item: (-item[1].mtime_ns, item[0]))
    return Plan(tuple(read), tuple(sorted(wait)), tuple(sorted(forget)), unchanged)


def _inside_any(path: bytes, folders: tuple[bytes, ...]) -> bool:
    return any(not folder or path == folder or path.startswith(folder + b"/") for folder in folders)
