"""A running daemon on the toy bundle, and a real Chromium's window on its page.

Searches of the toy bundle are known in advance: "green" finds the green photos,
"red" the red ones, and "blue" finds nothing.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
toy = pytest.importorskip("toy", reason="onnx is not installed")

from playwright.sync_api import (  # noqa: E402
    Browser,
    BrowserContext,
    Locator,
    Page,
    Route,
    expect,
)

CHECKOUT = Path(__file__).parent.parent.parent
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Names that an attacker's site could have, all of them this machine.
    "--host-resolver-rules=MAP *.evil.test 127.0.0.1",
]
FOLLOW_MS = 60_000  # for a machine that is busy with other things
REDS, GREENS = 70, 5  # more red ones than one page of results holds
MARKUP = 'green-<img src=x onerror="document.title=1">&amp;.jpg'

needs_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not any(map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))),
        reason="no Chromium or Chrome is installed",
    ),
]
expect.set_options(timeout=FOLLOW_MS)


# --- a daemon ---------------------------------------------------------------------------------


@dataclass
class Daemon:
    """A running daemon, its folder of photos, and the way in."""

    process: subprocess.Popen[str]
    url: str
    home: Path
    disk: Path

    @property
    def token(self) -> str:
        return (self.home / "token").read_text().strip()

    def call(self, path: str, *, method: str = "GET") -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        with urlopen(Request(self.url + "api/v1" + path, headers=headers, method=method)) as reply:
            return json.load(reply)

    def search(self, words: str) -> Any:
        return self.call("/search?" + urlencode({"q": words}))

    def code(self) -> str:
        code: str = self.call("/codes", method="POST")["code"]
        return code

    def wait_until_indexed(self, photos: int) -> None:
        deadline = time.monotonic() + 240  # reading photos yields to everything else
        while (now := self.call("/status"))["searchable"] < photos:
            assert time.monotonic() < deadline, now
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=120)


def start_daemon(home: Path, disk: Path, *, bundle: Path | None, port: int | None = None) -> Daemon:
    settings = home / "config.toml"
    if not settings.exists():  # reading text in every picture would only cost minutes here
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.write_text("read_text = false\n", encoding="utf-8")
    command = [sys.executable, str(CHECKOUT / "app.py"), "--home", str(home)]
    if bundle is not None:
        command += ["--bundle", str(bundle)]
    command += ["serve", "--library", str(disk), "--no-open"]
    if port is not None:
        command += ["--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.fullmatch(r"photosearch: (http://\S+/)\n", process.stdout.readline())
    assert found, "the daemon did not start"
    return Daemon(process, found[1], home, disk)


def photo(colour: str, seed: int, *, taken: str | None = None) -> bytes:
    """A photo of one colour; `taken` as a camera writes it."""
    if taken is None:
        made: bytes = toy.painted(colour, seed=seed)
        return made
    exif = Image.Exif()
    exif[0x8769] = {0x9003: taken}  # DateTimeOriginal
    file = io.BytesIO()
    Image.new("RGB", (90, 60), toy.PAINT[colour]).save(file, "JPEG", exif=exif)
    return file.getvalue()


def write_library(disk: Path) -> None:
    """The newest photos are the green ones; one of each trap is among them."""
    for number in range(REDS):
        (disk / f"red-{number:02}.jpg").write_bytes(photo("red", number))
    (disk / "green-dated.jpg").write_bytes(photo("green", 1, taken="2019:07:04 18:30:00"))
    (disk / MARKUP).write_bytes(photo("green", 2))
    (disk / "green-3.jpg").write_bytes(photo("green", 3))
    (disk / "green-4 été 夏.jpg").write_bytes(photo("green", 4))
    # A name that is not UTF-8, where the file system takes one.
    last = os.fsencode(disk) + b"/green-\xe9.jpg"
    try:
        Path(os.fsdecode(last)).write_bytes(photo("green", 5))
    except (OSError, UnicodeError):
        (disk / "green-5.jpg").write_bytes(photo("green", 5))
    for file in disk.iterdir():
        age = 0 if file.name.startswith("green") else 86_400
        os.utime(file, (time.time() - 600 - age,) * 2)
    (disk / "broken.jpg").write_bytes(b"not a photo")


# --- a browser --------------------------------------------------------------------------------


@dataclass
class Window:
    """One page, what it asked for, and what it complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)  # paths of POST .../open and /reveal

    @property
    def box(self) -> Locator:
        return self.page.get_by_role("combobox")

    @property
    def options(self) -> Locator:
        return self.page.get_by_role("option")

    @property
    def chosen(self) -> Locator:
        return self.page.locator("[role=option][aria-selected=true]")

    @property
    def preview(self) -> Locator:
        return self.page.get_by_role("dialog")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def names(self) -> list[str]:
        """File names of the photos shown, in order."""
        return [label.split(", ")[0] for label in self.page.locator("[role=option]").evaluate_all(
            "options => options.map(option => option.ariaLabel)"
        )]  # fmt: skip

    def searches(self) -> list[str]:
        """The queries asked so far."""
        asked = [urlsplit(url) for url in self.requests]
        return [
            parse_qs(url.query).get("q", [""])[0] for url in asked if url.path.endswith("/search")
        ]


Opener = Callable[..., Window]
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None
)
WATCH_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const { value, sources } of list.getEntries()) {
    const from = sources.map(({ node, previousRect: a, currentRect: b }) =>
      [node?.id || node?.className || node?.nodeName, a.x, a.y, b.x, b.y].join(" "));
    window.shifts.push([value, from]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""


def watch(window: Window, origin: str) -> None:
    """Record requests and complaints; catch what would open a viewer on this machine."""

    def complain(message: Any) -> None:
        # A browser logs every refusal; being signed out is one of the states tested.
        if message.type in ("error", "warning") and "status of 401" not in message.text:
            window.complaints.append(message.text)

    def pretend(route: Route) -> None:
        window.opened.append(urlsplit(route.request.url).path)
        route.fulfill(json={"ok": True})

    window.page.on("request", lambda request: window.requests.append(request.url))
    window.page.on("console", complain)
    window.page.on("pageerror", lambda error: window.complaints.append(str(error)))
    window.page.route(re.compile(r"/photos/\d+/(open|reveal)$"), pretend)


def opening(browser: Browser, daemon: Daemon) -> Iterator[Opener]:
    """Open the page, signed in unless told otherwise. At the end nothing may have gone wrong."""
    contexts: list[BrowserContext] = []
    windows: list[Window] = []

    def opened(
        *,
        running: Daemon = daemon,
        signed_in: bool = True,
        script: str = WATCH_SHIFTS,
        language: str = "",
        **options: Any,
    ) -> Window:
        # Without motion: frames that nobody looks at cost a test machine most of its time.
        still = {"viewport": {"width": 1000, "height": 700}, "reduced_motion": "reduce"}
        options = {**still, "locale": "en-GB", **options}
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(2 * FOLLOW_MS)
        context.add_init_script(script)
        window = Window(context.new_page())
        windows.append(window)
        watch(window, running.url)
        address = running.url + (f"?lang={language}" if language else "")
        window.page.goto(address + (f"#code={running.code()}" if signed_in else ""))
        if signed_in:
            expect(window.options.first).to_be_visible()
        return window

    yield opened
    for window in windows:
        strangers = [url for url in window.requests if not url.startswith("http://127.0.0.1:")]
        assert strangers == []
        assert window.complaints == [], window.complaints
    for window in windows:
        window.page.unroute_all(behavior="ignoreErrors")  # an answer may be on its way
    for context in contexts:
        context.close()


def path_of(url: str) -> str:
    return urlsplit(url).path


def wait_for(page: Page, is_so: Callable[[], bool]) -> None:
    """Poll from this side: the page's own polling needs eval, which its policy forbids."""
    deadline = time.monotonic() + FOLLOW_MS / 1000
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        page.wait_for_timeout(20)


STATUS = {
    "running": True, "pid": 1, "version": "0", "photos": 20_000, "searchable": 1_204,
    "locations": 20_000, "failed": 3, "queue": 0, "bundle": "toy", "space": "s", "index": "exact",
    "library_bytes": 1, "thumbnail_bytes": 1,
    "libraries": [{"path": "/media/Holiday drive", "offline": True}],
}  # fmt: skip


def serve_status(page: Page, status: Callable[[], dict[str, Any]]) -> None:
    """Answer for the daemon about the state of things."""

    def stream(route: Route) -> None:
        body = f"event: status\ndata: {json.dumps(status())}\n\n"
        route.fulfill(body=body, content_type="text/event-stream")

    page.route("**/api/v1/status", lambda route: route.fulfill(json=status()))
    page.route("**/api/v1/events", stream)
