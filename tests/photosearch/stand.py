"""A stand-in for the daemon, and what the tests of the native bar have in common.

Needs PySide6: tests import it after they have asked for that. The fixtures are in conftest.py.
"""

from __future__ import annotations

import io
import os
import threading
from typing import Any

from PIL import Image
from PySide6.QtCore import Qt

from photosearch import protocol
from photosearch.desktop import words
from photosearch.desktop.asking import Question
from photosearch.desktop.bar import Bar
from photosearch.desktop.source import grouped
from photosearch.errors import PhotosearchError
from photosearch.types import Hit

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

WAIT_MS = 30_000  # on a machine that does something else as well
KEY = Qt.Key


def hit(number: int, name: str, **changes: Any) -> Hit:
    values: dict[str, Any] = {
        "rank": number, "score": 0.3, "path": f"/photos/{name}", "photo_id": number,
        "taken": "2019-07-04T18:30:00", "why": ("shows it",), "relevant": True, "offline": False,
        "width_px": 400, "height_px": 300, "colour": "#204060",
    }  # fmt: skip
    return Hit(**{**values, **changes})


def photo(of: Hit) -> protocol.PhotoReply:
    return protocol.PhotoReply(
        of.photo_id, of.path, of.taken, of.width_px, of.height_px, "JPEG", of.offline
    )


def webp(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (320, 240), colour).save(file, "WEBP", lossless=True)
    return file.getvalue()


class Stand:
    """Stands for the daemon: "red" finds the red photos, and so on; nothing for other words."""

    def __init__(self) -> None:
        self.hits = [hit(n, f"{c}{n}.jpg") for n, c in enumerate(["red", "green"] * 12, start=1)]
        self.asked: list[Question] = []
        self.opened: list[tuple[str, int]] = []
        self.fails: PhotosearchError | None = None
        self.gate = threading.Event()  # a search waits while it is not set
        self.gate.set()
        self.hidden = 0
        self.total = 24
        self.started = 0
        self.suggested: dict[str, list[protocol.SuggestionMessage]] = {}  # for what is typed
        self.typed: list[str] = []  # what suggestions were asked for
        self.remembered: list[str] = []
        self.forgotten: list[str] = []
        self.tries: list[protocol.ExampleMessage] = []
        self.chips: list[protocol.Chip] = []
        self.state = "idle"  # of indexing
        self.set = {"history": 1, "pause_on_battery": 0, "max_cpu": 100}
        self.refuses = False  # a setting
        self.pages: list[str] = []
        self.slow = threading.Event()  # a hiding waits while it is not set
        self.slow.set()
        self.searchable = len(self.hits)  # hidden ones, too
        self.hidings: list[tuple[int, bool, bool]] = []  # photo, hidden, with similar ones
        self.burst: list[int] = []  # what is hidden besides, with similar ones
        self.taken_back: list[tuple[list[int], bool]] = []  # photos, whether they are hidden again
        self.put_away: list[Hit] = []

    def search(self, question: Question) -> protocol.SearchReply:
        self.asked.append(question)
        assert self.gate.wait(30)
        if self.fails is not None:
            raise self.fails
        if question.is_group:
            members = [each for each in self.hits if each.photo_id in range(2, 5)]
            return grouped([photo(each) for each in members])
        found = [each for each in self.hits if question.text.split(" ")[0] in each.path]
        if question.show_all:
            found = [*found, hit(99, "unlikely.jpg", relevant=False)]
        return protocol.SearchReply(
            query=question.text, hits=found, more=False, hidden=self.hidden, cutoff=0.1,
            total_photos=self.total, milliseconds=1.0, chips=self.chips, notes=[],
        )  # fmt: skip

    def suggestions(self, typed: str, count: int) -> list[protocol.SuggestionMessage]:
        self.typed.append(typed)
        assert self.gate.wait(30)
        return self.suggested.get(typed, [])[:count]

    def remember(self, text: str) -> None:
        self.remembered.append(text)

    def forget_search(self, text: str) -> None:
        self.forgotten.append(text)
        for typed, found in self.suggested.items():
            self.suggested[typed] = [each for each in found if each.text != text]

    def forget_searches(self) -> None:
        self.suggested[""] = []

    def examples(self) -> list[protocol.ExampleMessage]:
        return self.tries

    def settings(self) -> list[protocol.SettingMessage]:
        return [
            protocol.SettingMessage(name, value, 1, 0, 1, name != "max_cpu")
            for name, value in self.set.items()
        ]

    def change_setting(self, name: str, value: int) -> None:
        if self.refuses:
            raise PhotosearchError("config.toml cannot be written.")
        self.set[name] = value

    def pause(self) -> None:
        self.state = "paused"

    def resume(self) -> None:
        self.state = "idle"

    def page(self, *, panel: str = "") -> str:
        self.pages.append(panel)
        return f"http://127.0.0.1:48620/#code=x&{panel}"

    def thumbnail(self, photo_id: int, size_px: int) -> bytes:
        return webp("#ff0000" if photo_id % 2 else "#00ff00")

    def open_photo(self, photo_id: int) -> None:
        self.opened.append(("open", photo_id))
        if self.fails is not None:
            raise self.fails

    def reveal_photo(self, photo_id: int) -> None:
        self.opened.append(("reveal", photo_id))

    def hide_all(self, photo_ids: list[int], *, hidden: bool) -> None:
        self.taken_back.append((photo_ids, hidden))
        for photo_id in photo_ids:
            self.hide(photo_id, hidden=hidden, similar=False)

    def hide(self, photo_id: int, *, hidden: bool, similar: bool) -> list[int]:
        assert self.slow.wait(30)
        if self.refuses:
            raise PhotosearchError("There is no such photo.")
        self.hidings.append((photo_id, hidden, similar))
        changed = [photo_id, *(self.burst if similar else [])]
        if hidden:
            self.put_away += [hit for hit in self.hits if hit.photo_id in changed]
            self.hits = [hit for hit in self.hits if hit.photo_id not in changed]
        else:
            self.hits = sorted([*self.hits, *self.put_away], key=lambda hit: hit.rank)
            self.put_away = []
        return changed

    def status(self) -> protocol.StatusReply:
        if self.fails is not None:
            raise self.fails
        idle = protocol.IndexingMessage(self.state, 0, 0, 0.0, None)
        return protocol.StatusReply(
            running=True, pid=1, version="0", libraries=[], photos=24, searchable=self.searchable,
            locations=24, failed=0, queue=0, indexing=idle, bundle="b", space="s", index="exact",
            library_bytes=0, thumbnail_bytes=0, hidden=len(self.put_away),
        )  # fmt: skip

    def start(self) -> None:
        self.started += 1
        self.fails = None


def names(bar: Bar) -> list[str]:
    return [words.name_of(each.path) for each in bar.photos.hits]
