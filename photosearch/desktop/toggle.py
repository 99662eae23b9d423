"""A switch of two states, drawn: a style sheet can colour a check box, but not its tick."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QCheckBox

from photosearch.desktop.theme import LIGHT, Theme

TRACK: Final = QSize(34, 20)
GAP_PX: Final = 12  # between the track and the words


class Toggle(QCheckBox):
    """A check box to keyboards and screen readers."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.theme: Theme = LIGHT

    def sizeHint(self) -> QSize:
        words = self.fontMetrics().size(0, self.text())
        height = max(TRACK.height(), words.height()) + 6
        return QSize(TRACK.width() + GAP_PX + words.width() + 8, height)

    def hitButton(self, pos: object) -> bool:
        return True  # the words as well

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        width, height = TRACK.width(), TRACK.height()
        track = QRectF(3, (self.height() - height) / 2, width, height)
        theme, is_on = self.theme, self.isChecked()
        painter.setPen(QPen(QColor(theme.accent if is_on else theme.soft), 1.4))
        painter.setBrush(QColor(theme.accent if is_on else theme.cell))
        painter.drawRoundedRect(track, height / 2, height / 2)
        knob = QRectF(0, 0, height - 7, height - 7)
        knob.moveCenter(track.center())
        knob.moveLeft(track.right() - height + 3.5 if is_on else track.left() + 3.5)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(theme.on_accent if is_on else theme.soft))
        painter.drawEllipse(knob)
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(QColor(theme.ink), 2))
            painter.drawRoundedRect(track.adjusted(-2, -2, 2, 2), height / 2, height / 2)
        painter.setPen(QColor(theme.ink))
        place = QRectF(self.rect()).adjusted(width + GAP_PX, 0, 0, 0)
        left = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
        painter.drawText(place, left, self.text())
