"""The native bar, drawn into memory, with a stand-in for the daemon."""

from __future__ import annotations

import gc
import io
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("PySide6.QtWidgets", reason="Qt is not installed", exc_type=ImportError)
pytest.importorskip("pytestqt", reason="pytest-qt is not installed")

from PySide6.QtCore import QPoint, QSize, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from photosearch import presence, protocol
from photosearch.desktop import bar as bar_module
from photosearch.desktop import grid as grid_module
from photosearch.desktop import words
from photosearch.desktop.asking import Question
from photosearch.desktop.background import Background
from photosearch.desktop.bar import Bar
from photosearch.desktop.door import OpenDoor
from photosearch.desktop.photos import files
from photosearch.desktop.theme import DARK, LIGHT, SHEET, sheet
from photosearch.desktop.thumbnails import cut
from photosearch.desktop.tray import Tray, icon
from photosearch.errors import DaemonUnreachable, PhotosearchError
from photosearch.home import Home
from photosearch.types import Hit

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# Switched off for the others in pyproject.toml: without Qt's system libraries it ends every run.
pytest_plugins = ["pytestqt.plugin"]

WAIT_MS = 30_000  # on a machine that does something else as well
KEY = Qt.Key


def hit(number: int, name: str, **changes: Any) -> Hit:
    values: dict[str, Any] = {
        "rank": number, "score": 0.3, "path": f"/photos/{name}", "photo_id": number,
        "taken": "2019-07-04T18:30:00", "why": ("shows it",), "relevant": True, "offline": False,
        "width_px": 400, "height_px": 300, "colour": "#204060",
    }  # fmt: skip
    return Hit(**{**values, **changes})


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

    def search(self, question: Question) -> protocol.SearchReply:
        self.asked.append(question)
        assert self.gate.wait(30)
        if self.fails is not None:
            raise self.fails
        found = [each for each in self.hits if question.text.split(" ")[0] in each.path]
        if question.show_all:
            found = [*found, hit(99, "unlikely.jpg", relevant=False)]
        return protocol.SearchReply(
            query=question.text, hits=found, more=False, hidden=self.hidden, cutoff=0.1,
            total_photos=self.total, milliseconds=1.0, chips=[], notes=[],
        )  # fmt: skip

    def thumbnail(self, photo_id: int, size_px: int) -> bytes:
        return webp("#ff0000" if photo_id % 2 else "#00ff00")

    def open_photo(self, photo_id: int) -> None:
        self.opened.append(("open", photo_id))
        if self.fails is not None:
            raise self.fails

    def reveal_photo(self, photo_id: int) -> None:
        self.opened.append(("reveal", photo_id))

    def status(self) -> protocol.StatusReply:
        if self.fails is not None:
            raise self.fails
        idle = protocol.IndexingMessage("idle", 0, 0, 0.0, None)
        return protocol.StatusReply(
            running=True, pid=1, version="0", libraries=[], photos=24, searchable=len(self.hits),
            locations=24, failed=0, queue=0, indexing=idle, bundle="b", space="s", index="exact",
            library_bytes=0, thumbnail_bytes=0,
        )  # fmt: skip

    def start(self) -> None:
        self.started += 1
        self.fails = None


@pytest.fixture
def stand() -> Stand:
    return Stand()


@pytest.fixture
def bar(qtbot: QtBot, stand: Stand) -> Bar:
    made = Bar(stand)
    qtbot.addWidget(made, before_close_func=lambda each: each.close_down())
    made.appear()
    qtbot.waitUntil(lambda: len(made.photos.hits) == 24, timeout=WAIT_MS)
    return made


@pytest.fixture
def type_in(bar: Bar, qtbot: QtBot) -> Callable[[str], None]:
    """Type and wait until the answer to it is shown."""

    def typed(text: str) -> None:
        bar.box.clear()
        qtbot.keyClicks(bar.box, text)
        qtbot.waitUntil(lambda: bar._question.text == text.strip(), timeout=WAIT_MS)

    return typed


def names(bar: Bar) -> list[str]:
    return [words.name_of(each.path) for each in bar.photos.hits]


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
    bar._searchable = 24  # what the bar has seen
    stand.hits.insert(0, hit(50, "red50.jpg"))
    bar._look_at_status()
    qtbot.waitUntil(lambda: len(bar.photos.hits) == 25, timeout=WAIT_MS)
    assert chosen is not None and bar.grid.chosen is not None
    assert bar.grid.chosen.photo_id == chosen.photo_id
    assert bar.grid.at == 2


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
    """Every row of the page's list is a row here, but for what the page alone can do."""
    # Opening up a burst, which stays one photo here, and taking a suggestion.
    page_alone = {"Alt Enter", "End"}
    page = (Path(words.__file__).parent.parent / "static" / "english.js").read_text()
    table = page[page.index("keys: [") :]
    table = table[: table.index("\n    ],")]
    rows = re.findall(r"\[\[(.*?)\], \"", table)
    ours = {key for key, _ in words.KEYS} | page_alone
    assert len(rows) >= 9
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


def test_light_and_dark_follow_the_system(bar: Bar, monkeypatch: pytest.MonkeyPatch) -> None:
    for dark, theme in ((True, DARK), (False, LIGHT)):
        monkeypatch.setattr(bar_module, "is_dark", lambda scheme, ground, dark=dark: dark)
        QGuiApplication.styleHints().colorSchemeChanged.emit(Qt.ColorScheme.Unknown)
        assert bar.theme is theme
        shown = bar.grab().toImage()
        inside = bar.card().center().toPoint() + QPoint(0, 286)  # the foot, between words
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


def test_no_thread_outlives_the_bar_it_works_for(qtbot: QtBot) -> None:
    """A thread that drops the last reference to a window destroys it, off Qt's own thread."""
    background = Background(2)
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(30)

    background.submit(work, lambda outcome: None)
    assert begun.wait(30)
    threading.Timer(0.2, may_end.set).start()
    background.close()
    assert not [thread for thread in background._threads if thread.is_alive()]


def test_an_idle_thread_holds_nothing(qtbot: QtBot) -> None:
    import weakref

    class Window:
        pass

    background = Background(1)
    made: list[weakref.ref[Window]] = []
    heard: list[int] = []

    def work() -> Window:
        window = Window()
        made.append(weakref.ref(window))
        return window

    background.submit(work, lambda outcome: heard.append(1))
    qtbot.waitUntil(lambda: heard == [1], timeout=WAIT_MS)
    gc.collect()
    qtbot.waitUntil(lambda: made[0]() is None, timeout=3_000)
    background.close()


# --- one bar, its door, its tray --------------------------------------------------------------


def test_a_second_bar_finds_the_door(qtbot: QtBot, tmp_path: Path) -> None:
    place = Home(tmp_path / "home")
    heard: list[str] = []
    door = OpenDoor(place, heard.append)
    assert door.open()
    assert not OpenDoor(place, heard.append).open()  # held by the first
    for wish in ("show", "quit"):
        asking = threading.Thread(target=presence.tell, args=(place, wish))
        asking.start()
        qtbot.waitUntil(lambda wish=wish: wish in heard, timeout=WAIT_MS)
        asking.join()
    assert heard == ["show", "quit"]
    door.close()
    assert not presence.tell(place, "show") and not place.bar.exists()
    again = OpenDoor(place, heard.append)
    assert again.open()
    again.close()


def test_a_stranger_at_the_door_is_not_heard(qtbot: QtBot, tmp_path: Path) -> None:
    import socket

    place = Home(tmp_path / "home")
    heard: list[str] = []
    door = OpenDoor(place, heard.append)
    assert door.open()
    found = presence.find_door(place)
    assert found is not None
    for line in (b"wrong show\n", b"x" * 5000, b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", found.port)) as guest:
            guest.sendall(line)
            guest.settimeout(0.01)
            until = time.monotonic() + 30
            answer = None
            while answer is None and time.monotonic() < until:
                qtbot.wait(5)
                try:
                    answer = guest.recv(10)
                except TimeoutError:
                    continue
                except ConnectionError:
                    answer = b""
            assert answer == b"", line
    assert heard == []
    door.close()


def test_the_tray_has_a_picture_and_its_choices_work(qtbot: QtBot) -> None:
    chosen: list[str] = []
    tray = Tray(
        lambda: chosen.append("toggle"), [("Search…", lambda: chosen.append("search")), None]
    )
    tray.menu.actions()[0].trigger()
    tray._activated(tray.icon.ActivationReason.Trigger)
    assert chosen == ["search", "toggle"]
    assert not tray.show()  # no tray where nothing is shown
    for size in (16, 64):
        picture = icon().pixmap(QSize(size, size)).toImage()
        assert picture.pixelColor(0, 0).alpha() < 40  # a round corner, not memory's noise
        assert picture.pixelColor(picture.width() // 2, 2).blue() > 150


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


# --- Qt itself --------------------------------------------------------------------------------


def test_qt_gives_back_every_reference_it_takes(bar: Bar) -> None:
    """PySide6 6.12.0 on Python 3.11 took one from None with each call, until the process died."""
    gc.collect()
    before = sys.getrefcount(None)
    for _ in range(500):
        bar.foot.name.setText("x")
        bar.update()
    assert abs(sys.getrefcount(None) - before) < 100
