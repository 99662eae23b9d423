"""The line over the photos: ways to go on, each to be clicked; how many photos. As pills.js."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PySide6.QtCore import QPointF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QWidget

from photosearch.desktop import words
from photosearch.desktop.make import button, spaced
from photosearch.desktop.theme import LIGHT, Theme
from photosearch.protocol import SuggestionMessage

HEIGHT: Final = 28  # whatever is in it: what comes and goes here must move no photo
TEXT_PX: Final = 260  # of one pill; what is longer is cut in the middle
ICON_PX: Final = 14
ICON: Final = QSize(ICON_PX + 4, ICON_PX)  # with room before the words
PAST: Final = "history"  # the kind of a search made before


class Pills(QWidget):
    """As many as there is room for, the best first."""

    chosen = Signal(str)  # a whole search to take over
    forgotten = Signal(str)  # a past search

    def __init__(self, after: QWidget) -> None:
        """`after`: Tab leads from it into the pills."""
        super().__init__()
        self._after = after
        self._shown: tuple[object, ...] = ()
        self._pills: list[list[QPushButton]] = []  # each with its cross, where it has one
        self.theme: Theme = LIGHT
        self._line = spaced(QHBoxLayout(self), 6, margins=(0, 0, 0, 0))
        self._line.addStretch(1)
        self.setFixedHeight(HEIGHT)
        # Long ones must not widen the window; they are left out instead.
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(words.SUGGESTIONS)

    @property
    def texts(self) -> list[str]:
        """What can be seen of them."""
        return [pill[0].text() for pill in self._pills if not pill[0].isHidden()]

    def show_suggestions(self, found: Sequence[SuggestionMessage], typed: str) -> None:
        shown = (*found, typed, self.theme)
        if shown == self._shown:  # a press must not lose its button to news without news
            return
        self._shown = shown
        for pill in self._pills:
            for each in pill:
                each.hide()
                each.deleteLater()
        self._pills = [self._pill(each, typed) for each in found]
        before = self._after
        for each in (each for pill in self._pills for each in pill):
            self._line.insertWidget(self._line.count() - 1, each)
            QWidget.setTabOrder(before, each)
            before = each
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._fit()

    def _fit(self) -> None:
        room = self.width()
        for pill in self._pills:
            room -= sum(each.sizeHint().width() + self._line.spacing() for each in pill)
            for each in pill:
                each.setVisible(room >= -self._line.spacing())

    def _pill(self, found: SuggestionMessage, typed: str) -> list[QPushButton]:
        whole = found.text
        take = self._button("pill", whole, whole)
        shown = whole if found.kind == PAST else addition(whole, typed)
        metrics = take.fontMetrics()
        take.setText(metrics.elidedText(shown, Qt.TextElideMode.ElideMiddle, TEXT_PX))
        take.clicked.connect(lambda: self.chosen.emit(whole))
        if found.kind != PAST:
            return [take]
        take.setIcon(clock(self.theme.soft, self.devicePixelRatioF()))
        take.setIconSize(ICON)
        cross = self._button("cross", words.forget(whole), words.forget(whole))
        cross.setText("×")
        cross.clicked.connect(lambda: self.forgotten.emit(whole))
        return [take, cross]

    def _button(self, role: str, name: str, tip: str) -> QPushButton:
        made = button(role)
        made.setParent(self)
        made.ensurePolished()  # measured before it is first shown
        made.setAccessibleName(name)
        made.setToolTip(tip)
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keys to the box
        return made


def addition(suggested: str, typed: str) -> str:
    """What a suggestion adds to the words typed; all of it where it begins otherwise."""
    before = typed[: typed.rfind(" ") + 1]
    return suggested.removeprefix(before)


def clock(colour: str, ratio: float) -> QIcon:
    """Stands before a search made before."""
    picture = QPixmap(ICON * ratio)
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(colour), 1.4))
    middle = QPointF(ICON_PX / 2, ICON_PX / 2)
    painter.drawEllipse(middle, 5.5, 5.5)
    painter.drawPolyline([middle - QPointF(0, 3.2), middle, middle + QPointF(2.4, 1.4)])
    painter.end()
    return QIcon(picture)
