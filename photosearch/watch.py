"""OS events -> paths to look at again.

An event is a hint, never the truth: it names a path, and what is on disk there
decides. Whenever events may have been lost the whole root is named instead.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from photosearch.scan import IGNORE_MARK, is_skipped_folder, is_watched_path, linked
from photosearch.types import Root

log = logging.getLogger(__name__)

QUIET_SECONDS: Final = 0.3  # after the last event for a path, before it is looked at
FDINFO: Final = Path("/proc/self/fdinfo")
_WATCHED: Final = re.compile(r"^inotify wd:([0-9a-f]+) ino:([0-9a-f]+) ", re.MULTILINE)
MAX_PENDING: Final = 20_000  # paths; with more, sweeping the root is cheaper


@dataclass(frozen=True)
class Due:
    """What to look at now, in one root."""

    root_id: int
    sweep: bool = False  # the whole root; then the rest is empty
    folders: frozenset[bytes] = frozenset()
    paths: frozenset[bytes] = frozenset()


@dataclass
class _Waiting:
    """One root's hints: when each may be acted on, in monotonic seconds."""

    sweep_at: float | None = None
    folders: dict[bytes, float] = field(default_factory=dict)
    paths: dict[bytes, float] = field(default_factory=dict)


class Hints:
    """A bounded set of things to look at again; repeats merge. Any thread may call."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._roots: dict[int, _Waiting] = {}
        self._changed = threading.Condition()

    def path(self, root_id: int, path: bytes, *, delay: float = QUIET_SECONDS) -> None:
        self._put(root_id, "paths", path, delay)

    def folder(self, root_id: int, folder: bytes, *, delay: float = QUIET_SECONDS) -> None:
        self._put(root_id, "folders", folder, delay)

    def sweep(self, root_id: int, *, delay: float = 0.0) -> None:
        with self._changed:
            waiting = self._roots.setdefault(root_id, _Waiting())
            when = self._clock() + delay
            waiting.sweep_at = when if waiting.sweep_at is None else min(waiting.sweep_at, when)
            self._changed.notify_all()

    def drop(self, root_id: int) -> None:
        """Forget what was due in a root that is no longer ours."""
        with self._changed:
            self._roots.pop(root_id, None)

    def wake(self) -> None:
        """Make a waiting `take` return early."""
        with self._changed:
            self._changed.notify_all()

    def take(self, timeout: float) -> list[Due]:
        """What is due, waiting up to `timeout` seconds for something to be."""
        with self._changed:
            now = self._clock()
            soonest = min(self._times(), default=now + timeout)
            if soonest > now:
                self._changed.wait(min(timeout, soonest - now))
            return self._due(self._clock())

    def __len__(self) -> int:
        with self._changed:
            return sum(
                len(waiting.paths) + len(waiting.folders) + (waiting.sweep_at is not None)
                for waiting in self._roots.values()
            )

    def _put(self, root_id: int, kind: str, what: bytes, delay: float) -> None:
        with self._changed:
            waiting = self._roots.setdefault(root_id, _Waiting())
            hints: dict[bytes, float] = getattr(waiting, kind)
            if len(hints) >= MAX_PENDING:
                waiting.paths.clear()
                waiting.folders.clear()
                waiting.sweep_at = self._clock() + delay
            else:
                hints[what] = self._clock() + delay
            self._changed.notify_all()

    def _times(self) -> Iterable[float]:
        for waiting in self._roots.values():
            if waiting.sweep_at is not None:
                yield waiting.sweep_at
            yield from waiting.folders.values()
            yield from waiting.paths.values()

    def _due(self, now: float) -> list[Due]:
        found: list[Due] = []
        for root_id, waiting in self._roots.items():
            if waiting.sweep_at is not None and waiting.sweep_at <= now:
                self._roots[root_id] = _Waiting()  # a sweep sees everything else too
                return [Due(root_id, sweep=True)]
            folders = frozenset(name for name, when in waiting.folders.items() if when <= now)
            paths = frozenset(name for name, when in waiting.paths.items() if when <= now)
            for name in folders:
                del waiting.folders[name]
            for name in paths:
                del waiting.paths[name]
            if folders or paths:
                found.append(Due(root_id, folders=folders, paths=paths))
        return found


class Watcher:
    """Feeds Hints from the operating system's file events, for as long as it can."""

    def __init__(self, hints: Hints) -> None:
        self._hints = hints
        self._observer: Any = None
        self._watched: dict[int, tuple[Root, tuple[int, int]]] = {}
        self._lost: set[int] = set()  # roots whose events nobody reads until they are watched again
        self._overflow = _OverflowHandler(self._overflowed)

    def start(self) -> None:
        # While it rebuilds its table after an overflow, watchdog warns with the whole table:
        # megabytes, and every folder name.
        warnings.filterwarnings("ignore", module=r"watchdog\.observers")
        logging.getLogger("watchdog.observers.inotify_c").addHandler(self._overflow)
        logging.getLogger("watchdog").propagate = False
        self._observer = _observer()

    def watch(self, root: Root) -> bool:
        """Watch a root; again if its folder was removed and made anew, was moved, or if the
        thread that watched it has ended. False where it cannot be watched."""
        if not _is_reading(self._observer):
            self._start_over()
        identity = _identity(root.path)
        watched = self._watched.get(root.root_id)
        if watched is not None:
            if (root, identity) == (replace(watched[0], offline=root.offline), watched[1]) and (
                self._is_alive(root)
            ):
                return True
            log.warning("watch.renewed path=%r", root.path)
            self._unwatch(root.root_id)
            self._hints.sweep(root.root_id, delay=QUIET_SECONDS)  # what happened meanwhile
        if identity is None:
            return False
        try:
            self._observer.schedule(
                _handler(root, self._hints), root.path, recursive=True, event_filter=_event_types()
            )
        except OSError as error:
            log.warning("watch.failed path=%r reason=%s", root.path, error)
            return False
        self._watched[root.root_id] = (root, identity)
        if root.root_id in self._lost:
            self._lost.discard(root.root_id)
            self._hints.sweep(root.root_id, delay=QUIET_SECONDS)  # what happened meanwhile
        return True

    def renew(self, root: Root) -> bool:
        """Watch a root from scratch, and only what is in it now. Events that are on their way are
        lost with the watch, so it is swept after."""
        self._lost.add(root.root_id)
        self.forget(root.root_id)
        return self.watch(root)

    def misnamed(self, root: Root, folders: Mapping[bytes, int]) -> int:
        """How many of these folders (path in the root -> inode) watchdog would name wrongly.

        When a folder leaves the root and comes back somewhere else, and then the one it was in
        is renamed, watchdog's table puts it there again. Events that name a hidden folder or
        one with the mark are dropped, so that the true folder's changes would go unnoticed.
        """
        watches = _kernel_watches()
        names = self._names(root)
        if watches is None or not names:
            return 0
        base = os.fsencode(root.path)
        return sum(
            (os.path.join(base, path) if path else base) not in map(names.get, watches[inode])
            for path, inode in folders.items()
            if inode in watches
        )

    def _names(self, root: Root) -> dict[int, bytes]:
        """What watchdog calls each of the kernel's watches; empty where it has no such table."""
        names: dict[int, bytes] = {}
        for emitter in list(getattr(self._observer, "emitters", ())):
            if emitter.watch.path == root.path:
                group = getattr(emitter, "_inotify", None)
                names.update(getattr(group, "_active_callbacks_by_watch", {}))
        return names

    def _is_alive(self, root: Root) -> bool:
        """Whether the thread that reads a root's events still runs: it ends with its folder."""
        return any(
            emitter.is_alive()
            for emitter in getattr(self._observer, "emitters", ())
            if emitter.watch.path == root.path
        )

    def forget(self, root_id: int) -> None:
        """Stop watching a root."""
        if root_id in self._watched:
            self._unwatch(root_id)

    def stop(self) -> None:
        logging.getLogger("watchdog.observers.inotify_c").removeHandler(self._overflow)
        if self._observer is not None:
            _end(self._observer)

    def _unwatch(self, root_id: int) -> None:
        root, _ = self._watched.pop(root_id)
        for watch in list(getattr(self._observer, "_watches", ())):
            if watch.path == root.path:
                try:
                    self._observer.unschedule(watch)
                except _BROKEN:
                    self._hints.sweep(root_id, delay=QUIET_SECONDS)
                    self._start_over()
                    return

    def _start_over(self) -> None:
        """Watch nothing, with tables of watchdog's that are new; who is told to sweep a root
        has it watched first. Theirs may lose step with the kernel when folders of one name
        follow each other quickly, and then raise, in the thread that reads events too."""
        log.warning("watch.broken: watching anew, sweeping")
        self._doubt_all()
        self._lost.update(self._watched)  # one may be swept before it is watched again
        self._watched.clear()
        _end(self._observer)
        self._observer = _observer()

    def _overflowed(self) -> None:
        log.warning("watch.overflow: events were lost, sweeping")
        self._doubt_all()

    def _doubt_all(self) -> None:
        for root_id in list(self._watched):
            self._hints.sweep(root_id, delay=QUIET_SECONDS)


# What watchdog's tables raise when they have lost step with the kernel.
_BROKEN: Final = (KeyError, ValueError, RuntimeError, OSError)


def _observer() -> Any:
    from watchdog.observers import Observer

    made = Observer()
    made.start()
    return made


def _is_reading(observer: Any) -> bool:
    """Whether its thread runs, and on Linux the one that reads the kernel's queue: an error
    ends that one without a word, and with it all events of all roots."""
    reader = getattr(observer, "_inotify_fd", None)
    return observer.is_alive() and (reader is None or reader.is_alive())


def _end(observer: Any) -> None:
    """Stop a watchdog observer, broken or not, and let go of the kernel's watches."""
    try:
        observer.stop()
    except _BROKEN as error:
        log.warning("watch.broken reason=%r", error)
        reader = getattr(observer, "_inotify_fd", None)
        if reader is not None:
            with contextlib.suppress(*_BROKEN):
                reader.stop()
    with contextlib.suppress(RuntimeError):  # never started
        observer.join(timeout=5.0)


def watched_inodes() -> set[int] | None:
    """Inodes of the folders this process watches; None where the system does not tell.

    A root's watch is taken silently in part when the system's limit is reached, and
    outlives its folder's move to somewhere else: watchdog says neither.
    """
    watches = _kernel_watches()
    return None if watches is None else set(watches)


def _kernel_watches() -> dict[int, set[int]] | None:
    """Inode -> numbers of the watches on it; None where the system does not tell."""
    found: dict[int, set[int]] = {}
    try:
        for name in os.listdir(FDINFO):
            with contextlib.suppress(OSError):  # closed since it was listed
                text = (FDINFO / name).read_text(encoding="ascii", errors="replace")
                for wd, inode in _WATCHED.findall(text):
                    found.setdefault(int(inode, 16), set()).add(int(wd, 16))
    except OSError:
        return None
    return found


class _OverflowHandler(logging.Handler):
    """watchdog tells of lost events only in its log."""

    def __init__(self, on_overflow: Callable[[], None]) -> None:
        super().__init__()
        self._on_overflow = on_overflow

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._on_overflow()


def _event_types() -> list[Any]:
    from watchdog import events

    types: list[Any] = [
        events.FileCreatedEvent,
        events.FileMovedEvent,
        events.FileDeletedEvent,
        events.DirCreatedEvent,
        events.DirMovedEvent,
        events.DirDeletedEvent,
    ]
    # Linux tells when a writer has closed the file; elsewhere each write is told.
    types.append(
        events.FileClosedEvent if sys.platform.startswith("linux") else events.FileModifiedEvent
    )
    return types


def _handler(root: Root, hints: Hints) -> Any:
    from watchdog.events import FileSystemEvent, FileSystemEventHandler

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            for name in (event.src_path, event.dest_path):
                if name:
                    hint(root, hints, os.fsencode(name), is_folder=event.is_directory)

    return Handler()


def hint(root: Root, hints: Hints, absolute: bytes, *, is_folder: bool) -> None:
    """Turn one event's path into a hint; paths outside the root or of no interest are dropped."""
    base = os.fsencode(root.path).rstrip(os.sep.encode())
    if absolute == base:
        hints.sweep(root.root_id, delay=QUIET_SECONDS)
        return
    if not absolute.startswith(base + os.sep.encode()):
        return
    path = absolute[len(base) + 1 :].replace(os.sep.encode(), b"/")
    if is_folder:
        if not any(is_skipped_folder(name) for name in path.split(b"/")):
            hints.folder(root.root_id, path)
    elif is_watched_path(path):
        hints.path(root.root_id, path)
    elif path == IGNORE_MARK:
        hints.sweep(root.root_id, delay=QUIET_SECONDS)
    elif path.endswith(b"/" + IGNORE_MARK):  # all in its folder comes or goes with it
        hints.folder(root.root_id, path[: -len(IGNORE_MARK) - 1])
    elif linked(absolute) is not None:  # no photo's name, but another of its names may be
        hints.path(root.root_id, path)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
