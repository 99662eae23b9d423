"""The bar: a box, the photos under it, and a foot. What was asked, and who does what about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from PySide6.QtCore import QEvent, QPoint, QSize, Qt, QTimer
from PySide6.QtGui import QCursor, QGuiApplication, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QStackedLayout, QVBoxLayout

from photosearch.desktop import words
from photosearch.desktop.asking import Asking, Question
from photosearch.desktop.background import Background
from photosearch.desktop.box import SearchBox
from photosearch.desktop.card import SHADOW, Card, draw_glass, is_dark
from photosearch.desktop.deeds import Deeds
from photosearch.desktop.foot import Foot
from photosearch.desktop.grid import PICTURE, Grid
from photosearch.desktop.keyboard import Keyboard
from photosearch.desktop.likeness import Likeness
from photosearch.desktop.make import button, label, spaced
from photosearch.desktop.menu import photo_menu
from photosearch.desktop.panels import KeyList, Message
from photosearch.desktop.photos import Photos
from photosearch.desktop.pills import Pills
from photosearch.desktop.preview import Preview
from photosearch.desktop.settings import SettingsPanel
from photosearch.desktop.source import Daemon
from photosearch.desktop.theme import DARK, LIGHT, sheet
from photosearch.desktop.thumbnails import Thumbnails
from photosearch.desktop.walk import Act, Box, onwards
from photosearch.desktop.ways import Ways
from photosearch.errors import DaemonUnreachable, PhotosearchError
from photosearch.protocol import SearchReply, StatusReply
from photosearch.types import Hit

CARD: Final = QSize(892, 636)
STATUS_MS: Final = 2000  # between looks at what the daemon does, while the bar is seen
MAX_SHOWN: Final = 1000  # the daemon's limit on one answer


class Bar(Card):
    """One window, made once and shown again and again."""

    deeds: Deeds  # made last, of the others

    def __init__(self, daemon: Daemon) -> None:
        super().__init__()
        self.setWindowTitle(words.TITLE)
        self._daemon = daemon
        self._question = Question()  # what the photos shown answer
        self._answer: SearchReply | None = None
        self._likeness = Likeness()
        self._show_all = False
        # Photos that can be searched and that are hidden, when the daemon was last looked at.
        self._counts: tuple[int, int] | None = None
        self._is_painting = False  # the photos: who is chosen is not the user's doing
        self._is_down = False  # the last question found no daemon
        # Searches, pictures and errands do not wait for each other.
        self._searches, self._pictures = Background(1), Background(3)
        self._errands, self._asides, self._hidings = Background(1), Background(1), Background(1)
        self._asking = Asking(daemon.search, self._searches)
        self._asking.answered.connect(self._show_answer)
        self._asking.failed.connect(self._show_failure)
        ratio = self.devicePixelRatioF()
        self._thumbnails = Thumbnails(daemon.thumbnail, self._pictures, PICTURE * ratio)
        self.photos = Photos()
        self._thumbnails.arrived.connect(self.photos.repaint)
        self._build()
        self._lay_out()
        self._status_timer = QTimer(self, interval=STATUS_MS)
        self._status_timer.timeout.connect(self._look_at_status)
        hints = QGuiApplication.styleHints()
        hints.colorSchemeChanged.connect(self.dress)
        self.dress()

    def _build(self) -> None:
        self.box = SearchBox()
        self.box.textEdited.connect(self._typed)
        self.chip = self._likeness.chip
        self.chip.clicked.connect(self.step_back)
        self.pills = Pills(after=self.chip, thumbnails=self._thumbnails)
        self.ways = Ways(
            self._daemon,
            self.box,
            self.pills,
            backgrounds=(self._asides, self._errands),
            has_words=lambda: not self._likeness.is_group,
        )
        self.ways.chosen.connect(self.search_for)
        self.ways.forgotten.connect(self._forget_search)
        self.count = label("soft")
        self.grid = Grid(self.photos, self._thumbnails)
        self.grid.doubleClicked.connect(lambda _: self.deeds.open())
        self.grid.menu_wanted.connect(self._show_menu)
        self.grid.stack_clicked.connect(self.show_group)
        self.grid.dragged.connect(lambda: self.deeds.meant())
        self.grid.selectionModel().currentChanged.connect(lambda *_: self._show_foot())
        self.message = Message()
        self.foot = Foot()
        self.foot.further.clicked.connect(self.show_all)
        self.foot.silent.connect(self._show_foot)
        self.preview = Preview(
            self,
            self._daemon.thumbnail,
            self._errands,
            actions=[
                (words.MORE, self.look_like),
                (words.OPEN, lambda: self.deeds.open()),
                (words.REVEAL, lambda: self.deeds.reveal()),
                (words.HIDE, lambda: self.deeds.hide()),
                (words.CLOSE, self.close_preview),
            ],
            similar=self.show_group,
        )
        self.deeds = Deeds(
            self._daemon,
            (self._errands, self._hidings),
            self.foot,
            photos=(self.grid, self.preview),
            asked=lambda: self._question.text,
            away=self.disappear,
            changed=self._changed,
        )
        self.key_list = KeyList(self)
        self.settings = SettingsPanel(self, self._daemon, self._errands)
        self.settings.closed.connect(self.box.setFocus)
        self.settings.searches_forgotten.connect(self._look_for_ways)
        self.settings_button = button("round", words.SETTINGS)
        self.settings_button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.settings_button.clicked.connect(self.show_settings)
        self._keyboard = self._listen()

    def _lay_out(self) -> None:
        top = spaced(QHBoxLayout(), 12, margins=(52, 12, 22, 8))
        top.addWidget(self.box, 1)
        top.addWidget(self.chip)
        top.addWidget(self.settings_button)
        line = spaced(QHBoxLayout(), 12, margins=(4, 0, 20, 4))
        line.addWidget(self.pills, 1)
        line.addWidget(self.count)
        self._body = QStackedLayout()
        self._body.addWidget(self.grid)
        self._body.addWidget(self.message)
        middle = spaced(QVBoxLayout(), 0, margins=(16, 10, 10, 0))
        middle.addLayout(line)
        middle.addLayout(self._body)
        layout = spaced(QVBoxLayout(self), 0, margins=(SHADOW, SHADOW, SHADOW, SHADOW))
        layout.addLayout(top)
        layout.addLayout(middle, 1)
        layout.addLayout(self.foot)
        self.resize(CARD + QSize(2 * SHADOW, 2 * SHADOW))

    def dress(self) -> None:
        """Light or dark, as the system is now."""
        scheme = QGuiApplication.styleHints().colorScheme()
        ground = QGuiApplication.palette().window().color()
        self.theme = DARK if is_dark(scheme, ground) else LIGHT
        self.grid.tiles.theme = self.preview.theme = self.key_list.theme = self.theme
        self.pills.theme = self.theme
        self.settings.dress(self.theme)
        self.setStyleSheet(sheet(self.theme))
        self.ways.show()
        self.box.dress(self.theme)
        self.update()

    # --- coming and going ---------------------------------------------------------------------

    def appear(self) -> None:
        """Come to the front, ready to type; what was typed before is selected."""
        screen = QGuiApplication.screenAt(QCursor.pos()) or QGuiApplication.primaryScreen()
        room = screen.availableGeometry()
        self.move(
            room.center().x() - self.width() // 2,
            room.top() + max(0, (room.height() - self.height()) // 3),
        )
        self.shape()
        self.show()
        self.raise_()
        self.activateWindow()
        self.box.setFocus()
        self.box.selectAll()
        self._status_timer.start()
        self._look_at_status()
        self.ask()
        self._look_for_ways()

    def disappear(self) -> None:
        self.close_preview()
        self.key_list.hide()
        self.settings.close_panel()
        self._status_timer.stop()
        self.hide()

    def toggle(self) -> None:
        """The hot key: away if it is in front, else to the front."""
        if self.isVisible() and self.isActiveWindow():
            self.disappear()
        else:
            self.appear()

    def close_down(self) -> None:
        """Before the program ends."""
        self.disappear()
        for background in (
            self._searches,
            self._pictures,
            self._errands,
            self._asides,
            self._hidings,
        ):
            background.close()

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.ActivationChange and not self.isActiveWindow():
            # Another window was chosen. Not while dragging: that is where the photo goes.
            QTimer.singleShot(100, self._leave_if_behind)
        super().changeEvent(event)

    def _leave_if_behind(self) -> None:
        own = QGuiApplication.focusWindow() is not None  # a menu of ours, or this window again
        if self.isVisible() and not own and not self.grid.is_dragging:
            self.disappear()

    # --- asking -------------------------------------------------------------------------------

    def ask(self) -> None:
        self._asking.ask(self._wanted())
        self.ways.suggestions.ask(self.box.text())

    def _wanted(self, *, count: int = 60) -> Question:
        like = self._likeness.hit.photo_id if self._likeness.hit else None
        is_group = self._likeness.is_group
        return Question(self.box.query, like, self._show_all, count, is_group)

    def _typed(self) -> None:
        self.deeds.can_undo = False  # what Ctrl Z takes back here is that
        self.grid.choose(-1)
        self.ways.suggestions.ask(self.box.text())
        if self.box.query and self._likeness.is_group:
            self._likeness.forget()  # a burst has no words to be searched by
        if self.box.query != self._question.text or self._asking.is_under_way:
            self._show_all = False  # "show anyway" was about the words before
            self.ask()

    def show_all(self) -> None:
        self._show_all = True
        self.box.setFocus()
        self.ask()

    def search_for(self, text: str) -> None:
        """A whole search that was suggested."""
        self.box.setText(text)
        self._show_all = False
        self.box.setFocus()
        self.grid.choose(-1)
        self.ask()

    def _forget_search(self, text: str) -> None:
        self.deeds.errand(lambda: self._daemon.forget_search(text), self._look_for_ways)

    def _look_for_ways(self) -> None:
        """Though nothing was typed: other searches were made, or are forgotten."""
        self.ways.suggestions.ask_again(self.box.text())

    def look_like(self) -> None:
        """More like the chosen photo."""
        self._look(is_group=False)

    def show_group(self) -> None:
        """Only the photos that the chosen one stands for: a burst, near duplicates."""
        if (hit := self.deeds.hit) is not None and hit.similar:
            self._look(is_group=True)

    def _look(self, *, is_group: bool) -> None:
        hit = self.deeds.hit
        if hit is None:
            return
        self.deeds.meant()
        self._likeness.begin(hit, self.box.text(), is_group=is_group)
        self._show_all = False
        self.box.clear()
        self._look_anew()

    def step_back(self) -> None:
        """Without the chip, the words from before it are back."""
        before = self._likeness.end()
        if not self.box.text():
            self.box.setText(before)
        self._look_anew()

    def _look_anew(self) -> None:
        self.close_preview()
        self.box.setFocus()
        self.ask()

    def _show_answer(self, question: Question, answer: SearchReply) -> None:
        known = self._question
        is_same = self._answer is not None and replace(question, count=known.count) == known
        kept = self.grid.chosen if is_same else None  # only the library changed
        at = self.grid.at
        leaving = self.deeds.leaving
        answer = replace(answer, hits=[h for h in answer.hits if h.photo_id not in leaving])
        self._is_painting = True
        position = self.grid.verticalScrollBar().value() if is_same else 0
        self._question, self._answer, self._is_down = question, answer, False
        self._thumbnails.forget_waiting()
        self.photos.show(answer.hits)
        self.grid.verticalScrollBar().setValue(position)
        if kept is not None:
            row = self.photos.row_of(kept.photo_id)  # where it is gone, the one behind it
            self.grid.choose(row if row >= 0 else min(at, len(answer.hits) - 1))
        if not answer.hits:
            self.message.show_nothing(answer, question, show_all=self.show_all)
            if self.grid.hasFocus():
                self.box.setFocus()  # the grid is not seen any more, and keys would go nowhere
        self._body.setCurrentWidget(self.grid if answer.hits else self.message)
        self.ways.show_answer(question, answer.chips)
        relevant = sum(hit.relevant for hit in answer.hits)
        if not question.is_search:
            self.count.setText(words.NEWEST if answer.hits else "")
        else:
            more = answer.more and relevant == len(answer.hits)
            self.count.setText(words.photos(relevant, more=more))
        self._is_painting = False
        self._show_foot(keeps=is_same or self.deeds.can_undo)

    def _show_failure(self, question: Question, error: PhotosearchError) -> None:
        if not isinstance(error, DaemonUnreachable):
            self.foot.say(str(error), trouble=True)
            return
        self._is_down = True  # when it is back, ask again
        if self.photos.hits:  # what was found stays; the line says why it does not follow
            self.foot.say(words.DOWN, trouble=True)
            return
        self.message.show_words(
            words.DOWN, words.DOWN_ADVICE, offer=(words.START, self.start_daemon)
        )
        self._body.setCurrentWidget(self.message)

    def start_daemon(self) -> None:
        self.message.show_words(words.STARTING, "")
        self.deeds.errand(self._daemon.start, self.ask)

    # --- the daemon's doings ------------------------------------------------------------------

    def _look_at_status(self) -> None:
        self._errands.submit(self._daemon.status, self._show_status)

    def _show_status(self, outcome: Any) -> None:
        if isinstance(outcome, PhotosearchError):
            return
        status: StatusReply = outcome
        self.foot.hint.setText(words.progress(status) or words.HINT)
        self.ways.look_at(status)
        before, self._counts = self._counts, (status.searchable, status.hidden)
        if self._is_down:
            self.ask()
        elif before not in (None, self._counts) and not self._asking.is_under_way:
            self._ask_again()

    def _ask_again(self) -> None:
        """The same as what is shown, and as much of it."""
        count = min(max(len(self.photos.hits), 60), MAX_SHOWN)
        self._asking.ask(self._wanted(count=count))

    # --- the chosen photo ---------------------------------------------------------------------

    def show_preview(self) -> None:
        hit = self.grid.chosen
        if hit is not None:
            small = self._thumbnails.find(hit.photo_id)
            self.preview.show_hit(hit, small, self.card().toRect())
            self.deeds.meant()

    def show_settings(self) -> None:
        self.close_preview()
        self.settings.show_over(self.card().toRect())

    def close_preview(self) -> None:
        if self.preview.hit is not None:
            self.preview.close_hit()
            self.grid.setFocus()

    def _changed(self, hit: Hit | None) -> None:
        """A photo is being hidden or found again; None: it was. With the one whose burst is
        shown, go back."""
        example = self._likeness.hit if self._likeness.is_group else None
        was_open = self.preview.hit is not None
        if hit is None or self._answer is None:
            return self._ask_again()
        if example is not None and hit.photo_id == example.photo_id:
            return self.step_back()
        self._show_answer(self._question, self._answer)
        if was_open and self.grid.chosen is not None:
            return self.show_preview()
        return self.close_preview()

    def _show_menu(self, place: QPoint) -> None:
        menu = photo_menu(self, self.deeds, look_like=self.look_like, show_group=self.show_group)
        menu.exec(place)

    # --- the foot -----------------------------------------------------------------------------

    def _show_foot(self, *, keeps: bool = False) -> None:
        """`keeps`: what is being said stays."""
        if self._is_painting:
            return
        answer = self._answer
        offers = answer is not None and bool(answer.hits) and not answer.more and answer.hidden > 0
        offers = offers and not self._question.show_all
        show = self.foot.keep_saying if keeps else self.foot.show_hit
        show(self.grid.chosen, offers=offers)

    # --- keys ---------------------------------------------------------------------------------

    def _listen(self) -> Keyboard:
        return Keyboard(
            self.box,
            photos=(self.grid, self.preview),
            over=(self.key_list, self.message),
            now=self._box_now,
            typed=self._typed,
            acts={
                Act.MEAN: self._mean,
                Act.TAKE: lambda: self.search_for(self.ways.onwards[0].text),
                Act.PREVIEW: self.show_preview,
                Act.CLOSE_PREVIEW: self.close_preview,
                Act.OPEN: self.deeds.open,
                Act.REVEAL: self.deeds.reveal,
                Act.COPY: self.deeds.copy,
                Act.COPY_PATH: self.deeds.copy_path,
                Act.LEAVE_OUT: self.deeds.hide,
                Act.UNDO: self.deeds.undo,
                Act.LIKE: self.look_like,
                Act.GROUP: self.show_group,
                Act.CLEAR: self._clear,
                Act.STEP_BACK: self.step_back,
                Act.HIDE: self.disappear,
                Act.SHOW_KEYS: lambda: self.key_list.show_over(self.card().toRect()),
            },
        )

    def _box_now(self) -> Box:
        text = self.box.text()
        keys = onwards(text) if self.box.is_at_end and self.ways.onwards else ()
        can_undo = self.deeds.can_undo
        return Box(bool(text), self._likeness.hit is not None, keys, can_undo)

    def _mean(self) -> None:
        self.deeds.meant()
        self._keyboard.enter_grid()

    def _clear(self) -> None:
        self.box.clear()
        self._typed()

    # --- the card -----------------------------------------------------------------------------

    def lines(self) -> list[int]:
        return [self.box.geometry().bottom() + 9, self._body.geometry().bottom() + 1]

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        middle = QPoint(int(self.card().left()) + 32, self.box.geometry().center().y())
        draw_glass(self, middle, self.theme.soft)
