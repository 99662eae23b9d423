"""Which Chromium shows the page as a window of its own, on each system."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import pytest

from photosearch import browser
from photosearch.browser import find_chromium

WINDOWS = {
    "LOCALAPPDATA": r"C:\Users\z\AppData\Local",
    "PROGRAMFILES": r"C:\Program Files",
    "PROGRAMFILES(X86)": r"C:\Program Files (x86)",
}
EDGE = r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe"
CHROME = r"C:\Users\z\AppData\Local\Google\Chrome\Application\chrome.exe"
MAC_CHROME = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
MAC_BRAVE = "/Users/z/Applications/Brave Browser.app/Contents/MacOS/Brave Browser"


@pytest.mark.parametrize(
    ("platform", "environ", "installed", "expected"),
    [
        pytest.param("linux", {}, ["chromium"], "/bin/chromium", id="Debian's"),
        pytest.param("linux", {}, ["google-chrome-stable"], "/bin/google-chrome-stable", id="AUR"),
        pytest.param("linux", {}, ["firefox"], None, id="none that knows --app"),
        pytest.param("darwin", {"HOME": "/Users/z"}, [MAC_CHROME], MAC_CHROME, id="macOS"),
        pytest.param("darwin", {"HOME": "/Users/z"}, [MAC_BRAVE], MAC_BRAVE, id="only mine"),
        pytest.param("win32", WINDOWS, [EDGE], EDGE, id="Windows as it comes"),
        pytest.param("win32", WINDOWS, [EDGE, CHROME], CHROME, id="the chosen one before Edge"),
        pytest.param("win32", {}, [], None, id="nothing known"),
    ],
)
def test_an_installed_chromium_is_found(
    platform: str, environ: dict[str, str], installed: Sequence[str], expected: str | None
) -> None:
    def which(name: str) -> str | None:
        return f"/bin/{name}" if name in installed else None

    def exists(path: PurePath) -> bool:
        return str(path) in installed

    assert find_chromium(platform, environ, which=which, exists=exists) == expected


def test_the_page_is_its_app_window(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def popen(command: list[str], **options: Any) -> None:
        started.append(command)

    monkeypatch.setattr(browser.subprocess, "Popen", popen)
    monkeypatch.setattr(browser, "find_chromium", lambda platform, environ: "/bin/chromium")
    browser.show("http://127.0.0.1:1/#code=x", window=True)
    assert started == [["/bin/chromium", "--app=http://127.0.0.1:1/#code=x"]]


def test_without_a_chromium_the_default_browser_opens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(browser, "find_chromium", lambda platform, environ: None)
    monkeypatch.setattr(browser.webbrowser, "open", lambda url: opened.append(url) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    browser.show("http://127.0.0.1:1/", window=True)
    assert opened == ["http://127.0.0.1:1/"]
    assert "no Chromium browser found" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="what a machine without a screen does")
def test_without_a_screen_the_address_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(browser.webbrowser, "open", lambda url: pytest.fail("nobody would see it"))
    browser.show("http://127.0.0.1:1/#code=x", window=False)
    assert "http://127.0.0.1:1/#code=x" in capsys.readouterr().err
