"""The search page in a real Chromium, against a real daemon.

On the toy bundle, whose searches are known in advance: "green" finds the green
photos, "red" the red ones, and "blue" finds nothing. One test asks the shipped
bundle for a cat.
"""

from __future__ import annotations

import contextlib
import gzip
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
from urllib.parse import parse_qs, urlsplit
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
    sync_playwright,
)

from photosearch.bundle import find_bundles, shipped_bundles  # noqa: E402

CHECKOUT = Path(__file__).parent.parent.parent
STATIC = CHECKOUT / "photosearch" / "static"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FOLLOW_MS = 5_000  # the promise: a change on disk is on the page within this
REDS, GREENS = 70, 5  # more red ones than one page of results holds
MARKUP = 'green-<img src=x onerror="document.title=1">&amp;.jpg'

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed"),
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

    def code(self) -> str:
        code: str = self.call("/codes", method="POST")["code"]
        return code

    def wait_until_indexed(self, photos: int) -> None:
        deadline = time.monotonic() + 60
        while (now := self.call("/status"))["searchable"] < photos:
            assert time.monotonic() < deadline, now
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


def start_daemon(home: Path, disk: Path, *, bundle: Path | None, port: int | None = None) -> Daemon:
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


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = toy.make_toy_bundle(tmp_path_factory.mktemp("bundle"))
    return made


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


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Daemon]:
    disk = tmp_path_factory.mktemp("photos")
    write_library(disk)
    running = start_daemon(tmp_path_factory.mktemp("home"), disk, bundle=bundle)
    try:
        running.wait_until_indexed(REDS + GREENS)
        yield running
    finally:
        running.stop()


# --- a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as tool:
        launched = tool.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


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
        return [alt.split(", ")[0] for alt in self.page.locator("[role=option] img").evaluate_all(
            "images => images.map(image => image.alt)"
        )]  # fmt: skip

    def searches(self) -> list[str]:
        """The queries asked so far."""
        asked = [urlsplit(url) for url in self.requests]
        return [
            parse_qs(url.query).get("q", [""])[0] for url in asked if url.path.endswith("/search")
        ]


Opener = Callable[..., Window]
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


@pytest.fixture
def open_page(browser: Browser, daemon: Daemon) -> Iterator[Opener]:
    """Open the page, signed in unless told otherwise. At the end nothing may have gone wrong."""
    contexts: list[BrowserContext] = []
    windows: list[Window] = []

    def opened(
        *, running: Daemon = daemon, signed_in: bool = True, script: str = WATCH_SHIFTS
    ) -> Window:
        context = browser.new_context(viewport={"width": 1000, "height": 700}, locale="en-GB")
        contexts.append(context)
        context.add_init_script(script)
        window = Window(context.new_page())
        windows.append(window)
        watch(window, running.url)
        window.page.goto(running.url + (f"#code={running.code()}" if signed_in else ""))
        if signed_in:
            expect(window.options.first).to_be_visible()
        return window

    yield opened
    for window in windows:
        strangers = [url for url in window.requests if not url.startswith("http://127.0.0.1:")]
        assert strangers == []
        assert window.complaints == []
    for context in contexts:
        context.close()


def path_of(url: str) -> str:
    return urlsplit(url).path


# --- arriving ---------------------------------------------------------------------------------


def test_page_is_small() -> None:
    weight = sum(len(gzip.compress(file.read_bytes())) for file in STATIC.iterdir())
    assert weight < 60_000


def test_empty_box_shows_the_newest_photos_in_a_page_with_roles(open_page: Opener) -> None:
    window = open_page()
    page = window.page
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_text("Photo search")
    expect(page.get_by_role("search")).to_be_visible()
    expect(window.box).to_be_focused()
    expect(window.box).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("listbox")).to_have_accessible_name("Photos")
    expect(page.get_by_role("heading", name="Newest photos")).to_be_visible()
    names = window.names()
    assert all(name.startswith("green") for name in names[: GREENS - 1])
    # Taken in 2019, the dated one is the oldest of all, and on the second page.
    assert "green-dated.jpg" not in names[:60]
    expect(page.get_by_role("contentinfo")).to_contain_text(f"{REDS + GREENS} photos searchable")
    expect(page.get_by_role("contentinfo")).to_contain_text("1 file not readable")


def test_code_leaves_the_address_and_the_history(open_page: Opener, daemon: Daemon) -> None:
    window = open_page()
    assert window.page.url == daemon.url
    assert window.page.evaluate("history.length") <= 2  # about:blank and the page
    window.page.reload()  # the session is in the cookie
    expect(window.options.first).to_be_visible()
    assert window.page.evaluate("document.cookie") == ""  # and scripts cannot read it


def test_without_a_session_it_says_how_to_get_one(open_page: Opener, daemon: Daemon) -> None:
    window = open_page(signed_in=False)
    page = window.page
    expect(page.get_by_role("heading", name="Open photosearch again")).to_be_visible()
    expect(page.get_by_text("photosearch open", exact=True)).to_be_visible()
    expect(window.options).to_have_count(0)
    window.box.fill("green")
    field = page.get_by_label("Or paste a code, link or token here")
    field.fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    field.fill(f"{daemon.url}#code={daemon.code()}")
    field.press("Enter")
    expect(window.options).to_have_count(GREENS)
    expect(window.box).to_have_value("green")


# --- searching --------------------------------------------------------------------------------


def test_typing_searches(open_page: Opener) -> None:
    window = open_page()
    window.box.press_sequentially("green", delay=20)
    expect(window.options).to_have_count(GREENS)
    assert all(name.startswith("green") for name in window.names())
    expect(window.page.get_by_role("heading", name="5 photos")).to_be_visible()
    expect(window.page.locator("#said")).to_have_text("5 photos for “green”")
    dated = window.page.get_by_alt_text("green-dated.jpg, July 4, 2019")
    expect(dated).to_be_visible()
    # The query is private: neither the address nor the title, which browsers keep, has it.
    assert "green" not in window.page.url + window.page.title()


def test_a_stale_answer_never_paints(open_page: Opener) -> None:
    window = open_page(script="AbortController.prototype.abort = () => {};")
    held: list[Route] = []
    window.page.route(re.compile(r"/search\?.*q=red"), lambda route: held.append(route))
    window.box.fill("red")
    wait_for(window.page, lambda: bool(held))
    window.box.fill("green")
    expect(window.options).to_have_count(GREENS)
    with window.page.expect_response(re.compile(r"q=red")):
        held[0].continue_()
    window.page.wait_for_timeout(200)
    assert all(name.startswith("green") for name in window.names())


def wait_for(page: Page, is_so: Callable[[], bool]) -> None:
    """Poll from this side: the page's own polling needs eval, which its policy forbids."""
    deadline = time.monotonic() + FOLLOW_MS / 1000
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        page.wait_for_timeout(20)


def test_an_earlier_question_is_given_up(open_page: Opener) -> None:
    window = open_page()
    failed: list[str] = []
    window.page.on("requestfailed", lambda request: failed.append(request.url))
    window.page.route(re.compile(r"/search\?.*q=red"), lambda route: None)
    window.box.fill("red")
    wait_for(window.page, lambda: "red" in window.searches())
    window.box.fill("green")
    expect(window.options).to_have_count(GREENS)
    assert any("q=red" in url for url in failed)


def test_nothing_is_asked_while_an_input_method_composes(open_page: Opener) -> None:
    window = open_page()
    tools = window.page.context.new_cdp_session(window.page)
    for part in ("g", "gr", "gre"):
        tools.send(
            "Input.imeSetComposition", {"text": part, "selectionStart": 1, "selectionEnd": 1}
        )
    window.page.wait_for_timeout(200)
    assert set(window.searches()) == {""}
    tools.send("Input.insertText", {"text": "green"})
    expect(window.options).to_have_count(GREENS)


@pytest.mark.parametrize(("words", "photos"), [("red", REDS), ("", REDS + GREENS)])
def test_more_photos_come_with_scrolling(open_page: Opener, words: str, photos: int) -> None:
    window = open_page()
    if words:
        window.box.fill(words)
        expect(window.options.first).to_have_accessible_name(re.compile(f"^{words}"))
    window.page.mouse.move(500, 400)
    for _ in range(10):
        window.page.mouse.wheel(0, 3000)
    expect(window.options).to_have_count(photos)
    assert len(set(window.names())) == photos
    heading = f"{photos} photos" if words else "Newest photos"
    expect(window.page.get_by_role("heading", name=heading)).to_be_visible()


def test_no_match_names_the_query_and_offers_the_nearest(open_page: Opener) -> None:
    window = open_page()
    page = window.page
    window.box.fill("blue <b>sky</b>")
    expect(page.get_by_role("heading", name="Nothing looks like “blue <b>sky</b>”")).to_be_visible()
    expect(window.options).to_have_count(0)
    expect(window.box).to_have_attribute("aria-expanded", "false")
    page.get_by_role("button", name="Show the nearest anyway").click()
    expect(page.locator(".divider", has_text="Less likely")).to_be_visible()
    expect(
        page.get_by_role("group", name="Less likely").get_by_role("option").first
    ).to_be_visible()
    expect(window.box).to_be_focused()
    window.box.fill("green")  # "anyway" was about the words before
    expect(window.options).to_have_count(GREENS)
    expect(page.locator(".divider", has_text="Less likely")).to_be_hidden()
    page.get_by_role("button", name="Show less likely photos").click()
    matches = page.get_by_role("group", name="Matches").get_by_role("option")
    expect(matches).to_have_count(GREENS)
    expect(
        page.get_by_role("group", name="Less likely").get_by_role("option").first
    ).to_be_visible()


def test_markup_stays_text(open_page: Opener) -> None:
    window = open_page()
    window.box.fill("green")
    expect(window.options).to_have_count(GREENS)
    assert MARKUP in window.names()
    option = window.page.get_by_role("option", name=MARKUP)
    option.hover()
    expect(option.locator("b")).to_have_text(MARKUP)
    option.click()
    expect(window.preview.get_by_role("heading")).to_have_text(MARKUP)
    window.box.fill("<img src=x onerror=alert(1)>")
    assert window.page.title() == "photosearch"
    assert not any("/x" in path_of(url) for url in window.requests)


def test_more_like_this_is_a_chip_that_gives_the_words_back(open_page: Opener) -> None:
    window = open_page()
    window.box.fill("green")
    expect(window.options).to_have_count(GREENS)
    window.press("ArrowDown", " ")
    window.preview.get_by_role("button", name="More like this").click()
    chip = window.page.locator(".chip")
    expect(chip).to_contain_text("like: green-")
    expect(window.options).to_have_count(GREENS - 1)  # all but itself
    expect(window.box).to_have_value("")
    chip.get_by_role("button").click()
    expect(chip).to_have_count(0)
    expect(window.box).to_have_value("green")
    expect(window.options).to_have_count(GREENS)


# --- keys and mouse ---------------------------------------------------------------------------


def columns(window: Window) -> int:
    tops = window.options.evaluate_all("cells => cells.map(cell => cell.offsetTop)")
    return int(tops.count(tops[0]))


def test_keyboard_walk(open_page: Opener) -> None:
    window = open_page()
    window.box.fill("red")
    expect(window.options.first).to_have_accessible_name(re.compile("^red"))
    across = columns(window)
    assert across > 2
    expect(window.chosen).to_have_count(0)

    def chosen_is(index: int) -> None:
        cell = window.options.nth(index)
        expect(cell).to_have_attribute("aria-selected", "true")
        identity = cell.get_attribute("id")
        assert identity is not None
        expect(window.box).to_have_attribute("aria-activedescendant", identity)

    window.press("ArrowDown")
    chosen_is(0)
    window.press("ArrowRight", "ArrowDown")
    chosen_is(across + 1)
    window.press("ArrowLeft", "ArrowUp")
    chosen_is(0)
    window.press("End")
    chosen_is(window.options.count() - 1)
    window.press("Home")
    chosen_is(0)
    window.press("ArrowUp")
    expect(window.chosen).to_have_count(0)
    expect(window.box).to_be_focused()

    window.press("ArrowDown", " ")
    expect(window.preview).to_be_visible()
    first = window.preview.get_by_role("heading").inner_text()
    window.press("ArrowRight")
    expect(window.preview.get_by_role("heading")).not_to_have_text(first)
    window.press("Escape")  # preview, then photos, then text
    expect(window.preview).to_be_hidden()
    chosen_is(1)
    window.press("Escape")
    expect(window.chosen).to_have_count(0)
    expect(window.box).to_have_value("red")
    window.press("Escape")
    expect(window.box).to_have_value("")
    expect(window.page.get_by_role("heading", name="Newest photos")).to_be_visible()


def test_enter_opens_and_control_enter_reveals(open_page: Opener) -> None:
    window = open_page()
    window.box.fill("green")
    expect(window.options).to_have_count(GREENS)
    window.press("Enter")  # in the box: to the first photo, so that nothing opens by accident
    expect(window.options.first).to_have_attribute("aria-selected", "true")
    assert window.opened == []
    window.press("Enter")
    wait_for(window.page, lambda: len(window.opened) == 1)
    window.press("Control+Enter")
    wait_for(window.page, lambda: len(window.opened) == 2)
    identity = str(window.options.first.get_attribute("data-id"))
    assert window.opened == [f"/api/v1/photos/{identity}/{verb}" for verb in ("open", "reveal")]
    window.press(" ")
    expect(window.preview).to_be_visible()
    window.press("Enter")
    wait_for(window.page, lambda: len(window.opened) == 3)


def test_letters_in_the_grid_go_back_to_the_box(open_page: Opener) -> None:
    window = open_page()
    window.press("ArrowDown")
    expect(window.chosen).to_have_count(1)
    window.page.keyboard.type("green")
    expect(window.box).to_have_value("green")
    expect(window.options).to_have_count(GREENS)
    expect(window.chosen).to_have_count(0)
    window.box.blur()
    window.press("/")
    expect(window.box).to_be_focused()
    expect(window.box).to_have_value("green")
    window.press("ArrowDown", "?")
    expect(window.page.get_by_role("dialog", name="Keys")).to_be_visible()
    window.press("Escape")
    expect(window.page.get_by_role("dialog")).to_be_hidden()


def test_click_previews_and_double_click_opens_once(open_page: Opener) -> None:
    window = open_page()
    window.options.nth(2).click()
    expect(window.preview).to_be_visible()
    expect(window.preview.get_by_role("img").first).to_be_visible()
    expect(window.options.nth(2)).to_have_attribute("aria-selected", "true")
    window.press(" ")
    expect(window.preview).to_be_hidden()
    expect(window.box).to_be_focused()
    window.options.nth(1).dblclick()
    wait_for(window.page, lambda: len(window.opened) == 1)
    assert window.opened[0].endswith("/open")


# --- what goes on meanwhile -------------------------------------------------------------------


def test_photos_come_and_go_by_themselves(open_page: Opener, daemon: Daemon) -> None:
    window = open_page()
    window.box.fill("blue")
    expect(window.page.get_by_role("heading", name="Nothing looks like “blue”")).to_be_visible()
    added = [daemon.disk / f"blue-{number}.jpg" for number in (1, 2)]
    try:
        added[0].write_bytes(photo("blue", 1))
        expect(window.options).to_have_count(1)
        window.press("ArrowDown")
        added[1].write_bytes(photo("blue", 2))
        expect(window.options).to_have_count(2)
        expect(window.chosen).to_have_accessible_name("blue-1.jpg")  # chosen by photo, not place
        expect(window.box).to_have_value("blue")
    finally:
        for file in added:
            file.unlink(missing_ok=True)
    expect(window.options).to_have_count(0)


def test_nothing_moves_while_results_paint(open_page: Opener) -> None:
    window = open_page()
    for words in ("red", "green", "blue", ""):
        window.box.fill(words)
        window.page.wait_for_timeout(700)  # beyond the half second after input that CLS forgives
    shifts = window.page.evaluate("window.shifts")
    assert shifts == []


STATUS = {
    "running": True, "pid": 1, "version": "0", "photos": 20_000, "searchable": 1_204,
    "locations": 20_000, "failed": 3, "queue": 0, "bundle": "toy", "space": "s", "index": "exact",
    "library_bytes": 1, "thumbnail_bytes": 1,
    "libraries": [{"path": "/media/Holiday drive", "offline": True}],
}  # fmt: skip


def test_indexing_is_told_and_can_be_paused(open_page: Opener) -> None:
    window = open_page(signed_in=True)
    page = window.page
    state = "working"
    asked: list[str] = []

    def status() -> dict[str, Any]:
        run = {"done": 1_204, "to_do": 20_000, "photos_per_second": 52.0, "eta_seconds": 361.0}
        return {**STATUS, "indexing": {**run, "state": state}}

    def pause(route: Route) -> None:
        nonlocal state
        state = "paused" if route.request.url.endswith("pause") else "working"
        asked.append(path_of(route.request.url))
        route.fulfill(json={"ok": True})

    def stream(route: Route) -> None:
        body = f"event: status\ndata: {json.dumps(status())}\n\n"
        route.fulfill(body=body, content_type="text/event-stream")

    page.route("**/api/v1/status", lambda route: route.fulfill(json=status()))
    page.route("**/api/v1/events", stream)
    page.route("**/api/v1/index/*", pause)
    page.reload()
    foot = page.get_by_role("contentinfo")
    expect(foot).to_contain_text("1,204 of 20,000 – about 6 min")
    expect(foot).to_contain_text("3 files not readable")
    expect(foot).to_contain_text("Not connected: /media/Holiday drive")
    expect(page.locator("#progressed")).to_have_text("Indexed 1,204 of 20,000 photos, about 6 min")
    window.box.fill("blue")
    expect(page.get_by_text("18,796 photos are not indexed yet")).to_be_visible()
    page.get_by_role("button", name="Pause indexing").click()
    expect(foot).to_contain_text("Paused – 1,204 of 20,000")
    page.get_by_role("button", name="Resume indexing").click()
    expect(foot).to_contain_text("about 6 min")
    assert asked == ["/api/v1/index/pause", "/api/v1/index/resume"]


def test_unreadable_files_and_folders_are_listed(open_page: Opener, daemon: Daemon) -> None:
    window = open_page()
    window.page.get_by_role("button", name="1 file not readable").click()
    expect(window.preview).to_contain_text(str(daemon.disk / "broken.jpg"))
    expect(window.preview).to_contain_text("not a photo")
    window.press("Escape")
    window.page.get_by_role("button", name="Nothing leaves this computer").click()
    expect(window.preview).to_contain_text(str(daemon.disk))


def test_a_daemon_that_stops_and_comes_back(
    open_page: Opener, bundle: Path, tmp_path: Path
) -> None:
    """Photos and words stay; the new daemon does not know the old session."""
    home, disk = tmp_path / "home", tmp_path / "photos"
    disk.mkdir()
    (disk / "green.jpg").write_bytes(photo("green", 1))
    running = start_daemon(home, disk, bundle=bundle)
    port = int(urlsplit(running.url).port or 0)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(lambda: running.stop())
        running.wait_until_indexed(1)
        window = open_page(running=running)
        page = window.page
        window.box.fill("green")
        expect(page.get_by_role("heading", name="1 photo", exact=True)).to_be_visible()
        running.stop()
        expect(page.get_by_text("photosearch is not running. Trying again…")).to_be_visible()
        expect(window.options).to_have_count(1)
        window.box.fill("green photo")
        window.complaints = [line for line in window.complaints if "ERR_CONN" not in line]
        running = start_daemon(home, disk, bundle=bundle, port=port)
        expect(page.get_by_role("heading", name="Open photosearch again")).to_be_visible()
        expect(window.box).to_have_value("green photo")
        page.get_by_label("Or paste").fill(running.code())
        page.get_by_role("button", name="Sign in").click()
        expect(window.options).to_have_count(1)
        window.complaints = [line for line in window.complaints if "ERR_" not in line]


# --- a real model -----------------------------------------------------------------------------


@pytest.mark.skipif(not find_bundles([shipped_bundles()]), reason="no bundle is shipped")
def test_a_cat_is_found_among_real_photos(open_page: Opener, tmp_path: Path) -> None:
    skimage = pytest.importorskip("skimage", reason="scikit-image is not installed")
    sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    disk = tmp_path / "photos"
    disk.mkdir()
    folders = (
        Path(skimage.__file__).parent / "data",
        Path(sklearn.__file__).parent / "datasets" / "images",
    )
    files = [file for folder in folders for file in folder.iterdir()]
    for file in files:
        if file.suffix in (".png", ".jpg"):
            shutil.copy(file, disk)
    running = start_daemon(tmp_path / "home", disk, bundle=None)
    try:
        running.wait_until_indexed(20)
        window = open_page(running=running)
        window.box.press_sequentially("a cat", delay=30)
        expect(window.options.first).to_have_accessible_name("chelsea.png")
    finally:
        running.stop()
