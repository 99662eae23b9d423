"""The search page in a real Chromium, against a real daemon: arriving and searching."""

from __future__ import annotations

import gzip
import re

import pytest
from pages import (
    CHECKOUT,
    GREENS,
    MARKUP,
    REDS,
    Daemon,
    Opener,
    needs_chromium,
    path_of,
    wait_for,
)
from playwright.sync_api import Route, expect

pytestmark = needs_chromium


# --- arriving ---------------------------------------------------------------------------------


STATIC = CHECKOUT / "photosearch" / "static"


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


def test_an_address_can_ask_for_the_settings(open_page: Opener, daemon: Daemon) -> None:
    """The native bar's `Folders and more settings…`."""
    window = open_page()
    window.page.goto("about:blank")
    window.page.goto(f"{daemon.url}#code={daemon.code()}&settings")
    expect(window.page.get_by_role("dialog", name="Folders and settings")).to_be_visible()
    assert window.page.url == daemon.url


# --- searching --------------------------------------------------------------------------------


def test_typing_searches(open_page: Opener) -> None:
    window = open_page()
    window.box.press_sequentially("green", delay=20)
    expect(window.options).to_have_count(GREENS)
    assert all(name.startswith("green") for name in window.names())
    expect(window.page.get_by_role("heading", name="5 photos")).to_be_visible()
    expect(window.page.locator("#said")).to_have_text("5 photos for “green”")
    dated = window.page.get_by_role("option", name="green-dated.jpg, July 4, 2019")
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
