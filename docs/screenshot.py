"""Make the pictures of the search bar for README and docs.

    python docs/screenshot.py --photos DIR [--out DIR] [VIEW ...]

Needs the development set-up and a Chromium. The pictures in the repository were
made from the photographs of the Debian packages lomiri-wallpapers-16.04 and
lomiri-wallpapers-20.04; docs/screenshots.md names their authors.
"""

from __future__ import annotations

import argparse
import io
import json
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
QUALITY = 82  # WebP: a fifth of the bytes of PNG


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


def search(page: Page, words: str) -> None:
    page.get_by_role("combobox").fill(words)
    time.sleep(SETTLE_SECONDS)


WIDE = {"width": 1200, "height": 720}
VIEWS: dict[str, tuple[Callable[[Page], None], dict[str, Any]]] = {
    "search-bar": (results, {"viewport": WIDE}),
    "search-bar-dark": (results, {"viewport": WIDE, "color_scheme": "dark"}),
    "newest": (newest, {"viewport": WIDE}),
    "preview": (preview, {"viewport": WIDE}),
    "chips": (chips, {"viewport": WIDE}),
    "no-match": (no_match, {"viewport": WIDE}),
    "privacy": (privacy, {"viewport": WIDE}),
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
    parser.add_argument("views", nargs="*", metavar="VIEW", help=f"of {', '.join(VIEWS)}")
    parser.add_argument("--photos", required=True)
    parser.add_argument("--out", default=str(CHECKOUT / "docs"))
    args = parser.parse_args()
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
            with sync_playwright() as play:
                browser = play.chromium.launch(
                    executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
                    args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
                )
                for name in args.views or ("search-bar", "search-bar-dark"):
                    picture(browser, url, token, name, Path(args.out))
                browser.close()
        finally:
            daemon.terminate()
            daemon.wait()


def picture(browser: Browser, url: str, token: str, name: str, folder: Path) -> None:
    show, options = VIEWS[name]
    code = call(f"{url}api/v1/codes", token, method="POST")["code"]
    page = browser.new_page(**options)
    page.goto(f"{url}#code={code}")
    page.get_by_role("option").first.wait_for()
    show(page)
    time.sleep(SETTLE_SECONDS)
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        shot.convert("RGB").save(folder / f"{name}.webp", quality=QUALITY, method=6)
    page.close()


if __name__ == "__main__":
    main()
