"""Ways to go on with what is typed: past searches, words of the library. As suggestions.js."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from PySide6.QtCore import QObject, QTimer, Signal

from photosearch.desktop.background import Background
from photosearch.errors import PhotosearchError
from photosearch.protocol import SuggestionMessage

PAUSE_MS: Final = 120  # after a key press: photos first
MAX: Final = 4

Suggest = Callable[[str, int], list[SuggestionMessage]]  # what is typed, how many at most


class Suggestions(QObject):
    """Those for what is typed now; an answer to anything else is not heard."""

    changed = Signal()

    def __init__(self, suggest: Suggest, background: Background) -> None:
        super().__init__()
        self._suggest = suggest
        self._background = background
        self._typed: str | None = None  # what was asked for; None: to be asked for again
        self._number = 0  # of the newest question
        self._found: list[SuggestionMessage] = []
        self._timer = QTimer(self, singleShot=True, interval=PAUSE_MS)
        self._timer.timeout.connect(self._send)

    def ask(self, typed: str) -> None:
        """Look for some soon; until then those stay that still go on from what is typed."""
        if typed == self._typed:
            return
        begins = typed.lower()
        self._found = [each for each in self._found if each.text.lower().startswith(begins)]
        self._typed = typed
        self._number += 1
        self._timer.start()
        self.changed.emit()

    def ask_again(self, typed: str) -> None:
        """Though nothing was typed: others may have been searched for, or be forgotten."""
        self._typed = None
        self.ask(typed)

    def of(self, typed: str) -> list[SuggestionMessage]:
        """None for other words than those that were asked about."""
        return self._found if typed == self._typed else []

    def _send(self) -> None:
        typed, number = self._typed or "", self._number
        self._background.forget_waiting()
        self._background.submit(
            lambda: self._suggest(typed, MAX), lambda outcome: self._heard(number, outcome)
        )

    def _heard(self, number: int, outcome: Any) -> None:
        if number != self._number:
            return
        failed = isinstance(outcome, PhotosearchError)  # a nicety: no word of it
        self._found = [] if failed else outcome
        self.changed.emit()
        if failed:
            self._typed = None
