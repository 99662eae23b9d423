"""Ask `photosearch search --json`, for launchers that run in a Python of their own.

Standard library alone. install.py puts a copy beside each launcher's main file,
with command.json, which says how photosearch is started.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

SECONDS = 20.0  # the first search without a daemon loads the model
COUNT = 9  # what a launcher's list has room for
NOTHING_FOUND = 1


class SearchFailed(Exception):
    """photosearch could not be run, or says what is wrong; its text is for the user."""


@dataclass(frozen=True)
class Photo:
    path: str
    name: str
    about: str  # when and why, in a line; may be empty


def command() -> list[str]:
    """The words that start photosearch; whoever runs this from a checkout has it on PATH."""
    try:
        words = json.loads((Path(__file__).parent / "command.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ["photosearch"]
    return [str(word) for word in words]


def search(query: str) -> list[Photo]:
    """The photos for what was typed, best first; none for an empty query."""
    if not query.strip():
        return []
    hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows alone knows it
    try:
        done = subprocess.run(
            [*command(), "search", "--json", "-n", str(COUNT), "--", query],
            capture_output=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            creationflags=hidden,
        )
    except OSError as error:
        raise SearchFailed(f"photosearch cannot be started: {error}") from error
    except subprocess.TimeoutExpired:
        raise SearchFailed("photosearch takes too long. Is it running?") from None
    if done.returncode not in (0, NOTHING_FOUND):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise SearchFailed(said[-1].removeprefix("photosearch: ") if said else "it failed")
    return [_photo(json.loads(line)) for line in done.stdout.splitlines()]


def _photo(row: dict[str, object]) -> Photo:
    path = str(row["path"])
    why = row["why"]
    assert isinstance(why, list)
    taken = str(row["taken"] or "")[:10]
    name = Path(path).name.encode("utf-8", "replace").decode()
    return Photo(path, name, " · ".join(filter(None, [taken, *map(str, why)])))
