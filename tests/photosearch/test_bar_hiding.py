"""Leaving a photo out of search in the native bar, and taking that back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("PySide6.QtWidgets", reason="Qt is not installed", exc_type=ImportError)
pytest.importorskip("pytestqt", reason="pytest-qt is not installed")

from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot
from stand import KEY, WAIT_MS, Stand, hit, names

from photosearch.desktop import words
from photosearch.desktop.bar import Bar
from photosearch.desktop.menu import photo_menu

# Switched off for the others in pyproject.toml: without Qt's system libraries it ends every run.
pytest_plugins = ["pytestqt.plugin"]

Type = Callable[[str], None]
CONTROL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def greens(bar: Bar, type_in: Type, qtbot: QtBot) -> Bar:
    type_in("green")
    qtbot.waitUntil(lambda: len(bar.photos.hits) == 12, timeout=WAIT_MS)
    qtbot.keyClick(bar.box, KEY.Key_Down)
    return bar


def test_delete_hides_and_control_z_takes_it_back(greens: Bar, stand: Stand, qtbot: QtBot) -> None:
    bar, before = greens, names(greens)
    qtbot.keyClick(bar.grid, KEY.Key_Right)
    qtbot.keyClick(bar.grid, KEY.Key_Delete)
    assert names(bar) == [*before[:1], *before[2:]]  # at once
    qtbot.waitUntil(lambda: stand.hidings == [(4, True, False)], timeout=WAIT_MS)
    assert bar.grid.at == 1  # the one behind it
    qtbot.waitUntil(lambda: stand.hidings != [] and not bar.deeds.leaving, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not bar._asking.is_under_way, timeout=WAIT_MS)
    assert bar.foot.name.toolTip().startswith("green4.jpg will not be found any more.")
    qtbot.keyClick(bar.grid, KEY.Key_Z, CONTROL)
    qtbot.waitUntil(lambda: names(bar) == before, timeout=WAIT_MS)
    assert stand.hidings[1:] == [(4, False, False)]
    qtbot.keyClick(bar.grid, KEY.Key_Z, CONTROL)  # there is nothing more to take back
    qtbot.wait(50)
    assert len(stand.hidings) == 2


def test_the_last_photo_hidden_leaves_the_one_before_it_chosen(greens: Bar, qtbot: QtBot) -> None:
    bar = greens
    qtbot.keyClick(bar.grid, KEY.Key_End)
    qtbot.keyClick(bar.grid, KEY.Key_Delete)
    qtbot.waitUntil(lambda: len(bar.photos.hits) == 11, timeout=WAIT_MS)
    assert bar.grid.at == 10


def test_in_the_preview_the_next_photo_follows(greens: Bar, qtbot: QtBot) -> None:
    bar = greens
    qtbot.keyClick(bar.grid, KEY.Key_Space)
    assert bar.preview.hit is not None
    assert bar.preview.hit.photo_id == 2
    qtbot.keyClick(bar.preview, KEY.Key_Delete)
    assert bar.preview.hit is not None
    assert bar.preview.hit.photo_id == 4
    qtbot.waitUntil(lambda: len(bar.photos.hits) == 11, timeout=WAIT_MS)


def test_the_next_press_means_the_next_photo_before_the_daemon_has_answered(
    greens: Bar, stand: Stand, qtbot: QtBot
) -> None:
    """And Ctrl+Z, then, takes back the last of them."""
    stand.slow.clear()
    for _ in range(2):
        qtbot.keyClick(greens.grid, KEY.Key_Delete)
    assert [hit.photo_id for hit in greens.photos.hits[:2]] == [6, 8]
    qtbot.keyClick(greens.grid, KEY.Key_Z, CONTROL)
    stand.slow.set()
    qtbot.waitUntil(lambda: len(stand.hidings) == 3, timeout=WAIT_MS)
    # Which of the first two is answered first is the thread's affair.
    assert sorted(stand.hidings[:2]) == [(2, True, False), (4, True, False)]
    assert stand.hidings[2] == (4, False, False)


def test_a_daemon_at_work_on_photos_keeps_nobody_waiting(
    greens: Bar, stand: Stand, qtbot: QtBot
) -> None:
    """It hides between two batches; that it will is said at once, and the next photo opens."""
    stand.slow.clear()
    qtbot.keyClick(greens.grid, KEY.Key_Delete)
    assert greens.foot.name.toolTip().startswith("green2.jpg will not be found any more.")
    qtbot.keyClick(greens.grid, KEY.Key_Return)
    qtbot.waitUntil(lambda: stand.opened == [("open", 4)], timeout=WAIT_MS)
    assert stand.hidings == []
    stand.slow.set()
    qtbot.waitUntil(lambda: stand.hidings == [(2, True, False)], timeout=WAIT_MS)


def test_the_only_photo_is_taken_back_from_the_box(
    bar: Bar, stand: Stand, type_in: Type, qtbot: QtBot
) -> None:
    stand.hits = [hit(2, "green2.jpg")]
    type_in("green")
    qtbot.waitUntil(lambda: len(bar.photos.hits) == 1, timeout=WAIT_MS)
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_Delete)
    qtbot.waitUntil(lambda: bar.photos.hits == [] and stand.hidings != [], timeout=WAIT_MS)
    assert bar.box.hasFocus()
    qtbot.keyClick(bar.box, KEY.Key_Z, CONTROL)
    qtbot.waitUntil(lambda: len(bar.photos.hits) == 1, timeout=WAIT_MS)
    assert bar.box.text() == "green"


def test_the_previews_button_says_what_it_does(greens: Bar, qtbot: QtBot) -> None:
    chosen = greens.grid.chosen
    assert chosen is not None
    for is_hidden, text in ((False, words.HIDE), (True, words.UNHIDE)):
        object.__setattr__(chosen, "hidden", is_hidden)
        greens.show_preview()
        assert greens.preview._hide is not None
        assert greens.preview._hide.text() == text


def test_what_is_hidden_elsewhere_goes_here_too(greens: Bar, stand: Stand, qtbot: QtBot) -> None:
    greens._look_at_status()
    qtbot.waitUntil(lambda: greens._counts == (24, 0), timeout=WAIT_MS)
    stand.put_away, stand.hits = stand.hits[1:2], [stand.hits[0], *stand.hits[2:]]
    greens._look_at_status()
    qtbot.waitUntil(lambda: len(greens.photos.hits) == 11, timeout=WAIT_MS)


def test_a_burst_goes_together(bar: Bar, stand: Stand, type_in: Type, qtbot: QtBot) -> None:
    stand.hits[1] = hit(2, "green2.jpg", similar=2)
    type_in("green")
    qtbot.waitUntil(lambda: len(bar.photos.hits) == 12, timeout=WAIT_MS)
    qtbot.keyClick(bar.box, KEY.Key_Down)
    stand.burst = [4, 6]
    qtbot.keyClick(bar.grid, KEY.Key_Delete)
    qtbot.waitUntil(lambda: len(bar.photos.hits) == 9 and not bar.deeds.leaving, timeout=WAIT_MS)
    assert stand.hidings == [(2, True, True)]
    qtbot.keyClick(bar.grid, KEY.Key_Z, CONTROL)
    qtbot.waitUntil(lambda: len(bar.photos.hits) == 12, timeout=WAIT_MS)
    assert stand.taken_back == [([2, 4, 6], False)]  # in one request


def test_hiding_the_photo_that_a_burst_was_opened_from_leads_back(
    bar: Bar, stand: Stand, type_in: Type, qtbot: QtBot
) -> None:
    stand.hits[1] = hit(2, "green2.jpg", similar=2)
    type_in("green")
    qtbot.waitUntil(lambda: len(bar.photos.hits) == 12, timeout=WAIT_MS)
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_Return, Qt.KeyboardModifier.AltModifier)
    qtbot.waitUntil(lambda: bar._question.is_group, timeout=WAIT_MS)
    qtbot.keyClick(bar.box, KEY.Key_Down)
    qtbot.keyClick(bar.grid, KEY.Key_Delete)
    qtbot.waitUntil(lambda: bar._question.text == "green", timeout=WAIT_MS)
    assert not bar.chip.isVisible()
    assert bar.foot.name.toolTip().startswith("green2.jpg will not be found any more.")
    assert stand.hidings == [(2, True, False)]


def test_a_refusal_is_told(greens: Bar, stand: Stand, qtbot: QtBot) -> None:
    stand.refuses = True
    qtbot.keyClick(greens.grid, KEY.Key_Delete)
    qtbot.waitUntil(
        lambda: greens.foot.name.toolTip() == "There is no such photo.", timeout=WAIT_MS
    )
    qtbot.waitUntil(lambda: len(greens.photos.hits) == 12, timeout=WAIT_MS)


def test_the_menu_hides_a_photo_and_finds_a_hidden_one_again(
    greens: Bar, stand: Stand, qtbot: QtBot
) -> None:
    def texts() -> list[str]:
        made = photo_menu(
            greens, greens.deeds, look_like=greens.look_like, show_group=greens.show_group
        )
        return [action.text() for action in made.actions()]

    assert texts()[-1] == words.HIDE
    chosen = greens.grid.chosen
    assert chosen is not None
    object.__setattr__(chosen, "hidden", True)
    assert texts()[-1] == words.UNHIDE
    qtbot.keyClick(greens.grid, KEY.Key_Delete)
    qtbot.waitUntil(lambda: stand.hidings == [(chosen.photo_id, False, False)], timeout=WAIT_MS)
