"""RegisterHotKey: Windows posts WM_HOTKEY to this thread's message queue for this chord alone."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

from photosearch.desktop.hotkeys import taken
from photosearch.desktop.hotkeys.chord import FUNCTION, Chord

MODIFIERS: Final = {"alt": 0x0001, "ctrl": 0x0002, "shift": 0x0004, "meta": 0x0008}
NO_REPEAT: Final = 0x4000  # holding it down is one press
WM_HOTKEY: Final = 0x0312
VK_SPACE, VK_F1 = 0x20, 0x70
IDENTITY: Final = 0x5073  # ours, below 0xC000 as an application's must be


class MSG(ctypes.Structure):
    """winuser.h: what an event loop takes from the queue."""

    _fields_ = (
        ("window", ctypes.c_void_p),
        ("message", ctypes.c_uint),
        ("wparam", ctypes.c_size_t),
        ("lparam", ctypes.c_ssize_t),
        ("time", ctypes.c_ulong),
        ("x", ctypes.c_long),
        ("y", ctypes.c_long),
    )


def virtual_key(key: str) -> int:
    """Letters and digits are their own ASCII capitals."""
    if key == "space":
        return VK_SPACE
    return VK_F1 + FUNCTION.index(key) if key in FUNCTION else ord(key.upper())


class WindowsHotKey:
    """Held from construction to close(), by the thread whose queue gets the messages. Whoever
    owns the event loop shows each message to `handles`."""

    def __init__(self, chord: Chord, pressed: Callable[[], None], user32: Any = None) -> None:
        # windll exists on Windows alone.
        self._user32 = ctypes.windll.user32 if user32 is None else user32  # type: ignore[attr-defined, unused-ignore]
        self._pressed = pressed
        mask = NO_REPEAT | sum(MODIFIERS[name] for name in chord.modifiers)
        self._held = bool(self._user32.RegisterHotKey(None, IDENTITY, mask, virtual_key(chord.key)))
        if not self._held:
            raise taken(chord)

    def handles(self, message: int) -> bool:
        """`message`: address of a MSG. True where it was ours."""
        found = MSG.from_address(message)
        if found.message != WM_HOTKEY or found.wparam != IDENTITY:
            return False
        self._pressed()
        return True

    def close(self) -> None:
        if self._held:
            self._user32.UnregisterHotKey(None, IDENTITY)
            self._held = False
