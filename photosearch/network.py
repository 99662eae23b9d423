"""What this process has to do with other computers, counted: it should be nothing.

Two witnesses. The system's own table of sockets (Linux) says what is open now,
whoever opened it, compiled libraries too. An audit hook counts what Python code
has tried since it was set, on every system.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc/self")
TABLES: Final = ("tcp", "tcp6", "udp", "udp6")
CONNECTING: Final = ("socket.connect", "socket.sendto", "socket.sendmsg")
ASKING: Final = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


@dataclass(frozen=True)
class Traffic:
    """Sockets open now, and attempts since the count began."""

    open_outside: int | None  # ends that are another computer; None: this system does not say
    listening_outside: int | None  # sockets that another computer could reach
    attempts_outside: int  # by Python code, to connect, send, or resolve a name


class _Count:
    """Attempts to reach another computer. A hook cannot be taken out, so there is one."""

    def __init__(self) -> None:
        self.attempts = 0
        self.is_set = False
        self.lock = threading.Lock()

    def hear(self, event: str, args: tuple[object, ...]) -> None:
        if not event.startswith("socket."):
            return
        outside = (event in CONNECTING and _leads_outside(args[-1])) or (
            event in ASKING and not _is_own_name(args[0])
        )
        if outside:
            with self.lock:
                self.attempts += 1


_count: Final = _Count()


def begin_counting() -> None:
    """From here on, attempts are counted, for the life of the process."""
    if not _count.is_set:
        _count.is_set = True
        sys.addaudithook(_count.hear)


def traffic() -> Traffic:
    """The numbers of this moment."""
    table = _open_sockets()
    return Traffic(
        open_outside=None if table is None else sum(far for _, far in table),
        listening_outside=None if table is None else sum(near for near, _ in table),
        attempts_outside=_count.attempts,
    )


def _leads_outside(address: object) -> bool:
    """Whether a socket address is another computer. Unix sockets have names, not tuples."""
    return isinstance(address, tuple) and bool(address) and not _is_own_name(address[0])


def _is_own_name(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False


def _open_sockets() -> list[tuple[bool, bool]] | None:
    """Of each socket of this process: is its near end open to others, is its far end another
    computer. None where the system has no such table."""
    try:
        inodes = _own_inodes()
        lines = [line for name in TABLES for line in _lines(PROC / "net" / name)]
    except OSError:
        return None
    found: list[tuple[bool, bool]] = []
    for line in lines:
        fields = line.split()
        if len(fields) > 9 and fields[9] in inodes:
            near, far = _address(fields[1]), _address(fields[2])
            far_is_outside = not (far.is_loopback or far.is_unspecified)
            found.append((not near.is_loopback and not far_is_outside, far_is_outside))
    return found


def _own_inodes() -> set[str]:
    found: set[str] = set()
    for name in os.listdir(PROC / "fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            target = os.readlink(PROC / "fd" / name)
            if target.startswith("socket:["):
                found.add(target[len("socket:[") : -1])
    return found


def _lines(table: Path) -> Iterable[str]:
    try:
        return table.read_text("ascii").splitlines()[1:]
    except FileNotFoundError:
        if not (PROC / "net").is_dir():
            raise
        return []  # a system without IPv6


def _address(field: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """`0100007F:1F90` -> 127.0.0.1: hexadecimal, in the machine's words of 32 bits."""
    raw = bytes.fromhex(field.split(":")[0])
    words = [raw[start : start + 4] for start in range(0, len(raw), 4)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    packed = b"".join(words)
    if len(packed) == 4:
        return ipaddress.IPv4Address(packed)
    address = ipaddress.IPv6Address(packed)
    return address.ipv4_mapped or address
