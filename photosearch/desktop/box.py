"""The search box."""

from __future__ import annotations

from typing import Final

from PySide6.QtGui import QColor
from PySide6.QtWidgets import QLineEdit

from photosearch.desktop import words
from photosearch.desktop.theme import Theme

MAX_QUERY_CHARS: Final = 1000


class SearchBox(QLineEdit):
    """One line. Keys are the keyboard's first."""

    def __init__(self) -> None:
        super().__init__()
        self.setPlaceholderText(words.PLACEHOLDER)
        self.setMaxLength(MAX_QUERY_CHARS)
        self.setAccessibleName(words.BOX)
        self.setMinimumHeight(40)

    @property
    def query(self) -> str:
        return self.text().strip()

    @property
    def is_at_end(self) -> bool:
        """Whether there is nothing after the cursor, and nothing selected before it."""
        return self.cursorPosition() == len(self.text()) and not self.hasSelectedText()

    def dress(self, theme: Theme) -> None:
        palette = self.palette()
        palette.setColor(palette.ColorRole.PlaceholderText, QColor(theme.soft))
        self.setPalette(palette)
