"""The photos found, as Qt's views want them: rows, what is said of one, what is dragged out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from PySide6.QtCore import (
    QAbstractListModel,
    QMimeData,
    QModelIndex,
    QPersistentModelIndex,
    Qt,
    QUrl,
)

from photosearch.desktop import words
from photosearch.types import Hit

Index = QModelIndex | QPersistentModelIndex
HIT: Final = Qt.ItemDataRole.UserRole
NOWHERE: Final = QModelIndex()


class Photos(QAbstractListModel):
    """One row a photo, best first."""

    def __init__(self) -> None:
        super().__init__()
        self._hits: list[Hit] = []

    @property
    def hits(self) -> list[Hit]:
        return self._hits

    def show(self, hits: Sequence[Hit]) -> None:
        self.beginResetModel()
        self._hits = list(hits)
        self.endResetModel()

    def row_of(self, photo_id: int) -> int:
        """Where a photo is now; -1 where it is not."""
        return next((n for n, hit in enumerate(self._hits) if hit.photo_id == photo_id), -1)

    def repaint(self, photo_id: int) -> None:
        row = self.row_of(photo_id)
        if row >= 0:
            self.dataChanged.emit(self.index(row), self.index(row), [])

    def rowCount(self, parent: Index = NOWHERE) -> int:
        return 0 if parent.isValid() else len(self._hits)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid() or index.row() >= len(self._hits):
            return None
        hit = self._hits[index.row()]
        if role == HIT:
            return hit
        if role in (Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.DisplayRole):
            return words.alt(hit)
        if role == Qt.ItemDataRole.AccessibleDescriptionRole:
            return words.facts(hit)
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        return super().flags(index) | Qt.ItemFlag.ItemIsDragEnabled

    def mimeTypes(self) -> list[str]:
        return ["text/uri-list"]

    def mimeData(self, indexes: Sequence[QModelIndex]) -> QMimeData:
        return files([self._hits[index.row()] for index in indexes])

    def supportedDragActions(self) -> Qt.DropAction:
        """Never a move: whoever takes the file would remove the photo from its folder."""
        return Qt.DropAction.CopyAction


def files(hits: Sequence[Hit]) -> QMimeData:
    """The files themselves, for other programs. Offline photos have none at hand."""
    # as_uri() keeps the bytes of a name that is not UTF-8; QUrl.fromLocalFile would not.
    uris = [Path(hit.path).as_uri() for hit in hits if not hit.offline]
    data = QMimeData()
    data.setUrls([QUrl(uri, QUrl.ParsingMode.StrictMode) for uri in uris])
    # What GNOME's and other file managers look for when pasting.
    data.setData("x-special/gnome-copied-files", "\n".join(["copy", *uris]).encode())
    return data
