"""Make the pictures of the search bar for README and docs.

    python docs/screenshot.py --photos DIR [--out DIR] [VIEW ...]

Needs the development set-up and a Chromium; the native bar's, `bar` and `bar-dark`, the
extra [desktop] in its place, drawn without a screen. The pictures in the repository were
made from the photographs of the Debian packages lomiri-wallpapers-16.04 and
lomiri-wallpapers-20.04; docs/screenshots.md names their authors.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

CHECKOUT = Path(__file__).resolve().parent.parent
SETTLE_SECONDS = 2.5  # results, thumbnails and their fading in
QUALITY = 80  # WebP: a fifth of the bytes of PNG


def results(page: Page) -> None:
    search(page, "mountains at sunset")


def preview(page: Page) -> None:
    search(page, "a bridge")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")


def chips(page: Page) -> None:
    search(page, "flowers type:jpg -people")


def no_match(page: Page) -> None:
    search(page, "a giraffe 1999")


def privacy(page: Page) -> None:
    page.get_by_role("button", name="Nothing leaves this computer").click()


def newest(page: Page) -> None:
    page.get_by_role("list", name="Searches to try").wait_for()


def suggestions(page: Page) -> None:
    page.get_by_role("combobox").press_sequentially("flowers type:jp")
    page.get_by_role("button", name="type:jpeg", exact=True).wait_for()


def settings(page: Page) -> None:
    page.get_by_role("button", name="Folders and settings").click()


def erase(page: Page) -> None:
    privacy(page)
    page.get_by_role("button", name="Delete all data…").click()


def search(page: Page, words: str) -> None:
    page.get_by_role("combobox").fill(words)
    time.sleep(SETTLE_SECONDS)


LANGUAGES = {"right-to-left": "ar-XB"}  # a made-up one
BARS = ("bar", "bar-dark")
WIDE = {"width": 1200, "height": 720}
VIEWS: dict[str, tuple[Callable[[Page], None], dict[str, Any]]] = {
    "search-bar": (results, {"viewport": WIDE}),
    "search-bar-dark": (results, {"viewport": WIDE, "color_scheme": "dark"}),
    "newest": (newest, {"viewport": WIDE}),
    "preview": (preview, {"viewport": WIDE}),
    "chips": (chips, {"viewport": WIDE}),
    "no-match": (no_match, {"viewport": WIDE}),
    "privacy": (privacy, {"viewport": WIDE}),
    "suggestions": (suggestions, {"viewport": WIDE}),
    "settings": (settings, {"viewport": WIDE}),
    "erase": (erase, {"viewport": WIDE}),
    # 1200 x 720 at 200 %: half as many pixels of the page's own
    "zoom-200": (results, {"viewport": {"width": 600, "height": 360}, "device_scale_factor": 2}),
    "right-to-left": (chips, {"viewport": WIDE}),
    "forced-colours": (results, {"viewport": WIDE, "forced_colors": "active"}),
    "narrow": (newest, {"viewport": {"width": 390, "height": 780}, "device_scale_factor": 2}),
}


def call(url: str, token: str, *, method: str = "GET") -> Any:
    request = urllib.request.Request(
        url, headers={"Authorization": f"Bearer {token}"}, method=method
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("views", nargs="*", metavar="VIEW", help=f"of {', '.join((*VIEWS, *BARS))}")
    parser.add_argument("--photos", required=True)
    parser.add_argument("--out", default=str(CHECKOUT / "docs"))
    args = parser.parse_args()
    Path(args.out).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, str(CHECKOUT / "app.py"), "--home", home, "--no-open"]
        daemon = subprocess.Popen(
            [*command, "--library", args.photos], stdout=subprocess.PIPE, text=True
        )
        try:
            assert daemon.stdout is not None
            url = daemon.stdout.readline().split()[-1]
            token = (Path(home) / "token").read_text()
            while (now := call(f"{url}api/v1/status", token))["photos"] == 0 or (
                now["indexing"]["state"] != "idle"
            ):
                time.sleep(0.2)
            views = args.views or ("search-bar", "search-bar-dark")
            for name in BARS:
                if name in views:
                    bar_picture(Path(home), name, Path(args.out))
            with sync_playwright() as play:
                browser = play.chromium.launch(
                    executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
                    args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
                )
                for name in views:
                    if name in VIEWS:
                        picture(browser, url, token, name, Path(args.out))
                browser.close()
        finally:
            daemon.terminate()
            daemon.wait()


def picture(browser: Browser, url: str, token: str, name: str, folder: Path) -> None:
    show, options = VIEWS[name]
    code = call(f"{url}api/v1/codes", token, method="POST")["code"]
    page = browser.new_page(**options)
    language = f"?lang={LANGUAGES[name]}" if name in LANGUAGES else ""
    page.goto(f"{url}{language}#code={code}")
    page.get_by_role("option").first.wait_for()
    show(page)
    time.sleep(SETTLE_SECONDS)
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        save(shot, name, folder)
    page.close()


def save(shot: Image.Image, name: str, folder: Path) -> None:
    shot.convert("RGB").save(folder / f"{name}.webp", quality=QUALITY, method=6)


def bar_picture(home: Path, name: str, folder: Path) -> None:
    """The native bar after a search, the first photo chosen; on a plain ground."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    sys.path.insert(0, str(CHECKOUT))  # started by its path, a script knows only its own folder
    from PySide6.QtGui import QColor, QImage, QPainter, QPalette
    from PySide6.QtWidgets import QApplication

    from photosearch.desktop.bar import Bar
    from photosearch.desktop.source import Source
    from photosearch.home import Home

    app = QApplication.instance() or QApplication(["photosearch"])
    assert isinstance(app, QApplication)
    is_dark = name.endswith("dark")
    palette = QPalette(QColor("#2b2d33" if is_dark else "#f4f4f2"))
    app.setPalette(palette)
    source = Source(Home(home))
    source.remember("mountains at sunset in winter")  # to be offered again
    bar = Bar(source)
    bar.appear()
    bar.box.setText("mountains at sunset")
    bar.ask()
    until = time.monotonic() + 2 * SETTLE_SECONDS
    while time.monotonic() < until:
        app.processEvents()
        if bar.photos.hits and bar.grid.chosen is None and bar.count.text().endswith("photos"):
            bar.grid.choose(0)
        time.sleep(0.01)
    ground = QImage(bar.size(), QImage.Format.Format_RGB32)
    ground.fill(QColor("#5a6472" if is_dark else "#c8d0d8"))
    shown = bar.grab()
    painter = QPainter(ground)
    painter.drawPixmap(0, 0, shown)
    painter.end()
    with tempfile.TemporaryDirectory() as scratch:
        drawn = Path(scratch) / "bar.png"
        ground.save(str(drawn))
        with Image.open(drawn) as shot:
            save(shot, name, folder)
    bar.close_down()


if __name__ == "__main__":
    main()
