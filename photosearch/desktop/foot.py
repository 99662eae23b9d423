"""The bar's foot: which photo is chosen, a word in passing, and what the daemon does."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout

from photosearch.desktop import words
from photosearch.desktop.make import Line, button, label, spaced
from photosearch.types import Hit

SAY_MS: Final = 2500
LONG: Final = 3  # times as long is said what may have to be read twice
NAME_PX: Final = 300
SAID_PX: Final = 450
HIGH_PX: Final = 20  # with the link and without it, or the photos would move


class Foot(QHBoxLayout):
    """One line: the photo's name and facts, or what is said; a link; a hint at its end."""

    silent = Signal()  # what was said has been there long enough

    def __init__(self) -> None:
        super().__init__()
        spaced(self, 10, margins=(20, 9, 30, 12))
        self.name, self.facts = label("name"), Line("facts")
        self.further = button("link", words.SHOW_LESS_LIKELY)
        self.hint = label("soft", words.HINT)
        self.addWidget(self.name)
        self.addWidget(self.facts, 1)
        for link in (self.further, self.hint):
            self.addWidget(link)
            link.setFixedHeight(HIGH_PX)
        self._timer = QTimer(self, singleShot=True, interval=SAY_MS)
        self._timer.timeout.connect(self.silent)
        self._said = ("", False)  # what is said now, as trouble or not

    def say(self, text: str, *, trouble: bool = False, long: bool = False) -> None:
        """A word in passing, where the photo's name stands."""
        self._said = (text, trouble)
        self._name("trouble" if trouble else "name", text, SAID_PX)
        self.facts.show_text("")
        self.further.hide()
        self._timer.start(SAY_MS * (LONG if trouble or long else 1))

    def keep_saying(self, hit: Hit | None, *, offers: bool) -> None:
        """Photos came or went: what is being said stays, else this photo is shown."""
        if not self._timer.isActive():
            return self.show_hit(hit, offers=offers)
        text, trouble = self._said
        self._name("trouble" if trouble else "name", text, SAID_PX)
        self.facts.show_text("")
        return self.further.hide()

    def show_hit(self, hit: Hit | None, *, offers: bool) -> None:
        """`offers`: whether there are less likely photos to be shown."""
        self._timer.stop()
        self._name("name", words.name_of(hit.path) if hit else "", NAME_PX)
        self.facts.show_text(words.facts(hit) if hit else "")
        self.further.setVisible(offers and hit is None)

    def _name(self, role: str, text: str, most_px: int) -> None:
        """A long one is cut in the middle: the window must not grow with it."""
        self.name.setObjectName(role)
        self.name.setToolTip(text)
        self.name.setStyleSheet("")  # the style follows the object's name only when told
        middle = Qt.TextElideMode.ElideMiddle
        self.name.setText(self.name.fontMetrics().elidedText(text, middle, most_px))
