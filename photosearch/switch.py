"""Move a library to another bundle while the old one goes on answering.

`plan` decides what answers and what is to come; `Switch` embeds every photo
again, a batch at a time, when there is nothing else to do. Killed anywhere, the
next start goes on where it was. Until it is finished it can be rolled back.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from photosearch.bundle import Bundle
from photosearch.decode import DecodePool, Picture, Rejected, Task
from photosearch.encoder import Encoder
from photosearch.library import Library, LibraryReader
from photosearch.pace import Throttle
from photosearch.preprocess import normalise
from photosearch.roots import is_at_hand
from photosearch.store.photos import join
from photosearch.types import Stamp

log = logging.getLogger(__name__)

_Place = tuple[int, bytes, Stamp]  # of a root, a path in it, as the library knows it

BATCH = 16  # photos in one transaction: what a kill loses at most


@dataclass(frozen=True)
class Plan:
    """Which bundle answers now, and which is to come after it, if any."""

    now: Bundle
    next: Bundle | None


def plan(answering: tuple[str, int, str] | None, wanted: Bundle, known: Sequence[Bundle]) -> Plan:
    """What to do with a library whose vectors are of the space that answers.

    Where the bundle of that space is gone, nothing can be asked in it any more:
    the wanted one answers at once, with what it has embedded so far.
    """
    if answering is None or answering[0] == wanted.space:
        return Plan(wanted, None)
    for bundle in known:
        if bundle.space == answering[0] and bundle.dim == answering[1]:
            return Plan(bundle, wanted)
    log.warning("switch.old_bundle_gone bundle=%s", answering[2])
    return Plan(wanted, None)


def plan_for(reader: LibraryReader | None, wanted: Bundle, known: Sequence[Bundle]) -> Plan:
    """`plan` for a library file, which need not exist yet."""
    return plan(reader.answering() if reader is not None else None, wanted, known)


class Standing(NamedTuple):
    """How far a switch is."""

    done: int
    to_do: int  # photos that still lack a vector
    waiting_for: tuple[str, ...]  # folders that are offline and hold some of them


class Switch:
    """Embeds a library's photos for another bundle. Used by the writer's thread alone."""

    def __init__(
        self,
        library: Library,
        bundle: Bundle,
        encoder: Encoder,
        pool: DecodePool,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        throttle: Throttle | None = None,
    ) -> None:
        self.bundle = bundle
        self.encoder = encoder
        self._library = library
        self._pool = pool
        self._should_stop = should_stop
        self._throttle = throttle or Throttle(max_cpu=100, threads=1, cores=1)
        self._succession = library.begin_succession(
            space=bundle.space, dim=bundle.dim, bundle=bundle.name
        )
        self._queue: list[_Place] = []  # last first
        self._tried: set[_Place] = set()  # with their stamps: a file that changed is tried again
        self.seen = self._look()  # for other threads: done, to do, waiting for

    def step(self) -> bool:
        """Embed one batch. False when there is nothing left to do now: see `complete`."""
        if not self._queue:
            self._queue = list(self._untried())
            self.seen = self._look()
        batch = [self._queue.pop() for _ in range(min(BATCH, len(self._queue)))]
        if not batch:
            return False
        self._throttle.begin()
        roots = {root.root_id: root for root in self._library.roots()}
        tasks = [
            Task(
                os.fsencode(str(number)),
                join(os.fsencode(roots[root_id].path), path),
                self.encoder.preprocess,
            )
            for number, (root_id, path, _) in enumerate(batch)
            if root_id in roots
        ]
        pictures: dict[bytes, Picture] = {}
        for task, outcome in self._pool.run(iter(tasks)):
            if isinstance(outcome, Picture):
                pictures[outcome.content_hash] = outcome
            elif isinstance(outcome, Rejected):
                log.warning("switch.unreadable path=%r reason=%s", task.path, outcome.reason)
            self._tried.add(batch[int(task.key)])
        if pictures:
            pixels = np.stack([picture.pixels for picture in pictures.values()])
            vectors = self.encoder.images(normalise(pixels, self.encoder.preprocess))
            self._succession.add(dict(zip(pictures, vectors, strict=True)))
        self._throttle.rest()
        done, to_do, waiting = self.seen
        self.seen = Standing(done + len(pictures), max(0, to_do - len(batch)), waiting)
        return True

    def run(self, on_progress: Callable[[Standing], None] = lambda standing: None) -> None:
        """Step until nothing is left to do or we should stop."""
        while not self._should_stop() and self.step():
            on_progress(self.seen)

    @property
    def complete(self) -> bool:
        """Whether the new space can answer: every photo has a vector in it, or was tried and
        cannot be read. Photos in folders that are offline are waited for: they are searchable
        now, and must be after."""
        return not self._queue and not any(self._untried()) and not self._look().waiting_for

    def finish(self) -> None:
        """Let the new space answer. Afterwards there is no way back but another switch."""
        assert self.complete
        log.info("switch.finished bundle=%s", self.bundle.name)
        self._library.take_over(self._succession)

    def roll_back(self) -> None:
        log.info("switch.rolled_back bundle=%s", self.bundle.name)
        self._succession.drop()

    def _look(self) -> Standing:
        missing = self._succession.missing_by_root()
        waiting = tuple(
            root.path
            for root in self._library.roots()
            if missing.get(root.root_id) and not is_at_hand(root, self._library.devices)
        )
        return Standing(self._succession.done(), sum(missing.values()), waiting)

    def _untried(self) -> Iterator[_Place]:
        for root in self._library.roots():
            if is_at_hand(root, self._library.devices):
                for path, stamp in reversed(self._succession.missing(root.root_id)):
                    if (root.root_id, path, stamp) not in self._tried:
                        yield root.root_id, path, stamp
