"""The search bar's bars: from key press to painted results, and what the daemon costs.

    python -m benchmarks.search_bar [--page 10000] [--library 100000] [--bundle DIR] [--json FILE]

Makes a library of that many photos that exist nowhere (their folder is away, so
nothing is read from disk), starts the real daemon on it, and measures:

  weight   the page's files, compressed
  cold     from starting the process until a search is answered
  api      searches over HTTP, every one of other words; wall, and the daemon's CPU
  memory   the daemon's resident memory afterwards
  page     in Chromium: each key press until the frame after its results are in the
           page, and that over (the search's own round trip + one frame of 16.7 ms)
  shift    the page's cumulative layout shift meanwhile

Wall times on a shared machine say little: the ratio and the CPU times hold there too.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np

from photosearch.bundle import require_bundle, shipped_bundles
from photosearch.encoder import open_encoder
from photosearch.formats import thumbnail
from photosearch.library import Changes, Embedded, Library
from photosearch.types import Stamp

CHECKOUT = Path(__file__).resolve().parent.parent
STATIC = CHECKOUT / "photosearch" / "static"
BATCH = 1000
MAX_LINKS = 50_000  # thumbnails, all one file; file systems allow some 65,000 names for one
FRAME_MS = 1000 / 60
TOPICS = (
    *("a dog", "a beach", "mountains", "a cat", "flowers", "food", "a car", "people", "a house"),
    *("snow", "a boat", "a horse", "a street at night", "a child", "a bird", "a bridge"),
)
TYPED = ("dog on a beach", "mountains", "a red car", "sunset by the sea", "birthday", "flowers",
         "an old bridge", "two people", "a cat asleep", "snow")  # fmt: skip


def make_library(home: Path, photos: int, bundle: Any) -> None:
    """Photos with vectors spread around a few topics, and thumbnails that are one file."""
    from PIL import Image

    encoder = open_encoder(bundle, threads=1)
    topics = encoder.texts(list(TOPICS))
    rng = np.random.default_rng(0)
    home.mkdir(mode=0o700, parents=True)
    library = Library(home / "library.db", space=bundle.space, dim=bundle.dim, bundle=bundle.name)
    root = library.add_root("/nowhere/photos")
    picture = thumbnail(Image.fromarray(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)))
    kept = home / "thumbnails" / "one.webp"
    kept.parent.mkdir()
    kept.write_bytes(picture)
    for start in range(0, photos, BATCH):
        changes = Changes(root.root_id)
        count = min(BATCH, photos - start)
        rows = topics[rng.integers(0, len(topics), count)]
        rows = rows + rng.standard_normal(rows.shape).astype(np.float32) * 0.06
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        for number, row in zip(range(start, start + count), rows, strict=True):
            digest = number.to_bytes(32, "big")
            stamp = Stamp(number + 1, 10**18 + number, 1, number + 1)
            place = (f"{number // 1000:03}/photo {number:06}.jpg".encode(), stamp)
            taken = f"{2005 + number % 20}-{1 + number % 12:02}-{1 + number % 28:02}T12:00:00"
            colour = number % 0xFFFFFF
            changes.embedded.append(
                Embedded(digest, "JPEG", 320, 240, taken, row, (place,), colour)
            )
            if number < MAX_LINKS:
                file = home / "thumbnails" / digest.hex()[:2] / f"{digest.hex()}.webp"
                file.parent.mkdir(exist_ok=True)
                os.link(kept, file)
        library.commit(changes, now_ns=10**18)
    library.set_offline(root.root_id, True)
    library.close()


class Running:
    """The daemon, and what the system says of it."""

    def __init__(self, home: Path, bundle: str) -> None:
        command = [sys.executable, str(CHECKOUT / "app.py"), "--home", str(home)]
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, "--bundle", bundle, "serve", "--no-open"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self.token = (home / "token").read_text().strip()
        self.port = int(urllib.parse.urlsplit(self.url).port or 0)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        self.search("a dog")
        self.cold_s = time.perf_counter() - began
        self.cold_cpu_s = self.cpu_s()

    def call(self, method: str, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        self.connection.request(method, "/api/v1" + path, headers=headers)
        return json.loads(self.connection.getresponse().read())

    def search(self, words: str, k: int = 60) -> Any:
        return self.call("GET", "/search?" + urllib.parse.urlencode({"q": words, "k": k}))

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return float("nan")

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.wait(timeout=60)


def page_weight() -> int:
    return sum(len(gzip.compress(file.read_bytes())) for file in STATIC.iterdir())


def measure_api(running: Running, searches: int) -> dict[str, float]:
    walls: list[float] = []
    told: list[float] = []
    used = running.cpu_s()
    for number in range(searches):
        words = f"{TOPICS[number % len(TOPICS)]} {number}"
        began = time.perf_counter()
        told.append(running.search(words)["milliseconds"])
        walls.append((time.perf_counter() - began) * 1000)
    used = running.cpu_s() - used
    return {
        "searches": searches,
        "wall_p50_ms": round(statistics.median(walls), 2),
        "wall_p95_ms": round(float(np.percentile(walls, 95)), 2),
        "wall_min_ms": round(min(walls), 2),
        "told_p50_ms": round(statistics.median(told), 2),
        "cpu_ms": round(used / searches * 1000, 2),
    }


WATCH = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
window.painted = () => new Promise((tell) => {
  const begun = performance.now();
  const watcher = new MutationObserver(() => {
    watcher.disconnect();
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => tell(performance.now() - window.pressed);
      channel.port2.postMessage(0);
    });
  });
  const whole = { childList: true, subtree: true, characterData: true };
  watcher.observe(document.getElementById("grid"), whole);
  watcher.observe(document.getElementById("heading"), whole);
  setTimeout(() => { watcher.disconnect(); tell(null); }, 5000);
});
window.addEventListener("keydown", (event) => { window.pressed = event.timeStamp; }, true);
"""
LAST_SEARCH = """() => performance.getEntriesByType("resource")
  .filter((entry) => entry.name.includes("/search?")).at(-1).duration"""


def measure_page(running: Running) -> dict[str, float]:
    """Every key of some searches, each when the one before has been painted."""
    from playwright.sync_api import sync_playwright

    painted: list[float] = []
    ratios: list[float] = []
    code = running.call("POST", "/codes")["code"]
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.add_init_script(WATCH)
        page.goto(f"{running.url}#code={code}")
        page.get_by_role("option").first.wait_for()
        page.evaluate("performance.setResourceTimingBufferSize(20000)")
        for words in TYPED:
            page.get_by_role("combobox").fill("")
            page.wait_for_timeout(150)
            for letter in words:
                if letter == " ":
                    page.keyboard.press("Space")
                    continue
                page.evaluate("window.next = window.painted(), 0")
                page.keyboard.press(letter)
                took = page.evaluate("window.next")
                if took is not None:  # else the photos were the same ones
                    api = page.evaluate(LAST_SEARCH)
                    painted.append(took)
                    ratios.append(took / (api + FRAME_MS))
                page.wait_for_timeout(80)
        shift = page.evaluate("window.shift")
        browser.close()
    return {
        "keys": len(painted),
        "p50_ms": round(statistics.median(painted), 1),
        "p95_ms": round(float(np.percentile(painted, 95)), 1),
        "ratio_p50": round(statistics.median(ratios), 2),
        "ratio_p95": round(float(np.percentile(ratios, 95)), 2),
        "within_twice": round(sum(ratio <= 2 for ratio in ratios) / len(ratios), 3),
        "layout_shift": shift,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--page", type=int, default=10_000, help="photos while keys are pressed")
    parser.add_argument("--library", type=int, default=100_000, help="photos for api and memory")
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--bundle")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    bundle = require_bundle(args.bundle, [shipped_bundles()])
    found: dict[str, Any] = {"bundle": bundle.name, "weight_bytes": page_weight()}
    with tempfile.TemporaryDirectory() as folder:
        for name, photos in (("page", args.page), ("library", args.library)):
            if not photos:
                continue
            home = Path(folder) / name
            make_library(home, photos, bundle)
            running = Running(home, str(bundle.directory))
            try:
                told: dict[str, Any] = {
                    "photos": photos,
                    "cold_s": round(running.cold_s, 2),
                    "cold_cpu_s": round(running.cold_cpu_s, 2),
                    "load": round(os.getloadavg()[0], 1),
                }
                told["api"] = measure_api(running, args.searches)
                if name == "page":
                    told["keys"] = measure_page(running)
                told["memory_mb"] = round(running.memory_mb(), 1)
                found[name] = told
            finally:
                running.stop()
            print(json.dumps({name: found[name]}), flush=True)
    print(json.dumps(found))
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
