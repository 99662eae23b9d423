"""An X server without a screen, and hands to press its keys: Xvfb and xdotool."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

SIZE = "1280x800x24"


@dataclass
class Screen:
    """One X server; `environ` makes a program show itself there."""

    display: str

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "DISPLAY": self.display, "QT_QPA_PLATFORM": "xcb"}

    def key(self, *keys: str) -> None:
        self._do("key", *keys)

    def type(self, text: str) -> None:
        self._do("type", "--delay", "30", text)

    def press(self, *keys: str) -> None:
        self._do("keydown", *keys)

    def release(self, *keys: str) -> None:
        self._do("keyup", *keys)

    def mouse(self, *words: str) -> None:
        self._do(*words)

    def _do(self, *words: str) -> None:
        subprocess.run(["xdotool", *words], env=self.environ, check=True, timeout=60)


@pytest.fixture
def screen() -> Iterator[Screen]:
    for program in ("Xvfb", "xdotool"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", SIZE, "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as line:
        number = line.readline().strip()
    assert number, "Xvfb did not start"
    yield Screen(f":{number}")
    server.terminate()
    server.wait(timeout=30)
