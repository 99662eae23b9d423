"""Photos shown as one (a burst, near duplicates), and how each is reached on the page."""

from __future__ import annotations

import json
import re
from typing import Any

from pages import GREENS, Opener, needs_chromium
from playwright.sync_api import Route, expect

pytestmark = needs_chromium


def test_a_hit_that_stands_for_others_says_so_and_opens_into_them(open_page: Opener) -> None:
    window = open_page()
    page = window.page

    def stack(route: Route) -> None:
        """The daemon's answer, in which the first photo stands for the three after it."""
        answer: dict[str, Any] = route.fetch().json()
        if len(answer["hits"]) in (GREENS, GREENS - 1):
            members.extend(answer["hits"][:4])
            answer["hits"] = [{**answer["hits"][0], "similar": 3}, *answer["hits"][4:]]
        route.fulfill(body=json.dumps(answer), content_type="application/json")

    members: list[dict[str, Any]] = []
    page.route("**/search?*", stack)
    page.route(
        "**/group",
        lambda route: route.fulfill(body=json.dumps(members[:4]), content_type="application/json"),
    )
    window.box.fill("green")
    expect(window.options).to_have_count(GREENS - 3)
    expect(page.locator(".stack")).to_have_text("+3")
    expect(window.options.first).to_have_accessible_name(named(members[0]))
    page.locator(".stack").click()
    chip = page.locator(".chip")
    expect(chip).to_contain_text("with green")
    expect(window.options).to_have_count(4)
    expect(page.locator(".stack")).to_have_count(0)
    chip.get_by_role("button").click()
    expect(window.box).to_have_value("green")
    expect(window.options).to_have_count(GREENS - 3)
    window.press("ArrowDown", "Alt+Enter")
    expect(window.options).to_have_count(4)
    window.press("Escape")
    expect(window.options).to_have_count(GREENS - 3)
    window.press("ArrowDown", " ")
    window.preview.get_by_role("button", name="Show 3 similar photos").click()
    expect(window.options).to_have_count(4)
    expect(chip).to_contain_text("with green")
    window.press("Escape")
    expect(window.options).to_have_count(GREENS - 3)
    window.press("ArrowDown", "ArrowRight", "Shift+Enter")
    expect(chip).to_contain_text("like: green")
    expect(window.options.first).to_have_accessible_name(re.compile("^green"))
    window.box.fill("green")
    expect(page.locator(".stack")).to_have_text("+3")
    page.locator(".stack").click()
    expect(chip).to_contain_text("with green")
    expect(window.options).to_have_count(4)  # till then the photo clicked is the chosen one
    expect(page.locator("#pills")).to_be_hidden()  # no past search goes on from here
    window.press("End")
    expect(window.box).to_have_value("")
    window.press("Escape")  # among look-alikes it was opened up, and back to these it leads
    expect(chip).to_contain_text("like: green")
    expect(window.box).to_have_value("green")
    page.locator(".stack").click()
    expect(chip).to_contain_text("with green")
    window.box.fill("red")  # typing leaves the group
    expect(chip).to_have_count(0)


def named(hit: dict[str, Any]) -> Any:
    name = hit["path"].rsplit("/", 1)[-1]
    return re.compile(re.escape(name.split("\udce9")[0][:7]) + ".*and 3 similar$")
