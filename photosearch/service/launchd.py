"""macOS: a launch agent. launchd.plist(5), launchctl(1)."""

from __future__ import annotations

import os
import plistlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final
from xml.parsers.expat import ExpatError

from photosearch.home import Home
from photosearch.service import Ran

DOMAIN: Final = "org.photosearch"


class LaunchAgent:
    """`~/Library/LaunchAgents/org.photosearch.NAME.plist`."""

    def __init__(
        self, name: str, words: Sequence[str], *, log: Path, agents: Path | None = None
    ) -> None:
        self._label = f"{DOMAIN}.{name}"
        self._words = list(words)
        self._log = log
        self._agents = agents or Path.home() / "Library" / "LaunchAgents"

    @property
    def file(self) -> Path:
        return self._agents / f"{self._label}.plist"

    def text(self) -> bytes:
        return plistlib.dumps(
            {
                "Label": self._label,
                "ProgramArguments": self._words,
                "RunAtLoad": True,
                "KeepAlive": {"SuccessfulExit": False},  # `photosearch stop` stays stopped
                "ThrottleInterval": 60,  # seconds between two starts of one that fails
                "ProcessType": "Background",
                "StandardErrorPath": str(self._log),
                "Umask": 0o077,
            }
        )

    @property
    def _target(self) -> str:
        uid = os.getuid() if hasattr(os, "getuid") else 0
        return f"gui/{uid}"

    def enable(self) -> list[list[str]]:
        return [
            ["launchctl", "enable", f"{self._target}/{self._label}"],
            ["launchctl", "bootstrap", self._target, str(self.file)],
        ]

    def serves(self, place: Home) -> bool:
        try:
            words = plistlib.loads(self.file.read_bytes())["ProgramArguments"]
        except (OSError, ValueError, KeyError, ExpatError):
            return False
        return ["--home", str(place.directory)] in ([*pair] for pair in pairwise(words))

    def end(self) -> list[list[str]]:
        return [["launchctl", "bootout", f"{self._target}/{self._label}"]]

    def forget(self) -> list[list[str]]:
        return []  # launchd looks for its files at each login, and starts none that ended well

    def after_removal(self) -> list[list[str]]:
        return []

    def query(self) -> list[str]:
        return ["launchctl", "print", f"{self._target}/{self._label}"]

    def is_running(self, ran: Ran) -> bool:
        return ran.code == 0 and "state = running" in ran.said
