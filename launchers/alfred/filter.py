"""Alfred's script filter: what was typed in, its JSON out."""

from __future__ import annotations

import json
import sys
from typing import Any

from photos import Photo, SearchFailed, search


def item(photo: Photo) -> dict[str, Any]:
    return {
        "type": "file:skipcheck",
        "title": photo.name,
        "subtitle": photo.about or photo.path,
        "arg": photo.path,
        "icon": {"type": "fileicon", "path": photo.path},
        "quicklookurl": photo.path,
        "mods": {"cmd": {"arg": photo.path, "subtitle": "Show in Finder"}},
    }


def answer(query: str) -> dict[str, Any]:
    try:
        found = search(query)
    except SearchFailed as error:
        return {"items": [{"title": "photosearch", "subtitle": str(error), "valid": False}]}
    if not found and query.strip():
        return {"items": [{"title": "Nothing looks like that", "valid": False}]}
    # No uid: Alfred keeps our order then, best first.
    return {"items": [item(photo) for photo in found]}


if __name__ == "__main__":
    print(json.dumps(answer(sys.argv[1] if len(sys.argv) > 1 else "")))
