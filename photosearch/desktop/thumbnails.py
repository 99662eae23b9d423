"""Thumbnails for the grid: fetched when first painted, kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from PySide6.QtCore import QObject, QRect, QSize, Qt, Signal
from PySide6.QtGui import QImage, QPixmap

from photosearch.desktop.background import Background
from photosearch.errors import PhotosearchError

KEPT: Final = 600  # at 168 x 126 pixels and twice that on a dense screen: 50 to 200 MB at most
SIZES: Final = (320, 640)  # what the daemon keeps ready, smallest first

Fetch = Callable[[int, int], bytes]  # photo id, longest side -> WebP


class Thumbnails(QObject):
    """Pictures cut to one size, by photo id."""

    arrived = Signal(int)

    def __init__(self, fetch: Fetch, background: Background, size: QSize) -> None:
        super().__init__()
        self._fetch = fetch
        self._background = background
        self._size = size  # in pixels of the screen
        self._kept: OrderedDict[int, QPixmap | None] = OrderedDict()  # None: it could not be had
        self._asked: set[int] = set()

    def find(self, photo_id: int) -> QPixmap | None:
        """The picture if it is at hand; else it is fetched, and `arrived` tells when."""
        if photo_id in self._kept:
            self._kept.move_to_end(photo_id)
            return self._kept[photo_id]
        if photo_id not in self._asked:
            self._asked.add(photo_id)
            self._background.submit(
                lambda: self._load(photo_id), lambda outcome: self._take(photo_id, outcome)
            )
        return None

    def forget_waiting(self) -> None:
        """Other photos are shown now: what was not begun is not wanted, what failed may be."""
        self._background.forget_waiting()
        self._asked.clear()
        for photo_id in [each for each, picture in self._kept.items() if picture is None]:
            del self._kept[photo_id]

    def _load(self, photo_id: int) -> QImage:
        """On a worker's thread: fetch, decode, cut."""
        longest = max(self._size.width(), self._size.height())
        side = next((each for each in SIZES if each >= longest), SIZES[-1])
        return cut(QImage.fromData(self._fetch(photo_id, side)), self._size)

    def _take(self, photo_id: int, outcome: Any) -> None:
        self._asked.discard(photo_id)
        is_there = not isinstance(outcome, PhotosearchError) and not outcome.isNull()
        self._kept[photo_id] = QPixmap.fromImage(outcome) if is_there else None
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        self.arrived.emit(photo_id)


def cut(image: QImage, size: QSize) -> QImage:
    """Fill `size` and keep the middle; a null image stays one."""
    if image.isNull():
        return image
    filling = image.scaled(
        size,
        Qt.AspectRatioMode.KeepAspectRatioByExpanding,
        Qt.TransformationMode.SmoothTransformation,
    )
    window = QRect(0, 0, size.width(), size.height())
    window.moveCenter(filling.rect().center())
    return filling.copy(window)
