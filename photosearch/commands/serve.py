"""serve, open, stop: the daemon and its search bar."""

from __future__ import annotations

import os
import shutil
import sys
from argparse import Namespace
from typing import Final

from photosearch.commands.common import (
    LIBRARY,
    MAX_CPU,
    Commands,
    percent,
    port,
    require_bundle,
    require_daemon,
    require_unused,
    settings_of,
)
from photosearch.home import open_home

CHROMIUMS: Final = ("chromium", "chromium-browser", "google-chrome", "brave-browser", "msedge")


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
    commands.add("open", run_open, "show the search bar of the running daemon")
    commands.add("stop", run_stop, "stop the running daemon")


def run_serve(args: Namespace) -> int:
    from photosearch.ingest import require_folders
    from photosearch.serve import serve

    place = open_home(args.home)
    folders = require_unused(require_folders(args.library), place)

    def on_ready(url: str, code: str) -> None:
        print(f"photosearch: {url}", flush=True)
        if not args.no_open:
            show(f"{url}#code={code}", window=args.window)

    return serve(
        place,
        libraries=folders,
        settings=settings_of(args, place),
        bundle=require_bundle(args, place),
        port=args.port,
        on_ready=on_ready,
    )


def run_open(args: Namespace) -> int:
    daemon = require_daemon(open_home(args.home))
    show(f"{daemon.url}#code={daemon.new_code()}", window=False)
    return 0


def run_stop(args: Namespace) -> int:
    require_daemon(open_home(args.home)).stop()
    return 0


def show(url: str, *, window: bool) -> None:
    """Open the search bar in the user's browser. The code in the URL is good once, for a minute."""
    import subprocess
    import webbrowser

    if window:
        browser = next(filter(None, map(shutil.which, CHROMIUMS)), None)
        if browser is not None:
            subprocess.Popen(
                [browser, f"--app={url}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            return
        print("photosearch: no Chromium browser found, using the default one", file=sys.stderr)
    if not _has_screen() or not webbrowser.open(url):
        print(f"photosearch: open this address within a minute: {url}", file=sys.stderr)


def _has_screen() -> bool:
    """Whether a browser could show itself; without, webbrowser may start a text browser here."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
