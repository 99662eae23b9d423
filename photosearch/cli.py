"""The command line: parse, call one function of the product, print.

Data goes to stdout, everything else to stderr. Exit codes are errors.py's.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import logging
import os
import shutil
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from photosearch import __version__, home, protocol
from photosearch.client import Client, find_daemon
from photosearch.errors import HomeInUse, LibraryDamaged, PhotosearchError, UsageError
from photosearch.home import Home, open_home
from photosearch.types import Hit, Root

if TYPE_CHECKING:
    from photosearch.bundle import Bundle
    from photosearch.ingest import Ingest, Totals
    from photosearch.library import Library, LibraryReader
    from photosearch.query import Query
    from photosearch.search import Results

NOTHING_FOUND: Final = 1
NEEDS_USER: Final = 3  # doctor found something to do
USAGE: Final = 2
INTERRUPTED: Final = 130
WAIT_FOR_WRITERS_SECONDS: Final = 10.0  # `index` waits this long for files still being written
MAX_RESULTS: Final = 1000

Run = Callable[[Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    args = _parser().parse_args(_with_default(list(sys.argv[1:] if argv is None else argv)))
    _log_to_stderr(args.verbose)
    run: Run = args.run
    try:
        code = run(args)
        sys.stdout.flush()
        return code
    except PhotosearchError as error:
        print(f"photosearch: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader had enough, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _log_to_stderr(verbose: bool) -> None:
    logger = logging.getLogger("photosearch")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler() if verbose else logging.NullHandler())
    logger.setLevel(logging.INFO)


COMMANDS: Final = (
    "serve", "index", "search", "status", "doctor", "retry", "forget", "backup", "open", "stop",
    "bundle",
)  # fmt: skip


def _with_default(argv: list[str]) -> list[str]:
    """`photosearch --library DIR` means `photosearch serve --library DIR`."""
    takes_value = {"--home", "--bundle"}
    position = 0
    while position < len(argv):
        word = argv[position]
        if word in ("-h", "--help", "--version") or word in COMMANDS:
            return argv
        if word in takes_value:
            position += 2
        elif word == "-v" or word.split("=")[0] in takes_value:
            position += 1
        else:
            break
    if position < len(argv) and not argv[position].startswith("-"):
        return argv  # argparse names the unknown command
    return [*argv[:position], "serve", *argv[position:]]


def _parser() -> ArgumentParser:
    shared = ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    _add_globals(shared)
    parser = ArgumentParser(
        prog="photosearch",
        description="Search your photos by what they show. Nothing leaves this computer.",
        epilog="Without a command: serve.",
    )
    _add_globals(parser)
    parser.add_argument("--version", action="version", version=f"photosearch {__version__}")
    parser.set_defaults(home=None, bundle=None, verbose=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: Run, summary: str) -> ArgumentParser:
        command: ArgumentParser = commands.add_parser(
            name, help=summary, description=summary, parents=[shared]
        )
        command.set_defaults(run=run)
        return command

    serve = add("serve", run_serve, "index what is new, watch for changes, and answer searches")
    serve.add_argument("--library", action="append", default=[], metavar="DIR", help=LIBRARY)
    serve.add_argument("--port", type=_port, help="port on 127.0.0.1 (default: 48620, or any free)")
    serve.add_argument("--no-open", action="store_true", help="do not open the search bar")
    serve.add_argument(
        "--window", action="store_true", help="open it as a window of its own (Chromium browsers)"
    )
    serve.add_argument("--max-cpu", type=_percent, metavar="PERCENT", help=MAX_CPU)

    index = add("index", run_index, "bring the library up to date once, then exit")
    index.add_argument("--library", action="append", default=[], metavar="DIR", help=LIBRARY)
    index.add_argument("--json", action="store_true", help="end with one line of totals as JSON")
    index.add_argument("--max-cpu", type=_percent, metavar="PERCENT", help=MAX_CPU)

    search = add("search", run_search, "rank photos against a description")
    search.add_argument("query", nargs="?", default="", help="what the photo shows")
    search.add_argument(
        "-n", dest="count", type=_count, default=20, metavar="K", help="most hits (default: 20)"
    )
    search.add_argument("--json", action="store_true", help="one JSON object a line")
    search.add_argument("--all", action="store_true", help="also hits below the relevance cut-off")
    search.add_argument("--like", metavar="PATH", help="more like this photo; words may be added")

    status = add("status", run_status, "what the library holds and what the daemon does")
    status.add_argument("--json", action="store_true", help="one JSON object")

    doctor = add("doctor", run_doctor, "what is not searchable and why, and what to do about it")
    doctor.add_argument("--json", action="store_true", help="one JSON object")

    retry = add("retry", run_retry, "try again the files that could not be read")
    retry.add_argument("path", nargs="?", metavar="PATH", help="only this file or folder")

    forget = add("forget", run_forget, "drop a library at once; its photos stay where they are")
    forget.add_argument("folder", metavar="DIR")

    backup = add("backup", run_backup, "copy the library into a new file, while in use or not")
    backup.add_argument("file", metavar="FILE")

    add("open", run_open, "show the search bar of the running daemon")
    add("stop", run_stop, "stop the running daemon")

    bundle = add("bundle", run_bundle_list, "the models: list or verify them")
    actions = bundle.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the bundles at hand", parents=[shared])
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(run=run_bundle_list)
    verify = actions.add_parser("verify", help="check files and golden vectors", parents=[shared])
    verify.add_argument("directory", metavar="DIR")
    verify.set_defaults(run=run_bundle_verify)
    return parser


LIBRARY: Final = "folder of photos; may be given several times; remembered"
MAX_CPU: Final = "share of the machine's cores that indexing may use"


def _add_globals(parser: ArgumentParser) -> None:
    parser.add_argument("--home", metavar="DIR", help="where library, thumbnails and logs are kept")
    parser.add_argument("--bundle", metavar="NAME|DIR", help="the model to use")
    parser.add_argument("-v", dest="verbose", action="store_true", help="say more on stderr")


def _port(text: str) -> int:
    return _between(text, 1, 65535)


def _percent(text: str) -> int:
    return _between(text, 1, 100)


def _count(text: str) -> int:
    return _between(text, 1, MAX_RESULTS)


def _between(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number in {low}..{high}")
    return int(text)


# --- serve, open, stop ------------------------------------------------------------------------


def run_serve(args: Namespace) -> int:
    from photosearch.ingest import require_folders
    from photosearch.serve import serve

    place = open_home(args.home)
    folders = _require_libraries(require_folders(args.library), place)

    def on_ready(url: str, code: str) -> None:
        print(f"photosearch: {url}", flush=True)
        if not args.no_open:
            show(f"{url}#code={code}", window=args.window)

    return serve(
        place,
        libraries=folders,
        settings=_settings(args, place),
        bundle=_require_bundle(args, place),
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


def require_daemon(place: Home) -> Client:
    daemon = find_daemon(place)
    if daemon is None:
        raise PhotosearchError(
            f"no daemon is running for {place.directory}. Start one: photosearch --library DIR"
        )
    return daemon


CHROMIUMS: Final = ("chromium", "chromium-browser", "google-chrome", "brave-browser", "msedge")


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


# --- index ------------------------------------------------------------------------------------


def run_index(args: Namespace) -> int:
    from photosearch.ingest import require_folders

    place = open_home(args.home)
    folders = _require_libraries(require_folders(args.library), place)
    with _indexing(args, place) as (ingest, library):
        totals = _index_all(ingest, library, folders)
        while library.tend_graph(threads=_settings(args, place).threads):
            pass
    _print_totals(totals, as_json=args.json)
    return 0


@contextlib.contextmanager
def _indexing(args: Namespace, place: Home) -> Iterator[tuple[Ingest, Library]]:
    """Own the home and be its writer for a while."""
    from photosearch.decode import DecodePool
    from photosearch.encoder import open_encoder
    from photosearch.ingest import Ingest
    from photosearch.library import Library
    from photosearch.thumbnails import Thumbnails

    settings = _settings(args, place)
    bundle = _require_bundle(args, place)
    with home.owned(place):
        library = Library(place.library, space=bundle.space, dim=bundle.dim, bundle=bundle.name)
        pool = DecodePool(workers=settings.threads)
        try:
            ingest = Ingest(
                library,
                open_encoder(bundle, threads=settings.threads),
                pool,
                Thumbnails(place.thumbnails),
                on_progress=_progress_line(sys.stderr.isatty()),
            )
            yield ingest, library
        finally:
            pool.close()
            library.close()


def _index_all(ingest: Ingest, library: Library, folders: Sequence[str]) -> Totals:
    from photosearch.errors import RootMissing
    from photosearch.ingest import Totals, root_available
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
    gone = [root.path for root in roots if not root_available(root)]
    if gone:
        raise RootMissing(
            f"{gone[0]}: the folder is not there. Its photos are kept and marked offline; "
            "connect the drive and run this again."
        )
    return totals


def _progress_line(on_terminal: bool) -> Callable[[Totals], None]:
    """A line that overwrites itself, at most ten times a second; nothing where nobody looks."""
    started = time.monotonic()
    shown = float("-inf")

    def show_progress(totals: Totals) -> None:
        nonlocal shown
        now = time.monotonic()
        if not on_terminal or (now - shown < 0.1 and totals.done < totals.to_read):
            return
        shown = now
        rate = totals.done / max(now - started, 1e-3)
        left = (totals.to_read - totals.done) / rate if rate else 0.0
        line = f"{totals.done:,} of {totals.to_read:,} photos, {rate:.1f}/s, {left:.0f} s left"
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    return show_progress


def _print_totals(totals: Totals, *, as_json: bool) -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(
        f"{totals.seen:,} photos seen: {totals.added:,} added, {totals.updated:,} updated, "
        f"{totals.moved:,} moved, {totals.removed:,} removed, {totals.failed:,} could not be read, "
        f"{totals.unchanged:,} unchanged ({totals.seconds:.1f} s)",
        file=sys.stderr,
    )
    for path, reason in totals.problems:
        print(f"photosearch: {_printable(path)}: {reason}", file=sys.stderr)
    if totals.failed > len(totals.problems):
        print(f"photosearch: and {totals.failed - len(totals.problems):,} more", file=sys.stderr)
    if totals.waiting:
        print(
            f"photosearch: {totals.waiting:,} files are still being written: left for later",
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


# --- search and status ------------------------------------------------------------------------


def run_search(args: Namespace) -> int:
    if not args.query.strip() and args.like is None:
        raise UsageError(
            "nothing to search for. Say what the photo shows, or name one with --like."
        )
    query = _parsed(args.query)
    place = open_home(args.home)
    # A file named as the example is read here, by the user's own rights and folder.
    here = args.like or args.bundle or query.like_path
    daemon = None if here else find_daemon(place)
    hits: Sequence[Hit]
    notes: Sequence[str]
    if daemon is not None:
        reply = daemon.search(args.query, k=args.count, show_all=args.all)
        hits, notes = reply.hits, reply.notes
    else:
        found = _search_here(args, place, query)
        hits, notes = found.hits, found.notes
    for hit in hits:
        _print_hit(hit, as_json=args.json)
    for note in notes:
        print(f"photosearch: {_printable(note)}", file=sys.stderr)
    if not hits:
        hint = "" if args.all else "; --all shows the nearest photos all the same"
        print(f"photosearch: nothing found{hint}", file=sys.stderr)
        return NOTHING_FOUND
    return 0


def _parsed(typed: str) -> Query:
    from photosearch.query import parse

    return parse(typed, now=datetime.datetime.now(datetime.UTC).astimezone())


def _search_here(args: Namespace, place: Home, query: Query) -> Results:
    """Search without a daemon: load the text tower and the library, answer once."""
    from photosearch.bundle import load_background
    from photosearch.encoder import open_encoder
    from photosearch.errors import SpaceMismatch
    from photosearch.library import open_library_reader
    from photosearch.search import Search

    bundle = _require_bundle(args, place)
    reader = open_library_reader(place.library)
    if reader is None:
        raise PhotosearchError(
            f"{place.directory} holds no library yet. Make one: photosearch --library DIR"
        )
    try:
        encoder = open_encoder(bundle)
        index = reader.load_index(bundle.space, bundle.dim)
        if not len(index) and (others := reader.other_spaces(bundle.space)):
            raise SpaceMismatch(
                f"{place.library}: its photos were embedded by bundle {others[0]}, and "
                f"{bundle.name} is loaded. Pass --bundle {others[0]}, "
                "or run `photosearch index` to embed again."
            )
        example = args.like if args.like is not None else query.like_path
        like = _vector_of(os.path.expanduser(example), encoder) if example is not None else None
        return Search(encoder, index, reader, load_background(bundle)).run(
            query, k=args.count, show_all=args.all, like=like
        )
    finally:
        reader.close()


def _vector_of(path: str, encoder: Any) -> Any:
    """A photo's vector. Raises for a file that is none."""
    from photosearch.errors import PhotoRejected
    from photosearch.preprocess import load, normalise

    try:
        pixels = load(Path(path), encoder.preprocess)
    except (OSError, PhotoRejected) as error:
        raise PhotosearchError(f"{path}: cannot be used as an example ({error}).") from error
    return encoder.images(normalise(pixels[None], encoder.preprocess))[0]


def _print_hit(hit: Hit, *, as_json: bool) -> None:
    if as_json:
        row = {
            "rank": hit.rank,
            "score": hit.score,
            "path": hit.path,
            "photo_id": hit.photo_id,
            "taken": hit.taken,
            "why": list(hit.why),
            "relevant": hit.relevant,
            "offline": hit.offline,
        }
        print(json.dumps(row))
        return
    # The path's own bytes: a name that is not UTF-8 must still open when pasted.
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{hit.score:.3f}\t".encode() + os.fsencode(hit.path) + b"\n")
    sys.stdout.buffer.flush()


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
            status = library_status(reader, place, _require_bundle(args, place))
        finally:
            if reader is not None:
                reader.close()
    if args.json:
        print(json.dumps(asdict(status)))
        return 0
    for library in status.libraries:
        print(f"library\t{_printable(library.path)}{' (offline)' if library.offline else ''}")
    print(f"photos\t{status.photos:,} ({status.searchable:,} searchable)")
    print(f"files\t{status.locations:,} photos, {status.failed:,} could not be read")
    print(f"daemon\t{f'process {status.pid}' if status.running else 'not running'}")
    indexing = status.indexing
    print(f"indexing\t{indexing.state}, {indexing.done:,} of {indexing.to_do:,}")
    print(f"bundle\t{status.bundle} ({status.space}), index {status.index}")
    print(f"on disk\t{status.library_bytes + status.thumbnail_bytes:,} bytes")
    return 0


# --- care -------------------------------------------------------------------------------------


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
        print(f"{'ok' if item.ok else 'PROBLEM'}\t{item.check}\t{_printable(item.found)}")
        if item.advice:
            print(f"\t\t{_printable(item.advice)}")
    for bad in found.unsearchable:
        print(f"not searchable\t{_printable(bad.path)}\t{bad.reason}")
    return code


def _doctor_here(args: Namespace, place: Home) -> protocol.DoctorReply:
    """Without a daemon: examine what the file holds."""
    from photosearch.doctor import TEXTS, Subject, examine
    from photosearch.encoder import open_encoder

    bundle = _require_bundle(args, place)
    reader = _require_reader(place)
    try:
        try:
            index = reader.load_index(bundle.space, bundle.dim)
            reader.load_graph(index, bundle.space)
        except LibraryDamaged:
            index = None  # examine() says in what way
        texts = open_encoder(bundle).texts(TEXTS)
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


def _require_reader(place: Home) -> LibraryReader:
    from photosearch.library import open_library_reader

    reader = open_library_reader(place.library)
    if reader is None:
        raise PhotosearchError(
            f"{place.directory} holds no library yet. Make one: photosearch --library DIR"
        )
    return reader


def run_retry(args: Namespace) -> int:
    place = open_home(args.home)
    reader = _require_reader(place)
    try:
        roots = reader.roots()
    finally:
        reader.close()
    only, under = _inside(args.path, roots) if args.path is not None else (None, "")
    daemon = find_daemon(place)
    if daemon is not None:
        count = daemon.retry(only.root_id if only else 0, under)
        later = "; `photosearch doctor` tells how it went" if count else ""
        print(f"photosearch: {count:,} files are read again{later}", file=sys.stderr)
        return 0
    with _indexing(args, place) as (ingest, library):
        from photosearch.ingest import Totals

        totals, started, count = Totals(), time.monotonic(), 0
        for root in [only] if only else roots:
            paths = library.clear_rejected(root.root_id, os.fsencode(under))
            count += len(paths)
            ingest.look_at(root, paths, totals)
        totals.seconds = time.monotonic() - started
    print(f"photosearch: {count:,} files were read again", file=sys.stderr)
    _print_totals(totals, as_json=False)
    return 0


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
    raise PhotosearchError(f"{_printable(path)} lies in no library. {_known(roots)}")


def run_forget(args: Namespace) -> int:
    place = open_home(args.home)
    reader = _require_reader(place)
    try:
        root = _require_root(args.folder, reader.roots())
    finally:
        reader.close()
    daemon = find_daemon(place)
    if daemon is not None:
        count = daemon.forget(root.root_id)
    else:
        from photosearch.ingest import forget_library
        from photosearch.library import Library
        from photosearch.thumbnails import Thumbnails

        bundle = _require_bundle(args, place)
        with home.owned(place):
            library = Library(place.library, space=bundle.space, dim=bundle.dim, bundle=bundle.name)
            try:
                count = forget_library(library, Thumbnails(place.thumbnails), root.root_id)
            finally:
                library.close()
    print(
        f"photosearch: {_printable(root.path)} is forgotten, with what was known of {count:,} "
        "photos. The photos themselves were not touched.",
        file=sys.stderr,
    )
    return 0


def _require_root(folder: str, roots: Sequence[Root]) -> Root:
    absolute = os.path.abspath(os.path.expanduser(folder))
    for root in roots:
        if root.path in (absolute, os.path.realpath(absolute)):
            return root
    raise PhotosearchError(f"{_printable(folder)} is not a library. {_known(roots)}")


def _known(roots: Sequence[Root]) -> str:
    if not roots:
        return "There is none yet."
    return f"Known: {', '.join(_printable(root.path) for root in roots)}"


def run_backup(args: Namespace) -> int:
    place = open_home(args.home)
    reader = _require_reader(place)
    try:
        target = Path(args.file).expanduser().absolute()
        reader.backup(target)
    finally:
        reader.close()
    size = target.stat().st_size
    print(f"photosearch: {target}, {size:,} bytes, checked", file=sys.stderr)
    return 0


def _printable(path: str) -> str:
    return path.encode("utf-8", "replace").decode()


# --- bundles ----------------------------------------------------------------------------------


def run_bundle_list(args: Namespace) -> int:
    from photosearch.bundle import find_bundles

    place = open_home(args.home)
    for bundle in find_bundles(_bundle_folders(place)):
        if args.json:
            row = {
                "name": bundle.name,
                "version": bundle.version,
                "space": bundle.space,
                "dim": bundle.dim,
                "bytes": bundle.size_bytes,
                "targets": sorted(bundle.targets),
                "directory": str(bundle.directory),
            }
            print(json.dumps(row))
        else:
            size = bundle.size_bytes / 1e6
            print(f"{bundle.name}\t{bundle.version}\t{size:.1f} MB\t{bundle.directory}")
    return 0


def run_bundle_verify(args: Namespace) -> int:
    from photosearch.bundle import open_bundle
    from photosearch.verify import verify_bundle

    bundle = open_bundle(Path(args.directory))
    problems = verify_bundle(bundle)
    for problem in problems:
        print(f"photosearch: {problem}", file=sys.stderr)
    if problems:
        raise PhotosearchError(
            f"{args.directory}: {len(problems)} problems; do not use this bundle."
        )
    print(f"{bundle.name} {bundle.version}: {len(bundle.files)} files and the golden vectors agree")
    return 0


def _bundle_folders(place: Home) -> list[Path]:
    from photosearch.bundle import shipped_bundles

    return [place.bundles, shipped_bundles()]


def _require_bundle(args: Namespace, place: Home) -> Bundle:
    from photosearch.bundle import require_bundle

    return require_bundle(args.bundle, _bundle_folders(place))


# --- shared by commands -----------------------------------------------------------------------


def _settings(args: Namespace, place: Home) -> Any:
    from dataclasses import replace

    from photosearch.settings import load_settings

    settings = load_settings(place.settings)
    chosen = getattr(args, "max_cpu", None)
    return replace(settings, max_cpu=chosen) if chosen is not None else settings


def _require_libraries(folders: list[str], place: Home) -> list[str]:
    """Say early what would fail late: a home in use."""
    daemon = find_daemon(place)
    if daemon is not None:
        raise HomeInUse(place.directory, daemon.running.pid)
    return folders
