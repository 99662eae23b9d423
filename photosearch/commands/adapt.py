"""adapt: fit the image encoder to one's own photos. Trains, so it runs from the checkout."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Final

from photosearch.commands.common import Commands, sound_bundle
from photosearch.errors import PhotosearchError
from photosearch.extras import require_packages
from photosearch.home import open_home

CHECKOUT: Final = Path(__file__).resolve().parents[2]


def add(commands: Commands) -> None:
    adapt = commands.add(
        "adapt", run_adapt, "fit the image encoder to your own photos, offline; reports the gain"
    )
    adapt.add_argument("--photos", required=True, metavar="DIR", help="photos to learn from")
    adapt.add_argument("--out", metavar="DIR", help="the new bundle (default: beside the others)")
    adapt.add_argument("--teacher", default="", metavar="SPEC", help="a larger model on this disk")
    adapt.add_argument("--limit", type=int, default=500, help="photos looked at (default: 500)")
    adapt.add_argument("--json", action="store_true", help="one JSON object")


def run_adapt(args: Namespace) -> int:
    """Start models.adapt as a process: the product itself never imports torch or models."""
    if not (CHECKOUT / "models" / "adapt.py").is_file():
        raise PhotosearchError(
            "adapt trains, and the tools for it are not in the installed program: run it from a "
            "checkout, `python3 app.py adapt`."
        )
    require_packages("adapt", "train", "torch", "onnx")
    place = open_home(args.home)
    bundle = sound_bundle(args, place)
    out = Path(args.out) if args.out else place.bundles / f"{bundle.name}-adapted"
    # Started where the user is, because a teacher's SPEC may name files, too; -P keeps modules
    # from being looked for there.
    command = [sys.executable, "-P", "-m", "models.adapt", "--bundle", str(bundle.directory)]
    command += ["--photos", args.photos, "--out", str(out), "--limit", str(args.limit)]
    if args.teacher:
        command += ["--teacher", args.teacher]
    if args.json:
        command.append("--json")
    paths = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths})
    if done.returncode == 0 and not args.json:
        # Only a bundle of this home answers to its name alone.
        called = out.name if out.parent == place.bundles else shlex.quote(str(out.resolve()))
        print(f"To use it: photosearch --bundle {called} serve", file=sys.stderr)
    return done.returncode
