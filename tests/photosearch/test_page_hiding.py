"""Leaving a photo out of search on the page: at once, with Undo, and never out of reach."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pages import GREENS, Daemon, Opener, Window, needs_chromium, wait_for
from playwright.sync_api import Route, expect

pytestmark = needs_chromium


@pytest.fixture(autouse=True)
def _nothing_stays_hidden(daemon: Daemon) -> Iterator[None]:
    """The daemon is shared by other tests."""
    yield
    for hit in daemon.search("is:hidden")["hits"]:
        daemon.call(f"/photos/{hit['photo_id']}/unhide", method="POST")


def greens(open_page: Opener) -> Window:
    window = open_page()
    window.box.fill("green")
    expect(window.options).to_have_count(GREENS)
    return window


def test_delete_hides_the_chosen_photo_and_undo_brings_it_back(
    open_page: Opener, daemon: Daemon
) -> None:
    window = greens(open_page)
    before = window.names()
    window.press("ArrowDown", "ArrowRight", "Delete")
    expect(window.options).to_have_count(GREENS - 1)
    assert window.names() == [*before[:1], *before[2:]]
    chosen = window.chosen  # the one behind it: a second press goes on
    assert (chosen.get_attribute("aria-label") or "").startswith(before[2])
    expect(window.page.get_by_role("heading", name="4 photos")).to_be_visible()
    wait_for(window.page, lambda: len(daemon.search("is:hidden")["hits"]) == 1)
    note = window.page.get_by_role("status").filter(has_text="will not be found any more")
    expect(note).to_contain_text("The file stays where it is.")
    note.get_by_role("button", name="Undo").click()
    wait_for(window.page, lambda: daemon.search("is:hidden")["hits"] == [])
    expect(window.options).to_have_count(GREENS)
    assert window.names() == before


def test_control_z_takes_back_the_last_one(open_page: Opener) -> None:
    window = greens(open_page)
    before = window.names()
    window.press("ArrowDown", "Delete")
    expect(window.options).to_have_count(GREENS - 1)
    window.press("Delete")
    expect(window.options).to_have_count(GREENS - 2)
    window.press("Control+z")
    expect(window.options).to_have_count(GREENS - 1)
    assert window.names() == before[1:]
    window.press("Control+z")  # only one step, as its note says
    window.page.wait_for_timeout(300)
    expect(window.options).to_have_count(GREENS - 1)


def test_a_burst_is_taken_back_in_one_request(open_page: Opener, daemon: Daemon) -> None:
    """Whatever the daemon says it hid: here, three for one."""
    window = greens(open_page)
    ids = [hit["photo_id"] for hit in daemon.search("green")["hits"][:3]]

    def hide_three(route: Route) -> None:
        many = ",".join(map(str, ids))
        route.fulfill(json=daemon.call(f"/hide?ids={many}", method="POST"))

    window.page.route("**/photos/*/hide?*", hide_three)
    asked: list[str] = []
    window.page.on("request", lambda request: asked.append(request.url))
    window.press("ArrowDown", "Delete")
    expect(window.options).to_have_count(GREENS - 3)
    window.press("Control+z")
    expect(window.options).to_have_count(GREENS)
    (back,) = [url for url in asked if "/unhide" in url]
    assert back.endswith(f"/unhide?ids={'%2C'.join(map(str, ids))}")


def test_news_meanwhile_does_not_bring_it_back(open_page: Opener, daemon: Daemon) -> None:
    """The daemon may be at work on a batch: until it has hidden the photo it still finds it."""
    window = greens(open_page)
    held: list[Route] = []
    window.page.route("**/hide?*", lambda route: held.append(route))
    window.press("ArrowDown", "Delete")
    wait_for(window.page, lambda: len(held) == 1)
    searched = len(window.searches())
    daemon.call("/index/rescan", method="POST")  # news
    wait_for(window.page, lambda: len(window.searches()) > searched)
    window.page.wait_for_timeout(300)
    expect(window.options).to_have_count(GREENS - 1)
    held[0].continue_()
    wait_for(window.page, lambda: daemon.call("/status")["hidden"] == 1)
    expect(window.options).to_have_count(GREENS - 1)


def test_undo_outlives_the_preview_and_the_last_photo(open_page: Opener, daemon: Daemon) -> None:
    window = greens(open_page)
    window.press("ArrowDown", " ", "Delete", "Escape")
    undo = window.page.get_by_role("button", name="Undo")
    expect(undo).to_be_visible()
    undo.click()
    wait_for(window.page, lambda: daemon.call("/status")["hidden"] == 0)
    expect(window.options).to_have_count(GREENS)
    window.box.focus()
    window.press("ArrowDown", *["Delete"] * GREENS)
    expect(window.options).to_have_count(0)
    window.press("Control+z")  # nothing is chosen any more
    expect(window.options).to_have_count(1)
    expect(window.box).to_have_value("green")


def test_in_the_preview_the_next_photo_follows(open_page: Opener) -> None:
    window = greens(open_page)
    before = window.names()
    window.press("ArrowDown", " ")
    heading = window.preview.get_by_role("heading")
    expect(heading).to_have_text(before[0])
    window.preview.get_by_role("button", name="Hide").click()
    expect(heading).to_have_text(before[1])
    window.press("End")
    expect(heading).to_have_text(before[-1])
    window.press("Delete")
    expect(heading).to_have_text(before[-2])
    window.press("Control+z")
    window.press("Escape")
    expect(window.options).to_have_count(GREENS - 1)


def test_settings_tell_how_many_are_hidden_and_lead_to_them(
    open_page: Opener, daemon: Daemon
) -> None:
    window = greens(open_page)
    window.page.get_by_role("button", name="Folders and settings").click()
    expect(window.preview).to_contain_text("Path of a folder of photos")
    expect(window.preview).not_to_contain_text("hidden from search")
    window.press("Escape")
    window.box.focus()
    window.press("ArrowDown", "Delete", "Delete")
    expect(window.options).to_have_count(GREENS - 2)
    wait_for(window.page, lambda: daemon.call("/status")["hidden"] == 2)
    window.page.get_by_role("button", name="Folders and settings").click()
    expect(window.preview).to_contain_text("2 photos are hidden from search.")
    window.preview.get_by_role("button", name="Show hidden photos").click()
    expect(window.box).to_have_value("is:hidden")
    expect(window.options).to_have_count(2)
    window.press("ArrowDown", " ")
    window.preview.get_by_role("button", name="Find again").click()
    window.press("Escape")
    expect(window.options).to_have_count(1)
    window.press("Delete")  # here it brings back
    expect(window.options).to_have_count(0)
    window.box.fill("green")
    expect(window.options).to_have_count(GREENS)


def test_delete_in_the_box_edits_what_is_typed(open_page: Opener) -> None:
    window = greens(open_page)
    window.press("Home", "Delete")
    expect(window.box).to_have_value("reen")
    window.press("Control+z")
    expect(window.box).to_have_value("green")
    expect(window.options).to_have_count(GREENS)


def test_a_refusal_is_told_and_hides_nothing(open_page: Opener) -> None:
    window = greens(open_page)
    window.page.route(
        "**/hide?*",
        lambda route: route.fulfill(
            status=500,
            json={"error": {"code": "failed", "message": "The disk is full.", "hint": ""}},
        ),
    )
    window.press("ArrowDown", "Delete")
    expect(window.page.get_by_role("alert")).to_have_text("The disk is full.")
    expect(window.options).to_have_count(GREENS)
    window.complaints = [line for line in window.complaints if "500" not in line]
