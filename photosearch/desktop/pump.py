"""Hot keys in Qt's event loop: each system's way to hear that the chord was pressed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import (
    QAbstractNativeEventFilter,
    QByteArray,
    QCoreApplication,
    QObject,
    QSocketNotifier,
)
from PySide6.QtGui import QGuiApplication

from photosearch.desktop.hotkeys import HotKey, HotKeyError
from photosearch.desktop.hotkeys.chord import Chord


class _Messages(QAbstractNativeEventFilter):
    """Shows each Windows message to the hot key first."""

    def __init__(self, handles: Callable[[int], bool]) -> None:
        super().__init__()
        self._handles = handles

    def nativeEventFilter(
        self, kind: QByteArray | bytes | bytearray | memoryview, message: Any
    ) -> Any:
        is_ours = kind == QByteArray(b"windows_generic_MSG") and self._handles(int(message))
        return is_ours, 0


def hold(chord: Chord, pressed: Callable[[], None], owner: QObject) -> HotKey:
    """Hold the chord while `owner` lives, or until it is closed. Raises HotKeyError."""
    platform = QGuiApplication.platformName()
    if platform == "windows":
        from photosearch.desktop.hotkeys.windows import WindowsHotKey

        on_windows = WindowsHotKey(chord, pressed)
        messages = _Messages(on_windows.handles)
        QCoreApplication.instance().installNativeEventFilter(messages)  # type: ignore[union-attr]
        owner.setProperty("messages", messages)  # Qt keeps no reference of its own
        return on_windows
    if platform == "cocoa":
        from photosearch.desktop.hotkeys.macos import MacHotKey

        return MacHotKey(chord, pressed)
    if platform == "xcb":
        from photosearch.desktop.hotkeys.x11 import X11HotKey

        on_x11 = X11HotKey(chord, pressed)
        notifier = QSocketNotifier(on_x11.fileno(), QSocketNotifier.Type.Read, owner)
        notifier.activated.connect(lambda *_: on_x11.read())
        return on_x11
    raise HotKeyError(
        f"no hot key on {platform or sys.platform}: bind `photosearch open` to a key in your "
        "desktop's settings (docs/desktop.md)."
    )
