"""Key presses in the search page, in Chromium: from each until its results are painted.

Of a key press is told: the time until the frame after its results are in the page; that
over (the search's own round trip + one frame of 16.7 ms); where it went (until the search is
sent, from its answer until the page is changed, from there to the frame's beginning, the
frame); until every photo in the window is there; the CPU of daemon and browser; and the
cumulative layout shift.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.footprint import cpu_seconds, tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.sync_api import Playwright

    from benchmarks.search_bar import Running

FRAME_MS = 1000 / 60
PAUSE_MS = 80  # from when every photo is there to the next key
TYPED = ("dog on a beach", "mountains", "a red car", "sunset by the sea", "birthday", "flowers",
         "an old bridge", "two people", "a cat asleep", "snow", "a red boat", "children in snow",
         "yellow flowers", "a horse in a field", "street at night", "a blue house",
         "food on a table", "mountain lake", "birds over water", "cars at night")  # fmt: skip

WATCH = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
const isWaiting = (cell) => {
  const { top, bottom } = cell.getBoundingClientRect();
  return bottom > 0 && top < innerHeight && !(cell.querySelector("img")?.naturalWidth > 0);
};
const ms = () => performance.now() - window.pressed;
window.painted = () => new Promise((tell) => {
  performance.clearResourceTimings();
  const watcher = new MutationObserver(() => {
    watcher.disconnect();
    const changed = ms();
    requestAnimationFrame(() => {
      const frame = ms();
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        const painted = ms();
        const search = performance.getEntriesByType("resource")
          .filter((entry) => entry.name.includes("/search?")).at(-1);
        const sent = search?.startTime - window.pressed;
        const told = { painted, api: search?.duration, sent, frame: painted - frame };
        told.heard = changed - sent - search?.duration;
        told.wait = frame - changed;
        const look = () => {
          const waits = [...document.querySelectorAll(".cell")].some(isWaiting);
          if (!waits || ms() > 5000) tell({ ...told, pictures: ms() });
          else requestAnimationFrame(look);
        };
        look();
      };
      channel.port2.postMessage(0);
    });
  });
  const whole = { childList: true, subtree: true, characterData: true };
  watcher.observe(document.getElementById("grid"), whole);
  watcher.observe(document.getElementById("heading"), whole);
  setTimeout(() => { watcher.disconnect(); tell(null); }, 2000);
});
window.addEventListener("keydown", (event) => { window.pressed = event.timeStamp; }, true);
"""


class Window:
    """The page of one daemon, in a browser of its own."""

    def __init__(self, play: Playwright, running: Running) -> None:
        self._running = running
        before = set(chromiums())
        self._browser = play.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        self._page = self._browser.new_page(viewport={"width": 1200, "height": 800})
        self._page.add_init_script(WATCH)
        code = running.call("POST", "/codes")["code"]
        self._page.goto(f"{running.url}#code={code}")
        self._page.get_by_role("option").first.wait_for()
        self._page.wait_for_timeout(1500)
        self._pids = set(chromiums()) - before
        self._keys = 0
        self._seen: list[dict[str, float]] = []
        self._used = np.zeros(2)  # seconds of CPU: daemon, browser

    def type(self, words: str) -> None:
        """Every key when the results of the one before have been painted."""
        page = self._page
        page.get_by_role("combobox").fill("")
        page.wait_for_timeout(150)
        before = self._cpu_s()
        for letter in words:
            if letter == " ":
                page.keyboard.press("Space")
                continue
            self._keys += 1
            page.evaluate("window.next = window.painted(), 0")
            page.keyboard.press(letter)
            if (found := page.evaluate("window.next")) and found.get("api"):
                self._seen.append(found)  # else the photos were the same ones
            page.wait_for_timeout(PAUSE_MS)
        self._used += self._cpu_s() - before

    def told(self) -> dict[str, Any]:
        ratios = np.array([each["painted"] / (each["api"] + FRAME_MS) for each in self._seen])
        parts = ("api", "sent", "heard", "wait", "frame", "pictures")
        daemon, browser = self._used / self._keys * 1000
        return {
            "keys": len(self._seen),
            "p50_ms": self._of("painted", 50),
            "p95_ms": self._of("painted", 95),
            "ratio_p50": round(statistics.median(ratios), 2),
            "ratio_p95": round(float(np.percentile(ratios, 95)), 2),
            "ratio_p99": round(float(np.percentile(ratios, 99)), 2),
            "within_twice": round(float((ratios <= 2).mean()), 4),
            **{f"{part}_p50_ms": self._of(part, 50) for part in parts},
            **{f"{part}_p95_ms": self._of(part, 95) for part in parts},
            "daemon_cpu_ms": round(daemon, 1),
            "browser_cpu_ms": round(browser, 1),
            "layout_shift": self._page.evaluate("window.shift"),
        }

    def close(self) -> None:
        self._browser.close()

    def _of(self, part: str, percent: int) -> float:
        return round(float(np.percentile([each[part] for each in self._seen], percent)), 1)

    def _cpu_s(self) -> np.ndarray:
        browser = 0.0
        for pid in self._pids:
            with contextlib.suppress(OSError):
                browser += cpu_seconds(pid)
        return np.array([self._running.cpu_s(), browser])


def chromiums() -> list[int]:
    """Chromium's processes below this one."""
    found: list[int] = []
    for pid in tree(os.getpid()):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"--type=" in command or b"--remote-debugging" in command:
                found.append(pid)
    return found


def measure(runnings: Sequence[Running], *, rounds: int, busy: int) -> list[dict[str, Any]]:
    """The same words in the page of each daemon; in turns, the first of which changes."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, contextlib.ExitStack() as ending:
        windows = [Window(play, running) for running in runnings]
        for _ in range(busy):
            loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            ending.callback(loop.kill)
        time.sleep(1)
        for number in range(rounds):
            for place, words in enumerate(TYPED):
                turns = windows if (number + place) % 2 else windows[::-1]
                for window in turns:
                    window.type(words)
        found = [
            window.told() | {"busy": busy, "load": round(os.getloadavg()[0], 1)}
            for window in windows
        ]
        for window in windows:
            window.close()
        return found
