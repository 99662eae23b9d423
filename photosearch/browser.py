"""Show the search page: in the user's browser, or as a window of its own of a Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Final

# By name on PATH; on Linux that is where browsers are.
COMMANDS: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "brave-browser",
    "microsoft-edge",
    "microsoft-edge-stable",
    "vivaldi",
)
MAC_PROGRAMS: Final = (
    "Google Chrome.app/Contents/MacOS/Google Chrome",
    "Chromium.app/Contents/MacOS/Chromium",
    "Brave Browser.app/Contents/MacOS/Brave Browser",
    "Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "Vivaldi.app/Contents/MacOS/Vivaldi",
)
WINDOWS_PROGRAMS: Final = (
    r"Google\Chrome\Application\chrome.exe",
    r"Chromium\Application\chrome.exe",
    r"BraveSoftware\Brave-Browser\Application\brave.exe",
    r"Microsoft\Edge\Application\msedge.exe",  # on every Windows: the last resort
)
WINDOWS_FOLDERS: Final = ("LOCALAPPDATA", "PROGRAMFILES", "PROGRAMFILES(X86)")


def find_chromium(
    platform: str,
    environ: Mapping[str, str],
    *,
    which: Callable[[str], str | None] = shutil.which,
    exists: Callable[[PurePath], bool] = lambda path: Path(path).is_file(),
) -> str | None:
    """An installed browser that knows `--app=`, the user's own first."""
    places: list[PurePath] = []
    if platform == "darwin":
        folders = [PurePosixPath("/Applications")]
        if home := environ.get("HOME"):
            folders.insert(0, PurePosixPath(home) / "Applications")
        places = [folder / program for program in MAC_PROGRAMS for folder in folders]
    elif platform == "win32":
        roots = [PureWindowsPath(environ[name]) for name in WINDOWS_FOLDERS if environ.get(name)]
        places = [root / program for program in WINDOWS_PROGRAMS for root in roots]
    found = next((str(place) for place in places if exists(place)), None)
    return found or next(filter(None, map(which, COMMANDS)), None)


def show(url: str, *, window: bool) -> None:
    """Open the search page. The code in the URL is good once, for a minute."""
    if window:
        browser = find_chromium(sys.platform, os.environ)
        if browser is not None:
            subprocess.Popen(
                [browser, f"--app={url}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            return
        print("photosearch: no Chromium browser found, using the default one", file=sys.stderr)
    if not _has_screen() or not webbrowser.open(url):
        print(f"photosearch: open this address within a minute: {url}", file=sys.stderr)


def _has_screen() -> bool:
    """Whether a browser could show itself; without, webbrowser may start a text browser here."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
