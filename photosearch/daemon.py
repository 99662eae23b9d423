"""The daemon: owns the encoder, the writer and the indexing thread, and serves the API."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from photosearch import home, opener, protocol
from photosearch.bundle import Bundle, load_background
from photosearch.decode import PREVIEW_PX, DecodePool, Picture, Task
from photosearch.doctor import TEXTS, Subject, examine
from photosearch.encoder import Encoder
from photosearch.errors import PhotosearchError
from photosearch.formats import THUMBNAIL_PX
from photosearch.home import Home
from photosearch.ingest import Ingest, Totals, forget_library, root_available
from photosearch.library import Library
from photosearch.query import parse
from photosearch.reconcile import SETTLE_NS
from photosearch.search import Search
from photosearch.settings import Settings
from photosearch.status import library_status
from photosearch.store.photos import Place, join
from photosearch.thumbnails import Thumbnails
from photosearch.types import Root
from photosearch.watch import Due, Hints, Watcher

log = logging.getLogger(__name__)

CODE_SECONDS: Final = 60.0
MAX_SESSIONS: Final = 64
ROOT_CHECK_SECONDS: Final = 5.0  # between looks at whether roots came or went
RETRY_SECONDS: Final = 30.0  # after an error of the disk or the database
WRITE_SECONDS: Final = 600.0  # a request that changes the library waits this long for its turn


@dataclass(frozen=True)
class Opened:
    """A file to send: where it is, and the type its bytes were found to have."""

    path: Path
    media_type: str


class Daemon:
    """What the API serves. Its indexing thread is the only writer."""

    def __init__(
        self, place: Home, settings: Settings, bundle: Bundle, encoder: Encoder, library: Library
    ) -> None:
        self.home = place
        self.settings = settings
        self.bundle = bundle
        self.library = library
        self.encoder = encoder
        self.token = home.require_token(place)
        self.version = 0  # grows with every change worth telling the page
        self.stopping = threading.Event()
        self.on_stop: Callable[[], None] = lambda: None
        self._search = Search(encoder, library.index, library.reader, load_background(bundle))
        self._thumbnails = Thumbnails(place.thumbnails)
        self._hints = Hints()
        self._watcher = Watcher(self._hints)
        self._pool = DecodePool(workers=settings.threads)
        self._previews = DecodePool(workers=1)
        self._previews_lock = threading.Lock()
        self._paused = threading.Event()
        self._totals = Totals()
        self._working_since: float | None = None
        self._thread = threading.Thread(target=self._index_until_stopped, name="indexing")
        self._codes: dict[str, float] = {}
        self._sessions: dict[str, float] = {}
        self._sessions_lock = threading.Lock()
        self._thumbnail_bytes = (float("-inf"), 0)  # measured when, and what
        # What the API wants written, for the indexing thread to do between two batches.
        self._orders: queue.SimpleQueue[tuple[Callable[[], int], Future[int]]] = queue.SimpleQueue()
        self.ingest = Ingest(
            library,
            encoder,
            self._pool,
            self._thumbnails,
            on_progress=self._progressed,
            should_stop=self._interrupted,
        )

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the indexing thread after the batch in hand, then let go of everything."""
        self.stopping.set()
        self._hints.wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._pool.close()
        with self._previews_lock:
            self._previews.close()
        self.library.close()

    def request_stop(self) -> None:
        self.on_stop()

    # --- indexing thread ----------------------------------------------------------------------

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

    def _order(self, work: Callable[[], int]) -> int:
        """Have the indexing thread, the only writer, do something soon; wait until it has."""
        if self._thread.ident is None:  # not started: there is no other writer yet
            return work()
        if not self._thread.is_alive():
            raise PhotosearchError("the library is not being written to any more. Start again.")
        done: Future[int] = Future()
        self._orders.put((work, done))
        self._hints.wake()
        try:
            return done.result(timeout=WRITE_SECONDS)
        except TimeoutError:
            raise PhotosearchError("the daemon is busy. Try again in a while.") from None

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
        sweep_seconds = self.settings.sweep_minutes * 60.0
        swept_at = float("-inf")
        available: dict[int, bool] = {}
        tending = False  # the graph's work goes on in small steps while nothing is due
        while not self.stopping.is_set():
            if time.monotonic() - swept_at >= sweep_seconds:
                swept_at = time.monotonic()
                available.clear()
                self.ingest.purge()
            for root in self.library.roots():
                now = root_available(root)
                if now:
                    self._watcher.watch(root)
                if available.get(root.root_id) != now:
                    available[root.root_id] = now
                    self._hints.sweep(root.root_id)
            self._obey()
            due = self._hints.take(timeout=0.0 if tending else ROOT_CHECK_SECONDS)
            tending = False
            if self._paused.is_set():
                self._keep(due)
                self.stopping.wait(0.2)
            elif due:
                self._work(due)
            elif not len(self._hints):
                self._pool.shrink(1)
                self.library.rest()
                tending = self.library.tend_graph(threads=self.settings.threads)

    def _keep(self, due: list[Due]) -> None:
        """While paused, what was due becomes a sweep for later."""
        for item in due:
            self._hints.sweep(item.root_id, delay=ROOT_CHECK_SECONDS)

    def _work(self, due: list[Due]) -> None:
        roots = {root.root_id: root for root in self.library.roots()}
        self._totals = Totals()
        self._working_since = time.monotonic()
        try:
            for item in due:
                if (root := roots.get(item.root_id)) is not None:
                    self._do(root, item)
        except BaseException:
            for item in due:  # nothing that was due is lost with the error
                self._hints.sweep(item.root_id, delay=RETRY_SECONDS)
            raise
        finally:
            self._progressed(self._totals)
            self._working_since = None
            self.version += 1
        if self._paused.is_set():
            self._keep(due)
        elif not self._orders.empty():
            for item in due:  # left off for an order: go on after it
                self._hints.sweep(item.root_id)

    def _do(self, root: Root, due: Due) -> None:
        waiting: list[bytes] = []
        if due.sweep:
            waiting += self.ingest.sync(root, self._totals)
        for folder in sorted(due.folders):
            waiting += self.ingest.sync(root, self._totals, under=folder)
        if due.paths:
            waiting += self.ingest.look_at(root, sorted(due.paths), self._totals)
        for path in waiting:
            self._hints.path(root.root_id, path, delay=SETTLE_NS / 1e9)

    def _progressed(self, totals: Totals) -> None:
        if self._working_since is not None:
            totals.seconds = time.monotonic() - self._working_since
        self.version += 1

    # --- what the API asks --------------------------------------------------------------------

    def search(
        self, *, q: str, k: int, offset: int, show_all: bool, like: int | None
    ) -> protocol.SearchReply:
        started = time.perf_counter()
        query = parse(q, now=datetime.datetime.now(datetime.UTC).astimezone(), like_photo_id=like)
        if query.finds_nothing_by_itself:
            results = self._search.latest(k=k, offset=offset)
        else:
            results = self._search.run(query, k=k, offset=offset, show_all=show_all)
        return protocol.SearchReply(
            query=q,
            hits=list(results.hits),
            more=results.more,
            hidden=results.hidden,
            cutoff=results.cutoff,
            total_photos=len(self.library.index),
            milliseconds=round((time.perf_counter() - started) * 1000, 2),
            chips=[protocol.Chip(**asdict(token)) for token in query.tokens],
            notes=list(results.notes or query.notes),
        )

    def place(self, photo_id: int) -> Place | None:
        return self.library.reader.places([photo_id]).get(photo_id)

    def photo(self, photo_id: int) -> protocol.PhotoReply | None:
        place = self.place(photo_id)
        if place is None:
            return None
        photo = place.photo
        return protocol.PhotoReply(
            photo_id=photo_id,
            path=place.path,
            taken=photo.taken,
            width_px=photo.width_px,
            height_px=photo.height_px,
            format=photo.format,
            offline=place.offline,
        )

    def thumbnail(self, photo_id: int, side_px: int) -> bytes | None:
        """WebP; from the cache up to THUMBNAIL_PX, else made now from the original."""
        place = self.place(photo_id)
        if place is None:
            return None
        small = side_px <= THUMBNAIL_PX
        if small and (found := self._thumbnails.find(place.photo.content_hash)) is not None:
            return found
        if self.original(photo_id) is None:
            return None
        wanted = THUMBNAIL_PX if small else min(side_px, PREVIEW_PX)
        with self._previews_lock:
            outcome = self._previews.one(Task(b"", place.path, None, side_px=wanted))
        if not isinstance(outcome, Picture):
            return None
        if small and outcome.content_hash == place.photo.content_hash:
            self._thumbnails.put(outcome.content_hash, outcome.picture)
        return outcome.picture

    def original(self, photo_id: int) -> Opened | None:
        """The file itself, if it is still a regular file inside one of the libraries."""
        place = self.place(photo_id)
        if place is None:
            return None
        path = Path(place.path)
        try:
            real = path.resolve(strict=True)
            roots = [Path(root.path).resolve() for root in self.library.reader.roots()]
        except (OSError, RuntimeError):
            return None
        if not real.is_file() or not any(real.is_relative_to(root) for root in roots):
            return None
        return Opened(real, MEDIA_TYPES.get(place.photo.format, "application/octet-stream"))

    def open(self, photo_id: int, *, reveal: bool) -> bool:
        opened = self.original(photo_id)
        if opened is None:
            return False
        if reveal:
            opener.reveal_photo(str(opened.path))
        else:
            opener.open_photo(str(opened.path))
        return True

    def status(self) -> protocol.StatusReply:
        return replace(
            library_status(self.library.reader, self.home, self.bundle),
            running=True,
            pid=os.getpid(),
            queue=len(self._hints),
            indexing=self.indexing(),
            # What a search answers from now; the index follows a commit a moment later.
            searchable=len(self.library.index),
            index=self.library.index.kind,
            thumbnail_bytes=self._measured_thumbnails(),
        )

    def rejected(self) -> list[protocol.RejectedMessage]:
        return [
            protocol.RejectedMessage(join(os.fsencode(root.path), place.path), place.rejected or "")
            for root, place in self.library.reader.rejected()
        ]

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

    def pause(self) -> None:
        self._paused.set()
        self.version += 1

    def resume(self) -> None:
        self._paused.clear()
        self.rescan()

    def rescan(self) -> None:
        for root in self.library.reader.roots():
            self._hints.sweep(root.root_id)
        self.version += 1

    def retry(self, library: int, under: str) -> protocol.RetryReply | None:
        """Read files that could not be used again, now: all, those of one root, or below a path
        in it. None where there is no such library."""
        roots = [r for r in self.library.reader.roots() if library in (0, r.root_id)]
        if library and not roots:
            return None

        def clear() -> int:
            cleared = 0
            for root in roots:
                paths = self.library.clear_rejected(root.root_id, os.fsencode(under))
                for path in paths:
                    self._hints.path(root.root_id, path, delay=0.0)
                cleared += len(paths)
            return cleared

        return protocol.RetryReply(self._order(clear))

    def forget(self, library: int) -> protocol.ForgetReply | None:
        """Drop a root with all that is known of its photos; the photos stay. None where there
        is no such library."""
        if library not in {root.root_id for root in self.library.reader.roots()}:
            return None

        def drop() -> int:
            self._watcher.forget(library)
            self._hints.drop(library)
            forgotten = forget_library(self.library, self._thumbnails, library)
            self.version += 1
            return forgotten

        return protocol.ForgetReply(self._order(drop))

    def doctor(self) -> protocol.DoctorReply:
        """Examine the library with the index that answers now."""
        subject = Subject(
            place=self.home,
            reader=self.library.reader,
            space=self.bundle.space,
            dim=self.bundle.dim,
            bundle=self.bundle.name,
            index=self.library.index,
            texts=self.encoder.texts(TEXTS),
            running=True,
        )
        return examine(subject)

    def _measured_thumbnails(self) -> int:
        """Walking the cache is slow, and a minute-old size is good enough."""
        when, size = self._thumbnail_bytes
        if time.monotonic() - when > 60.0:
            size = self._thumbnails.size_bytes()
            self._thumbnail_bytes = (time.monotonic(), size)
        return size

    # --- who may ask --------------------------------------------------------------------------

    def new_code(self) -> str:
        """A code that opens one session, once, within CODE_SECONDS."""
        code = secrets.token_urlsafe(32)
        with self._sessions_lock:
            self._codes = {c: t for c, t in self._codes.items() if t > time.monotonic()}
            self._codes[code] = time.monotonic() + CODE_SECONDS
        return code

    def login(self, code: str) -> str | None:
        """Exchange a code, or the token, for a session id; None where it is not good."""
        with self._sessions_lock:
            fresh = self._codes.pop(code, float("-inf")) > time.monotonic()
            if not fresh and not secrets.compare_digest(code.encode(), self.token.encode()):
                return None
            session = secrets.token_urlsafe(32)
            self._sessions[session] = time.monotonic()
            while len(self._sessions) > MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            return session

    def knows_session(self, session: str) -> bool:
        with self._sessions_lock:
            return session in self._sessions


MEDIA_TYPES: Final = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "GIF": "image/gif",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "HEIF": "image/heif",
}


def lower_thread_priority() -> None:
    """Let the user's work go first. Linux alone has this for one thread; elsewhere the decode
    workers, where most of the time goes, are lowered as processes."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
