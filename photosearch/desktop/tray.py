"""The tray icon, where the desktop has a tray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from PySide6.QtCore import QObject, QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QIcon, QLinearGradient, QPainter, QPen, QPixmap
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from photosearch.desktop import words

Choice = tuple[str, Callable[[], object]]
SIZES: Final = (16, 22, 24, 32, 48, 64, 128)


def icon() -> QIcon:
    """The program's mark, drawn: the same as the page's icon.svg, without a plug-in to read it."""
    made = QIcon()
    for side in SIZES:
        made.addPixmap(_drawn(side))
    return made


def _drawn(side: int) -> QPixmap:
    picture = QPixmap(side, side)
    picture.fill(Qt.GlobalColor.transparent)  # else it is what the memory held
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(side / 64, side / 64)
    blue = QLinearGradient(QPointF(0, 0), QPointF(64, 64))
    blue.setColorAt(0, QColor("#7183ff"))
    blue.setColorAt(1, QColor("#3b3fc4"))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QBrush(blue))
    painter.drawRoundedRect(QRectF(0, 0, 64, 64), 15, 15)
    painter.setBrush(QColor(255, 255, 255, 56))
    painter.setPen(QPen(QColor("#ffffff"), 5))
    painter.drawEllipse(QPointF(28, 28), 15, 15)
    pen = QPen(QColor("#ffffff"), 6.5)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    painter.setPen(pen)
    painter.drawLine(QPointF(39.5, 39.5), QPointF(51, 51))
    painter.end()
    return picture


class Tray(QObject):
    """A click toggles the bar; the menu holds the rest."""

    def __init__(self, toggle: Callable[[], object], choices: list[Choice | None]) -> None:
        super().__init__()
        self.menu = QMenu()
        for choice in choices:
            if choice is None:
                self.menu.addSeparator()
            else:
                label, run = choice
                self.menu.addAction(label, run)
        self.icon = QSystemTrayIcon(icon())
        self.icon.setToolTip(words.TITLE)
        self.icon.setContextMenu(self.menu)
        self._toggle = toggle
        self.icon.activated.connect(self._activated)

    def show(self) -> bool:
        """False where the desktop has no tray; hot key and `photosearch open` remain."""
        if not QSystemTrayIcon.isSystemTrayAvailable():
            return False
        self.icon.show()
        return True

    def _activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason == QSystemTrayIcon.ActivationReason.Trigger:
            self._toggle()
