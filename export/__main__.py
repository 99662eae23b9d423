"""python -m export --checkpoint FILE --out DIR [--targets onnx] [--precision int8|fp32]"""

from __future__ import annotations

import argparse
import glob
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from photosearch.errors import PhotosearchError, UsageError

TARGETS: Final = ("onnx", "executorch", "coreml")
READY: Final = ("onnx",)


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        check_targets(args.targets)
        from export.bundle import export_bundle  # torch: 2 s, and not needed to refuse
        from models.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(args.checkpoint)
        val = args.val if args.val is not None else found(checkpoint.recipe.val)
        out = export_bundle(checkpoint, args.out, precision=args.precision, val=val)
    except PhotosearchError as error:
        print(f"export: {error}", file=sys.stderr)
        return error.exit_code
    print(out)
    return 0


def check_targets(wanted: str) -> None:
    """Refuse what does not exist, and what does not exist yet."""
    for target in wanted.split(","):
        if target not in TARGETS:
            raise UsageError(f"--targets {target}: known targets are {', '.join(TARGETS)}")
        if target not in READY:
            raise PhotosearchError(
                f"target {target} is not implemented yet; this version writes {', '.join(READY)}"
            )


def found(spec: str) -> str:
    """The recipe's own held-out photos where they are at hand; "" otherwise."""
    return spec if spec and glob.glob(spec) else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export", description="Turn a checkpoint into a bundle."
    )
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--targets", default="onnx", help="comma-separated; so far only onnx (default: onnx)"
    )
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    parser.add_argument(
        "--val", help="photos with captions to measure on (default: the recipe's; '' for none)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
