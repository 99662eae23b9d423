"""The daemon as the bar knows it: found when it is needed, and found again after a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from photosearch import program
from photosearch.client import Client, find_daemon
from photosearch.desktop.asking import Question
from photosearch.errors import DaemonUnreachable, PhotosearchError
from photosearch.home import Home, make_home
from photosearch.protocol import (
    ExampleMessage,
    PhotoReply,
    SearchReply,
    SettingMessage,
    StatusReply,
    SuggestionMessage,
)
from photosearch.types import Hit

START_SECONDS: Final = 60.0
T = TypeVar("T")


class Daemon(Protocol):
    """What the bar asks for; Source asks the running daemon. Each may raise PhotosearchError."""

    def search(self, question: Question) -> SearchReply: ...
    def suggestions(self, typed: str, count: int) -> list[SuggestionMessage]: ...
    def remember(self, text: str) -> None: ...
    def forget_search(self, text: str) -> None: ...
    def forget_searches(self) -> None: ...
    def examples(self) -> list[ExampleMessage]: ...
    def settings(self) -> list[SettingMessage]: ...
    def change_setting(self, name: str, value: int) -> None: ...
    def thumbnail(self, photo_id: int, size_px: int) -> bytes: ...
    def open_photo(self, photo_id: int) -> None: ...
    def reveal_photo(self, photo_id: int) -> None: ...
    def hide(self, photo_id: int, *, hidden: bool, similar: bool) -> list[int]: ...
    def hide_all(self, photo_ids: list[int], *, hidden: bool) -> None: ...
    def status(self) -> StatusReply: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def page(self, *, panel: str = "") -> str: ...
    def start(self) -> None: ...


class Source:
    """Answers for the bar. Called from its threads; the client keeps no state between calls."""

    def __init__(self, place: Home) -> None:
        self._place = place
        self._client: Client | None = None

    def search(self, question: Question) -> SearchReply:
        like = question.like
        if question.is_group and like is not None:
            return grouped(self._ask(lambda client: client.group(like)))
        return self._ask(
            lambda client: client.search(
                question.text, k=question.count, show_all=question.show_all, like=like
            )
        )

    def suggestions(self, typed: str, count: int) -> list[SuggestionMessage]:
        return self._ask(lambda client: client.suggestions(typed, count))

    def remember(self, text: str) -> None:
        self._ask(lambda client: client.remember(text))

    def forget_search(self, text: str) -> None:
        self._ask(lambda client: client.forget_search(text))

    def forget_searches(self) -> None:
        self._ask(lambda client: client.forget_searches())

    def examples(self) -> list[ExampleMessage]:
        return self._ask(lambda client: client.examples())

    def settings(self) -> list[SettingMessage]:
        return self._ask(lambda client: client.settings())

    def change_setting(self, name: str, value: int) -> None:
        self._ask(lambda client: client.change_setting(name, value))

    def thumbnail(self, photo_id: int, size_px: int) -> bytes:
        return self._ask(lambda client: client.thumbnail(photo_id, size_px))

    def open_photo(self, photo_id: int) -> None:
        self._ask(lambda client: client.open_photo(photo_id))

    def reveal_photo(self, photo_id: int) -> None:
        self._ask(lambda client: client.reveal_photo(photo_id))

    def hide(self, photo_id: int, *, hidden: bool, similar: bool) -> list[int]:
        return self._ask(lambda client: client.hide(photo_id, hidden=hidden, similar=similar))

    def hide_all(self, photo_ids: list[int], *, hidden: bool) -> None:
        self._ask(lambda client: client.hide_all(photo_ids, hidden=hidden))

    def status(self) -> StatusReply:
        return self._ask(lambda client: client.status())

    def pause(self) -> None:
        self._ask(lambda client: client.pause())

    def resume(self) -> None:
        self._ask(lambda client: client.resume())

    def page(self, *, panel: str = "") -> str:
        """An address that opens the page once; with `panel` "settings", at its settings."""
        at = f"&{panel}" if panel else ""
        return self._ask(lambda client: f"{client.url}#code={client.new_code()}{at}")

    def stop(self) -> None:
        self._ask(lambda client: client.stop())

    def start(self) -> None:
        """Start the daemon as a process of its own and wait until it answers."""
        if find_daemon(self._place) is not None:
            return
        make_home(self._place)
        process = program.start_detached(
            program.serve_command(self._place), errors=self._place.start_log
        )
        until = time.monotonic() + START_SECONDS
        while find_daemon(self._place) is None:
            if process.poll() is not None and find_daemon(self._place) is None:
                said = self._place.start_log.read_text("utf-8", "replace").strip()
                raise PhotosearchError(said.removeprefix("photosearch: ") or "it did not start.")
            if time.monotonic() > until:
                raise DaemonUnreachable(f"it does not answer after {START_SECONDS:.0f} seconds.")
            time.sleep(0.1)

    def _ask(self, call: Callable[[Client], T]) -> T:
        """Once more with a new look at the home, where the daemon we knew is gone."""
        known = self._client
        if known is not None:
            try:
                return call(known)
            except DaemonUnreachable:
                self._client = None
        found = find_daemon(self._place)
        if found is None:
            raise DaemonUnreachable(f"no daemon is running for {self._place.directory}.")
        self._client = found
        return call(found)


def grouped(photos: list[PhotoReply]) -> SearchReply:
    """A burst, or near duplicates, in the shape of an answer."""
    hits = [
        Hit(
            rank=rank,
            score=0.0,
            path=photo.path,
            photo_id=photo.photo_id,
            taken=photo.taken,
            why=(),
            relevant=True,
            offline=photo.offline,
            width_px=photo.width_px,
            height_px=photo.height_px,
            place=photo.place,
            hidden=photo.hidden,
        )
        for rank, photo in enumerate(photos, start=1)
    ]
    return SearchReply(
        query="",
        hits=hits,
        more=False,
        hidden=0,
        cutoff=None,
        total_photos=len(hits),
        milliseconds=0.0,
        chips=[],
        notes=[],
    )
