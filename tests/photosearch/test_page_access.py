"""The page for everyone: axe, zoom, what the system asks for, and every language's words."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from pages import GREENS, STATUS, Opener, Window, needs_chromium, serve_status
from PIL import Image, ImageStat
from playwright.sync_api import expect

axe = pytest.importorskip("axe_playwright_python", reason="axe is not installed")

pytestmark = needs_chromium
AXE = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def violations(window: Window) -> list[str]:
    """What axe finds wrong with the page as it is now, in full."""
    window.page.evaluate(AXE)
    # Behind an open dialog everything is inert, and axe takes its backdrop for a background.
    found = window.page.evaluate(
        "axe.run(document.querySelector('dialog[open]') ?? document, {resultTypes: ['violations']})"
    )
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:90] for node in each['nodes'][:3]]}"
        for each in found["violations"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_in_any_state(open_page: Opener, scheme: str) -> None:
    window = open_page(color_scheme=scheme, reduced_motion="reduce")
    page = window.page
    wrong = {"newest": violations(window)}
    window.box.fill("green 2019 foo:bar")
    expect(page.locator(".part.doubtful")).to_be_visible()
    wrong["chips"] = violations(window)
    window.box.fill("green type:jp")
    expect(page.get_by_role("button", name="type:jpeg", exact=True)).to_be_visible()
    wrong["suggestions"] = violations(window)
    window.box.fill("blue 1999")
    expect(page.get_by_role("button", name="Without 1999")).to_be_visible()
    wrong["no match"] = violations(window)
    window.box.fill("green")
    expect(window.options).to_have_count(GREENS)
    page.get_by_role("button", name="Show less likely photos").click()
    expect(
        page.get_by_role("group", name="Less likely").get_by_role("option").first
    ).to_be_visible()
    window.press("ArrowDown")
    wrong["less likely"] = violations(window)
    window.press(" ")
    expect(window.preview).to_be_visible()
    wrong["preview"] = violations(window)
    window.press("Escape")
    for name in ("Folders and settings", "Nothing leaves this computer", "1 file not readable"):
        page.get_by_role("button", name=name).click()
        expect(window.preview).to_be_visible()
        wrong[name] = violations(window)
        window.press("Escape")
    page.get_by_role("button", name="Nothing leaves this computer").click()
    page.get_by_role("button", name="Delete all data…").click()
    expect(page.get_by_role("dialog", name="Delete all data")).to_be_visible()
    wrong["delete"] = violations(window)
    window.press("Escape")
    window.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    wrong["keys"] = violations(window)
    assert {state: found for state, found in wrong.items() if found} == {}


def test_axe_finds_nothing_wrong_before_signing_in_and_while_indexing(open_page: Opener) -> None:
    window = open_page(signed_in=False)
    expect(window.page.get_by_role("heading", name="Open photosearch again")).to_be_visible()
    assert violations(window) == []
    window = open_page()
    run = {"done": 5, "to_do": 20, "photos_per_second": 1.0, "eta_seconds": 9.0}
    serve_status(window.page, lambda: {**STATUS, "indexing": {**run, "state": "working"}})
    window.page.reload()
    expect(window.page.get_by_role("progressbar")).to_be_visible()
    assert violations(window) == []


# --- small windows, large letters -------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "what"),
    [(640, 400, "1280 x 800 at 200 %"), (320, 256, "1280 x 1024 at 400 %"), (390, 780, "a phone")],
    ids=lambda value: str(value).replace(" ", "-"),
)
def test_zoomed_in_nothing_is_cut_off_or_out_of_reach(
    open_page: Opener, width: int, height: int, what: str
) -> None:
    window = open_page(viewport={"width": width, "height": height}, device_scale_factor=2)
    page = window.page
    for words in ("", "green 2019", "blue"):
        window.box.fill(words)
        expect(page.locator("#clear")).to_be_visible(visible=words != "")
        page.wait_for_timeout(300)
        assert sideways(window) <= 0, words
    window.box.fill("green")
    expect(window.options).to_have_count(GREENS)
    window.press("ArrowDown", " ")
    picture = window.preview.get_by_role("img").first
    expect(picture).to_be_visible()
    place = picture.bounding_box()
    assert place is not None and place["width"] > 80 and place["height"] > 40, what
    for name in ("More like this", "Copy", "Open", "Show in folder", "Close"):
        button = window.preview.get_by_role("button", name=name).bounding_box()
        assert button is not None and 0 <= button["x"] < width, (what, name)
        assert button["x"] + button["width"] <= width + 1, (what, name)
    window.press("Escape")
    page.get_by_role("button", name="Nothing leaves this computer").click()
    expect(window.preview.get_by_role("button", name="Close")).to_be_in_viewport()
    assert sideways(window) <= 0


def sideways(window: Window) -> int:
    """Pixels by which the page is wider than its window."""
    found: int = window.page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return found


# --- what the system asks for -----------------------------------------------------------------


def picture(window: Window, name: str, folder: Path) -> Image.Image:
    """The page as it is seen, in grey; kept in PHOTOSEARCH_SCREENSHOTS where that is set."""
    file = Path(os.environ.get("PHOTOSEARCH_SCREENSHOTS") or folder) / f"{name}.png"
    window.page.screenshot(path=file)
    with Image.open(file) as made:
        return made.convert("L")


def grounds(seen: Image.Image) -> float:
    """Median brightness, 0 to 255: that of what lies behind the photos."""
    return ImageStat.Stat(seen.crop((0, 0, seen.width, 90))).median[0]


def test_it_is_light_or_dark_as_the_system_is(open_page: Opener, tmp_path: Path) -> None:
    window = open_page(color_scheme="light")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert brightness(window.page.evaluate(ground)) > 200
    assert grounds(picture(window, "light", tmp_path)) > 200
    window.page.emulate_media(color_scheme="dark")
    assert brightness(window.page.evaluate(ground)) < 60
    assert grounds(picture(window, "dark", tmp_path)) < 60


def brightness(colour: str) -> float:
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return (red + green + blue) / 3


def test_nothing_moves_for_who_asked_for_stillness(open_page: Opener, tmp_path: Path) -> None:
    window = open_page(reduced_motion="reduce")
    moving = """() => [...document.querySelectorAll("*")].filter((element) => {
      const style = getComputedStyle(element);
      return style.transitionDuration !== "0s" || style.animationName !== "none";
    }).map((element) => element.className || element.tagName)"""
    window.box.fill("green")
    expect(window.options).to_have_count(GREENS)
    window.page.evaluate("document.getElementById('busy').classList.add('on')")
    assert window.page.evaluate(moving) == []
    assert window.page.evaluate("document.getAnimations().length") == 0
    picture(window, "reduced-motion", tmp_path)


def test_in_forced_colours_the_chosen_photo_and_the_box_still_show(
    open_page: Opener, tmp_path: Path
) -> None:
    window = open_page(forced_colors="active")
    assert window.page.evaluate("matchMedia('(forced-colors: active)').matches")
    ground = window.page.locator("#foot").evaluate("foot => getComputedStyle(foot).backgroundColor")
    assert ground.startswith("rgb("), ground  # not rgba: no photo shows through
    bar = window.page.locator(".bar").evaluate("bar => getComputedStyle(bar).outlineStyle")
    assert bar == "solid"
    window.press("ArrowDown")
    outline = window.chosen.evaluate(
        "cell => [getComputedStyle(cell).outlineStyle, getComputedStyle(cell).outlineWidth]"
    )
    assert outline == ["solid", "3px"]
    darkest, brightest = picture(window, "forced-colours", tmp_path).getextrema()
    assert (darkest, brightest) == (0, 255)  # plain black and white, whichever is behind


# --- every language ---------------------------------------------------------------------------

# Text and names of controls that do not come from the table, unless they are data.
UNMARKED = """() => {
  const data = ".caption, .chipname, kbd, code, .files b, .path, .folder, .about h2, .try, .part,"
    + " .tries .secondary, .said, .why, .files span, datalist, noscript, script, style, title,"
    + " .facts dd, input";
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const words = node.textContent.trim();
    if (!words || node.parentElement.closest(data)) continue;
    if (!words.includes("⟦") && /\\p{L}/u.test(words)) found.push(words);
  }
  const named = "[aria-label], [title], [placeholder], img[alt]";
  for (const element of document.querySelectorAll(named)) {
    for (const name of ["aria-label", "title", "placeholder", "alt"]) {
      const words = element.getAttribute(name);
      if (!words || words.includes("⟦") || element.closest(".part")) continue;
      found.push(`${name}: ${words}`);
    }
  }
  return found;
}"""


def test_every_word_comes_from_the_table(open_page: Opener) -> None:
    """In a made-up language all its words are in brackets: what is not, no one can translate."""
    window = open_page(language="en-XA")
    page = window.page
    seen: dict[str, Any] = {"newest": page.evaluate(UNMARKED)}
    window.box.fill("blue 1999")
    expect(page.locator("#nothing")).to_contain_text("⟦Nothing looks like “blue 1999”")
    page.locator("#nothing p").first.evaluate("note => note.remove()")  # the daemon's words
    seen["no match"] = page.evaluate(UNMARKED)
    window.box.fill("green")
    expect(window.options).to_have_count(GREENS)
    window.press("ArrowDown", " ")
    window.preview.locator(".why").evaluate("list => list.replaceChildren()")  # the daemon's words
    seen["preview"] = page.evaluate(UNMARKED)
    window.press("Escape")
    for number in range(3):
        page.get_by_role("contentinfo").get_by_role("button").nth(number).click()
        expect(window.preview).to_be_visible()
        page.locator(".files span").evaluate_all("all => all.forEach((e) => e.remove())")  # reasons
        seen[f"panel {number}"] = page.evaluate(UNMARKED)
        window.press("Escape")
    window.press("?")
    seen["keys"] = page.evaluate(UNMARKED)
    assert {state: found for state, found in seen.items() if found} == {}


PLACE = """(element, at) => {
  const text = document.createTreeWalker(element, NodeFilter.SHOW_TEXT).nextNode();
  const range = document.createRange();
  range.setStart(text, at);
  range.setEnd(text, at + 1);
  return range.getBoundingClientRect().x;
}"""


def test_from_right_to_left_everything_turns_around(open_page: Opener) -> None:
    window = open_page(language="ar-XB")
    page = window.page
    assert page.evaluate("document.documentElement.dir") == "rtl"
    assert sideways(window) <= 0
    box, glass = window.box.bounding_box(), page.locator("#glass").bounding_box()
    assert box is not None and glass is not None and glass["x"] > box["x"]
    first, second = (window.options.nth(number).bounding_box() for number in (0, 1))
    assert first is not None and second is not None and first["x"] > second["x"]
    window.press("ArrowDown", "ArrowLeft")  # towards the left is onwards
    expect(window.options.nth(1)).to_have_attribute("aria-selected", "true")
    window.press("ArrowRight")
    expect(window.options.nth(0)).to_have_attribute("aria-selected", "true")
    window.press(" ")
    name = window.preview.get_by_role("heading").inner_text()
    window.press("ArrowLeft")
    expect(window.preview.get_by_role("heading")).not_to_have_text(name)
    forward = window.preview.locator(".arrow.next").bounding_box()
    back = window.preview.locator(".arrow.previous").bounding_box()
    assert forward is not None and back is not None and forward["x"] < back["x"]
    # A path keeps its own direction, or its first slash would stand at its end.
    folder = window.preview.locator(".folder")
    assert folder.evaluate("element => getComputedStyle(element).unicodeBidi") == "plaintext"
    window.press("Escape")
    window.box.fill("green -red")  # a minus stays before its word
    minus, word = (page.locator(".part .words").evaluate(PLACE, at) for at in (0, 1))
    assert minus < word


def test_made_up_languages_are_not_loaded_for_anyone_else(open_page: Opener) -> None:
    window = open_page()
    assert not any(url.endswith("pseudo.js") for url in window.requests)
    window = open_page(language="../../evil")
    assert window.page.evaluate("document.documentElement.lang") == "en"


def test_dates_are_written_out_and_a_day_without_a_time_invents_none(open_page: Opener) -> None:
    window = open_page()
    window.box.fill('"green-dated"')
    expect(window.options).to_have_count(1)
    window.press("ArrowDown", " ")
    expect(window.preview).to_contain_text("July 4, 2019")
