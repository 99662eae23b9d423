"""RegisterEventHotKey of Carbon: the one call for this that needs no permission to watch keys.

Its events arrive through the application's own event loop, which Qt runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

from photosearch.desktop.hotkeys import HotKeyError, taken
from photosearch.desktop.hotkeys.chord import Chord

CARBON: Final = "/System/Library/Frameworks/Carbon.framework/Carbon"
MODIFIERS: Final = {"meta": 1 << 8, "shift": 1 << 9, "alt": 1 << 11, "ctrl": 1 << 12}
# HIToolbox/Events.h, kVK_ANSI_*: places on the keyboard, in no order anyone could guess.
KEY_CODES: Final = {
    "a": 0, "s": 1, "d": 2, "f": 3, "h": 4, "g": 5, "z": 6, "x": 7, "c": 8, "v": 9, "b": 11,
    "q": 12, "w": 13, "e": 14, "r": 15, "y": 16, "t": 17, "1": 18, "2": 19, "3": 20, "4": 21,
    "6": 22, "5": 23, "9": 25, "7": 26, "8": 28, "0": 29, "o": 31, "u": 32, "i": 34, "p": 35,
    "l": 37, "j": 38, "k": 40, "n": 45, "m": 46, "space": 49,
    "f1": 122, "f2": 120, "f3": 99, "f4": 118, "f5": 96, "f6": 97, "f7": 98, "f8": 100,
    "f9": 101, "f10": 109, "f11": 103, "f12": 111,
}  # fmt: skip


def four(code: str) -> int:
    """An OSType: four letters as a number."""
    return int.from_bytes(code.encode("ascii"), "big")


KEYBOARD_CLASS: Final = four("keyb")
HOT_KEY_PRESSED: Final = 5  # kEventHotKeyPressed


class EventTypeSpec(ctypes.Structure):
    _fields_ = (("event_class", ctypes.c_uint32), ("kind", ctypes.c_uint32))


class HotKeyID(ctypes.Structure):
    _fields_ = (("signature", ctypes.c_uint32), ("number", ctypes.c_uint32))


Handler = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def load() -> Any:
    try:
        carbon = ctypes.CDLL(CARBON)
    except OSError as error:
        raise HotKeyError(f"no hot key: {error}.") from error
    pointer, number = ctypes.c_void_p, ctypes.c_uint32
    carbon.GetApplicationEventTarget.restype = pointer
    carbon.GetApplicationEventTarget.argtypes = []
    carbon.InstallEventHandler.argtypes = [
        pointer, Handler, ctypes.c_ulong, pointer, pointer, pointer,
    ]  # fmt: skip
    carbon.RegisterEventHotKey.argtypes = [number, number, HotKeyID, pointer, number, pointer]
    carbon.UnregisterEventHotKey.argtypes = [pointer]
    carbon.RemoveEventHandler.argtypes = [pointer]
    return carbon


class MacHotKey:
    """Held from construction to close()."""

    def __init__(self, chord: Chord, pressed: Callable[[], None], carbon: Any = None) -> None:
        self._carbon = load() if carbon is None else carbon

        def heard(call: int, event: int, data: int) -> int:
            pressed()
            return 0

        self._handler = Handler(heard)  # kept: Carbon holds only its address
        self._installed = ctypes.c_void_p()
        self._hot_key = ctypes.c_void_p()
        target = self._carbon.GetApplicationEventTarget()
        kind = EventTypeSpec(KEYBOARD_CLASS, HOT_KEY_PRESSED)
        status = self._carbon.InstallEventHandler(
            target, self._handler, 1, ctypes.byref(kind), None, ctypes.byref(self._installed)
        )
        if status != 0:
            raise HotKeyError(f"no hot key: macOS answers {status}.")
        mask = sum(MODIFIERS[name] for name in chord.modifiers)
        status = self._carbon.RegisterEventHotKey(
            KEY_CODES[chord.key],
            mask,
            HotKeyID(four("phot"), 1),
            target,
            0,
            ctypes.byref(self._hot_key),
        )
        if status != 0:
            self.close()
            raise taken(chord)

    def close(self) -> None:
        if self._hot_key:
            self._carbon.UnregisterEventHotKey(self._hot_key)
            self._hot_key = ctypes.c_void_p()
        if self._installed:
            self._carbon.RemoveEventHandler(self._installed)
            self._installed = ctypes.c_void_p()
