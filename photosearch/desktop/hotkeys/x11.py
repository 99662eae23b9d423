"""XGrabKey on a connection of our own, which brings this chord alone. Xlib manual, 12.2."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

from photosearch.desktop.hotkeys import HotKeyError, taken
from photosearch.desktop.hotkeys.chord import Chord

MASKS: Final = {"shift": 1 << 0, "ctrl": 1 << 2, "alt": 1 << 3, "meta": 1 << 6}
CAPS_LOCK, NUM_LOCK = 1 << 1, 1 << 4
# A grab is for exact modifiers, and the locks are among them.
LOCKS: Final = (0, CAPS_LOCK, NUM_LOCK, CAPS_LOCK | NUM_LOCK)
KEY_PRESS, KEY_RELEASE, MAPPING_NOTIFY = 2, 3, 34
GRAB_ASYNC: Final = 1
EVENT_LONGS: Final = 24  # sizeof(XEvent) is 24 longs

ErrorHandler = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def load() -> Any:
    """libX11 with its signatures. Raises HotKeyError where it is not installed."""
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError as error:
        raise HotKeyError(f"no hot key: {error}.") from error
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for name, result, arguments in (
        ("XOpenDisplay", pointer, [ctypes.c_char_p]),
        ("XCloseDisplay", number, [pointer]),
        ("XConnectionNumber", number, [pointer]),
        ("XDefaultRootWindow", ctypes.c_ulong, [pointer]),
        ("XStringToKeysym", ctypes.c_ulong, [ctypes.c_char_p]),
        ("XKeysymToKeycode", ctypes.c_ubyte, [pointer, ctypes.c_ulong]),
        (
            "XGrabKey",
            number,
            [pointer, number, ctypes.c_uint, ctypes.c_ulong, number, number, number],
        ),
        ("XUngrabKey", number, [pointer, number, ctypes.c_uint, ctypes.c_ulong]),
        ("XSetErrorHandler", pointer, [pointer]),
        ("XSync", number, [pointer, number]),
        ("XPending", number, [pointer]),
        ("XNextEvent", number, [pointer, pointer]),
        ("XRefreshKeyboardMapping", number, [pointer]),
        ("XkbSetDetectableAutoRepeat", number, [pointer, number, pointer]),
    ):
        function = getattr(x11, name)
        function.restype, function.argtypes = result, arguments
    return x11


class X11HotKey:
    """Held from construction to close(). Whoever owns the event loop waits for `fileno` to
    become readable and calls `read`, which calls `pressed` once for each press."""

    def __init__(self, chord: Chord, pressed: Callable[[], None], x11: Any = None) -> None:
        self._x11 = load() if x11 is None else x11
        self._chord = chord
        self._pressed = pressed
        self._is_down = False
        self._display = self._x11.XOpenDisplay(None)
        if not self._display:
            raise HotKeyError("no hot key: the X server cannot be reached.")
        # While the chord is held the keyboard repeats it; told so, X leaves out the releases.
        self._x11.XkbSetDetectableAutoRepeat(self._display, 1, None)
        self._keycode = 0
        if not self._grab():
            self.close()
            raise taken(chord)

    def fileno(self) -> int:
        return int(self._x11.XConnectionNumber(self._display))

    def read(self) -> None:
        """Take in all events that have arrived."""
        event = (ctypes.c_long * EVENT_LONGS)()
        while self._display and self._x11.XPending(self._display):
            self._x11.XNextEvent(self._display, event)
            kind = ctypes.cast(event, ctypes.POINTER(ctypes.c_int))[0]
            if kind == KEY_PRESS and not self._is_down:
                self._is_down = True
                self._pressed()
            elif kind == KEY_RELEASE:
                self._is_down = False
            elif kind == MAPPING_NOTIFY:  # another layout: the key may have moved
                self._x11.XRefreshKeyboardMapping(event)
                self._ungrab()
                self._grab()

    def close(self) -> None:
        if self._display:
            self._ungrab()
            self._x11.XCloseDisplay(self._display)
            self._display = None

    @property
    def _mask(self) -> int:
        return sum(MASKS[name] for name in self._chord.modifiers)

    def _grab(self) -> bool:
        """False where another program holds it, or the keyboard lacks the key."""
        name = self._chord.key.upper() if self._chord.key[1:].isdigit() else self._chord.key
        keysym = self._x11.XStringToKeysym(name.encode())
        self._keycode = self._x11.XKeysymToKeycode(self._display, keysym)
        if not self._keycode:
            return False
        refused: list[int] = []

        def note(display: object, error: object) -> int:
            refused.append(1)
            return 0

        handler = ErrorHandler(note)  # Xlib's own would end the process
        previous = self._x11.XSetErrorHandler(ctypes.cast(handler, ctypes.c_void_p))
        root = self._x11.XDefaultRootWindow(self._display)
        for locks in LOCKS:
            self._x11.XGrabKey(
                self._display, self._keycode, self._mask | locks, root, 1, GRAB_ASYNC, GRAB_ASYNC
            )
        self._x11.XSync(self._display, 0)
        self._x11.XSetErrorHandler(previous)
        return not refused

    def _ungrab(self) -> None:
        if self._keycode:
            root = self._x11.XDefaultRootWindow(self._display)
            for locks in LOCKS:
                self._x11.XUngrabKey(self._display, self._keycode, self._mask | locks, root)
            self._x11.XSync(self._display, 0)
