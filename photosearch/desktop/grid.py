"""The grid of photos: how one is drawn, where it is, how it is dragged out."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QPoint, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QContextMenuEvent, QDrag, QPainter, QPainterPath, QPen, QPixmap
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
        frame = QRectF(option.rect).adjusted(4, 4, -4, -4)
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
        if hit.offline:
            self._draw_badge(painter, frame, theme)
        if option.state & QStyle.StateFlag.State_Selected:
            ring = QPainterPath()
            ring.addRoundedRect(frame.adjusted(-2.5, -2.5, 2.5, 2.5), RADIUS + 2, RADIUS + 2)
            painter.strokePath(ring, QPen(QColor(theme.accent), 3.0))
        painter.restore()

    def _draw_badge(self, painter: QPainter, frame: QRectF, theme: Theme) -> None:
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        width = painter.fontMetrics().horizontalAdvance(words.OFFLINE) + 14
        badge = QRectF(frame.right() - width - 6, frame.bottom() - 24, width, 18)
        shape = QPainterPath()
        shape.addRoundedRect(badge, 9, 9)
        painter.fillPath(shape, QColor(theme.surface))
        painter.setPen(QColor(theme.ink))
        painter.drawText(badge, Qt.AlignmentFlag.AlignCenter, words.OFFLINE)


class Grid(QListView):
    """Photos in rows. Keys are the bar's; the mouse selects, opens and drags."""

    menu_wanted = Signal(QPoint)

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
        try:
            drag.exec(Qt.DropAction.CopyAction)  # never a move
        finally:
            self.is_dragging = False

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        if self.indexAt(event.pos()).isValid():
            self.menu_wanted.emit(event.globalPos())
