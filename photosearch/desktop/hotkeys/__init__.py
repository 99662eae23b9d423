"""One key chord for the whole system, through each system's own call and ctypes.

Nothing here ever sees another key: the system is asked to report this chord and no
other, which a keyboard listener could not promise.

- chord.py    "ctrl+alt+space" -> Chord; pure
- x11.py      XGrabKey
- windows.py  RegisterHotKey
- macos.py    RegisterEventHotKey

On Wayland there is no way that works on every desktop: the user binds
`photosearch open` to a key in the desktop's settings (docs/desktop.md).
"""

from __future__ import annotations

from typing import Protocol

from photosearch.errors import PhotosearchError


class HotKey(Protocol):
    """A chord that is held until it is closed. Each way says how its presses are read."""

    def close(self) -> None: ...


class HotKeyError(PhotosearchError):
    """The chord cannot be had; the bar goes on without it."""


def taken(chord: object) -> HotKeyError:
    return HotKeyError(
        f"{chord} belongs to another program. Choose another chord with --hotkey, "
        "or bind `photosearch open` to a key in your desktop's settings."
    )
