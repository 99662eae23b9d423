"""The bar's process: one bar, its hot key, its tray, its door."""

from __future__ import annotations

import logging
import signal
import sys

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from photosearch import browser, presence
from photosearch.desktop import words
from photosearch.desktop.background import Background
from photosearch.desktop.bar import Bar
from photosearch.desktop.door import OpenDoor
from photosearch.desktop.hotkeys import HotKey, HotKeyError
from photosearch.desktop.hotkeys.chord import Chord
from photosearch.desktop.pump import hold
from photosearch.desktop.source import Source
from photosearch.desktop.tray import Tray, icon
from photosearch.errors import HomeInUse, PhotosearchError
from photosearch.home import Home
from photosearch.presence import Wish

log = logging.getLogger(__name__)


def run_bar(place: Home, chord: Chord, *, hidden: bool) -> int:
    """Show the bar until it is closed for good; a second one shows the first. Returns the
    exit code."""
    if presence.tell(place, "show"):
        return 0
    app = QApplication.instance() or QApplication(["photosearch"])
    assert isinstance(app, QApplication)
    app.setApplicationName("photosearch")
    app.setApplicationDisplayName(words.TITLE)
    app.setDesktopFileName("photosearch")
    app.setWindowIcon(icon())
    app.setQuitOnLastWindowClosed(False)
    running = Running(app, place, chord)
    if not running.door.open():
        door = presence.find_door(place)
        raise HomeInUse(place.directory, door.pid if door else None)
    # Python sees a signal only when it runs: give it a chance twice a second.
    signal.signal(signal.SIGINT, lambda *_: app.quit())
    signal.signal(signal.SIGTERM, lambda *_: app.quit())
    chance = QTimer(app, interval=500)
    chance.timeout.connect(lambda: None)
    chance.start()
    try:
        running.begin(hidden=hidden)
        return app.exec()
    finally:
        running.end()


class Running:
    """Everything that lives as long as the bar's process."""

    def __init__(self, app: QApplication, place: Home, chord: Chord) -> None:
        self._app = app
        self._place = place
        self._chord = chord
        self._source = Source(place)
        self._errands = Background(1)
        self._hot_key: HotKey | None = None
        self.bar = Bar(self._source)
        self.door = OpenDoor(place, self.heard)
        self.tray = Tray(
            self.bar.toggle,
            [
                (words.TRAY_SHOW, self.bar.appear),
                (words.TRAY_PAGE, self._open_page),
                (words.TRAY_SETTINGS, self._show_settings),
                None,
                (words.TRAY_PAUSE, lambda: self._do(self._source.pause)),
                (words.TRAY_RESUME, lambda: self._do(self._source.resume)),
                None,
                (words.TRAY_QUIT, app.quit),
                (words.TRAY_STOP, self._stop),
            ],
        )

    def begin(self, *, hidden: bool) -> None:
        has_tray = self.tray.show()
        try:
            self._hot_key = hold(self._chord, self.bar.toggle, self.bar)
            self.bar.settings.show_key(words.key_held(str(self._chord)))
            print(f"photosearch: {self._chord} shows the search bar", file=sys.stderr)
        except HotKeyError as error:
            self.bar.settings.show_key(str(error))
            print(f"photosearch: {error}", file=sys.stderr)
        if not has_tray:
            print("photosearch: no tray here; `photosearch open` shows the bar", file=sys.stderr)
        self._errands.submit(self._source.start, self._started)
        if not hidden:
            self.bar.appear()

    def end(self) -> None:
        if self._hot_key is not None:
            self._hot_key.close()
        self._errands.close()
        self.bar.close_down()
        self.tray.icon.hide()
        self.door.close()

    def heard(self, wish: Wish) -> None:
        if wish == "show":
            self.bar.appear()
        else:
            self._app.quit()

    def _started(self, outcome: object) -> None:
        if isinstance(outcome, PhotosearchError):
            log.error("bar.daemon_not_started reason=%s", outcome)
            self.bar.message.show_words(words.DOWN, str(outcome))
        elif self.bar.isVisible():
            self.bar.ask()

    def _show_settings(self) -> None:
        self.bar.appear()
        self.bar.show_settings()

    def _open_page(self) -> None:
        self._errands.submit(self._source.page, self._show_page)

    def _show_page(self, outcome: object) -> None:
        if isinstance(outcome, PhotosearchError):
            self.bar.foot.say(str(outcome), trouble=True)
        else:
            browser.show(str(outcome), window=False)

    def _stop(self) -> None:
        self._errands.submit(self._source.stop, lambda _: self._app.quit())

    def _do(self, work: object) -> None:
        assert callable(work)
        self._errands.submit(work, self._failed)

    def _failed(self, outcome: object) -> None:
        if isinstance(outcome, PhotosearchError):
            log.error("bar.failed reason=%s", outcome)
