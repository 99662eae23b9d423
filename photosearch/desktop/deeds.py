"""What can be done with the chosen photo: open, show in its folder, copy, hide. As deeds.js."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtGui import QGuiApplication

from photosearch.desktop import words
from photosearch.desktop.background import Background
from photosearch.desktop.foot import Foot
from photosearch.desktop.grid import Grid
from photosearch.desktop.photos import files
from photosearch.desktop.preview import Preview
from photosearch.desktop.source import Daemon
from photosearch.errors import PhotosearchError
from photosearch.types import Hit


class Deeds:
    """Whoever does something with a photo has found it: what found it was a search."""

    def __init__(
        self,
        daemon: Daemon,
        backgrounds: tuple[Background, Background],
        foot: Foot,
        *,
        photos: tuple[Grid, Preview],
        asked: Callable[[], str],
        away: Callable[[], object],
        changed: Callable[[Hit | None], object],
    ) -> None:
        """`backgrounds`: for errands, and for hiding, which waits while the daemon is at work on
        photos. `asked()`: the words that found what is shown; `away()` hides the bar.
        `changed(hit)`: a photo is no part of any answer from now on, or (None) the daemon knows
        of it."""
        self._daemon = daemon
        self._background, self._hidings = backgrounds
        self._foot = foot
        self._grid, self._preview = photos
        self._asked = asked
        self._away = away
        self._changed = changed
        self.leaving: set[int] = set()  # photos that are being hidden, or found again
        self._presses = 0
        # The press, its photos, and whether to hide them: of the last press, whose answer may
        # not be the last to come.
        self._undo: tuple[int, list[int], bool] = (0, [], False)
        self._undo_then = False  # asked for while one was under way
        self.can_undo = False  # by a key, nothing having been typed since
        self._remembered = ""  # the search that was last told to be one

    @property
    def hit(self) -> Hit | None:
        """The photo that is meant."""
        return self._preview.hit or self._grid.chosen

    def meant(self) -> None:
        """A photo was looked at or used: its search is to be offered again. The daemon keeps
        none where the setting says so."""
        text = self._asked()
        if not text or text == self._remembered:
            return
        self._remembered = text
        # A nicety: no word of it where it fails.
        self._background.submit(lambda: self._daemon.remember(text), lambda outcome: None)

    def open(self) -> None:
        self._launch(self._daemon.open_photo, words.opening)

    def reveal(self) -> None:
        self._launch(self._daemon.reveal_photo, words.revealing)

    def _launch(self, call: Callable[[int], None], doing: Callable[[str], str]) -> None:
        hit = self.hit
        if hit is None:
            return
        name = words.name_of(hit.path)
        if hit.offline:
            self._foot.say(words.not_connected(name), trouble=True)
            return
        self._foot.say(doing(name))
        self.meant()
        self.errand(lambda: call(hit.photo_id), self._away)

    def errand(self, work: Callable[[], None], then: Callable[[], object]) -> None:
        """Something the daemon does once; its refusal is said."""
        self._background.submit(work, self._unless_refused(then))

    def _unless_refused(self, then: Callable[[], object]) -> Callable[[Any], None]:
        def done(outcome: Any) -> None:
            if isinstance(outcome, PhotosearchError):
                self._foot.say(str(outcome), trouble=True)
            else:
                then()

        return done

    def hide(self) -> None:
        """Leave the photo, and those it stands for, out of every search; or find them again."""
        hit = self.hit
        if hit is None or hit.photo_id in self.leaving:
            return
        is_hidden, similar = hit.hidden, hit.similar > 0
        self._presses += 1
        self._undo = (press := self._presses, [], is_hidden)

        def done(outcome: Any) -> None:
            self.leaving.discard(hit.photo_id)
            if isinstance(outcome, PhotosearchError):
                self._foot.say(str(outcome), trouble=True)
            elif outcome and press == self._undo[0]:
                self._undo = (press, outcome, is_hidden)
            self._changed(None)
            if self._undo_then:
                self.undo()

        self._hidings.submit(
            lambda: self._daemon.hide(hit.photo_id, hidden=not is_hidden, similar=similar), done
        )
        say = words.found_again if is_hidden else words.hidden_now
        self._foot.say(say(words.name_of(hit.path), hit.similar + 1), long=True)
        self.leaving.add(hit.photo_id)  # at once, so that the next press means the next photo
        self.can_undo = True
        self._changed(hit)

    def undo(self) -> None:
        """Take back the last hiding, of those photos alone: others of a burst may have been
        hidden before."""
        self._undo_then = bool(self.leaving)
        if self._undo_then:
            return
        self.can_undo = False
        (_, photo_ids, hidden), self._undo = self._undo, (0, [], False)

        def done() -> None:
            self._foot.say(words.UNDONE)
            self._changed(None)

        if photo_ids:
            self._hidings.submit(
                lambda: self._daemon.hide_all(photo_ids, hidden=hidden), self._unless_refused(done)
            )

    def copy(self) -> None:
        hits = [self._preview.hit] if self._preview.hit else self._grid.selected
        data = files(hits)
        if data.urls():
            QGuiApplication.clipboard().setMimeData(data)
            self._foot.say(words.COPIED)
            self.meant()

    def copy_path(self) -> None:
        hit = self.hit
        if hit is not None:
            QGuiApplication.clipboard().setText(words.shown(hit.path))
            self._foot.say(words.COPIED_PATH)
            self.meant()
