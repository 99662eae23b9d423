"""status, doctor, retry, forget, relocate, backup: the library's care."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from photosearch import home, protocol
from photosearch.client import find_daemon
from photosearch.commands.common import (
    Commands,
    known_roots,
    printable,
    require_bundle,
    require_reader,
    require_root,
    settings_of,
    sound_bundle,
)
from photosearch.commands.index import duration, indexing, print_totals
from photosearch.errors import LibraryDamaged, PhotosearchError
from photosearch.home import Home, open_home
from photosearch.numbers import counted
from photosearch.types import Root

NEEDS_USER: Final = 3  # doctor found something to do


def add(commands: Commands) -> None:
    status = commands.add("status", run_status, "what the library holds and what the daemon does")
    status.add_argument("--json", action="store_true", help="one JSON object")

    doctor = commands.add(
        "doctor", run_doctor, "what is not searchable and why, and what to do about it"
    )
    doctor.add_argument("--json", action="store_true", help="one JSON object")

    retry = commands.add("retry", run_retry, "try again the files that could not be read")
    retry.add_argument("path", nargs="?", metavar="PATH", help="only this file or folder")

    forget = commands.add(
        "forget", run_forget, "drop a library at once; its photos stay where they are"
    )
    forget.add_argument("folder", metavar="DIR")

    relocate = commands.add(
        "relocate", run_relocate, "say where a library's folder lies now; nothing is read again"
    )
    relocate.add_argument("old", metavar="OLD", help="the folder as the library knows it")
    relocate.add_argument("new", metavar="NEW", help="where it is now")

    backup = commands.add(
        "backup", run_backup, "copy the library into a new file, while in use or not"
    )
    backup.add_argument("file", metavar="FILE")


def run_status(args: Namespace) -> int:
    place = open_home(args.home)
    daemon = find_daemon(place)
    if daemon is not None:
        status = daemon.status()
    else:
        from photosearch.library import open_library_reader
        from photosearch.status import library_status

        reader = open_library_reader(place.library)
        try:
            status = library_status(reader, place, require_bundle(args, place))
        finally:
            if reader is not None:
                reader.close()
    if args.json:
        print(json.dumps(asdict(status)))
        return 0
    for library in status.libraries:
        print(f"library\t{printable(library.path)}{' (offline)' if library.offline else ''}")
    hidden = f", {status.hidden:,} of them hidden" if status.hidden else ""
    print(f"photos\t{status.photos:,} ({status.searchable:,} searchable{hidden})")
    print(f"files\t{counted(status.locations, 'photo')}, {status.failed:,} could not be read")
    print(f"daemon\t{f'process {status.pid}' if status.running else 'not running'}")
    print(f"indexing\t{_progress(status.indexing)}")
    print(f"queue\t{status.queue:,} {'path' if status.queue == 1 else 'paths'} to look at")
    print(f"bundle\t{status.bundle} ({status.space}), index {status.index}")
    if status.moving is not None:
        moving = status.moving
        wait = f", waiting for {printable(', '.join(moving.waiting_for))}"
        print(
            f"moving to\t{moving.bundle}, {moving.done:,} ready, {moving.to_do:,} to do"
            + (wait if moving.waiting_for else "")
        )
    print(f"on disk\t{status.library_bytes + status.thumbnail_bytes:,} bytes")
    return 0


def _progress(indexing: protocol.IndexingMessage) -> str:
    """How far and how fast, as far as whoever is at work tells."""
    said = f"{indexing.state} ({indexing.reason})" if indexing.reason else indexing.state
    if indexing.to_do or not indexing.reason:
        said += f", {indexing.done:,} of {indexing.to_do:,}"
    said += f", {indexing.photos_per_second:.1f} photos/s" if indexing.photos_per_second else ""
    return said + (f", {duration(indexing.eta_seconds)} left" if indexing.eta_seconds else "")


def run_doctor(args: Namespace) -> int:
    place = open_home(args.home)
    daemon = find_daemon(place)
    found = daemon.doctor() if daemon is not None else _doctor_here(args, place)
    damaged = any(item.check == "database" and not item.ok for item in found.findings)
    code = 0 if found.healthy else LibraryDamaged.exit_code if damaged else NEEDS_USER
    if args.json:
        print(json.dumps(asdict(found)))
        return code
    for item in found.findings:
        print(f"{'ok' if item.ok else 'PROBLEM'}\t{item.check}\t{printable(item.found)}")
        if item.advice:
            print(f"\t\t{printable(item.advice)}")
    for bad in found.unsearchable:
        print(f"not searchable\t{printable(bad.path)}\t{bad.reason}\t{bad.advice}")
    return code


def _doctor_here(args: Namespace, place: Home) -> protocol.DoctorReply:
    """Without a daemon: examine what the file holds."""
    from photosearch.doctor import TEXTS, Subject, examine
    from photosearch.encoder import open_encoder

    bundle = sound_bundle(args, place)
    settings = settings_of(args, place)
    reader = require_reader(place)
    try:
        try:
            index = reader.load_index(bundle.space, bundle.dim)
            if settings.graph_from_photos:  # else a daemon would not use it either
                reader.load_graph(index, bundle.space)
        except LibraryDamaged:
            index = None  # examine() says in what way
        texts = open_encoder(bundle, runtime=settings.runtime).texts(TEXTS)
        return examine(
            Subject(
                place=place,
                reader=reader,
                space=bundle.space,
                dim=bundle.dim,
                bundle=bundle.name,
                index=index,
                texts=texts,
                running=False,
            )
        )
    finally:
        reader.close()


def run_retry(args: Namespace) -> int:
    place = open_home(args.home)
    reader = require_reader(place)
    try:
        roots = reader.roots()
    finally:
        reader.close()
    only, under = _inside(args.path, roots) if args.path is not None else (None, "")
    daemon = find_daemon(place)
    if daemon is not None:
        count = daemon.retry(only.root_id if only else 0, under)
        later = "; `photosearch doctor` tells how it went" if count else ""
        _require_known(args.path, count)
        files = counted(count, "file is", "files are")
        print(f"photosearch: {files} read again{later}", file=sys.stderr)
        return 0
    with indexing(args, place, command="retry") as (ingest, library, _):
        from photosearch.ingest import Totals

        totals, started, count = Totals(), time.monotonic(), 0
        for root in [only] if only else roots:
            paths = library.clear_rejected(root.root_id, os.fsencode(under))
            count += len(paths)
            ingest.look_at(root, paths, totals)
        totals.seconds = time.monotonic() - started
    _require_known(args.path, count)
    files = counted(count, "file was", "files were")
    print(f"photosearch: {files} read again", file=sys.stderr)
    print_totals(totals, as_json=False)
    return 0


def _require_known(path: str | None, count: int) -> None:
    """A path that is not there, and of which no failed file is known, was mistyped."""
    if path is not None and not count and not os.path.lexists(os.path.expanduser(path)):
        raise PhotosearchError(f"{path}: there is no such file or folder.")


def _inside(path: str, roots: Sequence[Root]) -> tuple[Root, str]:
    """The library a path lies in, and the path within it; innermost first."""
    absolute = os.path.abspath(os.path.expanduser(path))
    # A link is not followed at its last part: that is what the library knows by this name.
    folder, name = os.path.split(absolute)
    for wanted in (absolute, os.path.join(os.path.realpath(folder), name)):
        for root in sorted(roots, key=lambda root: -len(root.path)):
            if wanted == root.path:
                return root, ""
            if wanted.startswith(root.path.rstrip(os.sep) + os.sep):
                return root, os.path.relpath(wanted, root.path).replace(os.sep, "/")
    raise PhotosearchError(f"{printable(path)} lies in no library. {known_roots(roots)}")


def run_forget(args: Namespace) -> int:
    place = open_home(args.home)
    reader = require_reader(place)
    try:
        root = require_root(args.folder, reader.roots())
    finally:
        reader.close()
    daemon = find_daemon(place)
    if daemon is not None:
        count = daemon.forget(root.root_id)
    else:
        from photosearch.ingest import forget_library
        from photosearch.library import Library
        from photosearch.thumbnails import Thumbnails

        bundle = require_bundle(args, place)
        with home.owned(place, command="forget"):
            library = Library(place.library, space=bundle.space, dim=bundle.dim, bundle=bundle.name)
            try:
                count = forget_library(library, Thumbnails(place.thumbnails), root.root_id)
            finally:
                library.close()
    print(
        f"photosearch: {printable(root.path)} is forgotten, with what was known of {count:,} "
        "photos. The photos themselves were not touched.",
        file=sys.stderr,
    )
    return 0


def run_relocate(args: Namespace) -> int:
    from photosearch.roots import require_folders

    place = open_home(args.home)
    reader = require_reader(place)
    try:
        root = require_root(args.old, reader.roots())
    finally:
        reader.close()
    (folder,) = require_folders([args.new])
    daemon = find_daemon(place)
    if daemon is not None:
        daemon.relocate(root.root_id, folder)
    else:
        from photosearch.library import Library

        bundle = require_bundle(args, place)
        with home.owned(place, command="relocate"):
            library = Library(place.library, space=bundle.space, dim=bundle.dim, bundle=bundle.name)
            try:
                library.move_root(root.root_id, folder)
            finally:
                library.close()
    print(
        f"photosearch: {printable(root.path)} is looked for in {printable(folder)} from now on",
        file=sys.stderr,
    )
    return 0


def run_backup(args: Namespace) -> int:
    place = open_home(args.home)
    reader = require_reader(place)
    try:
        target = Path(args.file).expanduser().absolute()
        reader.backup(target)
    finally:
        reader.close()
    size = target.stat().st_size
    print(f"photosearch: {target}, {size:,} bytes, checked", file=sys.stderr)
    return 0
