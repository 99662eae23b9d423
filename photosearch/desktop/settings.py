"""The few settings that matter beside the bar, over everything; the page has the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from PySide6.QtCore import QRect, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from photosearch import browser
from photosearch.desktop import words
from photosearch.desktop.background import Background
from photosearch.desktop.make import button, label, spaced
from photosearch.desktop.source import Daemon
from photosearch.desktop.theme import Theme
from photosearch.desktop.toggle import Toggle
from photosearch.errors import PhotosearchError
from photosearch.protocol import SettingMessage, StatusReply

WIDTH_PX: Final = 420


class SettingsPanel(QWidget):
    """What is switched there is told to the daemon at once."""

    closed = Signal()
    searches_forgotten = Signal()

    def __init__(self, parent: QWidget, daemon: Daemon, background: Background) -> None:
        super().__init__(parent)
        self._daemon, self._background = daemon, background
        self._theme: Theme | None = None
        self.switches: dict[str, Toggle] = {}  # of settings, by name
        self.pause = Toggle(words.PAUSE)
        self.pause.clicked.connect(self._pause)
        self.key = label("advice", wraps=True)
        self.key.hide()
        self.said = label("soft")
        self.forget = button("secondary", words.FORGET_SEARCHES)
        self.forget.clicked.connect(self._forget)
        self.more = button("secondary", words.SETTINGS_MORE)
        self.more.clicked.connect(self._open_page)
        self.close_button = button("primary", words.CLOSE)
        self.close_button.clicked.connect(self.close_panel)
        self._rows = spaced(QVBoxLayout(), 12, margins=(0, 6, 0, 6))
        self._rows.addWidget(self.pause)
        self._lay_out()
        self.setAccessibleName(words.SETTINGS)
        self.hide()

    def _lay_out(self) -> None:
        inner = QWidget()
        inner.setFixedWidth(WIDTH_PX)
        column = spaced(QVBoxLayout(inner), 12, margins=(0, 0, 0, 0))
        column.addWidget(label("title", words.SETTINGS))
        column.addLayout(self._rows)
        for each in (self.key, self.forget, self.more, self.said, self.close_button):
            column.addWidget(each)
        layout = QVBoxLayout(self)
        layout.addWidget(inner, 0, Qt.AlignmentFlag.AlignCenter)

    def dress(self, theme: Theme) -> None:
        self._theme = theme
        for each in (self.pause, *self.switches.values()):
            each.theme = theme

    def show_over(self, place: QRect) -> None:
        self.setGeometry(place)
        self.said.setText("")
        self.show()
        self.raise_()
        self.pause.setFocus()
        self._background.submit(self._daemon.settings, self._take)
        self._look()

    def close_panel(self) -> None:
        if self.isVisible():
            self.hide()
            self.closed.emit()

    def show_status(self, status: StatusReply) -> None:
        self.pause.setChecked(status.indexing.state == "paused")

    def show_key(self, text: str) -> None:
        """Which key shows the bar, or why none does."""
        self.key.setText(text)
        self.key.show()

    # --- what is switched ---------------------------------------------------------------------

    def _look(self) -> None:
        def heard(outcome: Any) -> None:
            if not isinstance(outcome, PhotosearchError):
                self.show_status(outcome)

        self._background.submit(self._daemon.status, heard)

    def _take(self, outcome: Any) -> None:
        """The settings as they are now; those with two states become switches."""
        if isinstance(outcome, PhotosearchError):
            self._say(str(outcome))
            return
        for each in outcome:
            if each.switch:
                self._switch(each).setChecked(each.value == 1)

    def _switch(self, setting: SettingMessage) -> Toggle:
        name = setting.name
        if name not in self.switches:
            made = self.switches[name] = Toggle(words.switch(name))
            made.theme = self.pause.theme
            made.clicked.connect(lambda on: self._change(name, on=on))
            self._rows.addWidget(made)
        return self.switches[name]

    def _change(self, name: str, *, on: bool) -> None:
        undo = lambda: self.switches[name].setChecked(not on)  # noqa: E731
        self._tell(lambda: self._daemon.change_setting(name, int(on)), words.SAVED, undo=undo)

    def _pause(self, on: bool) -> None:
        call = self._daemon.pause if on else self._daemon.resume
        self._tell(call, words.SAVED, undo=lambda: self.pause.setChecked(not on))

    def _forget(self) -> None:
        then = self.searches_forgotten.emit
        self._tell(self._daemon.forget_searches, words.SEARCHES_FORGOTTEN, then=then)

    def _open_page(self) -> None:
        def show(outcome: Any) -> None:
            if isinstance(outcome, PhotosearchError):
                self._say(str(outcome))
            else:
                browser.show(outcome, window=False)
                self.close_panel()

        self._background.submit(lambda: self._daemon.page(panel="settings"), show)

    def _tell(
        self,
        call: Callable[[], None],
        said: str,
        *,
        then: Callable[[], object] = lambda: None,
        undo: Callable[[], object] = lambda: None,
    ) -> None:
        """A switch whose change was refused shows what still holds."""

        def done(outcome: Any) -> None:
            if isinstance(outcome, PhotosearchError):
                self._say(str(outcome))
                undo()
            else:
                self._say(said)
                then()

        self._background.submit(call, done)

    def _say(self, text: str) -> None:
        self.said.setText(text)

    # --- keys and ground ----------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Esc closes; no other key reaches what lies beneath."""
        if event.key() == Qt.Key.Key_Escape:
            self.close_panel()
        event.accept()

    def focusNextPrevChild(self, next: bool) -> bool:
        """Tab stays in here."""
        fields = [self.pause, *self.switches.values(), self.forget, self.more, self.close_button]
        focused = [number for number, field in enumerate(fields) if field.hasFocus()]
        to = (focused[0] + (1 if next else -1)) % len(fields) if focused else 0
        fields[to].setFocus(Qt.FocusReason.TabFocusReason)
        return True

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._theme is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ground = QPainterPath()
        ground.addRoundedRect(QRectF(self.rect()), 16, 16)
        painter.fillPath(ground, QColor(self._theme.surface))
