"""serve, open, stop: the daemon and its search bar."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from photosearch import browser, presence
from photosearch.client import find_daemon
from photosearch.commands import output
from photosearch.commands.common import (
    LIBRARY,
    MAX_CPU,
    Commands,
    bundle_folders,
    percent,
    port,
    printable,
    require_daemon,
    require_unused,
    settings_of,
    sound_plan,
)
from photosearch.commands.life import erase_and_tell
from photosearch.errors import RootMissing
from photosearch.home import Home, open_home


def add(commands: Commands) -> None:
    serve = commands.add(
        "serve", run_serve, "index what is new, watch for changes, and answer searches"
    )
    serve.add_argument("--library", action="append", default=[], metavar="DIR", help=LIBRARY)
    serve.add_argument("--port", type=port, help="port on 127.0.0.1 (default: 48620, or any free)")
    serve.add_argument("--no-open", action="store_true", help="do not open the search bar")
    serve.add_argument(
        "--window", action="store_true", help="open it as a window of its own (Chromium browsers)"
    )
    serve.add_argument("--max-cpu", type=percent, metavar="PERCENT", help=MAX_CPU)
    commands.add("open", run_open, "show the search bar: the native one if it runs, else the page")
    commands.add("stop", run_stop, "stop the running daemon, and the native bar")


def run_serve(args: Namespace) -> int:
    from photosearch.serve import serve

    place = open_home(args.home)
    folders = require_unused(_folders_to_serve(args.library, place), place)

    def on_ready(url: str, code: str) -> None:
        try:
            print(f"photosearch: {url}", flush=True)
        except OSError:  # the output is closed or full; that ends no daemon
            output.give_up()
        if not args.no_open:
            browser.show(f"{url}#code={code}", window=args.window)

    return serve(
        place,
        libraries=folders,
        settings=settings_of(args, place),
        plan=sound_plan(args, place),
        bundle_folders=bundle_folders(place),
        port=args.port,
        on_ready=on_ready,
        on_erase=lambda: _erase(place),
    )


def _folders_to_serve(named: Sequence[str], place: Home) -> list[str]:
    """The libraries named. One that is known and away is served as it is known; raises for any
    other that is not there."""
    from photosearch.library import open_library_reader
    from photosearch.roots import require_folders

    found: list[str] = []
    for folder in named:
        try:
            found += require_folders([folder])
        except RootMissing as missing:
            reader = open_library_reader(place.library)
            roots = reader.roots() if reader is not None else []
            if reader is not None:
                reader.close()
            absolute = os.path.abspath(os.path.expanduser(folder))
            known = [r.path for r in roots if r.path in (absolute, os.path.realpath(absolute))]
            if not known:
                raise
            print(
                f"photosearch: {printable(str(missing))} What is known of it is served, marked "
                "offline, until it is back.",
                file=sys.stderr,
            )
            found += known
    return found


def _erase(place: Home) -> None:
    """The page asked for it, and the daemon has let go of everything."""
    presence.tell(place, "quit")
    erase_and_tell(place, is_daemon=True)


def run_open(args: Namespace) -> int:
    place = open_home(args.home)
    if presence.tell(place, "show"):  # the native bar, where it runs
        return 0
    daemon = require_daemon(place)
    browser.show(f"{daemon.url}#code={daemon.new_code()}", window=False)
    return 0


def run_stop(args: Namespace) -> int:
    place = open_home(args.home)
    had_bar = presence.tell(place, "quit")
    if not had_bar or find_daemon(place) is not None:
        require_daemon(place).stop()
    return 0
