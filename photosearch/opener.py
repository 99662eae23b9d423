"""Show a photo in the system's viewer, or in its file manager."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from photosearch.errors import PhotosearchError


def open_command(path: str, platform: str) -> list[str]:
    """The command that opens a file with its default program; the path is one argument."""
    if platform == "darwin":
        return ["open", path]
    if platform == "win32":
        return ["rundll32", "url.dll,FileProtocolHandler", path]
    return ["xdg-open", path]


def reveal_command(path: str, platform: str) -> list[str]:
    """The command that shows a file in its folder."""
    if platform == "darwin":
        return ["open", "-R", path]
    if platform == "win32":
        return ["explorer", f"/select,{path}"]
    return [
        "dbus-send",
        "--session",
        "--print-reply",
        "--dest=org.freedesktop.FileManager1",
        "/org/freedesktop/FileManager1",
        "org.freedesktop.FileManager1.ShowItems",
        f"array:string:{Path(path).as_uri()}".replace(",", "%2C"),
        "string:",
    ]


def run(command: list[str]) -> None:
    """Start a viewer and leave it running. Raises PhotosearchError where it is not installed."""
    try:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise PhotosearchError(
            f"{command[0]} cannot be started ({os.strerror(error.errno or 0)}), "
            "so the photo cannot be shown."
        ) from error


def open_photo(path: str) -> None:
    run(open_command(path, sys.platform))


def reveal_photo(path: str) -> None:
    run(reveal_command(path, sys.platform))
