"""serve, open, stop: the daemon and its search bar."""

from __future__ import annotations

from argparse import Namespace

from photosearch import browser, presence
from photosearch.client import find_daemon
from photosearch.commands.common import (
    LIBRARY,
    MAX_CPU,
    Commands,
    bundle_folders,
    percent,
    port,
    require_daemon,
    require_unused,
    settings_of,
    sound_plan,
)
from photosearch.commands.life import erase_and_tell
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
    from photosearch.roots import require_folders
    from photosearch.serve import serve

    place = open_home(args.home)
    folders = require_unused(require_folders(args.library), place)

    def on_ready(url: str, code: str) -> None:
        print(f"photosearch: {url}", flush=True)
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
