"""Keys pressed anywhere in the bar -> what is done about them. The map itself is walk.py's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent

from photosearch.desktop.box import SearchBox
from photosearch.desktop.grid import Grid
from photosearch.desktop.keys import name_of
from photosearch.desktop.panels import KeyList, Message
from photosearch.desktop.preview import Preview
from photosearch.desktop.walk import Act, At, Box, Held, act, walk


class Keyboard(QObject):
    """Every key is heard here before the part of the bar that has it. Moves between the box and
    the photos, and among these, are made here; the rest is the bar's."""

    def __init__(
        self,
        box: SearchBox,
        *,
        photos: tuple[Grid, Preview],
        over: tuple[KeyList, Message],
        now: Callable[[], Box],
        typed: Callable[[], None],
        acts: Mapping[Act, Callable[[], object]],
    ) -> None:
        """`over`: what stands over the photos or in their place; `now()`: what the box holds;
        `typed()`: letters were put into it; `acts`: what the bar does itself."""
        super().__init__()
        self._box = box
        self._grid, self._preview = photos
        self._key_list, self._message = over
        self._now = now
        self._typed = typed
        self._acts: dict[Act, Callable[[], object]] = {
            Act.FOCUS_BOX: self._focus_box,
            Act.ENTER_GRID: self.enter_grid,
            Act.LEAVE_GRID: self._leave_grid,
            Act.NOTHING: lambda: None,
            **acts,
        }
        for keyed in (box, *photos, self._key_list):
            keyed.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            if self._key_list.isVisible():
                self._key_list.hide()
                return True
            return self._key(watched, event)
        return super().eventFilter(watched, event)

    def _key(self, watched: QObject, event: QKeyEvent) -> bool:
        at = At.PREVIEW if self._preview.hit else At.GRID if watched is self._grid else At.BOX
        modifiers, modifier = event.modifiers(), Qt.KeyboardModifier
        control = bool(modifiers & (modifier.ControlModifier | modifier.MetaModifier))
        alt = bool(modifiers & modifier.AltModifier)
        held = Held(control, bool(modifiers & modifier.ShiftModifier), alt)
        key = name_of(event, control=control)
        wanted = act(key, at=at, held=held, box=self._now())
        if wanted is None:
            return at is At.GRID and not control and not alt and self._type_in_box(event)
        if event.isAutoRepeat() and wanted is not Act.MOVE:
            return True
        if wanted is Act.MOVE:
            self._move(key)
        else:
            self._acts[wanted]()
        return True

    def _type_in_box(self, event: QKeyEvent) -> bool:
        """Letters pressed in the grid are meant for the box."""
        if not event.text().isprintable() or not event.text().strip():
            return False
        self._box.setFocus()
        self._box.end(False)
        self._box.insert(event.text())
        self._typed()
        return True

    def _focus_box(self) -> None:
        self._acts[Act.CLOSE_PREVIEW]()
        self._grid.choose(-1)
        self._box.setFocus()
        self._box.selectAll()

    def enter_grid(self) -> None:
        if self._grid.total:
            self._grid.setFocus()
            self._grid.choose(0)
        elif self._message.button.isVisible():
            self._message.button.setFocus()

    def _leave_grid(self) -> None:
        self._grid.choose(-1)
        self._box.setFocus()

    def _move(self, key: str) -> None:
        at, total = self._grid.at, self._grid.total
        to = walk(key, max(at, 0), columns=self._grid.columns, total=total)
        if self._preview.hit is None:
            return self._leave_grid() if to < 0 else self._grid.choose(to)
        if to >= 0:
            self._grid.choose(to)
            self._acts[Act.PREVIEW]()
        return None
