"""Photos the native bar shows as one (a burst, near duplicates), and how each is reached."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("PySide6.QtWidgets", reason="Qt is not installed", exc_type=ImportError)
pytest.importorskip("pytestqt", reason="pytest-qt is not installed")

from PySide6.QtCore import QPoint, Qt
from pytestqt.qtbot import QtBot
from stand import KEY, WAIT_MS, Stand, hit, names, photo

from photosearch.desktop import words
from photosearch.desktop.asking import Question
from photosearch.desktop.bar import Bar
from photosearch.desktop.grid import badge_font, frame_of, stack_of
from photosearch.desktop.source import grouped
from photosearch.protocol import SuggestionMessage

# Switched off for the others in pyproject.toml: without Qt's system libraries it ends every run.
pytest_plugins = ["pytestqt.plugin"]


Type = Callable[[str], None]
ALT = Qt.KeyboardModifier.AltModifier


@pytest.fixture
def stacked(bar: Bar, stand: Stand, type_in: Type, qtbot: QtBot) -> Bar:
    """ "green" was searched for; its first photo stands for two others."""
    stand.hits[1] = hit(2, "green2.jpg", similar=2)
    type_in("green")
    qtbot.waitUntil(lambda: bar.photos.hits[0].similar == 2, timeout=WAIT_MS)
    return bar


def opened(bar: Bar, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: bar._question.is_group, timeout=WAIT_MS)
    assert names(bar) == ["green2.jpg", "red3.jpg", "green4.jpg"]
    assert bar.count.text() == "3 photos"
    assert bar.chip.isVisible() and bar.chip.text().startswith("with green2.jpg")
    assert bar.box.text() == "" and bar.box.hasFocus()


def test_alt_enter_opens_it_up_and_escape_goes_back(stacked: Bar, qtbot: QtBot) -> None:
    bar = stacked
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_Return, ALT)
    opened(bar, qtbot)
    assert bar.chip.accessibleName() == "Back from the photos similar to green2.jpg"
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_Escape)
    qtbot.keyClick(bar.box, KEY.Key_Escape)
    qtbot.waitUntil(lambda: bar._question == Question("green"), timeout=WAIT_MS)
    assert bar.isVisible() and not bar.chip.isVisible() and bar.box.text() == "green"


def test_the_sign_on_the_photo_opens_it_up_and_the_chip_leads_back(
    stacked: Bar, qtbot: QtBot
) -> None:
    bar = stacked
    place = bar.grid.visualRect(bar.photos.index(0))
    sign = stack_of(frame_of(place), bar.photos.hits[0], badge_font(bar.grid.font()))
    view = bar.grid.viewport()
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=place.center())  # beside it: chooses
    assert bar.grid.at == 0 and not bar.chip.isVisible()
    bar.grid.choose(-1)
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=sign.center().toPoint())
    opened(bar, qtbot)
    qtbot.mouseClick(bar.chip, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bar._question == Question("green"), timeout=WAIT_MS)


def test_where_others_have_their_sign_a_photo_alone_has_none(stacked: Bar, qtbot: QtBot) -> None:
    bar = stacked
    corners = []
    for row in (0, 1):
        place = bar.grid.visualRect(bar.photos.index(row))
        sign = stack_of(frame_of(place), bar.photos.hits[0], badge_font(bar.grid.font()))
        corners.append((sign.topLeft() + QPoint(4, 9)).toPoint())
    shown = bar.grid.viewport().grab().toImage()
    ratio = shown.devicePixelRatio()
    assert shown.pixelColor(corners[0] * ratio).name() == bar.theme.surface
    assert shown.pixelColor(corners[1] * ratio).name() != bar.theme.surface
    qtbot.mouseClick(bar.grid.viewport(), Qt.MouseButton.LeftButton, pos=corners[1])
    assert bar.grid.at == 1 and not bar.chip.isVisible()


def test_the_preview_offers_them(stacked: Bar, qtbot: QtBot) -> None:
    bar = stacked
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_Space)
    assert bar.preview._similar.isVisible()
    assert bar.preview._similar.text() == "Show 2 similar photos"
    qtbot.keyClick(bar.preview, KEY.Key_Right)
    assert not bar.preview._similar.isVisible()
    qtbot.keyClick(bar.preview, KEY.Key_Return, ALT)  # stands for itself alone
    assert bar.preview.hit is not None and not bar.chip.isVisible()
    qtbot.keyClick(bar.preview, KEY.Key_Left)
    qtbot.keyClick(bar.preview, KEY.Key_Return, ALT)
    opened(bar, qtbot)
    assert bar.preview.hit is None


def test_typing_leaves_it(stacked: Bar, stand: Stand, qtbot: QtBot) -> None:
    bar = stacked
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_Return, ALT)
    opened(bar, qtbot)
    qtbot.keyClicks(bar.box, "red")
    assert not bar.chip.isVisible()
    qtbot.waitUntil(lambda: bar._question == Question("red"), timeout=WAIT_MS)


def test_past_searches_do_not_go_on_from_it(stacked: Bar, stand: Stand, qtbot: QtBot) -> None:
    bar = stacked
    stand.suggested[""] = [SuggestionMessage("red boat", "history")]
    bar.grid.choose(0)
    bar.show_group()
    opened(bar, qtbot)
    qtbot.waitUntil(lambda: bar.ways.suggestions.of("") != [], timeout=WAIT_MS)
    assert bar.pills.texts == []
    qtbot.keyClick(bar.box, KEY.Key_End)
    assert bar.box.text() == "" and bar.chip.isVisible()


def test_from_a_burst_among_look_alikes_the_way_leads_back_to_these(
    stacked: Bar, stand: Stand, qtbot: QtBot
) -> None:
    bar = stacked
    bar.grid.choose(1)
    bar.look_like()
    qtbot.waitUntil(lambda: bar._question == Question("", 4), timeout=WAIT_MS)
    qtbot.keyClicks(bar.box, "green")
    qtbot.waitUntil(lambda: bar._question == Question("green", 4), timeout=WAIT_MS)
    bar.grid.choose(0)
    bar.show_group()
    opened(bar, qtbot)
    qtbot.keyClick(bar.box, KEY.Key_Escape)
    qtbot.waitUntil(lambda: bar._question == Question("green", 4), timeout=WAIT_MS)
    assert bar.chip.text().startswith("like: green4.jpg")
    qtbot.keyClick(bar.box, KEY.Key_Escape)  # the words,
    qtbot.keyClick(bar.box, KEY.Key_Escape)  # then the chip
    qtbot.waitUntil(lambda: bar._question == Question("green"), timeout=WAIT_MS)
    assert not bar.chip.isVisible()


def test_many_look_alikes_after_each_other_are_one_step(stacked: Bar, qtbot: QtBot) -> None:
    bar = stacked
    for row in (1, 2, 3):
        bar.grid.choose(row)
        bar.look_like()
        qtbot.waitUntil(lambda: not bar._asking.is_under_way, timeout=WAIT_MS)
    qtbot.keyClick(bar.box, KEY.Key_Backspace)
    qtbot.waitUntil(lambda: bar._question == Question("green"), timeout=WAIT_MS)


def test_a_photo_says_for_how_many_it_stands() -> None:
    assert words.alt(hit(1, "a.jpg", similar=3)) == "a.jpg, 4 July 2019, and 3 similar"
    assert words.show_similar(1) == "Show 1 similar photo"


def test_a_group_has_the_shape_of_an_answer() -> None:
    one, other = hit(1, "a.jpg"), hit(2, "b.jpg", offline=True)
    answer = grouped([photo(one), photo(other)])
    assert [(each.rank, each.path, each.offline) for each in answer.hits] == [
        (1, one.path, False),
        (2, other.path, True),
    ]
    assert all(each.relevant and not each.similar for each in answer.hits)
    assert not answer.more and answer.hidden == 0
