"""Typing -> at most one question under way, and only the newest answer is heard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, Signal

from photosearch.desktop.background import Background
from photosearch.errors import PhotosearchError
from photosearch.protocol import SearchReply


@dataclass(frozen=True)
class Question:
    """What is asked of the daemon."""

    text: str = ""
    like: int | None = None  # id of a photo whose look-alikes are wanted
    show_all: bool = False  # also below the cut-off
    count: int = 60
    is_group: bool = False  # of `like`'s look-alikes, only those it stands for

    @property
    def is_search(self) -> bool:
        return bool(self.text) or self.like is not None


class Asking(QObject):
    """A question asked while another is under way waits, and a newer one takes its place."""

    answered = Signal(object, object)  # Question, SearchReply
    failed = Signal(object, object)  # Question, PhotosearchError

    def __init__(self, search: Callable[[Question], SearchReply], background: Background) -> None:
        super().__init__()
        self._search = search
        self._background = background
        self._asked: Question | None = None  # the newest
        self._is_under_way = False

    @property
    def is_under_way(self) -> bool:
        return self._is_under_way

    def ask(self, question: Question) -> None:
        self._asked = question
        if not self._is_under_way:
            self._send(question)

    def _send(self, question: Question) -> None:
        self._is_under_way = True
        self._background.submit(
            lambda: self._search(question), lambda outcome: self._heard(question, outcome)
        )

    def _heard(self, question: Question, outcome: Any) -> None:
        self._is_under_way = False
        newest = self._asked
        if newest is not question and newest is not None:
            self._send(newest)
        elif isinstance(outcome, PhotosearchError):
            self.failed.emit(question, outcome)
        else:
            self.answered.emit(question, outcome)
