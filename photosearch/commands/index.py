"""index: bring the library up to date once."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from photosearch import home
from photosearch.commands.common import (
    LIBRARY,
    MAX_CPU,
    Commands,
    percent,
    printable,
    require_unused,
    settings_of,
    sound_plan,
)
from photosearch.errors import RootMissing, UsageError
from photosearch.home import Home, open_home
from photosearch.numbers import counted

if TYPE_CHECKING:
    from photosearch.ingest import Ingest, Totals
    from photosearch.library import Library
    from photosearch.switch import Standing, Switch

MAX_UNREADABLE: Final = 10  # folders named in full
WAIT_FOR_WRITERS_SECONDS: Final = 10.0  # `index` waits this long for files still being written


def add(commands: Commands) -> None:
    index = commands.add("index", run_index, "bring the library up to date once, then exit")
    index.add_argument("--library", action="append", default=[], metavar="DIR", help=LIBRARY)
    index.add_argument("--json", action="store_true", help="end with one line of totals as JSON")
    index.add_argument("--max-cpu", type=percent, metavar="PERCENT", help=MAX_CPU)


def run_index(args: Namespace) -> int:
    from photosearch.roots import require_folders

    place = open_home(args.home)
    folders = require_unused(require_folders(args.library), place)
    with indexing(args, place, command="index") as (ingest, library, switch):
        totals = _index_all(ingest, library, folders)
        if switch is not None:
            switch.run(_switch_line(switch.bundle.name, sys.stderr.isatty()))
            _finish(switch)
        while library.tend_graph(threads=settings_of(args, place).threads):
            pass
        print_totals(totals, as_json=args.json)
        _require_at_hand(library, folders)
    return 0


@contextlib.contextmanager
def indexing(
    args: Namespace, place: Home, *, command: str
) -> Iterator[tuple[Ingest, Library, Switch | None]]:
    """Own the home and be its writer for a while; with the move to another bundle, if one is on."""
    from photosearch.decode import DecodePool
    from photosearch.encoder import open_encoder
    from photosearch.ingest import Ingest
    from photosearch.library import Library
    from photosearch.pace import Throttle
    from photosearch.switch import Switch
    from photosearch.thumbnails import Thumbnails

    settings = settings_of(args, place)
    threads, runtime = settings.threads, settings.runtime
    plan = sound_plan(args, place)
    bundle = plan.now
    with home.owned(place, command=command):
        library = Library(
            place.library,
            space=bundle.space,
            dim=bundle.dim,
            bundle=bundle.name,
            graph_from=settings.graph_from_bytes(bundle.dim),
        )
        pool = DecodePool(workers=settings.threads)
        try:
            ingest = Ingest(
                library,
                open_encoder(bundle, threads=threads, runtime=runtime),
                pool,
                Thumbnails(place.thumbnails),
                on_progress=_progress_line(sys.stderr.isatty()),
                throttle=Throttle(max_cpu=settings.max_cpu, threads=settings.threads),
            )
            switch = None
            if plan.next is not None:
                encoder = open_encoder(plan.next, threads=threads, runtime=runtime)
                switch = Switch(library, plan.next, encoder, pool)
            else:
                library.drop_other_spaces()
            yield ingest, library, switch
            library.rest()
        finally:
            pool.close()
            library.close()


def _index_all(ingest: Ingest, library: Library, folders: Sequence[str]) -> Totals:
    from photosearch.ingest import Totals
    from photosearch.reconcile import SETTLE_NS

    totals = Totals()
    started = time.monotonic()
    roots = [library.add_root(folder) for folder in folders] or library.roots()
    if not roots:
        raise UsageError("no library yet. Name a folder of photos: --library DIR")
    waiting = {root: ingest.sync(root, totals) for root in roots}
    until = time.monotonic() + WAIT_FOR_WRITERS_SECONDS
    while any(waiting.values()) and time.monotonic() < until:
        time.sleep(SETTLE_NS / 1e9)
        for root in roots:
            if waiting[root]:
                again, seen = waiting[root], totals.seen
                totals.waiting -= len(again)
                waiting[root] = ingest.look_at(root, again, totals)
                totals.seen = seen  # the same files, looked at once more
    ingest.purge()
    totals.seconds = time.monotonic() - started
    return totals


def _require_at_hand(library: Library, folders: Sequence[str]) -> None:
    """Raises for what was to be indexed and is away: not there, or an empty mount point."""
    away = [root.path for root in library.roots() if root.offline]
    away = [path for path in away if path in folders or not folders]
    if away:
        raise RootMissing(
            f"{', '.join(map(printable, away))}: not there, or its drive is not connected. Its "
            "photos are kept and marked offline; connect the drive and run this again."
        )


def _finish(switch: Switch) -> None:
    if switch.complete:
        switch.finish()
        print(f"photosearch: {switch.bundle.name} answers from now on", file=sys.stderr)
        return
    waiting = ", ".join(map(printable, switch.seen.waiting_for))
    print(
        f"photosearch: {switch.bundle.name} is not used yet: photos in {waiting} are to be read "
        "first. Connect the drive and run this again, or forget the folder.",
        file=sys.stderr,
    )


def _switch_line(name: str, on_terminal: bool) -> Callable[[Standing], None]:
    def show(standing: Standing) -> None:
        if on_terminal:
            line = f"{name}: {standing.done:,} read again, {standing.to_do:,} to do"
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    return show


def _progress_line(on_terminal: bool) -> Callable[[Totals], None]:
    """A line that overwrites itself, at most ten times a second; nothing where nobody looks."""
    from photosearch.pace import Rate

    rate = Rate()
    shown = float("-inf")

    def show_progress(totals: Totals) -> None:
        nonlocal shown
        now = time.monotonic()
        if not on_terminal or (now - shown < 0.1 and totals.done < totals.to_read):
            return
        shown = now
        rate.update(totals.done)
        line = f"{totals.done:,} of {totals.to_read:,} photos, {rate.per_second:.1f}/s"
        left = rate.seconds_for(totals.to_read - totals.done)
        line += f", {duration(left)} left" if left is not None else ""
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    return show_progress


def duration(seconds: float) -> str:
    """Roughly, as people say it: "40 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def print_totals(totals: Totals, *, as_json: bool) -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(
        f"{counted(totals.seen, 'photo')} seen: "
        f"{totals.added:,} added, {totals.updated:,} updated, "
        f"{totals.moved:,} moved, {totals.removed:,} removed, {totals.failed:,} could not be read, "
        f"{totals.unchanged:,} unchanged ({totals.seconds:.1f} s)",
        file=sys.stderr,
    )
    for path, reason in totals.problems:
        print(f"photosearch: {printable(path)}: {reason}", file=sys.stderr)
    if totals.failed > len(totals.problems):
        print(f"photosearch: and {totals.failed - len(totals.problems):,} more", file=sys.stderr)
    for path, (gone, had) in totals.vanished.items():
        print(
            f"photosearch: {printable(path)}: {gone:,} of {had:,} photos are not there any more. "
            "If they come back within 24 hours, they are known again without being read.",
            file=sys.stderr,
        )
    for path, reason in list(totals.unreadable.items())[:MAX_UNREADABLE]:
        print(
            f"photosearch: {printable(path)}: cannot be looked into ({reason}); what is known in "
            "it is kept. Check its permissions.",
            file=sys.stderr,
        )
    if (rest := len(totals.unreadable) - MAX_UNREADABLE) > 0:
        print(f"photosearch: and {rest:,} more; `photosearch doctor` names all", file=sys.stderr)
    if totals.waiting:
        print(
            f"photosearch: {counted(totals.waiting, 'file is', 'files are')} still being written: "
            "left for later",
            file=sys.stderr,
        )
    if as_json:
        names = ("seen", "added", "updated", "moved", "removed", "failed", "unchanged")
        print(
            json.dumps(
                {name: getattr(totals, name) for name in names}
                | {
                    "seconds": round(totals.seconds, 3),
                    "photos_per_second": round(totals.photos_per_second, 2),
                }
            )
        )
