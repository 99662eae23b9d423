"""The grid of photos: how one is drawn, where it is, how it is dragged out."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QPoint, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QContextMenuEvent,
    QDrag,
    QFont,
    QFontMetricsF,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPen,
    QPixmap,
)
from PySide6.QtWidgets import QAbstractItemView, QListView, QStyle, QStyledItemDelegate
from PySide6.QtWidgets import QStyleOptionViewItem as Option

from photosearch.desktop import words
from photosearch.desktop.photos import HIT, Index, Photos, files
from photosearch.desktop.theme import Theme
from photosearch.desktop.thumbnails import Thumbnails
from photosearch.types import Hit

PICTURE: Final = QSize(162, 122)
TILE: Final = QSize(170, 130)
RADIUS: Final = 9.0
FAINT: Final = 0.45  # how much of a less likely photo is seen
BADGE: Final = 18  # pixels high
STACK: Final = 12  # pixels wide, the sign of several photos


class Tiles(QStyledItemDelegate):
    """Draws one photo: its mean colour at once, the picture when it is there."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        super().__init__()
        self._thumbnails = thumbnails
        self.theme: Theme | None = None

    def sizeHint(self, option: Option, index: Index) -> QSize:
        return TILE

    def paint(self, painter: QPainter, option: Option, index: Index) -> None:
        hit: Hit = index.data(HIT)
        theme = self.theme
        assert theme is not None
        frame = frame_of(option.rect)
        shape = QPainterPath()
        shape.addRoundedRect(frame, RADIUS, RADIUS)
        painter.save()
        painter.setRenderHints(
            QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform
        )
        painter.setOpacity(1.0 if hit.relevant else FAINT)
        painter.fillPath(shape, QColor(hit.colour or theme.cell))
        picture = self._thumbnails.find(hit.photo_id)
        if picture is not None:
            painter.setClipPath(shape)
            painter.drawPixmap(frame, picture, QRectF(picture.rect()))
            painter.setClipping(False)
        painter.setOpacity(1.0)
        painter.setFont(badge_font(painter.font()))
        if hit.offline:
            width = painter.fontMetrics().horizontalAdvance(words.OFFLINE) + 14
            place = QRectF(frame.right() - width - 6, frame.bottom() - BADGE - 6, width, BADGE)
            fill_badge(painter, place, theme)
            painter.drawText(place, Qt.AlignmentFlag.AlignCenter, words.OFFLINE)
        if hit.similar:
            self._draw_stack(painter, stack_of(frame, hit, painter.font()), hit, theme)
        if option.state & QStyle.StateFlag.State_Selected:
            ring = QPainterPath()
            ring.addRoundedRect(frame.adjusted(-2.5, -2.5, 2.5, 2.5), RADIUS + 2, RADIUS + 2)
            painter.strokePath(ring, QPen(QColor(theme.accent), 3.0))
        painter.restore()

    def _draw_stack(self, painter: QPainter, place: QRectF, hit: Hit, theme: Theme) -> None:
        fill_badge(painter, place, theme)
        square = QRectF(place.left() + 7, place.center().y() - 4.5, 6, 6)
        painter.drawRect(square)
        painter.drawPolyline(
            [
                square.topRight() + QPoint(0, 3),
                square.topRight() + QPoint(3, 3),
                square.bottomRight() + QPoint(3, 3),
                square.bottomLeft() + QPoint(3, 3),
                square.bottomLeft() + QPoint(3, 0),
            ]
        )
        words_at = place.adjusted(STACK + 5, 0, 0, 0)
        painter.drawText(words_at, Qt.AlignmentFlag.AlignCenter, words.similar_short(hit.similar))


def frame_of(tile: QRect) -> QRectF:
    """The photo's part of its tile."""
    return QRectF(tile).adjusted(4, 4, -4, -4)


def stack_of(frame: QRectF, hit: Hit, font: QFont) -> QRectF:
    """Where a photo says for how many others it stands."""
    width = QFontMetricsF(font).horizontalAdvance(words.similar_short(hit.similar)) + STACK + 18
    return QRectF(frame.right() - width - 6, frame.top() + 6, width, BADGE)


def badge_font(font: QFont) -> QFont:
    small = QFont(font)
    small.setPixelSize(11)
    return small


def fill_badge(painter: QPainter, place: QRectF, theme: Theme) -> None:
    shape = QPainterPath()
    shape.addRoundedRect(place, BADGE / 2, BADGE / 2)
    painter.fillPath(shape, QColor(theme.surface))
    painter.setPen(QPen(QColor(theme.ink), 1.1))


class Grid(QListView):
    """Photos in rows. Keys are the keyboard's; the mouse selects, opens and drags."""

    menu_wanted = Signal(QPoint)
    stack_clicked = Signal()  # on the sign that the chosen photo stands for others
    dragged = Signal()  # something was taken out

    def __init__(self, photos: Photos, thumbnails: Thumbnails) -> None:
        super().__init__()
        self.tiles = Tiles(thumbnails)
        self._photos = photos
        self._thumbnails = thumbnails
        self.is_dragging = False
        self.setModel(photos)
        self.setItemDelegate(self.tiles)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setUniformItemSizes(True)
        self.setGridSize(TILE)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setDragDropMode(QAbstractItemView.DragDropMode.DragOnly)
        self.setDragEnabled(True)
        self.setAccessibleName(words.GRID)

    @property
    def columns(self) -> int:
        return max(1, self.viewport().width() // TILE.width())

    @property
    def total(self) -> int:
        return len(self._photos.hits)

    @property
    def at(self) -> int:
        """The chosen photo's place; -1 where none is."""
        return self.currentIndex().row() if self.currentIndex().isValid() else -1

    @property
    def chosen(self) -> Hit | None:
        return self._photos.hits[self.at] if self.at >= 0 else None

    @property
    def selected(self) -> list[Hit]:
        """Several may be dragged or copied at once."""
        rows = sorted(index.row() for index in self.selectedIndexes())
        return [self._photos.hits[row] for row in rows]

    def choose(self, at: int) -> None:
        if at < 0:
            self.clearSelection()
            self.setCurrentIndex(self.rootIndex())
        else:
            self.setCurrentIndex(self._photos.index(at))

    def startDrag(self, actions: Qt.DropAction) -> None:
        hits = self.selected
        data = files(hits)
        if not data.urls():
            return
        drag = QDrag(self)
        drag.setMimeData(data)
        picture: QPixmap | None = self._thumbnails.find(hits[0].photo_id)
        if picture is not None:
            drag.setPixmap(picture.scaledToWidth(120, Qt.TransformationMode.SmoothTransformation))
        self.is_dragging = True
        self.dragged.emit()
        try:
            drag.exec(Qt.DropAction.CopyAction)  # never a move
        finally:
            self.is_dragging = False

    def mousePressEvent(self, event: QMouseEvent) -> None:
        index = self.indexAt(event.position().toPoint())
        plain = event.modifiers() == Qt.KeyboardModifier.NoModifier
        if index.isValid() and plain and event.button() == Qt.MouseButton.LeftButton:
            hit = self._photos.hits[index.row()]
            place = stack_of(frame_of(self.visualRect(index)), hit, badge_font(self.font()))
            if hit.similar and place.contains(event.position()):
                self.choose(index.row())
                self.stack_clicked.emit()
                return
        super().mousePressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        if self.indexAt(event.pos()).isValid():
            self.menu_wanted.emit(event.globalPos())
