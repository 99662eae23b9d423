"""The indexing thread: the only writer. Hints and orders in, a library that equals the disk out."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from photosearch import protocol
from photosearch.decode import DecodePool
from photosearch.encoder import Encoder
from photosearch.errors import PhotosearchError
from photosearch.ingest import Ingest, Totals, root_available
from photosearch.library import Library
from photosearch.reconcile import SETTLE_NS
from photosearch.settings import Settings
from photosearch.thumbnails import Thumbnails
from photosearch.types import Root
from photosearch.watch import Due, Hints, Watcher

log = logging.getLogger(__name__)

ROOT_CHECK_SECONDS: Final = 5.0  # between looks at whether roots came or went
RETRY_SECONDS: Final = 30.0  # after an error of the disk or the database
WRITE_SECONDS: Final = 600.0  # a request that changes the library waits this long for its turn


class Indexer:
    """Watches the roots and keeps the library equal to the disk, in a thread of its own.

    Whoever else wants something written orders it here, and it is done between two batches.
    """

    def __init__(
        self,
        library: Library,
        encoder: Encoder,
        thumbnails: Thumbnails,
        settings: Settings,
        *,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.hints = Hints()
        self.stopping = threading.Event()
        self._library = library
        self._settings = settings
        self._on_change = on_change
        self._watcher = Watcher(self.hints)
        self._pool = DecodePool(workers=settings.threads)
        self._paused = threading.Event()
        self._totals = Totals()
        self._working_since: float | None = None
        self._thread = threading.Thread(target=self._index_until_stopped, name="indexing")
        self._orders: queue.SimpleQueue[tuple[Callable[[], int], Future[int]]] = queue.SimpleQueue()
        self.ingest = Ingest(
            library,
            encoder,
            self._pool,
            thumbnails,
            on_progress=self._progressed,
            should_stop=self._interrupted,
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the batch in hand."""
        self.stopping.set()
        self.hints.wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._pool.close()

    # --- what others ask of it ----------------------------------------------------------------

    def order(self, work: Callable[[], int]) -> int:
        """Have the indexing thread, the only writer, do something soon; wait until it has."""
        if self._thread.ident is None:  # not started: there is no other writer yet
            return work()
        if not self._thread.is_alive():
            raise PhotosearchError("the library is not being written to any more. Start again.")
        done: Future[int] = Future()
        self._orders.put((work, done))
        self.hints.wake()
        try:
            return done.result(timeout=WRITE_SECONDS)
        except TimeoutError:
            raise PhotosearchError("the daemon is busy. Try again in a while.") from None

    def forget(self, root_id: int) -> None:
        """Stop looking at a root; for an order that drops it."""
        self._watcher.forget(root_id)
        self.hints.drop(root_id)

    def apply(self, settings: Settings) -> None:
        """Go on by other settings. The model's own threads are set when it is loaded."""
        self._settings = settings
        self._pool.resize(settings.threads)

    def pause(self) -> None:
        self._paused.set()
        self._on_change()

    def resume(self) -> None:
        self._paused.clear()
        self.rescan()

    def rescan(self) -> None:
        for root in self._library.reader.roots():
            self.hints.sweep(root.root_id)
        self._on_change()

    def indexing(self) -> protocol.IndexingMessage:
        since, totals = self._working_since, self._totals
        state = "paused" if self._paused.is_set() else "idle" if since is None else "working"
        done = min(totals.done, totals.to_read)
        rate = done / (time.monotonic() - since) if since is not None and done else 0.0
        return protocol.IndexingMessage(
            state=state,
            done=done,
            to_do=totals.to_read,
            photos_per_second=round(rate, 1),
            eta_seconds=round((totals.to_read - done) / rate, 1) if rate else None,
        )

    # --- the thread ---------------------------------------------------------------------------

    def _index_until_stopped(self) -> None:
        lower_thread_priority()
        self._watcher.start()
        try:
            while not self.stopping.is_set():
                try:
                    self._index()
                except PhotosearchError as error:  # full disk, busy database: wait and go on
                    log.error("indexing.failed reason=%s", error)
                    self.stopping.wait(RETRY_SECONDS)
        except BaseException:
            log.exception("indexing.crashed")
            raise
        finally:
            self._watcher.stop()
            self._obey(refuse=True)

    def _interrupted(self) -> bool:
        """Whether to leave off after the batch in hand."""
        return self.stopping.is_set() or self._paused.is_set() or not self._orders.empty()

    def _obey(self, *, refuse: bool = False) -> None:
        """Do what was ordered; an error goes to who ordered it."""
        while not self._orders.empty():
            work, done = self._orders.get()
            try:
                if refuse:
                    raise PhotosearchError("the daemon is stopping.")
                done.set_result(work())
            except PhotosearchError as error:
                done.set_exception(error)
            except BaseException as error:
                done.set_exception(error)
                raise

    def _index(self) -> None:
        swept_at = float("-inf")
        available: dict[int, bool] = {}
        tending = False  # the graph's work goes on in small steps while nothing is due
        while not self.stopping.is_set():
            if time.monotonic() - swept_at >= self._settings.sweep_minutes * 60.0:
                swept_at = time.monotonic()
                available.clear()
                self.ingest.purge()
            for root in self._library.roots():
                now = root_available(root)
                if now:
                    self._watcher.watch(root)
                if available.get(root.root_id) != now:
                    available[root.root_id] = now
                    self.hints.sweep(root.root_id)
            self._obey()
            due = self.hints.take(timeout=0.0 if tending else ROOT_CHECK_SECONDS)
            tending = False
            if self._paused.is_set():
                self._keep(due)
                self.stopping.wait(0.2)
            elif due:
                self._work(due)
            elif not len(self.hints):
                self._pool.shrink(1)
                self._library.rest()
                tending = self._library.tend_graph(threads=self._settings.threads)

    def _keep(self, due: list[Due]) -> None:
        """While paused, what was due becomes a sweep for later."""
        for item in due:
            self.hints.sweep(item.root_id, delay=ROOT_CHECK_SECONDS)

    def _work(self, due: list[Due]) -> None:
        roots = {root.root_id: root for root in self._library.roots()}
        self._totals = Totals()
        self._working_since = time.monotonic()
        try:
            for item in due:
                if (root := roots.get(item.root_id)) is not None:
                    self._do(root, item)
        except BaseException:
            for item in due:  # nothing that was due is lost with the error
                self.hints.sweep(item.root_id, delay=RETRY_SECONDS)
            raise
        finally:
            self._progressed(self._totals)
            self._working_since = None
            self._on_change()
        if self._paused.is_set():
            self._keep(due)
        elif not self._orders.empty():
            for item in due:  # left off for an order: go on after it
                self.hints.sweep(item.root_id)

    def _do(self, root: Root, due: Due) -> None:
        waiting: list[bytes] = []
        if due.sweep:
            waiting += self.ingest.sync(root, self._totals)
        for folder in sorted(due.folders):
            waiting += self.ingest.sync(root, self._totals, under=folder)
        if due.paths:
            waiting += self.ingest.look_at(root, sorted(due.paths), self._totals)
        for path in waiting:
            self.hints.path(root.root_id, path, delay=SETTLE_NS / 1e9)

    def _progressed(self, totals: Totals) -> None:
        if self._working_since is not None:
            totals.seconds = time.monotonic() - self._working_since
        self._on_change()


def lower_thread_priority() -> None:
    """Let the user's work go first. Linux alone has this for one thread; elsewhere the decode
    workers, where most of the time goes, are lowered as processes."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
