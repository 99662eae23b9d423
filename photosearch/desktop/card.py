"""A frameless window that is a card with round corners and a shadow of its own."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QPoint, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPaintEvent, QPen, QRegion
from PySide6.QtWidgets import QWidget

from photosearch.desktop.compositing import is_composited
from photosearch.desktop.theme import LIGHT, Theme

SHADOW: Final = 26  # pixels around the card, for its shadow
RADIUS: Final = 16.0


class Card(QWidget):
    """What is inside draws itself; the card draws its ground, edge, lines and shadow."""

    def __init__(self) -> None:
        flags = Qt.WindowType.FramelessWindowHint | Qt.WindowType.WindowStaysOnTopHint
        super().__init__(None, flags | Qt.WindowType.Tool)
        self.setAttribute(Qt.WidgetAttribute.WA_TranslucentBackground)
        self.theme: Theme = LIGHT

    def card(self) -> QRectF:
        return QRectF(self.rect()).adjusted(SHADOW, SHADOW, -SHADOW, -SHADOW)

    def lines(self) -> list[int]:
        """Where thin lines part the card, in pixels from the top."""
        return []

    def shape(self) -> None:
        """Where nothing shows through, the window ends at the card, and there is no shadow."""
        if is_composited():
            self.clearMask()
        else:
            self.setMask(QRegion(rounded(self.card()).toFillPolygon().toPolygon()))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        card = self.card()
        for step in range(SHADOW, 0, -2):  # soft: many faint outlines, each a little larger
            around = card.adjusted(-step, -step + 6, step, step)
            painter.fillPath(
                rounded(around, RADIUS + step), QColor(0, 0, 0, 7 if self.theme.dark else 3)
            )
        painter.fillPath(rounded(card), QColor(self.theme.surface))
        painter.setPen(QPen(QColor(self.theme.line), 1))
        painter.drawPath(rounded(card))
        for line in self.lines():
            painter.drawLine(int(card.left()) + 1, line, int(card.right()) - 1, line)


def draw_glass(on: QWidget, middle: QPoint, colour: str) -> None:
    """A magnifying glass."""
    painter = QPainter(on)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    pen = QPen(QColor(colour), 2.2)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    painter.setPen(pen)
    painter.drawEllipse(middle - QPoint(2, 2), 6, 6)
    painter.drawLine(middle + QPoint(3, 3), middle + QPoint(7, 7))


def rounded(place: QRectF, radius: float = RADIUS) -> QPainterPath:
    path = QPainterPath()
    path.addRoundedRect(place, radius, radius)
    return path


def is_dark(scheme: Qt.ColorScheme, ground: QColor) -> bool:
    """Some desktops name no scheme, and only colour their windows."""
    if scheme == Qt.ColorScheme.Unknown:
        return ground.lightness() < 128
    return scheme == Qt.ColorScheme.Dark
