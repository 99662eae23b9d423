"""One photo, large, over the bar. Shows and reports; bar.py decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from PySide6.QtCore import QRect, QRectF, QSize, Qt, QTimer
from PySide6.QtGui import QColor, QImage, QPainter, QPainterPath, QPaintEvent, QPixmap
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from photosearch.desktop import words
from photosearch.desktop.background import Background
from photosearch.desktop.make import Line, button, spaced
from photosearch.desktop.theme import Theme
from photosearch.desktop.thumbnails import Fetch
from photosearch.errors import PhotosearchError
from photosearch.types import Hit

# Holding an arrow key must not make the daemon decode every photo passed on the way.
LARGE_AFTER_MS: Final = 120
LARGE_PX: Final = 1600
MARGIN: Final = 14


class Preview(QWidget):
    """Covers its parent while a photo is shown. It takes the keys: what it is, they mean."""

    def __init__(
        self,
        parent: QWidget,
        fetch: Fetch,
        background: Background,
        *,
        actions: list[Action],
        similar: Callable[[], object],
    ) -> None:
        """`similar()` shows the photos that this one stands for."""
        super().__init__(parent)
        self._fetch = fetch
        self._background = background
        self._picture: QPixmap | None = None
        self.theme: Theme | None = None
        self.hit: Hit | None = None
        self._later = QTimer(self, singleShot=True, interval=LARGE_AFTER_MS)
        self._later.timeout.connect(self._load)
        self._name, self._facts = Line("name"), Line("facts")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._top = spaced(QHBoxLayout(), 8)
        about = spaced(QVBoxLayout(), 1)
        about.addWidget(self._name)
        about.addWidget(self._facts)
        self._top.addLayout(about, 1)
        tools = {each[0]: self._tool(*each) for each in (("", similar), *actions)}
        self._similar, self._hide = tools[""], tools.get(words.HIDE)
        layout = spaced(QVBoxLayout(self), 0, margins=(MARGIN, MARGIN, MARGIN, MARGIN))
        layout.addLayout(self._top)
        layout.addStretch(1)
        self.hide()

    def _tool(self, text: str, run: Callable[[], object]) -> QPushButton:
        made = button("tool", text)
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keys here
        made.clicked.connect(lambda: run())
        self._top.addWidget(made)
        return made

    def show_hit(self, hit: Hit, small: QPixmap | None, place: QRect) -> None:
        """The thumbnail at once, enlarged; the sharp picture when it is there."""
        if self.hit is None or self.hit.photo_id != hit.photo_id:
            self._picture = small
            self._later.start()
        self.hit = hit
        self._name.show_text(words.name_of(hit.path))
        self._facts.show_text(words.facts(hit))
        self._similar.setText(words.show_similar(hit.similar))
        self._similar.setVisible(hit.similar > 0)
        if self._hide is not None:
            self._hide.setText(words.UNHIDE if hit.hidden else words.HIDE)
        self.setAccessibleName(words.alt(hit))
        self.setAccessibleDescription(words.facts(hit))
        self.setGeometry(place)
        self.show()
        self.raise_()
        self.setFocus()
        self.update()

    def close_hit(self) -> None:
        self._later.stop()
        self.hit = None
        self._picture = None
        self.hide()

    def _load(self) -> None:
        hit = self.hit
        if hit is None or hit.offline:  # only the thumbnail is at hand
            return
        self._background.submit(
            lambda: QImage.fromData(self._fetch(hit.photo_id, LARGE_PX)),
            lambda outcome: self._take(hit.photo_id, outcome),
        )

    def _take(self, photo_id: int, outcome: Any) -> None:
        if self.hit is None or self.hit.photo_id != photo_id:
            return
        if not isinstance(outcome, PhotosearchError) and not outcome.isNull():
            self._picture = QPixmap.fromImage(outcome)
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        theme, hit = self.theme, self.hit
        if theme is None or hit is None:
            return
        painter = QPainter(self)
        painter.setRenderHints(
            QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform
        )
        ground = QPainterPath()
        ground.addRoundedRect(QRectF(self.rect()), 16, 16)
        painter.fillPath(ground, QColor(theme.surface))
        top = self._top.geometry().bottom() + MARGIN
        room = QRectF(self.rect()).adjusted(MARGIN, top, -MARGIN, -MARGIN)
        size = QSize(max(1, hit.width_px), max(1, hit.height_px)).scaled(
            room.size().toSize(), Qt.AspectRatioMode.KeepAspectRatio
        )
        frame = QRectF(0, 0, size.width(), size.height())
        frame.moveCenter(room.center())
        shape = QPainterPath()
        shape.addRoundedRect(frame, 8, 8)
        painter.fillPath(shape, QColor(hit.colour or theme.cell))
        if self._picture is not None:
            painter.setClipPath(shape)
            painter.drawPixmap(frame, self._picture, whole(self._picture, hit))


def whole(picture: QPixmap, hit: Hit) -> QRectF:
    """Of a picture that was cut for the grid only the part with the photo's own shape."""
    shape = QSize(max(1, hit.width_px), max(1, hit.height_px))
    fitting = QRectF(
        0, 0, *shape.scaled(picture.size(), Qt.AspectRatioMode.KeepAspectRatio).toTuple()
    )
    fitting.moveCenter(QRectF(picture.rect()).center())
    return fitting


Action = tuple[str, Callable[[], object]]
