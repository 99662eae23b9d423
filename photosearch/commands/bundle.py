"""bundle: the models at hand."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

from photosearch.commands.common import Commands, bundle_folders
from photosearch.errors import PhotosearchError
from photosearch.home import open_home


def add(commands: Commands) -> None:
    bundle = commands.add("bundle", run_bundle_list, "the models: list or verify them")
    actions = bundle.add_subparsers(metavar="ACTION", required=True)
    shared = [commands.shared]
    listing = actions.add_parser("list", help="the bundles at hand", parents=shared)
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(run=run_bundle_list)
    verify = actions.add_parser("verify", help="check files and golden vectors", parents=shared)
    verify.add_argument("directory", metavar="DIR")
    verify.set_defaults(run=run_bundle_verify)


def run_bundle_list(args: Namespace) -> int:
    from photosearch.bundle import find_bundles

    place = open_home(args.home)
    for bundle in find_bundles(bundle_folders(place)):
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
