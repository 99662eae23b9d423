"""Make the README's picture of the search bar.

    python docs/screenshot.py --photos DIR [--query TEXT] [--dark] [--out FILE]

Needs the development set-up and a Chromium. The picture in the README was made
from the photographs of the Debian packages lomiri-wallpapers-16.04 and
lomiri-wallpapers-20.04; docs/screenshots.md names their authors.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

CHECKOUT = Path(__file__).resolve().parent.parent


def call(url: str, token: str, *, method: str = "GET") -> Any:
    request = urllib.request.Request(
        url, headers={"Authorization": f"Bearer {token}"}, method=method
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", required=True)
    parser.add_argument("--query", default="flowers in a garden")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--out", default=str(CHECKOUT / "docs" / "search-bar.png"))
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
            picture(url, token, args)
        finally:
            daemon.terminate()
            daemon.wait()


def picture(url: str, token: str, args: argparse.Namespace) -> None:
    status = f"{url}api/v1/status"
    while (now := call(status, token))["photos"] == 0 or now["indexing"]["state"] != "idle":
        time.sleep(0.2)
    code = call(f"{url}api/v1/codes", token, method="POST")["code"]
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(
            viewport={"width": 1200, "height": 720},
            color_scheme="dark" if args.dark else "light",
        )
        page.goto(f"{url}#code={code}")
        page.get_by_role("combobox").fill(args.query)
        time.sleep(2.0)  # results, thumbnails and their fading in
        page.screenshot(path=args.out)
        browser.close()


if __name__ == "__main__":
    main()
