"""The parts of a search, and searches to try, over the photos of the native bar."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("PySide6.QtWidgets", reason="Qt is not installed", exc_type=ImportError)
pytest.importorskip("pytestqt", reason="pytest-qt is not installed")

from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot
from stand import WAIT_MS, Stand

from photosearch.desktop import words
from photosearch.desktop.bar import Bar
from photosearch.desktop.onwards import Kind, for_empty_box, for_search, stretch, without
from photosearch.protocol import Chip, ExampleMessage, SuggestionMessage

pytest_plugins = ["pytestqt.plugin"]

Type = Callable[[str], None]
QUERY = "red in:trips 2091"
WORD = Chip("words", "red", 0, 3, "")
FOLDER = Chip("folder", "in:trips", 4, 12, "")
YEAR = Chip("date", "2091", 13, 17, "no photo is that new")
PAST = [SuggestionMessage(f"red {number}", "history") for number in range(5)]
TRIES = [ExampleMessage("a beach", 1), ExampleMessage("in:trips", 2)]


def click(bar: Bar, qtbot: QtBot, name: str) -> None:
    found = [
        each
        for pill in bar.pills._pills
        for each in pill
        if name in (each.accessibleName(), each.text())
    ]
    qtbot.mouseClick(found[0], Qt.MouseButton.LeftButton)


@pytest.fixture
def searched(bar: Bar, stand: Stand, type_in: Type, qtbot: QtBot) -> Bar:
    stand.chips = [WORD, FOLDER, YEAR]
    type_in(QUERY)
    qtbot.waitUntil(lambda: bar.pills.texts == ["in:trips", "2091"], timeout=WAIT_MS)
    return bar


# --- what is offered, without Qt --------------------------------------------------------------


def test_plain_words_are_no_part_unless_something_is_said_of_them() -> None:
    doubtful = Chip("words", "rde", 0, 3, "not a word that is known")
    shown = [each.shown for each in for_search("x", [WORD, FOLDER, doubtful], [], "x")]
    assert shown == ["in:trips", "rde"]


def test_parts_come_before_ways_to_go_on() -> None:
    way = SuggestionMessage("red in:trips", "folder")
    kinds = [(e.kind, e.shown) for e in for_search("red", [FOLDER], [way, PAST[0]], "red in")]
    assert kinds == [(Kind.PART, "in:trips"), (Kind.WAY, "in:trips"), (Kind.PAST, "red 0")]


def test_an_empty_box_offers_three_past_searches_beside_those_to_try() -> None:
    assert [each.shown for each in for_empty_box(PAST, TRIES)] == [
        "red 0", "red 1", "red 2", "a beach", "in:trips",
    ]  # fmt: skip
    assert len(for_empty_box(PAST, [])) == 5


@pytest.mark.parametrize(
    ("chip", "rest"), [(WORD, "in:trips 2091"), (FOLDER, "red 2091"), (YEAR, "red in:trips")]
)
def test_without_a_part_no_gap_is_left(chip: Chip, rest: str) -> None:
    assert without(QUERY, chip) == rest


def test_a_stretch_is_counted_as_qt_counts() -> None:
    """A chip counts code points from the first letter; a box counts UTF-16 units from its edge."""
    assert stretch("  \U0001f408 in:trips", Chip("folder", "in:trips", 2, 10, "")) == (5, 8)
    assert stretch("red in:\U0001f408", Chip("folder", "in:\U0001f408", 4, 8, "")) == (4, 5)


# --- in the bar -------------------------------------------------------------------------------


def test_a_part_is_taken_out_by_its_cross(searched: Bar, stand: Stand, qtbot: QtBot) -> None:
    click(searched, qtbot, "Remove in:trips")
    assert searched.box.text() == "red 2091"
    qtbot.waitUntil(lambda: stand.asked[-1].text == "red 2091", timeout=WAIT_MS)


def test_a_part_is_changed_where_it_stands(searched: Bar, qtbot: QtBot) -> None:
    click(searched, qtbot, "in:trips")
    assert searched.box.selectedText() == "in:trips"
    assert searched.box.text() == QUERY


def test_a_doubtful_part_says_why(searched: Bar) -> None:
    (year,) = [pill[0] for pill in searched.pills._pills if pill[0].text() == "2091"]
    assert year.objectName() == "doubtful"
    assert year.toolTip() == YEAR.note


def test_a_part_of_other_words_changes_nothing(searched: Bar, stand: Stand, qtbot: QtBot) -> None:
    stand.gate.clear()  # no answer to what is typed now
    qtbot.keyClicks(searched.box, "5")
    click(searched, qtbot, "Remove in:trips")
    assert searched.box.text() == QUERY + "5"
    stand.gate.set()


def test_an_empty_box_offers_searches_to_try(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    stand.tries = TRIES
    bar.ways._examples_of = -1
    bar._look_at_status()
    qtbot.waitUntil(lambda: bar.pills.texts == ["a beach", "in:trips"], timeout=WAIT_MS)
    qtbot.waitUntil(lambda: bar.pills._pictured == [], timeout=WAIT_MS)  # the photos are there
    click(bar, qtbot, "a beach")
    assert bar.box.text() == "a beach"
    qtbot.waitUntil(lambda: stand.asked[-1].text == "a beach", timeout=WAIT_MS)
    qtbot.waitUntil(lambda: bar.pills.texts == [], timeout=WAIT_MS)
    qtbot.keyClick(bar.box, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: bar.pills.texts == ["a beach", "in:trips"], timeout=WAIT_MS)


def test_examples_are_asked_for_once(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    asked: list[int] = []
    bar.ways._daemon.examples = lambda: asked.append(1) or TRIES  # type: ignore[method-assign, func-returns-value]
    bar.ways._examples_of = -1
    for _ in range(3):
        bar.ways.look_at(stand.status())
    qtbot.waitUntil(lambda: bar.pills.texts != [], timeout=WAIT_MS)
    assert asked == [1]


# --- settings ---------------------------------------------------------------------------------


@pytest.fixture
def settings(bar: Bar, qtbot: QtBot) -> Bar:
    qtbot.mouseClick(bar.settings_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(bar.settings.switches) == 2, timeout=WAIT_MS)
    return bar


def test_settings_with_two_states_are_switches(settings: Bar, stand: Stand, qtbot: QtBot) -> None:
    switches = settings.settings.switches
    assert {name: each.isChecked() for name, each in switches.items()} == {
        "history": True,
        "pause_on_battery": False,
    }
    assert switches["history"].text() == "Remember searches"
    qtbot.mouseClick(switches["history"], Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: stand.set["history"] == 0, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: settings.settings.said.text() == words.SAVED, timeout=WAIT_MS)


def test_a_refused_setting_stays_as_it_is(settings: Bar, stand: Stand, qtbot: QtBot) -> None:
    stand.refuses = True
    switch = settings.settings.switches["history"]
    qtbot.mouseClick(switch, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "cannot be written" in settings.settings.said.text(), timeout=WAIT_MS)
    assert switch.isChecked()


def test_indexing_is_paused_there(settings: Bar, stand: Stand, qtbot: QtBot) -> None:
    qtbot.mouseClick(settings.settings.pause, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: stand.state == "paused", timeout=WAIT_MS)
    qtbot.mouseClick(settings.settings.pause, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: stand.state == "idle", timeout=WAIT_MS)


def test_past_searches_are_forgotten_there(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    stand.suggested[""] = PAST[:1]
    bar._look_for_ways()
    qtbot.waitUntil(lambda: bar.pills.texts == ["red 0"], timeout=WAIT_MS)
    bar.show_settings()
    qtbot.mouseClick(bar.settings.forget, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bar.pills.texts == [], timeout=WAIT_MS)


def test_the_page_has_the_other_settings(
    settings: Bar, stand: Stand, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(
        "photosearch.desktop.settings.browser.show", lambda url, window: shown.append(url)
    )
    qtbot.mouseClick(settings.settings.more, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: shown != [], timeout=WAIT_MS)
    assert stand.pages == ["settings"]
    assert not settings.settings.isVisible()


def test_tab_stays_among_the_settings_and_escape_leaves_them(settings: Bar, qtbot: QtBot) -> None:
    panel = settings.settings
    fields = [panel.pause, *panel.switches.values(), panel.forget, panel.more, panel.close_button]
    panel.pause.setFocus()
    for field in (*fields[1:], fields[0]):
        qtbot.keyClick(settings.focusWidget(), Qt.Key.Key_Tab)
        assert field.hasFocus()
    qtbot.keyClick(settings.focusWidget(), Qt.Key.Key_Backtab)
    assert fields[-1].hasFocus()
    qtbot.keyClick(settings.focusWidget(), Qt.Key.Key_Escape)
    assert not panel.isVisible()
    assert settings.box.hasFocus()
