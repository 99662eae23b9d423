"""The bar: a box, the photos under it, and a foot. What was asked, and who does what about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from PySide6.QtCore import QEvent, QObject, QPoint, QSize, Qt, QTimer
from PySide6.QtGui import (
    QColor,
    QCursor,
    QGuiApplication,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QStackedLayout,
    QVBoxLayout,
)

from photosearch.desktop import words
from photosearch.desktop.asking import Asking, Question
from photosearch.desktop.background import Background
from photosearch.desktop.card import SHADOW, Card, is_dark
from photosearch.desktop.foot import Foot
from photosearch.desktop.grid import PICTURE, Grid
from photosearch.desktop.keys import name_of
from photosearch.desktop.make import button, label, spaced
from photosearch.desktop.panels import KeyList, Message
from photosearch.desktop.photos import Photos, files
from photosearch.desktop.preview import Preview
from photosearch.desktop.source import Daemon
from photosearch.desktop.theme import DARK, LIGHT, sheet
from photosearch.desktop.thumbnails import Thumbnails
from photosearch.desktop.walk import Act, At, act, walk
from photosearch.errors import DaemonUnreachable, PhotosearchError
from photosearch.protocol import SearchReply, StatusReply
from photosearch.types import Hit

CARD: Final = QSize(892, 604)
STATUS_MS: Final = 2000  # between looks at what the daemon does, while the bar is seen
MAX_SHOWN: Final = 1000  # the daemon's limit on one answer
MAX_QUERY_CHARS: Final = 1000


class Bar(Card):
    """One window, made once and shown again and again."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__()
        self.setWindowTitle(words.TITLE)
        self._daemon = daemon
        self._question = Question()  # what the photos shown answer
        self._answer: SearchReply | None = None
        self._like: Hit | None = None
        self._text_before_like = ""
        self._show_all = False
        self._searchable: int | None = None  # photos, when the daemon was last looked at
        self._is_down = False  # the last question found no daemon
        # Searches, pictures and errands do not wait for each other.
        self._searches, self._pictures = Background(1), Background(3)
        self._errands = Background(1)
        self._asking = Asking(daemon.search, self._searches)
        self._asking.answered.connect(self._show_answer)
        self._asking.failed.connect(self._show_failure)
        ratio = self.devicePixelRatioF()
        self._thumbnails = Thumbnails(daemon.thumbnail, self._pictures, PICTURE * ratio)
        self.photos = Photos()
        self._thumbnails.arrived.connect(self.photos.repaint)
        self._build()
        self._status_timer = QTimer(self, interval=STATUS_MS)
        self._status_timer.timeout.connect(self._look_at_status)
        hints = QGuiApplication.styleHints()
        hints.colorSchemeChanged.connect(self.dress)
        self.dress()

    def _build(self) -> None:
        self.box = QLineEdit()
        self.box.setPlaceholderText(words.PLACEHOLDER)
        self.box.setMaxLength(MAX_QUERY_CHARS)
        self.box.setAccessibleName(words.BOX)
        self.box.setMinimumHeight(40)
        self.box.textEdited.connect(self._typed)
        self.chip = button("chip")
        self.chip.clicked.connect(self.stop_liking)
        self.chip.hide()
        self.count = label("soft")
        self.grid = Grid(self.photos, self._thumbnails)
        self.grid.doubleClicked.connect(lambda _: self.open())
        self.grid.menu_wanted.connect(self._show_menu)
        self.grid.selectionModel().currentChanged.connect(lambda *_: self._show_foot())
        self.message = Message()
        self.foot = Foot()
        self.foot.further.clicked.connect(self.show_all)
        self.foot.silent.connect(self._show_foot)
        top = spaced(QHBoxLayout(), 12, margins=(52, 12, 22, 8))
        for widget, stretch in ((self.box, 1), (self.chip, 0), (self.count, 0)):
            top.addWidget(widget, stretch)
        self._body = QStackedLayout()
        self._body.addWidget(self.grid)
        self._body.addWidget(self.message)
        middle = spaced(QVBoxLayout(), 0, margins=(16, 10, 10, 0))
        middle.addLayout(self._body)
        layout = spaced(QVBoxLayout(self), 0, margins=(SHADOW, SHADOW, SHADOW, SHADOW))
        layout.addLayout(top)
        layout.addLayout(middle, 1)
        layout.addLayout(self.foot)
        self.preview = Preview(
            self,
            self._daemon.thumbnail,
            self._errands,
            actions=[
                (words.MORE, self.look_like),
                (words.OPEN, self.open),
                (words.REVEAL, self.reveal),
                (words.CLOSE, self.close_preview),
            ],
        )
        self.key_list = KeyList(self)
        self.resize(CARD + QSize(2 * SHADOW, 2 * SHADOW))
        for keyed in (self.box, self.grid, self.preview, self.key_list):
            keyed.installEventFilter(self)

    def dress(self) -> None:
        """Light or dark, as the system is now."""
        scheme = QGuiApplication.styleHints().colorScheme()
        ground = QGuiApplication.palette().window().color()
        self.theme = DARK if is_dark(scheme, ground) else LIGHT
        self.grid.tiles.theme = self.preview.theme = self.key_list.theme = self.theme
        self.setStyleSheet(sheet(self.theme))
        palette = self.box.palette()
        palette.setColor(palette.ColorRole.PlaceholderText, QColor(self.theme.soft))
        self.box.setPalette(palette)
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

    def disappear(self) -> None:
        self.close_preview()
        self.key_list.hide()
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
        for background in (self._searches, self._pictures, self._errands):
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

    def _wanted(self, *, count: int = 60) -> Question:
        like = self._like.photo_id if self._like else None
        return Question(self.box.text().strip(), like, self._show_all, count)

    def _typed(self) -> None:
        self.grid.choose(-1)
        if self.box.text().strip() != self._question.text or self._asking.is_under_way:
            self._show_all = False  # "show anyway" was about the words before
            self.ask()

    def show_all(self) -> None:
        self._show_all = True
        self.box.setFocus()
        self.ask()

    def look_like(self) -> None:
        """More like the chosen photo."""
        hit = self._hit()
        if hit is None:
            return
        if self._like is None:
            self._text_before_like = self.box.text()
        self._like, self._show_all = hit, False
        self.box.clear()
        self._like_changed(words.like(words.name_of(hit.path)))

    def stop_liking(self) -> None:
        """Without the chip, the words from before it are back."""
        self._like = None
        if not self.box.text():
            self.box.setText(self._text_before_like)
        self._like_changed("")

    def _like_changed(self, chip: str) -> None:
        self.chip.setText(chip)
        self.chip.setVisible(bool(chip))
        self.close_preview()
        self.box.setFocus()
        self.ask()

    def _show_answer(self, question: Question, answer: SearchReply) -> None:
        known = self._question
        is_same = self._answer is not None and replace(question, count=known.count) == known
        kept = self.grid.chosen if is_same else None  # only the library changed
        position = self.grid.verticalScrollBar().value() if is_same else 0
        self._question, self._answer, self._is_down = question, answer, False
        self._thumbnails.forget_waiting()
        self.photos.show(answer.hits)
        self.grid.verticalScrollBar().setValue(position)
        if kept is not None:
            self.grid.choose(self.photos.row_of(kept.photo_id))
        if not answer.hits:
            self._show_nothing(answer)
        self._body.setCurrentWidget(self.grid if answer.hits else self.message)
        relevant = sum(hit.relevant for hit in answer.hits)
        if not question.is_search:
            self.count.setText(words.NEWEST if answer.hits else "")
        else:
            more = answer.more and relevant == len(answer.hits)
            self.count.setText(words.photos(relevant, more=more))
        self._show_foot()

    def _show_nothing(self, answer: SearchReply) -> None:
        if answer.total_photos == 0 and not self._question.is_search:
            self.message.show_words(words.EMPTY, words.EMPTY_ADVICE)
        elif answer.hidden and not self._question.show_all:
            title = words.no_match(self._question.text)
            self.message.show_words(
                title, words.OTHER_WORDS, offer=(words.SHOW_ANYWAY, self.show_all)
            )
        else:
            self.message.show_words(words.no_match(self._question.text), words.OTHER_WORDS)

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
        self._errand(self._daemon.start, lambda: self.ask())

    # --- the daemon's doings ------------------------------------------------------------------

    def _look_at_status(self) -> None:
        self._errands.submit(self._daemon.status, self._show_status)

    def _show_status(self, outcome: Any) -> None:
        if isinstance(outcome, PhotosearchError):
            return
        status: StatusReply = outcome
        self.foot.hint.setText(words.progress(status) or words.HINT)
        before, self._searchable = self._searchable, status.searchable
        if self._is_down:
            self.ask()
        elif before not in (None, status.searchable) and not self._asking.is_under_way:
            count = min(max(len(self.photos.hits), 60), MAX_SHOWN)
            self._asking.ask(self._wanted(count=count))

    # --- the chosen photo ---------------------------------------------------------------------

    def _hit(self) -> Hit | None:
        return self.preview.hit or self.grid.chosen

    def open(self) -> None:
        self._launch(self._daemon.open_photo, "Opening {}…")

    def reveal(self) -> None:
        self._launch(self._daemon.reveal_photo, "Showing {} in its folder…")

    def _launch(self, call: Callable[[int], None], doing: str) -> None:
        hit = self._hit()
        if hit is None:
            return
        name = words.name_of(hit.path)
        if hit.offline:
            self.foot.say(f"{name} is in a folder that is not connected now.", trouble=True)
            return
        self.foot.say(doing.format(name))
        self._errand(lambda: call(hit.photo_id), self.disappear)

    def _errand(self, work: Callable[[], None], then: Callable[[], object]) -> None:
        """Something the daemon does once; its refusal is said."""

        def done(outcome: Any) -> None:
            if isinstance(outcome, PhotosearchError):
                self.foot.say(str(outcome), trouble=True)
            else:
                then()

        self._errands.submit(work, done)

    def copy(self) -> None:
        hits = [self.preview.hit] if self.preview.hit else self.grid.selected
        data = files(hits)
        if data.urls():
            QGuiApplication.clipboard().setMimeData(data)
            self.foot.say(words.COPIED)

    def copy_path(self) -> None:
        hit = self._hit()
        if hit is not None:
            QGuiApplication.clipboard().setText(words.shown(hit.path))
            self.foot.say(words.COPIED_PATH)

    def show_preview(self) -> None:
        hit = self.grid.chosen
        if hit is not None:
            small = self._thumbnails.find(hit.photo_id)
            self.preview.show_hit(hit, small, self.card().toRect())

    def close_preview(self) -> None:
        if self.preview.hit is not None:
            self.preview.close_hit()
            self.grid.setFocus()

    def _show_menu(self, place: QPoint) -> None:
        menu = QMenu(self)
        for text, run in (
            (words.OPEN, self.open),
            (words.REVEAL, self.reveal),
            (words.COPY, self.copy),
            (words.MORE, self.look_like),
        ):
            menu.addAction(text, run)
        menu.exec(place)

    # --- the foot -----------------------------------------------------------------------------

    def _show_foot(self) -> None:
        answer = self._answer
        offers = answer is not None and bool(answer.hits) and not answer.more and answer.hidden > 0
        offers = offers and not self._question.show_all
        self.foot.show_hit(self.grid.chosen, offers=offers)

    # --- keys ---------------------------------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            if self.key_list.isVisible():
                self.key_list.hide()
                return True
            return self._key(watched, event)
        return super().eventFilter(watched, event)

    def _key(self, watched: QObject, event: QKeyEvent) -> bool:
        at = At.PREVIEW if self.preview.hit else At.GRID if watched is self.grid else At.BOX
        modifiers = event.modifiers()
        command = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.MetaModifier
        if modifiers & Qt.KeyboardModifier.AltModifier:
            return False
        control = bool(modifiers & command)
        key = name_of(event, control=control)
        wanted = act(
            key,
            at=at,
            control=control,
            shift=bool(modifiers & Qt.KeyboardModifier.ShiftModifier),
            has_text=bool(self.box.text()),
            has_like=self._like is not None,
        )
        if wanted is None:
            return at is At.GRID and not control and self._type_in_box(event)
        if event.isAutoRepeat() and wanted is not Act.MOVE:
            return True
        self._do(wanted, key)
        return True

    def _type_in_box(self, event: QKeyEvent) -> bool:
        """Letters pressed in the grid are meant for the box."""
        if not event.text().isprintable() or not event.text().strip():
            return False
        self.box.setFocus()
        self.box.end(False)
        self.box.insert(event.text())
        self._typed()
        return True

    def _do(self, wanted: Act, key: str) -> None:
        run: dict[Act, Callable[[], object]] = {
            Act.FOCUS_BOX: self._focus_box,
            Act.ENTER_GRID: self._enter_grid,
            Act.MOVE: lambda: self._move(key),
            Act.PREVIEW: self.show_preview,
            Act.CLOSE_PREVIEW: self.close_preview,
            Act.OPEN: self.open,
            Act.REVEAL: self.reveal,
            Act.COPY: self.copy,
            Act.COPY_PATH: self.copy_path,
            Act.LIKE: self.look_like,
            Act.LEAVE_GRID: self._leave_grid,
            Act.CLEAR: self._clear,
            Act.STOP_LIKING: self.stop_liking,
            Act.HIDE: self.disappear,
            Act.SHOW_KEYS: lambda: self.key_list.show_over(self.card().toRect()),
            Act.NOTHING: lambda: None,
        }
        run[wanted]()

    def _focus_box(self) -> None:
        self.close_preview()
        self.grid.choose(-1)
        self.box.setFocus()
        self.box.selectAll()

    def _enter_grid(self) -> None:
        if self.photos.hits:
            self.grid.setFocus()
            self.grid.choose(0)
        elif self.message.button.isVisible():
            self.message.button.setFocus()

    def _leave_grid(self) -> None:
        self.grid.choose(-1)
        self.box.setFocus()

    def _clear(self) -> None:
        self.box.clear()
        self._typed()

    def _move(self, key: str) -> None:
        at, total = self.grid.at, len(self.photos.hits)
        to = walk(key, max(at, 0), columns=self.grid.columns, total=total)
        if self.preview.hit is None:
            return self._leave_grid() if to < 0 else self.grid.choose(to)
        if to >= 0:
            self.grid.choose(to)
            self.show_preview()
        return None

    # --- the card -----------------------------------------------------------------------------

    def lines(self) -> list[int]:
        return [self.box.geometry().bottom() + 9, self._body.geometry().bottom() + 1]

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = QPen(QColor(self.theme.soft), 2.2)
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        painter.setPen(pen)
        middle = QPoint(int(self.card().left()) + 32, self.box.geometry().center().y())
        painter.drawEllipse(middle - QPoint(2, 2), 6, 6)  # a magnifying glass
        painter.drawLine(middle + QPoint(3, 3), middle + QPoint(7, 7))
