"""The native bar's keys, the same as the page's, and what leaves it as a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PySide6.QtWidgets", reason="Qt is not installed", exc_type=ImportError)
pytest.importorskip("pytestqt", reason="pytest-qt is not installed")

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot
from stand import KEY, WAIT_MS, Stand, hit

from photosearch.desktop import grid as grid_module
from photosearch.desktop import words
from photosearch.desktop.asking import Question
from photosearch.desktop.bar import Bar
from photosearch.desktop.photos import files

# Switched off for the others in pyproject.toml: without Qt's system libraries it ends every run.
pytest_plugins = ["pytestqt.plugin"]


# --- keys -------------------------------------------------------------------------------------


def test_down_leads_into_the_photos_and_arrows_by_the_real_columns(bar: Bar, qtbot: QtBot) -> None:
    top = bar.grid.visualRect(bar.photos.index(0)).top()
    drawn = [row for row in range(24) if bar.grid.visualRect(bar.photos.index(row)).top() == top]
    assert bar.grid.columns == len(drawn) == 5
    qtbot.keyClick(bar.box, KEY.Key_Down)
    assert bar.grid.hasFocus() and bar.grid.at == 0
    for key, at in (
        (KEY.Key_Right, 1), (KEY.Key_Down, 6), (KEY.Key_Left, 5), (KEY.Key_End, 23),
        (KEY.Key_Down, 23), (KEY.Key_Up, 18), (KEY.Key_Home, 0),
    ):  # fmt: skip
        qtbot.keyClick(bar.grid, key)
        assert bar.grid.at == at, key
    qtbot.keyClick(bar.grid, KEY.Key_Up)
    assert bar.box.hasFocus() and bar.grid.at == -1


def test_escape_peels_preview_photos_text_and_hides(bar: Bar, qtbot: QtBot) -> None:
    qtbot.keyClicks(bar.box, "red")
    qtbot.waitUntil(lambda: bar._question.text == "red", timeout=WAIT_MS)
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_Space)
    assert bar.preview.isVisible() and bar.preview.hasFocus()
    qtbot.keyClick(bar.preview, KEY.Key_Escape)
    assert not bar.preview.isVisible() and bar.grid.hasFocus()
    qtbot.keyClick(bar.grid, KEY.Key_Escape)
    assert bar.box.hasFocus() and bar.box.text() == "red"
    qtbot.keyClick(bar.box, KEY.Key_Escape)
    assert bar.box.text() == "" and bar.isVisible()
    qtbot.keyClick(bar.box, KEY.Key_Escape)
    assert not bar.isVisible()


def test_preview_walks_and_space_closes_it(bar: Bar, qtbot: QtBot) -> None:
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_Space)
    qtbot.keyClick(bar.preview, KEY.Key_Right)
    assert bar.preview.hit is not None and bar.preview.hit.photo_id == 2
    qtbot.keyClick(bar.preview, KEY.Key_Left)
    qtbot.keyClick(bar.preview, KEY.Key_Up)  # out at the top: not from a preview
    assert bar.preview.hit is not None and bar.preview.hit.photo_id == 1
    assert bar.preview.accessibleName() == "red1.jpg, 4 July 2019"
    qtbot.waitUntil(
        lambda: bar.preview._picture is not None and bar.preview._picture.width() == 320,
        timeout=WAIT_MS,
    )  # the sharp one has come
    qtbot.keyClick(bar.preview, KEY.Key_Space)
    assert bar.preview.hit is None and bar.grid.at == 0


def test_enter_opens_and_control_enter_reveals(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    qtbot.keyClick(bar.box, KEY.Key_Return)  # from the box: into the photos first
    assert stand.opened == [] and bar.grid.at == 0
    qtbot.keyClick(bar.grid, KEY.Key_Right)
    qtbot.keyClick(bar.grid, KEY.Key_Return)
    qtbot.waitUntil(lambda: not bar.isVisible(), timeout=WAIT_MS)
    bar.appear()
    bar.grid.setFocus()
    bar.grid.choose(2)
    qtbot.keyClick(bar.grid, KEY.Key_Return, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: len(stand.opened) == 2, timeout=WAIT_MS)
    assert stand.opened == [("open", 2), ("reveal", 3)]


def test_letters_pressed_in_the_photos_go_to_the_box(bar: Bar, qtbot: QtBot) -> None:
    qtbot.keyClicks(bar.box, "re")
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_D)
    assert bar.box.text() == "red" and bar.box.hasFocus()
    qtbot.waitUntil(lambda: bar._question.text == "red", timeout=WAIT_MS)


def test_slash_returns_to_the_box_and_question_mark_lists_the_keys(bar: Bar, qtbot: QtBot) -> None:
    qtbot.keyClicks(bar.box, "red?/")
    assert bar.box.text() == "red?/"  # among words they are typed
    qtbot.waitUntil(lambda: bar._question.text == "red?/", timeout=WAIT_MS)
    bar.box.clear()
    bar._typed()
    qtbot.waitUntil(lambda: len(bar.photos.hits) == 24, timeout=WAIT_MS)
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, "?")
    assert bar.key_list.isVisible()
    qtbot.keyClick(bar.grid, KEY.Key_Escape)
    assert not bar.key_list.isVisible() and bar.grid.at == 0  # only the list is closed
    qtbot.keyClick(bar.grid, "/")
    assert bar.box.hasFocus() and bar.grid.at == -1


def test_the_keys_are_those_of_the_page() -> None:
    """Every row of the page's list is a row here."""
    page = (Path(words.__file__).parent.parent / "static" / "english.js").read_text()
    table = page[page.index("keys: [") :]
    table = table[: table.index("\n    ],")]
    rows = re.findall(r"\[\[(.*?)\], \"", table)
    ours = {key for key, _ in words.KEYS}
    assert len(rows) >= 11
    for row in rows:
        assert " ".join(re.findall(r'"([^"]+)"', row)) in ours, row


def test_more_like_this_is_a_chip_and_goes_again(
    bar: Bar, stand: Stand, type_in: Callable[[str], None], qtbot: QtBot
) -> None:
    type_in("green")
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(lambda: bar._question.like == 2, timeout=WAIT_MS)
    assert bar.chip.isVisible() and "green2.jpg" in bar.chip.text()
    assert bar.box.text() == "" and bar.box.hasFocus()
    qtbot.keyClick(bar.box, KEY.Key_Backspace)
    qtbot.waitUntil(lambda: bar._question == Question("green"), timeout=WAIT_MS)
    assert not bar.chip.isVisible() and bar.box.text() == "green"


# --- files ------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX paths")
def test_what_is_dragged_out_is_the_file_and_never_a_move(
    bar: Bar, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    dragged: list[tuple[list[str], Qt.DropAction]] = []

    class Drag:
        def __init__(self, source: QWidget) -> None: ...

        def setMimeData(self, data: Any) -> None:
            self.urls = [bytes(url.toEncoded().data()).decode() for url in data.urls()]

        def setPixmap(self, picture: Any) -> None: ...

        def exec(self, actions: Qt.DropAction) -> None:
            assert bar.grid.is_dragging  # the bar must not hide under the mouse
            dragged.append((self.urls, actions))

    monkeypatch.setattr(grid_module, "QDrag", Drag)
    bar.photos.show(
        [hit(1, "a b.jpg"), hit(2, "caf\udce9#1.jpg"), hit(3, "gone.jpg", offline=True)]
    )
    bar.grid.selectAll()
    bar.grid.startDrag(Qt.DropAction.MoveAction)
    assert dragged == [
        (["file:///photos/a%20b.jpg", "file:///photos/caf%E9%231.jpg"], Qt.DropAction.CopyAction)
    ]
    assert bar.photos.supportedDragActions() == Qt.DropAction.CopyAction
    assert not bar.grid.is_dragging
    bar.photos.show([hit(3, "gone.jpg", offline=True)])
    bar.grid.selectAll()
    bar.grid.startDrag(Qt.DropAction.CopyAction)
    assert len(dragged) == 1  # nothing to drag: its drive is not there


def test_control_c_copies_the_file_and_with_shift_its_path(bar: Bar, qtbot: QtBot) -> None:
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_C, Qt.KeyboardModifier.ControlModifier)
    data = QGuiApplication.clipboard().mimeData()
    assert [url.toString() for url in data.urls()] == ["file:///photos/red1.jpg"]
    assert bar.foot.name.text() == words.COPIED
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(bar.grid, KEY.Key_C, both)
    assert QGuiApplication.clipboard().text() == "/photos/red1.jpg"
    copied = files([hit(1, "x.jpg")]).data("x-special/gnome-copied-files")
    assert bytes(copied.data()) == b"copy\nfile:///photos/x.jpg"
