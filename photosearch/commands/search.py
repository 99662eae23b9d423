"""search: ranked photos, with a daemon or without."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import re
import stat
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from photosearch.client import find_daemon
from photosearch.commands.common import (
    Commands,
    count,
    printable,
    require_reader,
    settings_of,
    sound_bundle,
)
from photosearch.errors import PhotosearchError, UsageError
from photosearch.home import Home, open_home
from photosearch.query import UNKNOWN_EXAMPLE
from photosearch.types import Hit

if TYPE_CHECKING:
    from photosearch.query import Query

NOTHING_FOUND: Final = 1
EXAMPLE_SECONDS: Final = 20.0  # for the photo to look like: someone waits for it
TAKES_VALUE: Final = frozenset(["-n", "--like", "--home", "--bundle"])
OPTION: Final = re.compile(r"-(?:n\d+|[A-Za-z0])")  # other words with a "-" are negatives
BREAKS: Final = ((b"\n", rb"\n"), (b"\r", rb"\r"), (b"\t", rb"\t"))


@dataclass(frozen=True)
class _Answer:
    """What either way of searching gives."""

    hits: Sequence[Hit]
    notes: Sequence[str]
    hidden: int  # photos that --all would show
    photos: int  # that can be found at all


def add(commands: Commands) -> None:
    search = commands.add("search", run_search, "rank photos against a description")
    search.add_argument(
        "query", nargs="*", metavar="QUERY", help="what the photo shows, in one word or in many"
    )
    search.add_argument(
        "-n", dest="count", type=count, default=20, metavar="K", help="most hits (default: 20)"
    )
    form = search.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument(
        "-0",
        "--null",
        action="store_true",
        help="paths alone, as they are, each ended by a NUL, as for `xargs -0`. Otherwise a photo "
        r"is a line, and line breaks and tabs in its path are written \n, \r and \t",
    )
    search.add_argument("--all", action="store_true", help="also hits below the relevance cut-off")
    search.add_argument("--like", metavar="PATH", help="more like this photo; words may be added")


def in_order(words: Sequence[str]) -> list[str]:
    """The command's words with the options first, so that a query may be typed word by word and
    hold negatives: `red car -people -n 5`."""
    options: list[str] = []
    query: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            query += rest
        elif word in TAKES_VALUE:
            options += [word, *itertools.islice(rest, 1)]
        elif word.startswith("--") or OPTION.fullmatch(word):
            options.append(word)
        else:
            query.append(word)
    return [*options, "--", *query] if query else options


def run_search(args: Namespace) -> int:
    typed = " ".join(args.query)
    if args.like == "":
        raise UsageError("--like names no file.")
    if not typed.strip() and args.like is None:
        raise UsageError(
            "nothing to search for. Say what the photo shows, or name one with --like."
        )
    query = _parsed(typed)
    if query.finds_nothing_by_itself and not query.by_date and args.like is None:
        raise UsageError("; ".join(("nothing to search for", *query.notes)) + ".")
    answer = _answer(args, open_home(args.home), query, typed)
    for hit in answer.hits:
        _print_hit(hit, as_json=args.json, alone=args.null)
    for note in answer.notes:
        print(f"photosearch: {printable(note)}", file=sys.stderr)
    if answer.hits:
        return 0
    hint = "; --all shows the nearest photos all the same" if answer.hidden and not args.all else ""
    found = f"nothing found{hint}" if answer.photos else "no photos yet: the library is empty"
    print(f"photosearch: {found}", file=sys.stderr)
    return NOTHING_FOUND


def _answer(args: Namespace, place: Home, query: Query, typed: str) -> _Answer:
    """By the daemon, unless a file is the example: that is read here, by the user's own rights
    and folder. One that cannot be used may still be a photo's path in the library."""
    wrong = None
    if args.like is not None:
        if (wrong := unusable(args.like)) is not None:
            raise PhotosearchError(f"{args.like}: cannot be used as an example ({wrong}).")
    elif query.like_path is not None:
        wrong = unusable(query.like_path)
    here = args.like or args.bundle or (query.like_path and wrong is None)
    daemon = None if here else find_daemon(place)
    if daemon is None:
        return _search_here(args, place, query, wrong)
    reply = daemon.search(typed, k=args.count, show_all=args.all)
    return _Answer(reply.hits, _named(reply.notes, query, wrong), reply.hidden, reply.total_photos)


def _named(notes: Sequence[str], query: Query, wrong: str | None) -> list[str]:
    """The notes, with what is wrong with the file that was to be the example."""
    said = f"{query.like_path} cannot be used as an example ({wrong})"
    return [said if note == UNKNOWN_EXAMPLE and wrong else note for note in notes]


def unusable(path: str) -> str | None:
    """Why a file cannot be read as a photo: a pipe or a device might never end."""
    try:
        mode = os.stat(os.path.expanduser(path)).st_mode
    except OSError as error:
        return error.strerror
    return None if stat.S_ISREG(mode) else "it is no regular file"


def _parsed(typed: str) -> Query:
    from photosearch.query import parse

    return parse(typed, now=datetime.datetime.now(datetime.UTC).astimezone())


def _search_here(args: Namespace, place: Home, query: Query, wrong: str | None) -> _Answer:
    """Search without a daemon: load the text tower and the library, answer once."""
    from photosearch.bundle import load_background
    from photosearch.encoder import open_encoder
    from photosearch.errors import SpaceMismatch
    from photosearch.search import Search

    bundle = sound_bundle(args, place)
    reader = require_reader(place)
    try:
        encoder = open_encoder(bundle, runtime=settings_of(args, place).runtime)
        index = reader.load_index(bundle.space, bundle.dim)
        if not len(index) and (others := reader.other_spaces(bundle.space)):
            raise SpaceMismatch(
                f"{place.library}: its photos were embedded by bundle {others[0]}, and "
                f"{bundle.name} is loaded. Pass --bundle {others[0]}, "
                "or run `photosearch index` to embed again."
            )
        like = None
        if args.like is not None:
            like = _vector_of(args.like, encoder)
        elif query.like_path is not None and wrong is None:
            try:
                like = _vector_of(query.like_path, encoder)
            except PhotosearchError as error:
                wrong = str(error.__cause__)
        found = Search(encoder, index, reader, load_background(bundle)).run(
            query, k=args.count, show_all=args.all, like=like
        )
        reader.require_sound()  # or nothing is shown of it
        return _Answer(found.hits, _named(found.notes, query, wrong), found.hidden, len(index))
    finally:
        reader.close()


def _vector_of(path: str, encoder: Any) -> Any:
    """A photo's vector, decoded within the same limits as any. Raises for a file that is none."""
    from photosearch.decode import DecodePool, Picture, Rejected, Task
    from photosearch.errors import PhotoRejected
    from photosearch.preprocess import normalise

    whole = os.path.abspath(os.path.expanduser(path))
    pool = DecodePool(workers=1, max_seconds=EXAMPLE_SECONDS)
    try:
        outcome = pool.one(Task(b"", whole, encoder.preprocess))
    finally:
        pool.close()
    if not isinstance(outcome, Picture):
        reason = PhotoRejected(outcome.reason if isinstance(outcome, Rejected) else "no picture")
        raise PhotosearchError(f"{path}: cannot be used as an example ({reason}).") from reason
    return encoder.images(normalise(outcome.pixels[None], encoder.preprocess))[0]


def _print_hit(hit: Hit, *, as_json: bool, alone: bool) -> None:
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
            "similar": hit.similar,
        }
        print(json.dumps(row))
        return
    # The path's own bytes: a name that is not UTF-8 must still open when pasted.
    path = os.fsencode(hit.path)
    if alone:
        line = path + b"\0"
    else:
        for sign, written in BREAKS:
            path = path.replace(sign, written)
        line = f"{hit.score:.3f}\t".encode() + path + b"\n"
    sys.stdout.flush()
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
