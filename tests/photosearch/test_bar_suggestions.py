"""Ways to go on typing in the native bar, past searches among them, and when one is kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("PySide6.QtWidgets", reason="Qt is not installed", exc_type=ImportError)
pytest.importorskip("pytestqt", reason="pytest-qt is not installed")

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot
from stand import KEY, WAIT_MS, Stand, names

from photosearch.desktop.bar import Bar
from photosearch.desktop.onwards import addition
from photosearch.errors import PhotosearchError
from photosearch.protocol import SuggestionMessage

# Switched off for the others in pyproject.toml: without Qt's system libraries it ends every run.
pytest_plugins = ["pytestqt.plugin"]


Type = Callable[[str], None]
FOLDER = SuggestionMessage("red in:holidays", "folder")
PAST = SuggestionMessage("red boat", "history")


@pytest.fixture
def offered(bar: Bar, stand: Stand, type_in: Type, qtbot: QtBot) -> Bar:
    """`red ` is typed, a past search and a folder are offered."""
    stand.suggested["red "] = [PAST, FOLDER]
    type_in("red ")
    qtbot.waitUntil(lambda: bar.pills.texts == ["red boat", "in:holidays"], timeout=WAIT_MS)
    return bar


def click(bar: Bar, qtbot: QtBot, text: str) -> None:
    (pill,) = [each for pill in bar.pills._pills for each in pill if each.text() == text]
    qtbot.mouseClick(pill, Qt.MouseButton.LeftButton)


# --- what is offered --------------------------------------------------------------------------


def test_they_are_asked_for_when_typing_pauses(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: stand.typed == [""], timeout=WAIT_MS)  # past searches, at the start
    bar.ways.suggestions._timer.setInterval(60_000)  # nobody can type as slowly as that
    qtbot.keyClicks(bar.box, "red b")
    bar.ways.suggestions._timer.setInterval(0)
    qtbot.keyClick(bar.box, "o")
    qtbot.waitUntil(lambda: len(stand.typed) > 1, timeout=WAIT_MS)
    assert stand.typed == ["", "red bo"]


def test_an_old_answer_is_never_shown_for_other_words(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    stand.suggested["red"] = [PAST]
    stand.gate.clear()
    qtbot.keyClicks(bar.box, "red")
    qtbot.waitUntil(lambda: "red" in stand.typed, timeout=WAIT_MS)  # it is on its way
    qtbot.keyClicks(bar.box, "dish")
    seen: list[list[str]] = []
    bar.ways.suggestions.changed.connect(lambda: seen.append(bar.pills.texts))
    stand.gate.set()
    qtbot.waitUntil(lambda: stand.typed[-1] == "reddish", timeout=WAIT_MS)
    qtbot.wait(50)
    assert all(texts == [] for texts in seen)


def test_those_that_still_go_on_stay_while_typing(offered: Bar, qtbot: QtBot) -> None:
    qtbot.keyClicks(offered.box, "b")
    assert offered.pills.texts == ["red boat"]  # at once, before any answer
    qtbot.keyClicks(offered.box, "x")
    assert offered.pills.texts == []


def test_past_searches_are_offered_for_an_empty_box(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    stand.suggested[""] = [PAST]
    bar.disappear()
    bar.appear()  # something may have been searched for meanwhile, on the page
    qtbot.waitUntil(lambda: bar.pills.texts == ["red boat"], timeout=WAIT_MS)


def test_where_they_cannot_be_had_there_are_none_and_no_word_of_it(
    offered: Bar, stand: Stand, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(typed: str, count: int) -> list[SuggestionMessage]:
        raise PhotosearchError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(offered.ways.suggestions, "_suggest", refuse)
        offered.ways.suggestions.ask_again("red ")
        qtbot.waitUntil(lambda: offered.pills.texts == [], timeout=WAIT_MS)
    assert offered.foot.name.text() == ""
    offered.ask()  # and asked for again with the next look
    qtbot.waitUntil(lambda: "in:holidays" in offered.pills.texts, timeout=WAIT_MS)


def test_what_there_is_no_room_for_is_left_out_and_moves_nothing(
    bar: Bar, stand: Stand, type_in: Type, qtbot: QtBot
) -> None:
    before, photo = bar.size(), bar.grid.geometry()
    long = [SuggestionMessage(f"green in:{'holidays' * 30}{n}", "folder") for n in range(4)]
    stand.suggested["green "] = long
    type_in("green ")
    qtbot.waitUntil(lambda: bar.pills.texts != [], timeout=WAIT_MS)
    assert 1 <= len(bar.pills.texts) < 4
    assert all("…" in text and len(text) < 80 for text in bar.pills.texts)
    assert (bar.size(), bar.grid.geometry()) == (before, photo)
    assert bar.count.geometry().left() >= bar.pills.geometry().right()


@pytest.mark.parametrize(
    ("suggested", "typed", "expected"),
    [
        ("dog in:holidays", "dog hol", "in:holidays"),
        ("camera:", "cam", "camera:"),
        ("a dog", "dog ", "a dog"),
    ],
)
def test_a_pill_shows_what_it_adds(suggested: str, typed: str, expected: str) -> None:
    assert addition(suggested, typed) == expected


# --- taking one -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY.Key_End, KEY.Key_Right])
def test_a_key_at_the_end_takes_the_first(offered: Bar, qtbot: QtBot, key: Qt.Key) -> None:
    qtbot.keyClick(offered.box, KEY.Key_Left)
    qtbot.keyClick(offered.box, key)  # within the words it only moves
    assert offered.box.text() == "red " and offered.box.cursorPosition() == 4
    qtbot.keyClick(offered.box, key, Qt.KeyboardModifier.ShiftModifier)
    assert offered.box.text() == "red "
    qtbot.keyClick(offered.box, key)
    assert offered.box.text() == "red boat"
    qtbot.waitUntil(lambda: offered._question.text == "red boat", timeout=WAIT_MS)
    qtbot.keyClick(offered.box, key)  # nothing more is offered
    assert offered.box.text() == "red boat"


def test_a_click_takes_the_whole_search_and_the_box_keeps_the_keys(
    offered: Bar, qtbot: QtBot
) -> None:
    offered._show_all = True  # it was about the words before
    click(offered, qtbot, "in:holidays")
    assert offered.box.text() == "red in:holidays" and offered.box.hasFocus()
    qtbot.waitUntil(lambda: offered._question.text == "red in:holidays", timeout=WAIT_MS)
    assert not offered._question.show_all


def test_tab_leads_to_them_and_enter_takes_one(offered: Bar, qtbot: QtBot) -> None:
    qtbot.keyClick(offered.box, KEY.Key_Tab)
    (take, cross), (folder,) = offered.pills._pills
    assert take.hasFocus() and take.accessibleName() == "red boat"
    qtbot.keyClick(take, KEY.Key_Tab)
    assert cross.hasFocus() and cross.accessibleName() == "Forget the search red boat"
    qtbot.keyClick(cross, KEY.Key_Tab)
    qtbot.keyClick(folder, KEY.Key_Return)
    assert offered.box.text() == "red in:holidays" and offered.box.hasFocus()


def test_a_past_search_can_be_forgotten(offered: Bar, stand: Stand, qtbot: QtBot) -> None:
    click(offered, qtbot, "×")
    qtbot.waitUntil(lambda: offered.pills.texts == ["in:holidays"], timeout=WAIT_MS)
    assert stand.forgotten == ["red boat"] and offered.box.text() == "red "


# --- when a search is kept ----------------------------------------------------------------------


def test_typing_alone_is_not_a_search_to_keep(bar: Bar, stand: Stand, type_in: Type) -> None:
    type_in("red")
    type_in("green")
    assert stand.remembered == []


ENTER, COPY = KEY.Key_Return, KEY.Key_C
CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


@pytest.mark.parametrize(
    ("key", "held"),
    [
        pytest.param(ENTER, Qt.KeyboardModifier.NoModifier, id="opened"),
        pytest.param(ENTER, CONTROL, id="shown in its folder"),
        pytest.param(COPY, CONTROL, id="copied"),
        pytest.param(COPY, CONTROL | SHIFT, id="its path copied"),
        pytest.param(ENTER, SHIFT, id="more like it"),
        pytest.param(KEY.Key_Space, Qt.KeyboardModifier.NoModifier, id="looked at"),
    ],
)
def test_a_search_is_kept_when_a_photo_it_found_is_used(
    bar: Bar, stand: Stand, type_in: Type, qtbot: QtBot, key: Qt.Key, held: Qt.KeyboardModifier
) -> None:
    type_in(" red ")
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.wait(20)
    assert stand.remembered == []  # looking for one is not finding it
    qtbot.keyClick(bar.grid, key, held)
    qtbot.waitUntil(lambda: stand.remembered == ["red"], timeout=WAIT_MS)


def test_enter_in_the_box_means_it_and_once_is_enough(
    bar: Bar, stand: Stand, type_in: Type, qtbot: QtBot
) -> None:
    type_in("red")
    qtbot.keyClick(bar.box, KEY.Key_Return)
    qtbot.keyClick(bar.grid, KEY.Key_Space)
    qtbot.keyClick(bar.preview, KEY.Key_Right)
    qtbot.keyClick(bar.preview, COPY, CONTROL)
    qtbot.waitUntil(lambda: stand.remembered != [], timeout=WAIT_MS)
    qtbot.wait(50)
    assert stand.remembered == ["red"]


def test_the_newest_photos_are_no_search(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    qtbot.keyClick(bar.box, KEY.Key_Return)
    qtbot.keyClick(bar.grid, COPY, CONTROL)
    assert QGuiApplication.clipboard().mimeData().urls()
    qtbot.wait(50)
    assert stand.remembered == [] and len(names(bar)) == 24


def test_what_was_dragged_out_was_searched_for(
    bar: Bar, stand: Stand, type_in: Type, qtbot: QtBot
) -> None:
    type_in("green")
    bar.grid.dragged.emit()
    qtbot.waitUntil(lambda: stand.remembered == ["green"], timeout=WAIT_MS)
