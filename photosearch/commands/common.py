"""What several commands share: arguments, the home's parts, and how a name is printed."""

from __future__ import annotations

import argparse
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from photosearch.client import Client, find_daemon
from photosearch.errors import HomeInUse, PhotosearchError
from photosearch.home import Home
from photosearch.types import Root

if TYPE_CHECKING:
    from photosearch.bundle import Bundle
    from photosearch.library import LibraryReader
    from photosearch.switch import Plan

Run = Callable[[Namespace], int]

LIBRARY: Final = "folder of photos; may be given several times; remembered"
MAX_CPU: Final = "share of the machine's cores that indexing may use"
MAX_RESULTS: Final = 1000


class Commands:
    """The program's commands, as argparse sees them."""

    def __init__(self, parser: ArgumentParser, shared: ArgumentParser) -> None:
        self.parser = parser
        self.shared = shared  # options that may stand before or after a command's name
        self.names: list[str] = []
        self._subparsers = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(self, name: str, run: Run, summary: str) -> ArgumentParser:
        """A command that `run(args)` carries out, returning the exit code."""
        command: ArgumentParser = self._subparsers.add_parser(
            name, help=summary, description=summary, parents=[self.shared]
        )
        command.set_defaults(run=run)
        self.names.append(name)
        return command


def port(text: str) -> int:
    return between(text, 1, 65535)


def percent(text: str) -> int:
    return between(text, 1, 100)


def count(text: str) -> int:
    return between(text, 1, MAX_RESULTS)


def between(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number in {low}..{high}")
    return int(text)


def settings_of(args: Namespace, place: Home) -> Any:
    from dataclasses import replace

    from photosearch.settings import load_settings

    settings = load_settings(place.settings)
    chosen = getattr(args, "max_cpu", None)
    return replace(settings, max_cpu=chosen) if chosen is not None else settings


def bundle_folders(place: Home) -> list[Path]:
    from photosearch.bundle import shipped_bundles

    return [place.bundles, shipped_bundles()]


def wanted_bundle(args: Namespace, place: Home) -> Bundle:
    """The bundle named on the command line, else the one chosen for this home, else ours."""
    from photosearch import bundle, bundles

    home_first = bundle_folders(place)
    name = args.bundle or bundles.chosen(place.chosen_bundle)
    # What was imported is used when it is chosen, not because it is there.
    return bundle.require_bundle(name, home_first if name else home_first[::-1])


def planned(args: Namespace, place: Home) -> Plan:
    """Which bundle answers in this home, and which is to come after it."""
    from photosearch.bundle import find_bundles
    from photosearch.library import open_library_reader
    from photosearch.switch import plan_for

    wanted = wanted_bundle(args, place)
    reader = open_library_reader(place.library)
    try:
        return plan_for(reader, wanted, find_bundles(bundle_folders(place)))
    finally:
        if reader is not None:
            reader.close()


def require_bundle(args: Namespace, place: Home) -> Bundle:
    """The bundle to ask with: the one that answers, or the one named on the command line."""
    return wanted_bundle(args, place) if args.bundle else planned(args, place).now


def sound_plan(args: Namespace, place: Home) -> Plan:
    """`planned`, for who is about to write vectors or to answer: damaged bundles are refused."""
    from photosearch.bundles import require_sound_once

    plan = planned(args, place)
    for each in (plan.now, plan.next):
        if each is not None:
            require_sound_once(each, place.sound_bundles)
    return plan


def sound_bundle(args: Namespace, place: Home) -> Bundle:
    """`require_bundle`, for who is about to ask with it: a damaged one is refused."""
    from photosearch.bundles import require_sound_once

    found = require_bundle(args, place)
    require_sound_once(found, place.sound_bundles)
    return found


def require_reader(place: Home) -> LibraryReader:
    from photosearch.library import open_library_reader

    reader = open_library_reader(place.library)
    if reader is None:
        raise PhotosearchError(
            f"{place.directory} holds no library yet. Make one: photosearch --library DIR"
        )
    return reader


def require_daemon(place: Home) -> Client:
    daemon = find_daemon(place)
    if daemon is None:
        raise PhotosearchError(
            f"no daemon is running for {place.directory}. Start one: photosearch --library DIR"
        )
    return daemon


def require_unused(folders: list[str], place: Home) -> list[str]:
    """Say early what would fail late: a home in use."""
    daemon = find_daemon(place)
    if daemon is not None:
        raise HomeInUse(place.directory, daemon.running.pid)
    return folders


def require_root(folder: str, roots: Sequence[Root]) -> Root:
    absolute = os.path.abspath(os.path.expanduser(folder))
    for root in roots:
        if root.path in (absolute, os.path.realpath(absolute)):
            return root
    raise PhotosearchError(f"{printable(folder)} is not a library. {known_roots(roots)}")


def known_roots(roots: Sequence[Root]) -> str:
    if not roots:
        return "There is none yet."
    return f"Known: {', '.join(printable(root.path) for root in roots)}"


def printable(path: str) -> str:
    return path.encode("utf-8", "replace").decode()
