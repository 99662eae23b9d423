"""The daemon's bundles: which answers, which is to come, and how far that is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from photosearch import bundles, protocol
from photosearch.bundle import Bundle, find_bundles, require_bundle
from photosearch.encoder import Encoder, open_encoder
from photosearch.home import Home
from photosearch.indexer import Indexer
from photosearch.library import Library
from photosearch.settings import Settings
from photosearch.switch import Plan, Switch, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)


class Answers(Protocol):
    """What the bundles change about a daemon."""

    bundle: Bundle
    encoder: Encoder

    def answer_with(self, bundle: Bundle, encoder: Encoder) -> None:
        """Ask with this bundle from now on; the library's index is of its space already."""
        ...


class Bundles:
    """Switches a running daemon between bundles. Any thread may call; the work is the indexer's."""

    def __init__(
        self,
        daemon: Answers,
        place: Home,
        settings: Settings,
        library: Library,
        indexer: Indexer,
        folders: Sequence[Path],
    ) -> None:
        self._daemon = daemon
        self._place = place
        self._settings = settings
        self._library = library
        self._indexer = indexer
        self._folders = list(folders)
        self._open: Callable[[Bundle], Encoder] = lambda bundle: open_encoder(
            bundle, threads=settings.threads, runtime=settings.runtime
        )

    def begin(self, following: Bundle | None) -> None:
        """At the start, before the indexing thread runs: go on with a switch, or clear up after
        one that was given up."""
        if following is not None:
            self._start(following)
        else:
            self._library.drop_other_spaces()

    def use(self, name: str) -> protocol.BundlesReply:
        """Choose a bundle, here and for later starts. Choosing the one that answers rolls a
        switch back. Raises BundleError for one that is missing or damaged."""
        wanted = require_bundle(name, self._folders)
        bundles.require_sound(wanted)
        bundles.choose(self._place.chosen_bundle, name)

        def turn() -> int:
            answering = (self._library.space, self._library.dim, self._daemon.bundle.name)
            known = [*self.found(), self._daemon.bundle]
            self._turn(plan(answering, wanted, known), wanted)
            return 0

        self._indexer.order(turn)
        return self.reply()

    def found(self) -> list[Bundle]:
        return find_bundles(self._folders)

    def reply(self) -> protocol.BundlesReply:
        moving = self.moving()
        return protocol.BundlesReply(
            bundles=[
                protocol.BundleMessage(bundle.name, bundle.version, bundle.size_bytes)
                for bundle in self.found()
            ],
            answering=self._daemon.bundle.name,
            moving=moving,
        )

    def moving(self) -> protocol.MovingMessage | None:
        switch = self._indexer.switch
        if switch is None:
            return None
        done, to_do, waiting = switch.seen
        return protocol.MovingMessage(switch.bundle.name, done, to_do, list(waiting))

    # --- on the indexing thread -------------------------------------------------------------------

    def _turn(self, todo: Plan, wanted: Bundle) -> None:
        current = self._indexer.switch
        if current is not None:
            if todo.next is not None and current.bundle.space == todo.next.space:
                return  # on the way already
            current.roll_back()
            self._indexer.switch = None
        if todo.next is not None:
            self._start(todo.next)
        elif wanted.directory != self._daemon.bundle.directory:
            # Another bundle of the space that answers: nothing has to be read again.
            self._answer_with(wanted, self._open(wanted))

    def _start(self, following: Bundle) -> None:
        encoder = self._open(following)
        self._indexer.begin_switch(following, encoder, self._finished)

    def _finished(self, switch: Switch) -> None:
        self._answer_with(switch.bundle, switch.encoder)

    def _answer_with(self, bundle: Bundle, encoder: Encoder) -> None:
        log.info("bundles.answering bundle=%s", bundle.name)
        self._daemon.answer_with(bundle, encoder)
        self._indexer.embed_with(encoder)
