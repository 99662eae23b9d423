"""One bar in one process: its threads, its door, its tray."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("PySide6.QtWidgets", reason="Qt is not installed", exc_type=ImportError)
pytest.importorskip("pytestqt", reason="pytest-qt is not installed")

from PySide6.QtCore import QSize
from pytestqt.qtbot import QtBot
from stand import WAIT_MS

from photosearch import presence
from photosearch.desktop.background import Background
from photosearch.desktop.door import OpenDoor
from photosearch.desktop.tray import Tray, icon
from photosearch.home import Home

# Switched off for the others in pyproject.toml: without Qt's system libraries it ends every run.
pytest_plugins = ["pytestqt.plugin"]


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


def test_a_process_that_copied_a_photo_ends_in_order() -> None:
    """Of the tests themselves: a worker that crashed at its end failed a run of passed tests."""
    copies = Path(__file__).with_name("test_bar_suggestions.py"), "the_newest_photos_are_no_search"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", copies[0], "-k", copies[1]]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0


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
