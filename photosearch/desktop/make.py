"""Widgets and layouts with the few properties that all of ours set."""

from __future__ import annotations

from typing import TypeVar

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QLabel, QPushButton, QSizePolicy

L = TypeVar("L", bound=QBoxLayout)


def label(role: str, text: str = "", *, wraps: bool = False) -> QLabel:
    """`role` is how the style sheet knows it. Never taken for HTML: it may quote a file's name."""
    made = QLabel(text)
    made.setObjectName(role)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(wraps)
    return made


class Line(QLabel):
    """A label of one line, as wide as there is room; what is longer ends in dots."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._whole = ""
        self.setObjectName(role)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def show_text(self, text: str) -> None:
        self._whole = text
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._fit()

    def _fit(self) -> None:
        mode = Qt.TextElideMode.ElideRight
        self.setText(self.fontMetrics().elidedText(self._whole, mode, self.width()))


def button(role: str, text: str = "") -> QPushButton:
    made = QPushButton(text)
    made.setObjectName(role)
    made.setAutoDefault(True)  # Enter presses it, where it has the focus
    return made


def spaced(layout: L, spacing_px: int, *, margins: tuple[int, int, int, int] | None = None) -> L:
    """`margins`: left, top, right, bottom."""
    layout.setSpacing(spacing_px)
    if margins is not None:
        layout.setContentsMargins(*margins)
    return layout
