"""search: ranked photos, with a daemon or without."""

from __future__ import annotations

import datetime
import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
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
from photosearch.types import Hit

if TYPE_CHECKING:
    from photosearch.query import Query
    from photosearch.search import Results

NOTHING_FOUND: Final = 1


def add(commands: Commands) -> None:
    search = commands.add("search", run_search, "rank photos against a description")
    search.add_argument("query", nargs="?", default="", help="what the photo shows")
    search.add_argument(
        "-n", dest="count", type=count, default=20, metavar="K", help="most hits (default: 20)"
    )
    search.add_argument("--json", action="store_true", help="one JSON object a line")
    search.add_argument("--all", action="store_true", help="also hits below the relevance cut-off")
    search.add_argument("--like", metavar="PATH", help="more like this photo; words may be added")


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
        print(f"photosearch: {printable(note)}", file=sys.stderr)
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
        example = args.like if args.like is not None else query.like_path
        like = _vector_of(os.path.expanduser(example), encoder) if example is not None else None
        found = Search(encoder, index, reader, load_background(bundle)).run(
            query, k=args.count, show_all=args.all, like=like
        )
        reader.require_sound()  # or nothing is shown of it
        return found
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
            "similar": hit.similar,
        }
        print(json.dumps(row))
        return
    # The path's own bytes: a name that is not UTF-8 must still open when pasted.
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{hit.score:.3f}\t".encode() + os.fsencode(hit.path) + b"\n")
    sys.stdout.buffer.flush()
