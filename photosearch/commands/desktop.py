"""bar: the native search bar, where its extra is installed."""

from __future__ import annotations

import importlib.util
from argparse import Namespace

from photosearch.commands.common import Commands
from photosearch.errors import PhotosearchError
from photosearch.home import open_home


def add(commands: Commands) -> None:
    bar = commands.add("bar", run_bar, "the native search bar, with a key for the whole system")
    bar.add_argument(
        "--hotkey",
        default="ctrl+alt+space",
        metavar="KEYS",
        help="shows and hides it, from any program (default: ctrl+alt+space)",
    )
    bar.add_argument("--hidden", action="store_true", help="start without showing it")


def run_bar(args: Namespace) -> int:
    from photosearch.desktop.hotkeys.chord import parse

    chord = parse(args.hotkey)
    if importlib.util.find_spec("PySide6") is None:
        raise PhotosearchError(
            "the native bar needs PySide6 (250 MB). Install it with: "
            "python -m pip install 'photosearch[desktop]'. "
            "The page needs nothing more: photosearch open"
        )
    from photosearch.desktop.app import run_bar as run

    return run(open_home(args.home), chord, hidden=args.hidden)
