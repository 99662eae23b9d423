"""The command line: find the command, run it, turn errors into exit codes.

Data goes to stdout, everything else to stderr. Exit codes are errors.py's.
"""

from __future__ import annotations

import logging
import os
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Sequence
from typing import Final

from photosearch import __version__
from photosearch.commands import adapt, bundle, care, desktop, evaluate, index, life, search, serve
from photosearch.commands.common import Commands, Run
from photosearch.errors import PhotosearchError

USAGE: Final = 2
INTERRUPTED: Final = 130
GROUPS: Final = (serve, desktop, index, search, care, life, bundle, evaluate, adapt)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser, names = build_parser()
    args = parser.parse_args(with_default(list(sys.argv[1:] if argv is None else argv), names))
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


def build_parser() -> tuple[ArgumentParser, tuple[str, ...]]:
    """The parser, and the names of its commands."""
    shared = ArgumentParser(add_help=False, argument_default=SUPPRESS)
    _add_globals(shared)
    parser = ArgumentParser(
        prog="photosearch",
        description="Search your photos by what they show. Nothing leaves this computer.",
        epilog="Without a command: serve.",
    )
    _add_globals(parser)
    parser.add_argument("--version", action="version", version=f"photosearch {__version__}")
    parser.set_defaults(home=None, bundle=None, verbose=False)
    commands = Commands(parser, shared)
    for group in GROUPS:
        group.add(commands)
    return parser, tuple(commands.names)


def with_default(argv: list[str], names: Sequence[str]) -> list[str]:
    """`photosearch --library DIR` means `photosearch serve --library DIR`."""
    takes_value = {"--home", "--bundle"}
    position = 0
    while position < len(argv):
        word = argv[position]
        if word in ("-h", "--help", "--version") or word in names:
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


def _add_globals(parser: ArgumentParser) -> None:
    parser.add_argument("--home", metavar="DIR", help="where library, thumbnails and logs are kept")
    parser.add_argument("--bundle", metavar="NAME|DIR", help="the model to use")
    parser.add_argument("-v", dest="verbose", action="store_true", help="say more on stderr")
