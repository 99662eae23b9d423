"""What stands in place of photos, or over them: a message with one thing to do, the keys."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from PySide6.QtCore import QRect, QRectF, Qt
from PySide6.QtGui import QColor, QMouseEvent, QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from photosearch.desktop import words
from photosearch.desktop.asking import Question
from photosearch.desktop.make import button, label, spaced
from photosearch.desktop.theme import Theme
from photosearch.protocol import SearchReply


class Message(QWidget):
    """Why there are no photos, and what to do."""

    def __init__(self) -> None:
        super().__init__()
        self.title = label("title", wraps=True)
        self.advice = label("advice", wraps=True)
        self.button = button("primary")
        self._run: Callable[[], object] = lambda: None
        self.button.clicked.connect(lambda: self._run())
        layout = spaced(QVBoxLayout(self), 10)
        layout.addStretch(2)
        for line in (self.title, self.advice):
            line.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            layout.addWidget(line)
        layout.addSpacing(6)
        layout.addWidget(self.button, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(3)

    def show_words(
        self,
        title: str,
        advice: str,
        *,
        offer: tuple[str, Callable[[], object]] | None = None,
    ) -> None:
        self.title.setText(title)
        self.advice.setText(advice)
        self.button.setVisible(offer is not None)
        if offer is not None:
            text, self._run = offer
            self.button.setText(text)

    def show_nothing(
        self, answer: SearchReply, question: Question, *, show_all: Callable[[], object]
    ) -> None:
        """Why an answer has no photos."""
        if answer.total_photos == 0 and not question.is_search:
            self.show_words(words.EMPTY, words.EMPTY_ADVICE)
            return
        can_show = answer.hidden and not question.show_all
        offer = (words.SHOW_ANYWAY, show_all) if can_show else None
        self.show_words(words.no_match(question.text), words.OTHER_WORDS, offer=offer)


class KeyList(QWidget):
    """The keys, over everything; any key or click closes it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.theme: Theme | None = None
        rows = "".join(
            f"<tr><td align='right' style='padding: 4px 18px 4px 0'><b>{escape(key)}</b></td>"
            f"<td style='padding: 4px 0'>{escape(what)}</td></tr>"
            for key, what in words.KEYS
        )
        title, table = label("title", words.KEYS_TITLE), QLabel(f"<table>{rows}</table>")
        layout = spaced(QVBoxLayout(self), 14)
        layout.addStretch(1)
        for each in (title, table):
            layout.addWidget(each, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(1)
        self.setAccessibleName(words.KEYS_TITLE)
        self.hide()

    def show_over(self, place: QRect) -> None:
        self.setGeometry(place)
        self.show()
        self.raise_()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.hide()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self.theme is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ground = QPainterPath()
        ground.addRoundedRect(QRectF(self.rect()), 16, 16)
        painter.fillPath(ground, QColor(self.theme.surface))
