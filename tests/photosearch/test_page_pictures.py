"""Pictures on the page: what is there before they are, which are loaded, and which are painted
first."""

from __future__ import annotations

import re

from pages import Opener, needs_chromium, wait_for
from playwright.sync_api import Route, expect

pytestmark = needs_chromium


def test_before_a_photo_is_there_its_colour_is(open_page: Opener) -> None:
    window = open_page()
    window.page.route("**/thumbnail", lambda route: route.abort())
    window.box.fill("red")
    expect(window.options.first).to_have_accessible_name(re.compile("^red"))
    colours = window.options.evaluate_all(
        "cells => cells.slice(0, 5).map(cell => getComputedStyle(cell).backgroundColor)"
    )
    for colour in colours:
        red, green, blue = map(int, re.findall(r"\d+", colour))
        assert red > 200 and green < 40 and blue < 40, colour
    sizes = window.options.evaluate_all("cells => cells.map(c => c.offsetWidth / c.offsetHeight)")
    assert all(abs(size - 1) < 0.02 for size in sizes)
    window.complaints = [line for line in window.complaints if "ERR_FAILED" not in line]


def test_only_pictures_near_the_window_are_loaded(open_page: Opener) -> None:
    """A key press changes sixty photos; those out of sight would hold up the next answer."""
    window = open_page(viewport={"width": 800, "height": 400})
    window.box.fill("red")
    expect(window.options.first).to_have_accessible_name(re.compile("^red"))
    expect(window.page.locator(".cell img").first).to_be_visible()
    window.page.wait_for_timeout(800)
    last = window.options.nth(59)
    assert f"/photos/{last.get_attribute('data-id')}/thumbnail" not in " ".join(window.requests)
    last.scroll_into_view_if_needed()
    expect(last.locator("img")).to_be_visible()


def test_an_image_comes_with_its_picture(open_page: Opener) -> None:
    """Without one, its words are laid out for every photo, only to be thrown away."""
    window = open_page()
    held: dict[str, Route] = {}
    window.page.route("**/thumbnail", lambda route: held.update({route.request.url: route}))
    window.page.reload()  # some of them were there
    expect(window.options.first).to_be_visible()
    window.box.fill("green")
    expect(window.options).to_have_count(5)
    ids = window.options.evaluate_all("cells => cells.map(cell => cell.dataset.id)")
    wanted = [f"{window.page.url}api/v1/photos/{each}/thumbnail" for each in ids]
    wait_for(window.page, lambda: held.keys() >= set(wanted))
    assert window.page.locator(".cell img").count() == 0
    held[wanted[0]].abort()
    for url in wanted[1:]:
        held[url].continue_()
    expect(window.page.locator(".cell img")).to_have_count(4)
    expect(window.page.locator(".cell.broken")).to_have_count(1)
    window.complaints = [line for line in window.complaints if "ERR_FAILED" not in line]


def test_who_scrolls_need_not_wait_for_the_other_photos(open_page: Opener) -> None:
    window = open_page(viewport={"width": 800, "height": 400})
    window.page.evaluate("new Promise((tell) => setTimeout(tell, 100))")
    window.page.evaluate("window.requestAnimationFrame = () => 0")  # typing never rests
    window.box.fill("red")
    expect(window.options.first).to_have_accessible_name(re.compile("^red"))
    assert window.options.count() < 60
    window.page.evaluate("window.scrollTo(0, 10)")
    expect(window.options).to_have_count(60)


def test_the_photos_in_the_window_are_painted_first(open_page: Opener) -> None:
    """The others follow when typing rests, or at once for who asks for them; nothing moves."""
    window = open_page(viewport={"width": 800, "height": 400})
    height = "document.documentElement.scrollHeight"
    frames = "new Promise((tell) => requestAnimationFrame(() => setTimeout(tell, 50)))"
    window.page.evaluate(frames)  # by now the page knows how many photos fit
    window.page.evaluate(
        """() => {
          window.held = [];
          window.requestAnimationFrame = (run) => window.held.push(run);
        }"""
    )
    window.box.fill("red")
    expect(window.options.first).to_have_accessible_name(re.compile("^red"))
    few = window.options.count()
    assert few < 60
    last = window.options.nth(few - 1).bounding_box()
    assert last is not None and last["y"] + last["height"] > 400
    before = window.page.evaluate(height)
    window.page.evaluate("window.held.forEach((run) => run())")
    expect(window.options).to_have_count(60)
    assert abs(window.page.evaluate(height) - before) < 80  # less than a row of photos

    window.box.fill("")
    expect(window.page.get_by_role("heading", name="Newest photos")).to_be_visible()
    assert window.options.count() < 60
    window.press("ArrowDown", "End")
    expect(window.options.nth(59)).to_have_attribute("aria-selected", "true")
