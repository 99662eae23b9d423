"""The command line: find the command, run it, turn errors into exit codes.

Data goes to stdout, everything else to stderr. Exit codes are errors.py's.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Sequence
from typing import Final

from photosearch import __version__
from photosearch.commands import (
    adapt,
    bundle,
    care,
    desktop,
    evaluate,
    index,
    life,
    output,
    search,
    serve,
)
from photosearch.commands.common import Commands, Run, printable
from photosearch.errors import PhotosearchError

USAGE: Final = 2
INTERRUPTED: Final = 130
UNWRITTEN: Final = (errno.ENOSPC, errno.EBADF, errno.EIO, errno.EINVAL)  # of one without a name
log = logging.getLogger(__name__)

GROUPS: Final = (serve, desktop, index, search, care, life, bundle, evaluate, adapt)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    output.mend()
    try:
        code = _carry_out(list(sys.argv[1:] if argv is None else argv))
        output.flush()
        return code
    except PhotosearchError as error:
        print(f"photosearch: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader had enough, as with `| head`
        output.give_up()
        return 0
    except OSError as error:  # the system refused what no command expects to be refused
        log.info("cli.refused", exc_info=True)
        print(f"photosearch: {_refusal(error)}", file=sys.stderr)
        return PhotosearchError.exit_code


def _carry_out(argv: list[str]) -> int:
    parser, names = build_parser()
    try:
        args = parser.parse_args(with_default(argv, names))
    except SystemExit:  # --help and --version have said what there is to say
        output.flush()
        raise
    _log_to_stderr(args.verbose)
    run: Run = args.run
    return run(args)


def _refusal(error: OSError) -> str:
    """In a line: what could not be read or written, and why."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        return f"{printable(os.fsdecode(error.filename))}: {reason}."
    if error.errno in UNWRITTEN:
        output.give_up()
        return f"the output cannot be written ({reason})."
    return f"{reason}."


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
        if word == "search":
            return [*argv[: position + 1], *search.in_order(argv[position + 1 :])]
        if word in ("-h", "--help", "--version") or word in names:
            return argv
        if word in takes_value:
            position += 2
        elif word == "-v" or word.split("=")[0] in takes_value:
            position += 1
        else:
            break
    if position > len(argv):
        return argv  # argparse names the option whose value is missing
    if position < len(argv) and not argv[position].startswith("-"):
        return argv  # argparse names the unknown command
    return [*argv[:position], "serve", *argv[position:]]


def _add_globals(parser: ArgumentParser) -> None:
    parser.add_argument("--home", metavar="DIR", help="where library, thumbnails and logs are kept")
    parser.add_argument("--bundle", metavar="NAME|DIR", help="the model to use")
    parser.add_argument("-v", dest="verbose", action="store_true", help="say more on stderr")
