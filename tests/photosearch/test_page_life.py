"""What goes on while the page is open: photos come and go, the daemon too."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pages import (
    STATUS,
    Daemon,
    Opener,
    Window,
    needs_chromium,
    path_of,
    photo,
    serve_status,
    start_daemon,
)
from playwright.sync_api import Route, expect

from photosearch.bundle import find_bundles, shipped_bundles

pytestmark = needs_chromium


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

    serve_status(page, status)
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


PUSHED = """
window.EventSource = class extends EventTarget {
  constructor() { super(); window.stream = this; }
  close() {}
};
window.push = (status) =>
  window.stream.dispatchEvent(new MessageEvent("status", { data: JSON.stringify(status) }));
"""


def test_progress_is_announced_at_most_every_ten_seconds(open_page: Opener) -> None:
    """To who listens; the line that is seen follows every event."""
    window = open_page()
    page = window.page
    page.evaluate(f"() => {{ {PUSHED} }}")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # it connects again
    page.evaluate(
        """window.heard = [];
        new MutationObserver(() => heard.push(document.getElementById("progressed").textContent))
          .observe(document.getElementById("progressed"), { childList: true });"""
    )
    page.clock.install(time=0)
    page.clock.pause_at(1_000)

    def indexed(done: int, *, after_ms: int, state: str = "working") -> list[str]:
        """What was said so far, once so many photos are indexed."""
        page.clock.run_for(after_ms)
        run = {"done": done, "to_do": 20_000, "photos_per_second": 52.0, "eta_seconds": 361.0}
        page.evaluate(
            "status => push(status)",
            {
                **STATUS,
                "searchable": done,
                "indexing": {**run, "state": state},
            },
        )
        if state == "working":
            expect(page.get_by_role("contentinfo")).to_contain_text(f"{done:,} of 20,000")
        heard: list[str] = page.evaluate("heard")
        return [re.sub(r"Indexed | of .*", "", each) for each in heard]

    assert indexed(1_000, after_ms=0) == ["1,000"]
    for number in range(1, 10):  # nine events in nine seconds
        assert indexed(1_000 + number, after_ms=1_000) == ["1,000"]
    assert indexed(1_010, after_ms=1_000) == ["1,000", "1,010"]
    assert indexed(1_011, after_ms=9_900) == ["1,000", "1,010"]
    assert indexed(1_012, after_ms=100) == ["1,000", "1,010", "1,012"]
    *before, last = indexed(20_000, after_ms=100, state="idle")  # the end is said at once
    assert before == ["1,000", "1,010", "1,012"]
    assert last == "Indexing finished. 20,000 photos can be searched."


def test_unreadable_files_and_folders_are_listed(open_page: Opener, daemon: Daemon) -> None:
    window = open_page()
    window.page.get_by_role("button", name="1 file not readable").click()
    expect(window.preview).to_contain_text(str(daemon.disk / "broken.jpg"))
    expect(window.preview).to_contain_text("not a photo")
    window.press("Escape")
    window.page.get_by_role("button", name="Folders and settings").click()
    expect(window.preview).to_contain_text(str(daemon.disk))


def test_a_daemon_that_stops_and_comes_back(
    open_page: Opener, toy_bundle: Path, tmp_path: Path
) -> None:
    """Photos and words stay; the new daemon does not know the old session."""
    home, disk = tmp_path / "home", tmp_path / "photos"
    disk.mkdir()
    (disk / "green.jpg").write_bytes(photo("green", 1))
    running = start_daemon(home, disk, bundle=toy_bundle)
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
        running = start_daemon(home, disk, bundle=toy_bundle, port=port)
        expect(page.get_by_role("heading", name="Open photosearch again")).to_be_visible()
        expect(window.box).to_have_value("green photo")
        page.get_by_label("Or paste").fill(running.code())
        page.get_by_role("button", name="Sign in").click()
        expect(window.options).to_have_count(1)
        window.complaints = [line for line in window.complaints if "ERR_" not in line]


def test_all_data_is_deleted_from_the_page_and_no_photo(
    open_page: Opener, toy_bundle: Path, tmp_path: Path
) -> None:
    home, disk = tmp_path / "home", tmp_path / "photos"
    disk.mkdir()
    (disk / "green.jpg").write_bytes(photo("green", 1))
    running = start_daemon(home, disk, bundle=toy_bundle)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(lambda: running.stop())
        running.wait_until_indexed(1)
        window = open_page(running=running)
        page = window.page
        page.get_by_role("button", name="Nothing leaves this computer").click()
        page.get_by_role("button", name="Delete all data…").click()
        act = window.preview.get_by_role("button", name="Delete", exact=True)
        page.keyboard.type("delet")
        expect(act).to_be_disabled()
        window.press("Enter")
        assert running.process.poll() is None
        page.keyboard.type("e")
        act.click()
        expect(page.get_by_role("heading", name="All data is deleted")).to_be_visible()
        assert running.process.wait(timeout=60) == 0
        # Its end may be noticed before its answer, and a browser logs that nobody is there.
        window.complaints = [line for line in window.complaints if "ERR_CONN" not in line]
    assert not home.exists()
    assert (disk / "green.jpg").read_bytes() == photo("green", 1)


def test_after_all_data_is_deleted_one_may_begin_again(
    open_page: Opener, toy_bundle: Path, tmp_path: Path
) -> None:
    home, disk = tmp_path / "home", tmp_path / "photos"
    disk.mkdir()
    for name in ("green", "red"):
        (disk / f"{name}.jpg").write_bytes(photo(name, 1))
    running = start_daemon(home, disk, bundle=toy_bundle)
    port = int(urlsplit(running.url).port or 0)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(lambda: running.stop())
        running.wait_until_indexed(2)
        window = open_page(running=running)
        page = window.page
        window.box.fill("green")
        expect(window.options).to_have_count(1)
        window.press("ArrowDown", "Shift+Enter")
        expect(page.locator(".chip")).to_be_visible()
        window.box.fill("green")
        page.get_by_role("button", name="Nothing leaves this computer").click()
        page.get_by_role("button", name="Delete all data…").click()
        page.keyboard.type("delete")
        window.press("Enter")
        gone = page.get_by_role("heading", name="All data is deleted")
        expect(gone).to_be_visible()
        expect(window.box).to_have_value("")  # it was one of the searches
        expect(page.locator(".chip")).to_have_count(0)
        running.process.wait(timeout=60)
        enter(window, "a-code-of-before")  # nobody answers
        expect(page.get_by_role("heading", name="Open photosearch again")).to_be_visible()
        expect(page.get_by_role("alert")).to_have_text("photosearch is not running.")
        expect(gone).to_have_count(0)
        window.complaints = [line for line in window.complaints if "ERR_CONN" not in line]
        (disk / "green.jpg").unlink()
        running = start_daemon(home, disk, bundle=toy_bundle, port=port)
        running.wait_until_indexed(1)
        enter(window, "a-wrong-code")
        expect(page.get_by_role("alert")).to_contain_text("code")
        enter(window, running.code())
        expect(window.options).to_have_count(1)
        assert window.names() == ["red.jpg"]
        expect(page.locator("#signin")).to_be_hidden()
        expect(window.box).to_be_focused()
        window.complaints = [line for line in window.complaints if "ERR_" not in line]


def enter(window: Window, code: str) -> None:
    """What `photosearch open` does to a page that is open already."""
    window.page.evaluate("code => { location.hash = `code=${code}` }", code)


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
        expect(window.options.first).to_have_accessible_name(re.compile("^chelsea"))
    finally:
        running.stop()
