"""How fast the work goes, and how fast it may."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Final

WINDOW_SECONDS: Final = 20.0  # a rate over the last photos: the first ones waited for processes
MAX_POINTS: Final = 200


class Rate:
    """Things done per second, lately, and how long the rest will take at that rate."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._points: deque[tuple[float, int]] = deque([(clock(), 0)], maxlen=MAX_POINTS)

    def update(self, done: int) -> None:
        now = self._clock()
        if now - self._points[-1][0] >= WINDOW_SECONDS / MAX_POINTS or len(self._points) == 1:
            self._points.append((now, done))
        else:
            self._points[-1] = (now, done)
        while len(self._points) > 2 and now - self._points[1][0] > WINDOW_SECONDS:
            self._points.popleft()

    @property
    def per_second(self) -> float:
        (since, before), (_, done) = self._points[0], self._points[-1]
        seconds = self._clock() - since
        return (done - before) / seconds if seconds > 0 and done > before else 0.0

    def seconds_for(self, count: int) -> float | None:
        """None while nothing is known."""
        rate = self.per_second
        return count / rate if rate > 0 else None


class Throttle:
    """Keeps work to a share of the machine by resting between its pieces.

    Fewer threads do most of it; what whole threads cannot express, pauses do: a quarter of
    two cores is one thread, half of the time.
    """

    def __init__(
        self,
        *,
        max_cpu: int,
        threads: int,
        cores: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._duty = min(1.0, max_cpu / 100 * (cores or os.cpu_count() or 1) / threads)
        self._clock, self._sleep = clock, sleep
        self._since = clock()

    def begin(self) -> None:
        """Work starts now: what was before was no work."""
        self._since = self._clock()

    def rest(self) -> None:
        """Rest as long as the work since the last rest allows."""
        if self._duty < 1.0:
            self._sleep((self._clock() - self._since) * (1 / self._duty - 1))
            self._since = self._clock()
