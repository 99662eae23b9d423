"""The native bar, drawn into memory, with a stand-in for the daemon: typing, finding, trouble."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

import pytest

pytest.importorskip("PySide6.QtWidgets", reason="Qt is not installed", exc_type=ImportError)
pytest.importorskip("pytestqt", reason="pytest-qt is not installed")

from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot
from stand import KEY, WAIT_MS, Stand, hit, names

from photosearch.desktop import words
from photosearch.desktop.bar import Bar
from photosearch.errors import DaemonUnreachable, PhotosearchError

# Switched off for the others in pyproject.toml: without Qt's system libraries it ends every run.
pytest_plugins = ["pytestqt.plugin"]


# --- typing and what is found -----------------------------------------------------------------


def test_results_follow_the_typing(bar: Bar, type_in: Callable[[str], None]) -> None:
    assert bar.count.text() == words.NEWEST
    type_in("red")
    assert len(names(bar)) == 12 and all(name.startswith("red") for name in names(bar))
    assert bar.count.text() == "12 photos"
    assert bar.box.text() == "red"  # what was typed is never changed


def test_a_stale_answer_is_never_shown(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    stand.gate.clear()
    qtbot.keyClicks(bar.box, "red")
    qtbot.keyClicks(bar.box, " or")
    seen: list[str] = []
    bar.photos.modelReset.connect(lambda: seen.append(bar._question.text))
    stand.gate.set()
    qtbot.waitUntil(lambda: bar._question.text == "red or", timeout=WAIT_MS)
    assert set(seen) == {"red or"}
    # At most one question is under way: what was typed meanwhile is one more, not six.
    assert [each.text for each in stand.asked[1:]] == ["r", "red or"]


def test_spaces_alone_ask_nothing(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    asked = len(stand.asked)
    qtbot.keyClicks(bar.box, "  ")
    qtbot.wait(50)
    assert len(stand.asked) == asked


def test_nothing_found_says_so_and_offers_the_nearest(
    bar: Bar, stand: Stand, type_in: Callable[[str], None], qtbot: QtBot
) -> None:
    stand.hidden = 5
    type_in("<b>giraffe</b>")
    assert bar.message.isVisible() and not bar.grid.isVisible()
    assert bar.message.title.text() == "Nothing looks like “<b>giraffe</b>”"
    assert bar.message.title.textFormat() == Qt.TextFormat.PlainText
    qtbot.keyClick(bar.box, KEY.Key_Down)
    assert bar.message.button.hasFocus()
    qtbot.keyClick(bar.message.button, KEY.Key_Return)
    qtbot.waitUntil(lambda: names(bar) == ["unlikely.jpg"], timeout=WAIT_MS)
    assert bar.count.text() == "0 photos"  # it is not called a find


def test_less_likely_photos_are_one_click_away(
    bar: Bar, stand: Stand, type_in: Callable[[str], None], qtbot: QtBot
) -> None:
    type_in("green")
    assert not bar.foot.further.isVisible()
    stand.hidden = 9
    type_in("red")
    qtbot.mouseClick(bar.foot.further, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "unlikely.jpg" in names(bar), timeout=WAIT_MS)
    assert bar.count.text() == "12 photos"
    qtbot.keyClicks(bar.box, " x")  # it was about the words before
    qtbot.waitUntil(lambda: bar._question.text == "red x", timeout=WAIT_MS)
    assert not bar._question.show_all


def test_an_empty_library_says_what_to_expect(qtbot: QtBot, stand: Stand) -> None:
    stand.hits, stand.total = [], 0
    made = Bar(stand)
    qtbot.addWidget(made, before_close_func=lambda each: each.close_down())
    made.appear()
    qtbot.waitUntil(lambda: made.message.title.text() == words.EMPTY, timeout=WAIT_MS)
    assert not made.message.button.isVisible()


def test_new_photos_join_without_a_jump(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_Right)
    chosen = bar.grid.chosen
    bar._counts = (24, 0)  # what the bar has seen
    stand.searchable = 25
    stand.hits.insert(0, hit(50, "red50.jpg"))
    bar._look_at_status()
    qtbot.waitUntil(lambda: len(bar.photos.hits) == 25, timeout=WAIT_MS)
    assert chosen is not None and bar.grid.chosen is not None
    assert bar.grid.chosen.photo_id == chosen.photo_id
    assert bar.grid.at == 2


# --- trouble ----------------------------------------------------------------------------------


def test_without_a_daemon_it_offers_to_start_one(qtbot: QtBot, stand: Stand) -> None:
    stand.fails = DaemonUnreachable("no daemon is running.")
    made = Bar(stand)
    qtbot.addWidget(made, before_close_func=lambda each: each.close_down())
    made.appear()
    qtbot.waitUntil(lambda: made.message.title.text() == words.DOWN, timeout=WAIT_MS)
    assert made.message.button.text() == words.START
    made.message.button.click()
    qtbot.waitUntil(lambda: len(made.photos.hits) == 24, timeout=WAIT_MS)
    assert stand.started == 1


def test_when_the_daemon_goes_what_was_found_stays(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    stand.fails = DaemonUnreachable("gone")
    qtbot.keyClicks(bar.box, "g")
    qtbot.waitUntil(lambda: bar.foot.name.text() == words.DOWN, timeout=WAIT_MS)
    assert len(bar.photos.hits) == 24 and bar.box.text() == "g"
    stand.fails = None
    bar._look_at_status()  # it is back: what was typed meanwhile is asked
    qtbot.waitUntil(lambda: bar._question.text == "g", timeout=WAIT_MS)


def test_a_refusal_is_said(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    qtbot.keyClick(bar.box, KEY.Key_Down)
    stand.fails = PhotosearchError("xdg-open cannot be started.")
    qtbot.keyClick(bar.grid, KEY.Key_Return)
    qtbot.waitUntil(lambda: bar.foot.name.text() == "xdg-open cannot be started.", timeout=WAIT_MS)
    assert bar.isVisible()


def test_an_offline_photo_is_not_opened(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    bar.photos.show([hit(1, "far.jpg", offline=True)])
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_Return)
    assert "not connected" in bar.foot.name.text() and stand.opened == []


# --- Qt itself --------------------------------------------------------------------------------


def test_qt_gives_back_every_reference_it_takes(bar: Bar) -> None:
    """PySide6 6.12.0 on Python 3.11 took one from None with each call, until the process died."""
    gc.collect()
    before = sys.getrefcount(None)
    for _ in range(500):
        bar.foot.name.setText("x")
        bar.update()
    assert abs(sys.getrefcount(None) - before) < 100
