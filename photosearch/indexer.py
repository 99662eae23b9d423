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

from photosearch import extras, memory, protocol
from photosearch.bundle import Bundle
from photosearch.decode import DecodePool
from photosearch.encoder import Encoder
from photosearch.errors import PhotosearchError
from photosearch.ingest import Ingest, Totals
from photosearch.library import Library
from photosearch.mounts import is_network
from photosearch.pace import Rate, Throttle
from photosearch.power import on_battery
from photosearch.reconcile import SETTLE_NS
from photosearch.roots import can_list
from photosearch.settings import Settings
from photosearch.switch import Switch
from photosearch.texts import read_texts
from photosearch.thumbnails import Thumbnails
from photosearch.types import Root
from photosearch.watch import Due, Hints, Watcher, watched_inodes

log = logging.getLogger(__name__)

ROOT_CHECK_SECONDS: Final = 5.0  # between looks at whether roots came or went
UNWATCHED_SECONDS: Final = 60.0  # between sweeps of a root that no events tell of, at least
SWEEP_SHARE: Final = 50.0  # and times what a sweep took: at most 2 % of a core
SLEPT_SECONDS: Final = 30.0  # by which the clocks part while a machine sleeps
RENEW_SECONDS: Final = 30.0  # between two tries to watch a root from scratch, at least
GONE_SECONDS: Final = 2.0  # from a folder's disappearance to the sweep that asks where it went
TEXTS_AT_ONCE: Final = 4  # pictures, a second or two each; then hints and orders are looked at
TRIM_SECONDS: Final = 1800.0
BATTERY_SECONDS: Final = 10.0
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
        self._readers = DecodePool(workers=1)  # of text in pictures
        self._paused = threading.Event()
        self._totals = Totals()
        self._working_since: float | None = None
        self._rate = Rate()
        self._clocks = (time.time(), time.monotonic())
        self._swept: dict[int, tuple[float, float]] = {}  # root: when, and for how long
        self._unwatched: set[int] = set()  # roots whose changes no event tells, or not all
        self._folders: dict[int, frozenset[int]] = {}  # inodes met by a root's last sweep
        self._restless: set[int] = set()  # roots with events of folders since we looked
        self._renewed: dict[int, float] = {}  # when a root was last watched from scratch
        self._battery = (float("-inf"), False)  # when we asked, and the answer
        self._thumbnails = thumbnails
        self._trimmed = time.monotonic()
        self._worked = True  # since memory was last given back
        self._thread = threading.Thread(target=self._index_until_stopped, name="indexing")
        self._orders: queue.SimpleQueue[tuple[Callable[[], int], Future[int]]] = queue.SimpleQueue()
        self.switch: Switch | None = None  # the move to another bundle, while one is on
        self._on_switched: Callable[[Switch], None] = lambda switch: None
        self.embed_with(encoder)

    def embed_with(self, encoder: Encoder) -> None:
        """Embed new photos with this encoder, whose space is the library's."""
        self.ingest = Ingest(
            self._library,
            encoder,
            self._pool,
            self._thumbnails,
            on_progress=self._progressed,
            should_stop=self._interrupted,
            throttle=self._throttle(),
        )

    def begin_switch(
        self, bundle: Bundle, encoder: Encoder, on_switched: Callable[[Switch], None]
    ) -> None:
        """Embed all photos for another bundle when nothing else is due; for an order, or before
        the thread runs."""
        self.switch = Switch(self._library, bundle, encoder, self._pool, throttle=self._throttle())
        self._on_switched = on_switched

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the batch in hand."""
        self.stopping.set()
        self.hints.wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._pool.close()
        self._readers.close()

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
        self.ingest.throttle = self._throttle()

    def _throttle(self) -> Throttle:
        return Throttle(
            max_cpu=self._settings.max_cpu,
            threads=self._settings.threads,
            sleep=self.stopping.wait,
        )

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
        totals, working = self._totals, self._working_since is not None
        state = "paused" if self._paused.is_set() or self._battery[1] else "idle"
        if working and state == "idle":
            state = "working"
        done = min(totals.done, totals.to_read)
        eta = self._rate.seconds_for(totals.to_read - done) if working else None
        return protocol.IndexingMessage(
            state=state,
            done=done,
            to_do=totals.to_read,
            photos_per_second=round(self._rate.per_second, 1) if working else 0.0,
            eta_seconds=None if eta is None else round(eta, 1),
            reason="on battery" if self._battery[1] and not self._paused.is_set() else "",
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
        return (
            self.stopping.is_set()
            or self._paused.is_set()
            or not self._orders.empty()
            or self._on_battery()
        )

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
        seen: dict[int, tuple[bool, bool]] = {}  # of each root: is it there, is it marked offline
        tending = False  # the graph's work goes on in small steps while nothing is due
        while not self.stopping.is_set():
            if self._slept():
                seen.clear()
            for root in self._library.roots():
                now = can_list(root)
                if now:
                    self._watch(root)
                # Gone and back between two looks, it was marked offline by whoever looked inside,
                # and what was due then is due still.
                if seen.get(root.root_id) != (now, root.offline) or self._is_time(root):
                    seen[root.root_id] = (now, root.offline)
                    self.hints.sweep(root.root_id)
            self._obey()
            due = self.hints.take(timeout=0.0 if tending else ROOT_CHECK_SECONDS)
            tended, tending = tending, False
            if self._paused.is_set() or self._on_battery():
                self._keep(due)
                self.stopping.wait(0.2)
            elif due:
                self._work(due)
            elif not len(self.hints):
                if self.switch is None:
                    self._pool.shrink(1)
                self._library.rest()
                self._trim()
                self._check_folders()
                if self._worked and self.switch is None:
                    self._worked = False
                    memory.give_back()
                tending = (
                    self._switch_on()
                    or self._library.tend_graph(threads=self._settings.threads)
                    or self._read_texts()
                )
                # Learning the cells of 100,000 photos frees as much as the vectors take.
                self._worked = self._worked or (tended and not tending)

    def _switch_on(self) -> bool:
        """A batch of the move to another bundle, or its end. True while there is more to do."""
        if self.switch is None:
            return False
        if self.switch.step():
            self._on_change()
            return True
        if not self.switch.complete:
            return False
        finished, self.switch = self.switch, None
        finished.finish()
        self._on_switched(finished)
        self._on_change()
        return True

    def _slept(self) -> bool:
        """Whether the machine was asleep since the last call: the wall clock went on, ours
        did not. A clock that was set looks the same, and costs a sweep."""
        wall, own = time.time(), time.monotonic()
        before, self._clocks = self._clocks, (wall, own)
        return abs((wall - before[0]) - (own - before[1])) > SLEPT_SECONDS

    def _is_time(self, root: Root) -> bool:
        """Whether a root is due for its sweep: seldom where events tell, often where not."""
        now = time.monotonic()
        last, took = self._swept.get(root.root_id, (float("-inf"), 0.0))
        pause = self._settings.sweep_minutes * 60.0
        if root.root_id in self._unwatched:
            pause = min(pause, max(UNWATCHED_SECONDS, SWEEP_SHARE * took))
        if now - last < pause:
            return False
        self._swept[root.root_id] = (now, took)
        return True

    def _watch(self, root: Root) -> None:
        if is_network(root.path):
            self._watcher.forget(root.root_id)
            self._unwatched.add(root.root_id)
        elif not self._watcher.watch(root):
            self._unwatched.add(root.root_id)

    def _check_watches(self, root: Root) -> None:
        """After a sweep: is every folder watched, and none that is ours no more?"""
        folders = self.ingest.inodes.get(root.root_id, frozenset())
        gone = self._folders.get(root.root_id, frozenset()) - folders
        self._folders[root.root_id] = folders
        if is_network(root.path):
            return
        watched = watched_inodes()
        if watched is not None and watched & gone:  # moved out, and watched wherever it is now
            self._watcher.renew(root)
        self._require_watches(root, folders)
        self._restless.add(root.root_id)

    def _check_folders(self) -> None:
        """At rest, after folders came or went: is each watched that the library knows, and
        under its own name?"""
        for root in self._library.roots() if self._restless else ():
            if root.root_id in self._restless and not (root.offline or is_network(root.path)):
                known = self._library.remembered(root.root_id, b"").items()
                inodes = {path: row[0] for path, row in known if row[0]}
                misnamed = self._watcher.misnamed(root, inodes)
                self._require_watches(root, frozenset(inodes.values()), misnamed=misnamed)
        self._restless.clear()

    def _require_watches(self, root: Root, folders: frozenset[int], *, misnamed: int = 0) -> None:
        """Watch a root from scratch where a folder is not watched, or under another's name, and
        sweep it often until all are: watchdog may lose one that moves while it looks, or the
        system have no more."""
        watched = watched_inodes()
        if watched is None:
            return
        missing = len(folders - watched) + misnamed
        if not missing:
            self._unwatched.discard(root.root_id)
            return
        log.warning("watch.incomplete path=%r folders=%d", root.path, missing)
        self._unwatched.add(root.root_id)
        now, took = time.monotonic(), self._swept.get(root.root_id, (0.0, 0.0))[1]
        pause = max(RENEW_SECONDS, SWEEP_SHARE * took)  # it ends in a sweep
        if now - self._renewed.get(root.root_id, float("-inf")) > pause:
            self._renewed[root.root_id] = now
            self._watcher.renew(root)

    def _read_texts(self) -> bool:
        """Look for text in a few pictures, where the extra is installed. True while there are
        more; the process that holds the reader ends with the last."""
        if not self._settings.read_text or not extras.can_read_text():
            return False

        def due() -> bool:
            return self._interrupted() or bool(len(self.hints))

        if read_texts(self._library, self._readers, most=TEXTS_AT_ONCE, should_stop=due):
            self._on_change()
            return True
        self._readers.shrink(0)
        return False

    def _trim(self) -> None:
        """Keep the thumbnails within their limit; looked at now and then, with nothing to do."""
        if time.monotonic() - self._trimmed > TRIM_SECONDS:
            self._trimmed = time.monotonic()
            self._thumbnails.trim(self._settings.thumbnail_mb << 20)

    def _on_battery(self) -> bool:
        """Asked at most every BATTERY_SECONDS."""
        if not self._settings.pause_on_battery:
            self._battery = (float("-inf"), False)
        elif time.monotonic() - self._battery[0] > BATTERY_SECONDS:
            self._battery = (time.monotonic(), on_battery())
        return self._battery[1]

    def _keep(self, due: list[Due]) -> None:
        """While paused, what was due becomes a sweep for later."""
        for item in due:
            self.hints.sweep(item.root_id, delay=ROOT_CHECK_SECONDS)

    def _work(self, due: list[Due]) -> None:
        roots = {root.root_id: root for root in self._library.roots()}
        self._totals = Totals()
        self._rate = Rate()
        self._working_since = time.monotonic()
        self._worked = True
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
        if self._paused.is_set() or self._on_battery():
            self._keep(due)
        elif not self._orders.empty():
            for item in due:  # left off for an order: go on after it
                self.hints.sweep(item.root_id)

    def _do(self, root: Root, due: Due) -> None:
        waiting: list[bytes] = []
        if due.sweep:
            began = time.monotonic()
            self.ingest.purge()
            waiting += self.ingest.sync(root, self._totals)
            self._swept[root.root_id] = (time.monotonic(), time.monotonic() - began)
            self._check_watches(root)
        if due.folders:
            self._restless.add(root.root_id)
        for folder in sorted(due.folders):
            waiting += self.ingest.sync(root, self._totals, under=folder)
            if not os.path.isdir(os.path.join(os.fsencode(root.path), folder)):
                # Deleted, or moved out and still watched there: the sweep finds out which.
                self.hints.sweep(root.root_id, delay=GONE_SECONDS)
        if due.paths:
            waiting += self.ingest.look_at(root, sorted(due.paths), self._totals)
            parents = {path.rpartition(b"/")[0] for path in due.paths}
            base = os.fsencode(root.path)
            if not all(os.path.isdir(os.path.join(base, folder)) for folder in parents):
                # Events below a folder that moves may name where it was.
                self.hints.sweep(root.root_id, delay=GONE_SECONDS)
        for path in waiting:
            self.hints.path(root.root_id, path, delay=SETTLE_NS / 1e9)

    def _progressed(self, totals: Totals) -> None:
        if self._working_since is not None:
            totals.seconds = time.monotonic() - self._working_since
            self._rate.update(totals.done)
        self._on_change()


def lower_thread_priority() -> None:
    """Let the user's work go first. Linux alone has this for one thread; elsewhere the decode
    workers, where most of the time goes, are lowered as processes."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
