"""Folders to choose from, for who types the path of a library to add."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MAX_FOLDERS: Final = 50


def folders_like(typed: str) -> list[str]:
    """Folders whose path begins with what was typed; for nothing, where photos usually are.

    Only what can be typed: no hidden folders, no names that are not UTF-8.
    """
    if not typed.strip():
        return _usual()
    path = os.path.expanduser(typed)
    if not os.path.isabs(path) or "\0" in path:
        return []
    parent, start = os.path.split(path)
    found: list[str] = []
    try:
        with os.scandir(parent) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".") and not start.startswith(".")
                if hidden or not entry.name.casefold().startswith(start.casefold()):
                    continue
                if _is_typable(entry.name) and _is_folder(entry):
                    found.append(os.path.join(parent, entry.name))
    except (OSError, UnicodeError):
        return []
    return sorted(found, key=str.casefold)[:MAX_FOLDERS]


def _usual() -> list[str]:
    import platformdirs

    places = [Path(platformdirs.user_pictures_dir()), Path.home()]
    return [str(place) for place in dict.fromkeys(places) if place.is_dir()]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_typable(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return name.isprintable()
