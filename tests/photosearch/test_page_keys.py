"""The page's keyboard map, and what a mouse can do, in a real Chromium."""

from __future__ import annotations

import re

from pages import GREENS, Opener, Window, needs_chromium, wait_for
from playwright.sync_api import expect

pytestmark = needs_chromium


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
