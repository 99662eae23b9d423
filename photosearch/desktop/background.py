"""Work beside the window: threads that ask the daemon, and answers on the window's thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from PySide6.QtCore import QObject, Signal

from photosearch.errors import PhotosearchError

CLOSE_SECONDS: Final = 5.0
Work = Callable[[], Any]
Done = Callable[[Any], None]


class Background(QObject):
    """A few threads and a stack of work, the newest first: what was asked last is looked at.

    `done(result)` is called on the thread that made this object, with a PhotosearchError
    where the work raised one. Any other exception is a bug, and is raised there.
    """

    _finished = Signal(object, object)

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._stack: deque[tuple[Work, Done]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._finished.connect(self._deliver)
        self._threads = [
            threading.Thread(target=self._run, name=f"asking-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work, done: Done) -> None:
        with self._changed:
            self._stack.append((work, done))
            self._changed.notify()

    def forget_waiting(self) -> None:
        """Drop what no thread has begun."""
        with self._changed:
            self._stack.clear()

    def close(self) -> None:
        """Nothing is begun or delivered any more; waits a little for what is under way.

        The threads hold what they work for, windows among it. A window whose last holder is
        a thread would be destroyed on that thread, which Qt does not survive.
        """
        with self._changed:
            self._closed = True
            self._stack.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stack and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                work, done = self._stack.pop()
            try:
                outcome = work()
            except BaseException as error:
                outcome = error
            with self._changed:  # not after close(): the object may be gone
                if self._closed:
                    return
                self._finished.emit(done, outcome)
            del work, done, outcome  # not to be held while this thread waits

    def _deliver(self, done: Done, outcome: Any) -> None:
        if self._closed:
            return
        if isinstance(outcome, BaseException) and not isinstance(outcome, PhotosearchError):
            raise outcome
        done(outcome)
