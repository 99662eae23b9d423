"""Whether what is under a window can be seen through it."""

from __future__ import annotations

import ctypes
from typing import Any

from PySide6.QtGui import QGuiApplication

from photosearch.desktop.hotkeys import HotKeyError
from photosearch.desktop.hotkeys.x11 import load


def is_composited() -> bool:
    """On X11 only while a compositing manager runs; elsewhere always.

    It owns the selection _NET_WM_CM_S0 (Extended Window Manager Hints, "Compositing managers").
    Without one, what is transparent comes out black.
    """
    if QGuiApplication.platformName() != "xcb":
        return True
    try:
        x11: Any = load()
    except HotKeyError:
        return True
    x11.XInternAtom.restype = ctypes.c_ulong
    x11.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    x11.XGetSelectionOwner.restype = ctypes.c_ulong
    x11.XGetSelectionOwner.argtypes = [ctypes.c_void_p, ctypes.c_ulong]
    display = x11.XOpenDisplay(None)
    if not display:
        return True
    try:
        atom = x11.XInternAtom(display, b"_NET_WM_CM_S0", 0)
        return bool(x11.XGetSelectionOwner(display, atom))
    finally:
        x11.XCloseDisplay(display)
