"""The line over the photos: what can be clicked there, drawn. As pills.js."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPainter, QPainterPath, QPen, QPixmap, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget

from photosearch.desktop import words
from photosearch.desktop.make import button, label, spaced
from photosearch.desktop.onwards import Kind, Pill
from photosearch.desktop.theme import LIGHT, Theme
from photosearch.desktop.thumbnails import Thumbnails

HEIGHT: Final = 28  # whatever is in it: what comes and goes here must move no photo
TEXT_PX: Final = 260  # of one pill; what is longer is cut in the middle
ICON_PX: Final = 14
ICON: Final = QSize(ICON_PX + 4, ICON_PX)  # with room before the words
PICTURE_PX: Final = 18  # of the photo beside a search to try


class Pills(QWidget):
    """As many as there is room for, the best first."""

    pressed = Signal(Pill)
    crossed = Signal(Pill)  # its cross: the part is taken out, the past search forgotten

    def __init__(self, after: QWidget, thumbnails: Thumbnails) -> None:
        """`after`: Tab leads from it into the pills."""
        super().__init__()
        self._after = after
        self._thumbnails = thumbnails
        self._thumbnails.arrived.connect(lambda _: self._show_pictures())
        self._shown: tuple[object, ...] = ()
        self._pills: list[list[QPushButton]] = []  # each with its cross, where it has one
        self._pictured: list[tuple[QPushButton, int]] = []  # still without their picture
        self._before: QLabel = label("soft", words.TRY)  # those to try
        self._before.setParent(self)
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

    def show_pills(self, wanted: Sequence[Pill]) -> None:
        shown = (*wanted, self.theme)
        if shown != self._shown:  # a press must not lose its button to news without news
            self._shown = shown
            self._replace(wanted)
        self._show_pictures()

    def _replace(self, wanted: Sequence[Pill]) -> None:
        for each in (each for pill in self._pills for each in pill):
            each.hide()
            each.deleteLater()
        self._pictured = []
        self._line.removeWidget(self._before)
        self._before.hide()
        self._pills = []
        last = self._after
        for pill in wanted:
            if pill.kind is Kind.EXAMPLE and self._before.isHidden():
                self._line.insertWidget(self._line.count() - 1, self._before)
                self._before.show()
            made = self._made(pill)
            self._pills.append(made)
            for each in made:
                self._line.insertWidget(self._line.count() - 1, each)
                QWidget.setTabOrder(last, each)
                last = each
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._fit()

    def _fit(self) -> None:
        gap = self._line.spacing()
        room = self.width()
        if not self._before.isHidden():
            room -= self._before.sizeHint().width() + gap
        for pill in self._pills:
            room -= sum(each.sizeHint().width() + gap for each in pill)
            for each in pill:
                each.setVisible(room >= -gap)

    def _made(self, pill: Pill) -> list[QPushButton]:
        chip = pill.chip
        role = "pill" if chip is None else "doubtful" if chip.note else "part"
        take = self._button(role, words.change(pill.shown) if chip else pill.whole)
        take.setToolTip((chip.note or words.change(pill.shown)) if chip else pill.whole)
        metrics = take.fontMetrics()
        take.setText(metrics.elidedText(pill.shown, Qt.TextElideMode.ElideMiddle, TEXT_PX))
        take.clicked.connect(lambda: self.pressed.emit(pill))
        if pill.kind is Kind.PAST:
            take.setIcon(clock(self.theme.soft, self.devicePixelRatioF()))
            take.setIconSize(ICON)
            return [take, self._cross(pill, words.forget(pill.whole))]
        if pill.kind is Kind.PART:
            return [take, self._cross(pill, words.take_out(pill.shown))]
        if pill.photo_id is not None:
            # Room for it from the start: the pictures that come must move nothing.
            take.setIcon(round_picture(None, self.theme.cell, self.devicePixelRatioF()))
            take.setIconSize(QSize(PICTURE_PX + 4, PICTURE_PX))
            self._pictured.append((take, pill.photo_id))
        return [take]

    def _cross(self, pill: Pill, name: str) -> QPushButton:
        cross = self._button("cross", name)
        cross.setText("×")
        cross.setToolTip(name)
        cross.clicked.connect(lambda: self.crossed.emit(pill))
        return cross

    def _button(self, role: str, name: str) -> QPushButton:
        made = button(role)
        made.setParent(self)
        made.ensurePolished()  # measured before it is first shown
        made.setAccessibleName(name)
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keys to the box
        return made

    def _show_pictures(self) -> None:
        """Those that are there by now; the others are asked for."""
        waiting = self._pictured
        self._pictured = []
        for pill, photo_id in waiting:
            picture = self._thumbnails.find(photo_id)
            if picture is None:
                self._pictured.append((pill, photo_id))
            else:
                ratio = self.devicePixelRatioF()
                pill.setIcon(round_picture(picture, self.theme.cell, ratio))


def clock(colour: str, ratio: float) -> QIcon:
    """Stands before a search made before."""
    picture, painter = canvas(ICON, ratio)
    painter.setPen(QPen(QColor(colour), 1.4))
    middle = QPointF(ICON_PX / 2, ICON_PX / 2)
    painter.drawEllipse(middle, 5.5, 5.5)
    painter.drawPolyline([middle - QPointF(0, 3.2), middle, middle + QPointF(2.4, 1.4)])
    painter.end()
    return QIcon(picture)


def round_picture(photo: QPixmap | None, colour: str, ratio: float) -> QIcon:
    """The middle of a photo, round; before it is there, its place."""
    picture, painter = canvas(QSize(PICTURE_PX + 4, PICTURE_PX), ratio)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    place = QRectF(0, 0, PICTURE_PX, PICTURE_PX)
    circle = QPainterPath()
    circle.addEllipse(place)
    painter.fillPath(circle, QColor(colour))
    if photo is not None:
        painter.setClipPath(circle)
        side = min(photo.width(), photo.height())
        middle = QRectF((photo.width() - side) / 2, (photo.height() - side) / 2, side, side)
        painter.drawPixmap(place, photo, middle)
    painter.end()
    return QIcon(picture)


def canvas(size: QSize, ratio: float) -> tuple[QPixmap, QPainter]:
    """An empty picture, and who draws on it."""
    picture = QPixmap(size * ratio)
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    return picture, painter
