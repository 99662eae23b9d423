"""The native bar's door: how a second start, `open` and `stop` reach the one that runs.

The bar listens on a loopback port and writes it, with a secret, into bar.json. One line
in, one line out. Nothing here needs Qt.
"""

from __future__ import annotations

import json
import secrets
import socket
from dataclasses import asdict, dataclass
from typing import Final, Literal

from photosearch.home import Home, write_private

Wish = Literal["show", "quit"]
WISHES: Final = ("show", "quit")
SECONDS: Final = 3.0
MAX_LINE: Final = 512
OK: Final = b"ok\n"


@dataclass(frozen=True)
class Door:
    """What a running bar says of itself in bar.json."""

    pid: int
    port: int
    secret: str


def announce(place: Home, door: Door) -> None:
    write_private(place.bar, json.dumps(asdict(door)))


def find_door(place: Home) -> Door | None:
    """The bar that announced itself here; it may have died since."""
    try:
        raw = json.loads(place.bar.read_text(encoding="utf-8"))
        return Door(int(raw["pid"]), int(raw["port"]), str(raw["secret"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tell(place: Home, wish: Wish) -> bool:
    """Ask the running bar for something. False where none runs, or none that answers."""
    door = find_door(place)
    if door is None or not 0 < door.port < 65536:
        return False
    try:
        with socket.create_connection(("127.0.0.1", door.port), timeout=SECONDS) as line:
            line.sendall(f"{door.secret} {wish}\n".encode())
            return line.makefile("rb").readline(len(OK)) == OK
    except (OSError, ValueError):
        return False


def understand(line: bytes, secret: str) -> Wish | None:
    """What one line asks for; None where it is not ours to obey."""
    offered, _, wish = line.rstrip(b"\n").partition(b" ")
    if not secrets.compare_digest(offered, secret.encode()):
        return None
    if wish == b"show":
        return "show"
    return "quit" if wish == b"quit" else None
