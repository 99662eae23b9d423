"""bundle: the models at hand, and their way to a phone."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from photosearch.client import find_daemon
from photosearch.commands.common import (
    Commands,
    bundle_folders,
    planned,
    require_bundle,
    require_reader,
)
from photosearch.errors import PhotosearchError, UsageError
from photosearch.home import Home, open_home
from photosearch.numbers import counted

if TYPE_CHECKING:
    from photosearch.bundle import Bundle


def add(commands: Commands) -> None:
    bundle = commands.add("bundle", run_list, "the models: list, check, use, hand out, take in")
    actions = bundle.add_subparsers(metavar="ACTION", required=True)
    shared = [commands.shared]

    listing = actions.add_parser("list", help="the bundles at hand", parents=shared)
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(run=run_list)

    verify = actions.add_parser("verify", help="check files and golden vectors", parents=shared)
    verify.add_argument("directory", metavar="DIR", help="its folder, or a name from `bundle list`")
    verify.set_defaults(run=run_verify)

    use = actions.add_parser(
        "use",
        help="move the library to a bundle; the one before it answers until that is done",
        parents=shared,
    )
    use.add_argument("name", metavar="NAME")
    use.set_defaults(run=run_use)

    export = actions.add_parser("export", help="write a bundle for a phone", parents=shared)
    export.add_argument("--out", required=True, metavar="DIR", help="a folder that is not there")
    export.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="TARGET",
        help="only the encoders for this target; may be given several times (default: all)",
    )
    export.add_argument(
        "--with-index",
        action="store_true",
        help="with the library's vectors, dates and small thumbnails",
    )
    export.add_argument(
        "--since",
        metavar="DIR",
        help="only what changed in the library since this whole export, and no encoders",
    )
    export.add_argument(
        "--encrypt",
        action="store_true",
        help="the index under a passphrase: asked for, or $PHOTOSEARCH_PASSPHRASE",
    )
    export.set_defaults(run=run_export)

    take = actions.add_parser(
        "import", help="take in a bundle, or an OpenCLIP model", parents=shared
    )
    take.add_argument(
        "spec", metavar="SPEC", help="a bundle's folder, or open_clip:NAME[/PRETRAINED]"
    )
    take.add_argument("--weights", metavar="FILE", help="an OpenCLIP model's weights")
    take.add_argument("--tokenizer", metavar="FILE", help="a tokenizer.json, where it needs one")
    take.set_defaults(run=run_import)


def run_list(args: Namespace) -> int:
    from photosearch.bundle import look_for_bundles

    place = open_home(args.home)
    found, broken = look_for_bundles(bundle_folders(place))
    for bundle in found:
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
    for problem in broken:
        print(f"photosearch: {problem}", file=sys.stderr)
    return 0


def run_use(args: Namespace) -> int:
    """Choose a bundle: a running daemon moves at once, else the next one or `index` does."""
    from photosearch import bundles
    from photosearch.bundle import require_bundle

    place = open_home(args.home)
    daemon = find_daemon(place)
    if daemon is not None:
        reply = daemon.use_bundle(args.name)
        moving = reply.moving
    else:
        bundle = require_bundle(args.name, bundle_folders(place))
        bundles.require_sound(bundle)
        bundles.choose(place.chosen_bundle, bundle.name)
        args.bundle = None
        plan = planned(args, place)
        if plan.next is not None:
            print(
                f"photosearch: {plan.now.name} answers until `photosearch index`, or the daemon, "
                f"has read all photos again for {plan.next.name}",
                file=sys.stderr,
            )
            return 0
        moving = None
    if moving is not None:
        print(
            f"photosearch: moving to {moving.bundle}: "
            f"{counted(moving.to_do, 'photo is', 'photos are')} to be read again. "
            "Until then all is answered as before; "
            "`photosearch bundle use` with the name before it goes back.",
            file=sys.stderr,
        )
    else:
        print(f"photosearch: {args.name} answers", file=sys.stderr)
    return 0


def run_export(args: Namespace) -> int:
    from photosearch import bundles

    place = open_home(args.home)
    bundle = require_bundle(args, place)
    out = Path(args.out).expanduser().absolute()
    if args.encrypt and not (args.with_index or args.since):
        raise UsageError("--encrypt is for the index: add --with-index or --since DIR")
    if args.since and args.target:
        raise UsageError("--since writes no encoders, so --target has no meaning with it")
    passphrase = _passphrase() if args.encrypt else None
    since = Path(args.since).expanduser().absolute() if args.since else None
    with bundles.staging(out) as part:
        if since is None:
            bundles.write_copy(bundle, part, targets=args.target)
        if args.with_index or since is not None:
            _write_index(place, bundle, part, since=since, passphrase=passphrase)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"photosearch: {out}, {size / 1e6:.1f} MB", file=sys.stderr)
    return 0


def _write_index(
    place: Home, bundle: Bundle, part: Path, *, since: Path | None, passphrase: str | None
) -> None:
    from photosearch import bundles, pocket, sealed
    from photosearch.bundle import MANIFEST
    from photosearch.thumbnails import Thumbnails

    reader = require_reader(place)
    try:
        packed = pocket.pack(
            part, bundle, reader, Thumbnails(place.thumbnails), since=since, on_progress=_progress
        )
    finally:
        reader.close()
    if passphrase is not None:
        for file in sorted((part / pocket.FOLDER).iterdir()):
            sealed.seal(file, file.with_name(file.name + sealed.SUFFIX), passphrase)
            file.unlink()
    about = {**packed.as_json(), "sealed": passphrase is not None}
    if since is None:
        manifest = json.loads((part / MANIFEST).read_text(encoding="utf-8"))
        bundles.write_manifest(part, {**manifest, "index": about})
    else:
        (part / "delta.json").write_text(
            json.dumps({"space": bundle.space, "index": about}, indent=1) + "\n", encoding="utf-8"
        )
    print(
        f"photosearch: {counted(packed.photos, 'photo')}, {packed.new:,} written, "
        f"{packed.removed:,} removed"
        + "".join(
            f"; of the exact best {pocket.RECALL_AT} for {name}, {share:.1f} % are kept"
            for name, share in packed.recall.items()
        ),
        file=sys.stderr,
    )


def _progress(done: int, to_do: int) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{done:,} of {to_do:,} photos", end="", file=sys.stderr, flush=True)


def _passphrase() -> str:
    """From the environment, else asked for twice. It is written nowhere."""
    given = os.environ.get("PHOTOSEARCH_PASSPHRASE")
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageError("--encrypt asks for a passphrase; set PHOTOSEARCH_PASSPHRASE instead")
    import getpass

    first = getpass.getpass("passphrase: ")
    if first != getpass.getpass("again: "):
        raise UsageError("the two passphrases differ")
    return first


def run_import(args: Namespace) -> int:
    from photosearch import bundles

    place = open_home(args.home)
    if not args.spec.startswith("open_clip:"):
        if args.weights or args.tokenizer:
            raise UsageError("--weights and --tokenizer are for open_clip: models")
        bundle = bundles.install(Path(args.spec).expanduser(), place.bundles)
        print(f"photosearch: {bundle.name} is in {bundle.directory}", file=sys.stderr)
        return 0
    return _import_open_clip(args, place)


def _import_open_clip(args: Namespace, place: Home) -> int:
    """Run the workbench's converter, which needs torch, in a process of its own."""
    import subprocess

    import photosearch
    from photosearch import extras

    checkout = Path(photosearch.__file__).parent.parent
    if not (checkout / "export" / "openclip.py").is_file():
        raise PhotosearchError(
            "OpenCLIP models are converted in a checkout of photosearch, with the [openclip] "
            "extra; this is an installed copy. Take the bundle in here afterwards, by its folder."
        )
    extras.require_packages("open_clip:", "openclip", "torch", "onnx")
    command = [sys.executable, "-m", "export.openclip", args.spec, "--into", str(place.bundles)]
    for option in ("weights", "tokenizer"):
        if getattr(args, option):
            command += [f"--{option}", str(Path(getattr(args, option)).expanduser().absolute())]
    return subprocess.run(command, cwd=checkout, check=False).returncode


def _folder_of(named: str, place: Home) -> Path:
    """A bundle's folder, given as a path or as a name; a damaged one has a folder, too."""
    from photosearch.bundle import NAME

    if not Path(named).exists() and NAME.fullmatch(named):
        for folder in bundle_folders(place):
            if (folder / named).is_dir():
                return folder / named
    return Path(named)


def run_verify(args: Namespace) -> int:
    from photosearch.bundle import open_bundle
    from photosearch.verify import verify

    bundle = open_bundle(_folder_of(args.directory, open_home(args.home)))
    found = verify(bundle)
    for problem in found.problems:
        print(f"photosearch: {problem}", file=sys.stderr)
    for reason in found.skipped:
        print(f"photosearch: not run here: {reason}", file=sys.stderr)
    if found.problems:
        raise PhotosearchError(
            f"{args.directory}: {len(found.problems)} problems; do not use this bundle."
        )
    print(
        f"{bundle.name} {bundle.version}: {len(bundle.files)} files and the golden vectors agree "
        f"({', '.join(found.ran) or 'no encoder was run'})"
    )
    return 0
