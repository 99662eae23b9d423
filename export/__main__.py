"""python -m export (--checkpoint FILE | --bundle DIR) --out DIR
[--targets onnx,executorch,coreml] [--precision int8|fp32|palette6]"""

from __future__ import annotations

import argparse
import glob
import importlib.util
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from photosearch.errors import PhotosearchError, UsageError
from photosearch.extras import require_packages

if TYPE_CHECKING:
    from export.bundle import Progress
    from export.source import Source

TARGETS: Final = ("onnx", "executorch", "coreml", "executorch-coreml", "executorch-vulkan")
PRECISIONS: Final = ("int8", "fp32", "palette6")


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        targets = check_targets(args.targets, args.precision)
        require_packages("export", "export", "torch", "onnx")
        from export.bundle import Progress, Wanted, export_bundle  # torch: 2 s, not to refuse

        progress = Progress()
        source = _source(args.checkpoint, args.bundle, progress)
        recipe = source.description["recipe"]
        wanted = Wanted(
            targets=targets,
            precision=args.precision,
            val=args.val if args.val is not None else found(recipe["val"]),
            captions=dict(captions_of(text) for text in args.captions),
            calibration=args.calibrate if args.calibrate is not None else found(recipe["data"]),
        )
        out = export_bundle(source, args.out, wanted, progress=progress)
    except PhotosearchError as error:
        print(f"export: {error}", file=sys.stderr)
        return error.exit_code
    print(out)
    return 0


def _source(checkpoint: Path | None, bundle: Path | None, progress: Progress) -> Source:
    """What to export: a run's checkpoint, or the student that a bundle's ONNX files hold."""
    from export.source import from_bundle, from_checkpoint
    from models.checkpoint import load_checkpoint
    from photosearch.bundle import open_bundle

    if checkpoint is not None:
        return from_checkpoint(load_checkpoint(checkpoint))
    assert bundle is not None
    progress(f"weights from the ONNX files of {bundle}")
    return from_bundle(open_bundle(bundle))


def check_targets(wanted: str, precision: str) -> tuple[str, ...]:
    """Refuse what does not exist, what is not installed, and what would be no target at all."""
    targets = tuple(dict.fromkeys(wanted.split(",")))
    for target in targets:
        if target not in TARGETS:
            raise UsageError(f"--targets {target}: known targets are {', '.join(TARGETS)}")
        if precision == "palette6" and target != "coreml":
            raise UsageError(f"--precision palette6 is for --targets coreml alone, not {target}")
        for needed, package in (("executorch", "executorch"), ("coreml", "coremltools")):
            if needed in target and importlib.util.find_spec(package) is None:
                raise PhotosearchError(
                    f"{package} is not installed, which --targets {target} needs. "
                    "Install the [export] extra."
                )
    return targets


def captions_of(text: str) -> tuple[str, tuple[Path, str]]:
    """NAME=FILE:FIELD -> (NAME, (FILE, FIELD))."""
    name, equals, rest = text.partition("=")
    file, colon, field = rest.rpartition(":")
    if not (equals and colon and name and file and field):
        raise UsageError(f"--captions {text}: write NAME=FILE.jsonl:FIELD")
    return name, (Path(file), field)


def found(spec: str) -> str:
    """The recipe's own held-out photos where they are at hand; "" otherwise."""
    return spec if spec and glob.glob(spec) else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Turn a checkpoint, or a bundle's own student, into a bundle.",
    )
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--checkpoint", type=Path, metavar="FILE")
    given.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help="a bundle with ONNX encoders: for other targets, or another precision",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--targets", default="onnx", help=f"comma-separated: {', '.join(TARGETS)} (default: onnx)"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="int8")
    parser.add_argument(
        "--val", help="photos with captions to measure on (default: the recipe's; '' for none)"
    )
    parser.add_argument(
        "--captions",
        action="append",
        default=[],
        metavar="NAME=FILE:FIELD",
        help="more captions of the same photos, as in another language; may be given again",
    )
    parser.add_argument(
        "--calibrate",
        help="photos for int8's ranges (default: the recipe's own; '' for the probe photos)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
