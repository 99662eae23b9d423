"""service, delete-data, completion: from being installed to being gone without a trace."""

from __future__ import annotations

import contextlib
import sys
from argparse import Namespace
from pathlib import Path
from typing import Final

from photosearch.commands.common import Commands, require_daemon
from photosearch.errors import HomeInUse, PhotosearchError, UsageError
from photosearch.home import Home, find_running, open_home, require_no_photos_inside
from photosearch.numbers import counted

SHELLS: Final = ("bash", "zsh", "fish", "powershell")
CONFIRMATION: Final = "delete"


def add(commands: Commands) -> None:
    service = commands.add("service", run_service, "start at login: install, uninstall or status")
    service.add_argument("action", choices=("install", "uninstall", "status"))

    delete = commands.add(
        "delete-data", run_delete, "delete all that is kept of your photos, never the photos"
    )
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.add_argument("--stop", action="store_true", help="stop the daemon first, if one runs")

    completion = commands.add("completion", run_completion, "print a script for your shell")
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(parser=commands.parser)


# --- service ----------------------------------------------------------------------------------


def run_service(args: Namespace) -> int:
    from photosearch import program
    from photosearch.service import install, open_service, service_status, uninstall

    place = open_home(args.home)
    service = open_service(place)
    if args.action == "install":
        _require_library(place)
        install(service)
        print(f"photosearch: starts at login from now on ({service.file})", file=sys.stderr)
    elif args.action == "uninstall":
        was_there = uninstall(service)
        done = "does not start at login any more" if was_there else "did not start at login"
        print(f"photosearch: {done}; your library is kept", file=sys.stderr)
    else:
        status = service_status(service, program.serve_command(place))
        running = {True: "running", False: "not running", None: "the system does not say"}
        print(f"installed\t{'yes' if status.installed else 'no'}\t{status.file}")
        print(f"state\t{running[status.running]}")
        print(f"command\t{' '.join(status.command)}")
    return 0


def _require_library(place: Home) -> None:
    """A service without a library would start at every login only to fail."""
    if not place.library.exists():
        raise UsageError("no library yet. Make one first: photosearch index --library DIR")
    place.directory.mkdir(parents=True, exist_ok=True)


# --- delete-data ------------------------------------------------------------------------------


def run_delete(args: Namespace) -> int:
    from photosearch import presence

    place = open_home(args.home)
    if not place.directory.is_dir():
        raise PhotosearchError(f"{place.directory}: there is no data here.")
    require_no_photos_inside(place, _roots(place))
    running = find_running(place)
    if running is not None and not args.stop:
        raise HomeInUse(place.directory, running.pid)
    if not args.yes:
        _confirm(place)
    presence.tell(place, "quit")  # the native bar keeps thumbnails in memory and a log in the home
    if running is not None:
        require_daemon(place).stop()
    erase_and_tell(place, is_daemon=False)
    return 0


def erase_and_tell(place: Home, *, is_daemon: bool) -> None:
    """Delete what nobody uses any more, and say what went and what is left to do. `is_daemon`:
    this process may be the one that the system started at login."""
    from photosearch.erase import erase

    erased = erase(place)
    print(
        f"photosearch: {counted(erased.files, 'file')}, {counted(erased.size_bytes, 'byte')} "
        "are deleted. "
        "Your photos were not touched.",
        file=sys.stderr,
    )
    # Only now: ending the service could end this process, and leave all of the data there.
    _start_no_more(place, is_daemon=is_daemon)
    for file in filter(Path.exists, erased.left):  # the service may have kept its file here
        print(f"photosearch: left, because it is not ours: {file}", file=sys.stderr)
    with contextlib.suppress(OSError):
        place.directory.rmdir()


def _start_no_more(place: Home, *, is_daemon: bool) -> None:
    """Take away what starts the daemon of this home at login, and no other's."""
    from photosearch.service import open_service, take_away

    service = open_service(place)
    if not service.serves(place):
        return
    left = take_away(service, ends_now=not is_daemon)
    for words in left:
        print(f"photosearch: {words}", file=sys.stderr)
    if not left:
        print("photosearch: it does not start at login any more.", file=sys.stderr)


def _confirm(place: Home) -> None:
    if not sys.stdin.isatty():
        raise UsageError("delete-data asks before it deletes. Pass --yes where nobody can answer.")
    print(
        f"This deletes the library, thumbnails, models, settings and logs in {place.directory}.\n"
        f"It does not start at login any more. Your photos stay as they are.\n"
        f"Type {CONFIRMATION} to go on: ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    if sys.stdin.readline().strip().lower() != CONFIRMATION:
        raise UsageError("nothing was deleted.")


def _roots(place: Home) -> list[str]:
    """The folders of photos this home knows; none where its library is damaged: it must be
    possible to delete that."""
    from photosearch.library import open_library_reader

    try:
        reader = open_library_reader(place.library)
    except PhotosearchError:
        return []
    if reader is None:
        return []
    try:
        return [root.path for root in reader.roots()]
    finally:
        reader.close()


# --- completion -------------------------------------------------------------------------------


def run_completion(args: Namespace) -> int:
    from photosearch.completion import script

    print(script(args.parser, args.shell), end="")
    return 0
