"""How the native bar looks, and its words."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

pytest.importorskip("PySide6.QtWidgets", reason="Qt is not installed", exc_type=ImportError)
pytest.importorskip("pytestqt", reason="pytest-qt is not installed")

from PySide6.QtCore import QPoint, QSize, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage
from pytestqt.qtbot import QtBot
from stand import KEY, WAIT_MS, Stand, hit

from photosearch import protocol
from photosearch.desktop import bar as bar_module
from photosearch.desktop import words
from photosearch.desktop.bar import Bar
from photosearch.desktop.grid import frame_of
from photosearch.desktop.theme import DARK, LIGHT, SHEET, sheet
from photosearch.desktop.thumbnails import cut
from photosearch.errors import PhotosearchError

# Switched off for the others in pyproject.toml: without Qt's system libraries it ends every run.
pytest_plugins = ["pytestqt.plugin"]


# --- pictures ---------------------------------------------------------------------------------


def test_a_photo_is_its_colour_first_and_then_itself(bar: Bar, stand: Stand, qtbot: QtBot) -> None:
    def middle(row: int) -> str:
        shown: QImage = bar.grid.viewport().grab().toImage()
        ratio = shown.devicePixelRatio()
        place = bar.grid.visualRect(bar.photos.index(row)).center() * ratio
        return shown.pixelColor(place).name()

    qtbot.waitUntil(lambda: middle(0) == "#ff0000" and middle(1) == "#00ff00", timeout=WAIT_MS)
    bar._thumbnails._kept.clear()
    bar._thumbnails._asked.update(range(30))  # as if every one were still on its way
    assert middle(0) == "#204060"


def test_thumbnails_that_cannot_be_had_are_not_asked_for_again(
    bar: Bar, stand: Stand, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(photo_id: int, size_px: int) -> bytes:
        asked.append(photo_id)
        raise PhotosearchError("There is no such photo.")

    bar._thumbnails._fetch = refuse
    bar.photos.show([hit(77, "new.jpg")])
    for _ in range(5):
        bar.grid.viewport().grab()
        qtbot.wait(20)
    qtbot.waitUntil(lambda: bar._thumbnails._kept.get(77, "on its way") is None, timeout=WAIT_MS)
    bar.grid.viewport().grab()
    assert asked.count(77) == 1  # others were on their way already
    bar._thumbnails._fetch = lambda photo_id, size_px: b"no picture at all"
    bar.photos.show([hit(78, "odd.jpg")])
    bar.grid.viewport().grab()
    qtbot.waitUntil(lambda: 78 in bar._thumbnails._kept, timeout=WAIT_MS)
    assert bar._thumbnails._kept[78] is None


@pytest.mark.parametrize("shape", [(400, 100), (100, 400), (1, 1), (162, 122)])
def test_thumbnails_fill_their_tile(shape: tuple[int, int]) -> None:
    image = QImage(*shape, QImage.Format.Format_RGB32)
    image.fill(0xFF336699)
    assert cut(image, QSize(162, 122)).size() == QSize(162, 122)
    assert cut(QImage(), QSize(162, 122)).isNull()


def test_long_names_do_not_widen_the_window(bar: Bar, qtbot: QtBot) -> None:
    before = bar.size()
    bar.photos.show([hit(1, f"{'long ' * 60}.jpg", why=("shows it " * 40,), similar=2)])
    bar.grid.choose(0)
    assert bar.foot.name.text().startswith("long") and "…" in bar.foot.name.text()
    bar.show_preview()
    qtbot.wait(20)
    assert bar.preview._facts.text().endswith("…")
    bar.show_group()
    bar.foot.say("A long word in passing. " * 20, trouble=True)
    qtbot.wait(20)
    assert bar.chip.isVisible() and "…" in bar.chip.text()
    assert bar.size() == before


def test_light_and_dark_follow_the_system(bar: Bar, monkeypatch: pytest.MonkeyPatch) -> None:
    for dark, theme in ((True, DARK), (False, LIGHT)):
        monkeypatch.setattr(bar_module, "is_dark", lambda scheme, ground, dark=dark: dark)
        QGuiApplication.styleHints().colorSchemeChanged.emit(Qt.ColorScheme.Unknown)
        assert bar.theme is theme
        shown = bar.grab().toImage()
        inside = bar.card().center().toPoint() + QPoint(0, 302)  # the foot, between words
        assert shown.pixelColor(inside * shown.devicePixelRatio()).name() == theme.surface


@pytest.mark.parametrize(
    ("scheme", "ground", "expected"),
    [
        (Qt.ColorScheme.Dark, "#ffffff", True),
        (Qt.ColorScheme.Light, "#000000", False),
        (Qt.ColorScheme.Unknown, "#202326", True),
        (Qt.ColorScheme.Unknown, "#eff0f1", False),
    ],
)
def test_desktops_that_name_no_scheme(scheme: Qt.ColorScheme, ground: str, expected: bool) -> None:
    assert bar_module.is_dark(scheme, QColor(ground)) is expected


def test_words_stand_out_from_their_ground() -> None:
    """4.5 : 1, as WCAG 2 asks of text."""
    for theme in (LIGHT, DARK):
        for ink in (theme.ink, theme.soft, theme.accent, theme.trouble):
            assert contrast(ink, theme.surface) >= 4.5, (theme.dark, ink)
        assert contrast(theme.on_accent, theme.accent) >= 4.5


def test_the_style_sheet_has_no_colour_left_out() -> None:
    names = re.findall(r"\{(\w+)\}", SHEET)
    assert set(names) <= set(vars(LIGHT))
    assert not re.search(r"\{\w+\}", sheet(DARK))


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (("idle", 5, 5, None), ""),
        (("paused", 1, 5, None), "Indexing is paused"),
        (("working", 0, 0, None), "Looking through your folders…"),
        (("working", 1204, 20000, 371.0), "Indexed 1,204 of 20,000, about 6 min"),
        (("working", 1, 2, 20.0), "Indexed 1 of 2, less than a minute"),
        (("working", 1, 2, 7300.0), "Indexed 1 of 2, about 2 hours"),
    ],
)
def test_progress_in_words(
    now: tuple[str, int, int, float | None], expected: str, stand: Stand
) -> None:
    from dataclasses import replace

    state, done, to_do, eta = now
    indexing = protocol.IndexingMessage(state, done, to_do, 9.0, eta)
    assert words.progress(replace(stand.status(), indexing=indexing)) == expected


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ("2019-07-04T18:30:00+02:00", "4 July 2019"),
        ("0001-12-31", "31 December 0001"),
        ("2019-13-04", ""),
        ("yesterday", ""),
        (None, ""),
    ],
)
def test_days_as_the_camera_wrote_them(taken: str | None, expected: str) -> None:
    assert words.day(taken) == expected


def test_edges_are_in_line_and_the_link_in_the_foot_moves_no_photo(
    bar: Bar, stand: Stand, type_in: Callable[[str], None], qtbot: QtBot
) -> None:
    stand.hidden = 3
    type_in("green")
    qtbot.waitUntil(bar.foot.further.isVisible, timeout=WAIT_MS)

    def heights() -> tuple[int, int, int]:
        hint, grid = bar.foot.hint.geometry(), bar.grid.geometry()
        return hint.center().y(), grid.top(), grid.bottom()

    before = heights()
    qtbot.keyClick(bar.box, KEY.Key_Down)
    assert not bar.foot.further.isVisible()
    assert heights() == before
    tiles = [bar.grid.visualRect(bar.photos.index(row)) for row in (0, bar.grid.columns - 1)]
    left, right = (frame_of(tile.translated(bar.grid.pos())) for tile in tiles)
    assert bar.foot.name.geometry().left() == bar.pills.geometry().left() == left.left()
    assert bar.count.geometry().right() == bar.foot.hint.geometry().right()
    assert abs(bar.count.geometry().right() + 1 - right.right()) <= 1
