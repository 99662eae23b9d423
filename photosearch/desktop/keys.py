"""Qt's key events -> the names that walk.py knows."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent

KEY_NAMES: Final = {
    Qt.Key.Key_Left: "Left",
    Qt.Key.Key_Right: "Right",
    Qt.Key.Key_Up: "Up",
    Qt.Key.Key_Down: "Down",
    Qt.Key.Key_Home: "Home",
    Qt.Key.Key_End: "End",
    Qt.Key.Key_Return: "Enter",
    Qt.Key.Key_Enter: "Enter",
    Qt.Key.Key_Escape: "Escape",
    Qt.Key.Key_Backspace: "Backspace",
    Qt.Key.Key_Delete: "Delete",
}


def name_of(event: QKeyEvent, *, control: bool) -> str:
    """Left, Enter, Escape ...; else what it types. With control held it types nothing readable."""
    key = Qt.Key(event.key())
    if control and Qt.Key.Key_A <= key <= Qt.Key.Key_Z:
        return chr(key).lower()
    return KEY_NAMES.get(key, event.text())
