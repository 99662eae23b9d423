"""Flow Launcher's plug-in: one JSON request on the command line, one JSON answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from photos import Photo, SearchFailed, search

ICON = "icon.png"


def row(photo: Photo) -> dict[str, Any]:
    return {
        "Title": photo.name,
        "SubTitle": photo.about or photo.path,
        "IcoPath": photo.path,
        "ContextData": [photo.path],
        "JsonRPCAction": {"method": "open_photo", "parameters": [photo.path]},
    }


def note(title: str, text: str) -> dict[str, Any]:
    return {"Title": title, "SubTitle": text, "IcoPath": ICON}


def query(text: str) -> list[dict[str, Any]]:
    try:
        found = search(text)
    except SearchFailed as error:
        return [note("photosearch", str(error))]
    if not found and text.strip():
        return [note("Nothing looks like that", "Try other words: what the photo shows.")]
    return [row(photo) for photo in found]


def context_menu(data: list[str]) -> list[dict[str, Any]]:
    action = {"method": "reveal_photo", "parameters": data}
    return [{**note("Show in folder", data[0]), "JsonRPCAction": action}] if data else []


def open_photo(path: str) -> None:
    os.startfile(path)  # type: ignore[attr-defined, unused-ignore]


def reveal_photo(path: str) -> None:
    subprocess.Popen(["explorer", f"/select,{path}"])


def answer(request: dict[str, Any]) -> dict[str, Any] | None:
    """What Flow Launcher is told; None where it only wanted something done."""
    method, parameters = request["method"], request.get("parameters", [])
    if method == "query":
        return {"result": query(str(parameters[0]) if parameters else "")}
    if method == "context_menu":
        return {"result": context_menu(parameters[0] if parameters else [])}
    {"open_photo": open_photo, "reveal_photo": reveal_photo}[method](str(parameters[0]))
    return None


if __name__ == "__main__":
    told = answer(json.loads(sys.argv[1]))
    if told is not None:
        print(json.dumps(told))
