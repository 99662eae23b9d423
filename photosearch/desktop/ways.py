"""Who fills the line over the photos, and what follows from a click there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Signal

from photosearch.desktop.asking import Question
from photosearch.desktop.background import Background
from photosearch.desktop.box import SearchBox
from photosearch.desktop.onwards import Kind, Pill, for_empty_box, for_search, stretch, without
from photosearch.desktop.pills import Pills
from photosearch.desktop.source import Daemon
from photosearch.desktop.suggestions import Suggestions
from photosearch.errors import PhotosearchError
from photosearch.protocol import Chip, ExampleMessage, StatusReply, SuggestionMessage


class Ways(QObject):
    """Parts of the search that is shown, ways to go on with what is typed, searches to try."""

    chosen = Signal(str)  # a whole search to take over
    forgotten = Signal(str)  # a search made before

    def __init__(
        self,
        daemon: Daemon,
        box: SearchBox,
        pills: Pills,
        *,
        backgrounds: tuple[Background, Background],
        has_words: Callable[[], bool],
    ) -> None:
        """`backgrounds`: for suggestions, for examples; `has_words()`: not a burst, which has
        no words that could go on."""
        super().__init__()
        self._daemon, self._box, self._pills = daemon, box, pills
        for_suggestions, self._background = backgrounds
        self._has_words = has_words
        self._query = ""  # what the photos shown answer
        self._is_search = False
        self._chips: list[Chip] = []
        self._examples: list[ExampleMessage] = []
        self._examples_of = (-1, 0)  # how many photos the library had, and hid, when made
        self.suggestions = Suggestions(daemon.suggestions, for_suggestions)
        self.suggestions.changed.connect(self.show)
        pills.pressed.connect(self._pressed)
        pills.crossed.connect(self._crossed)

    @property
    def onwards(self) -> list[SuggestionMessage]:
        """From what is typed now."""
        return self.suggestions.of(self._box.text()) if self._has_words() else []

    def show_answer(self, question: Question, chips: list[Chip]) -> None:
        self._query, self._chips = question.text, chips
        self._is_search = question.is_search
        self.show()

    def show(self) -> None:
        if self._is_search or self._box.query:
            typed = self._box.text()
            wanted = for_search(self._query, self._chips, self.onwards, typed)
        else:
            wanted = for_empty_box(self.onwards, self._examples)
        self._pills.show_pills(wanted)

    def look_at(self, status: StatusReply) -> None:
        """The daemon makes the examples anew when the library has changed: ask for them then."""
        photos = (status.searchable, status.hidden)
        if photos == self._examples_of or status.indexing.state == "working":
            return
        self._examples_of = photos
        self._background.submit(self._daemon.examples, self._take_examples)

    def _take_examples(self, outcome: Any) -> None:
        if isinstance(outcome, PhotosearchError):
            self._examples_of = (-1, 0)  # asked again with the next news; a nicety: no word of it
            return
        self._examples = outcome
        self.show()

    def _pressed(self, pill: Pill) -> None:
        if pill.chip is None:
            self.chosen.emit(pill.whole)
            return
        self._box.setFocus()
        if self._box.query == pill.whole:  # else other words were typed meanwhile
            self._box.setSelection(*stretch(self._box.text(), pill.chip))

    def _crossed(self, pill: Pill) -> None:
        if pill.kind is Kind.PAST:
            self.forgotten.emit(pill.whole)
        elif pill.chip is not None and self._box.query == pill.whole:
            self.chosen.emit(without(pill.whole, pill.chip))
