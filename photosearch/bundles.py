"""The bundles of a home: choose one, take one in, hand one out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from photosearch.bundle import (
    MANIFEST,
    Bundle,
    BundleFile,
    open_bundle,
    sha256_of,
    verify_files,
)
from photosearch.errors import BundleError

MAX_BUNDLE_BYTES: Final = 8 << 30  # a larger one is a mistake or an attack on the disk
MAX_FILES: Final = 10_000
MAX_LOOKS: Final = 16  # of bundles found sound, remembered in a home


def choose(file: Path, name: str) -> None:
    """Remember, in a home, which bundle its user wants; whole or not at all."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.write_text(f"{name}\n", encoding="utf-8")
        os.replace(part, file)
    except OSError as error:
        raise BundleError(f"{file}: cannot be written ({error.strerror}).") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def chosen(file: Path) -> str | None:
    """The name that `choose` wrote; None where nobody chose."""
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BundleError(
            f"{file}: cannot be read ({error.strerror}). Check its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise BundleError(f"{file}: holds no name. Delete it.") from error


def require_sound(bundle: Bundle) -> None:
    """Hash every file. BundleError naming the first that differs."""
    if len(bundle.files) > MAX_FILES or bundle.size_bytes > MAX_BUNDLE_BYTES:
        raise BundleError(
            f"{bundle.directory}: {len(bundle.files):,} files, {bundle.size_bytes:,} bytes; "
            "not a bundle of ours"
        )
    problems = verify_files(bundle)
    if problems:
        raise BundleError(
            f"{bundle.directory}: damaged ({problems[0]}"
            + (f"; {len(problems) - 1} more)" if len(problems) > 1 else ")")
            + ". Get it again."
        )


def require_sound_once(bundle: Bundle, kept: Path) -> None:
    """`require_sound`, but for files found sound before that look as they did then.

    `kept` is a file in the home that remembers them; where there is no home yet, or none that
    can be written, every file is hashed each time: 35 ms for 39 MB.
    """
    look = _look_of(bundle)
    if look is None:
        require_sound(bundle)  # says which file is missing
        return
    known = _looks_known(kept)
    if look in known:
        return
    require_sound(bundle)
    if look == _look_of(bundle):  # not exchanged meanwhile
        with contextlib.suppress(OSError):
            _write_looks(kept, [*known, look][-MAX_LOOKS:])


def _look_of(bundle: Bundle) -> str | None:
    """A digest of where a bundle's files are, their sizes, times and inodes; None where one is
    missing. The time of change (ctime) is among them: no program can set it back."""
    digest = hashlib.blake2b(os.fsencode(bundle.directory.resolve()), digest_size=16)
    try:
        for name in (MANIFEST, *sorted(file.name for file in bundle.files)):
            found = os.lstat(bundle.directory / name)
            look = (
                found.st_size,
                found.st_mtime_ns,
                found.st_ctime_ns,
                found.st_ino,
                found.st_mode,
            )
            digest.update(f"{name}\0{look}\n".encode())
    except OSError:
        return None
    return digest.hexdigest()


def _looks_known(kept: Path) -> list[str]:
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(look) for look in found] if isinstance(found, list) else []


def _write_looks(kept: Path, looks: Sequence[str]) -> None:
    part = kept.with_name(f".{kept.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(looks), encoding="utf-8")
        os.replace(part, kept)
    finally:
        part.unlink(missing_ok=True)


def install(source: Path, folder: Path) -> Bundle:
    """Copy a bundle into a home's folder of bundles, checked before and after.

    Only what its manifest lists is copied. Raises for a damaged, foreign or newer
    bundle, and where another of that name is there already.
    """
    bundle = open_bundle(source)
    require_sound(bundle)
    out = folder / bundle.name
    if out.exists() or out.is_symlink():
        if (out / MANIFEST).is_file() and same_bundle(out, source):
            return open_bundle(out)
        raise BundleError(
            f"{out} exists already, and a bundle is never changed. "
            f"Delete it, or use it: photosearch bundle use {bundle.name}"
        )
    with staging(out) as part:
        copy_files(bundle, bundle.files, part)
        shutil.copyfile(source / MANIFEST, part / MANIFEST)
        require_sound(open_bundle(part))
    return open_bundle(out)


def same_bundle(one: Path, other: Path) -> bool:
    return (one / MANIFEST).read_bytes() == (other / MANIFEST).read_bytes()


def write_copy(bundle: Bundle, part: Path, *, targets: Sequence[str]) -> None:
    """Into an empty folder: the bundle for these targets alone, all of them where none is named.

    Its space, golden vectors and name stay; its manifest lists what is left.
    """
    require_sound(bundle)
    kept = set(targets or bundle.targets)
    for target in kept:
        bundle.towers(target)  # raises for one it does not have
    left_out = [
        str(entry[tower])
        for target, entry in bundle.targets.items()
        if target not in kept
        for tower in ("image", "text")
    ]
    files = [
        file
        for file in bundle.files
        if not any(file.name == name or file.name.startswith(f"{name}/") for name in left_out)
    ]
    copy_files(bundle, files, part)
    manifest = json.loads((bundle.directory / MANIFEST).read_text(encoding="utf-8"))
    manifest["targets"] = {
        name: manifest["targets"][name] for name in bundle.targets if name in kept
    }
    write_manifest(part, manifest)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest that lists what lies in the folder."""
    manifest["files"] = list_files(folder)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def list_files(folder: Path) -> dict[str, dict[str, str | int]]:
    """Every file below a folder but the manifest, by its name with "/" between parts."""
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST
    )
    return {
        path.relative_to(folder).as_posix(): {
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
        }
        for path in files
    }


def copy_files(bundle: Bundle, files: Sequence[BundleFile], out: Path) -> None:
    for file in files:
        target = out / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.directory / file.name, target, follow_symlinks=False)


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` if the block succeeds, and is gone if it does not."""
    if out.exists() or out.is_symlink():
        raise BundleError(f"{out} exists already; a bundle is never changed. Name another folder.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise BundleError(f"{out}: cannot be created ({error.strerror})") from error
    try:
        yield folder
        folder.chmod(0o755)
        folder.rename(out)
    except OSError as error:
        raise BundleError(f"{out}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
