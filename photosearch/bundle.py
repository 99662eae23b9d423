"""Find, open and verify bundles: the immutable directories that hold two encoders.

`manifest.json` is the bundle. It names every other file with its size and
SHA-256, and nothing outside that list is ever opened. The format is described
in docs/bundles.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from photosearch.errors import BundleError
from photosearch.types import Matrix, Preprocess

FORMAT: Final = 1  # raise when an older program would misread the bundle
MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 1 << 20
MIN_GOLDEN_COSINE: Final = 0.999  # two runtime versions agree above 0.99999 on the same files


@dataclass(frozen=True)
class BundleFile:
    """One file the manifest vouches for."""

    name: str  # "/" between parts, inside the bundle
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Background:
    """How a query scores against photos that have nothing to do with it.

    `vectors` are embeddings of a fixed, varied set of photos in this space, from
    which search.py takes each query's own mean and spread of irrelevant scores.
    """

    vectors: Matrix  # (N, D) unit rows
    cutoff_z: float  # scores below mean + cutoff_z * spread are not relevant


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; its files are listed but not read."""

    directory: Path
    name: str
    version: str
    space: str
    dim: int
    preprocess: Preprocess
    context_length: int
    tokenizer: str  # only "wordpiece" so far
    vocabulary: str  # file name
    image_onnx: str | None
    text_onnx: str | None
    golden: str | None
    background: str | None
    cutoff_z: float
    files: tuple[BundleFile, ...]
    targets: Mapping[str, Any]  # as written: precision, parity, verified, per target
    description: Mapping[str, Any]  # recipe, training data, metrics, licences: for people

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def file(self, name: str) -> Path:
        """Path of a file the manifest lists; BundleError for any other name."""
        if name not in {file.name for file in self.files}:
            raise BundleError(f"{self.directory}: its manifest does not list {name}")
        return self.directory / name


def open_bundle(directory: Path) -> Bundle:
    """Read a bundle's manifest. Raises BundleError naming what is wrong; hashes nothing."""
    manifest = _read_manifest(directory)
    found = manifest.get("format")
    if not isinstance(found, int):
        raise BundleError(
            f"{directory}: its {MANIFEST} names no bundle format; not a bundle of ours"
        )
    if found > FORMAT:
        raise BundleError(
            f"{directory}: bundle format {found} is newer than this program, which reads up to "
            f"{FORMAT}. Update photosearch."
        )
    try:
        return _parse(directory, manifest)
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BundleError(
            f"{directory}: its {MANIFEST} lacks a field or holds a wrong value ({error!r})"
        ) from error


def _read_manifest(directory: Path) -> dict[str, Any]:
    file = directory / MANIFEST
    try:
        if file.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(
                f"{file}: larger than {MAX_MANIFEST_BYTES} bytes; not a bundle of ours"
            )
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{directory}: holds no {MANIFEST}; not a bundle") from None
    except NotADirectoryError:
        raise BundleError(f"{directory}: not a folder, so not a bundle") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BundleError(f"{file}: damaged, not JSON ({error})") from error
    except OSError as error:
        raise BundleError(f"{file}: cannot be read ({error.strerror})") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{file}: not a JSON object; not a bundle of ours")
    return manifest


def _parse(directory: Path, manifest: dict[str, Any]) -> Bundle:
    image, text = manifest["image"], manifest["text"]
    files = tuple(
        BundleFile(_inside(directory, name), str(entry["sha256"]), int(entry["bytes"]))
        for name, entry in manifest["files"].items()
    )
    listed = {file.name for file in files}
    onnx = manifest["targets"].get("onnx", {})
    bundle = Bundle(
        directory=directory,
        name=str(manifest["name"]),
        version=str(manifest["version"]),
        space=str(manifest["space"]),
        dim=int(manifest["dim"]),
        preprocess=Preprocess(
            side_px=int(image["side_px"]),
            mean=_triple(image["mean"]),
            std=_triple(image["std"]),
            resize=image["resize"],
        ),
        context_length=int(text["context_length"]),
        tokenizer=str(text["tokenizer"]),
        vocabulary=str(text["vocabulary"]),
        image_onnx=onnx.get("image"),
        text_onnx=onnx.get("text"),
        golden=manifest.get("golden"),
        background=manifest.get("background", {}).get("file"),
        cutoff_z=float(manifest.get("background", {}).get("cutoff_z", 0.0)),
        files=files,
        targets=manifest["targets"],
        description=manifest.get("description", {}),
    )
    if bundle.tokenizer != "wordpiece":
        raise BundleError(
            f"{directory}: tokenizer {bundle.tokenizer!r} is not one this program has"
        )
    named = (
        bundle.vocabulary,
        bundle.image_onnx,
        bundle.text_onnx,
        bundle.golden,
        bundle.background,
    )
    for name in named:
        if name is not None and name not in listed:
            raise BundleError(f"{directory}: its {MANIFEST} uses {name} but does not list it")
    return bundle


def _triple(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _inside(directory: Path, name: str) -> str:
    """Refuse names that would leave the bundle: absolute, `..`, drive letters, back slashes."""
    path = PurePosixPath(name)
    bad = not name or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name
    if bad or "\0" in name:
        raise BundleError(
            f"{directory}: its {MANIFEST} names the file {name!r}, outside the bundle"
        )
    return name


def shipped_bundles() -> Path:
    """The folder of bundles that came with the program."""
    packaged = Path(__file__).parent / "bundles"
    if packaged.is_dir():
        return packaged
    return Path(__file__).parent.parent / "models" / "bundles"  # a checkout


def find_bundles(folders: list[Path]) -> list[Bundle]:
    """Every readable bundle in these folders; the first of a name wins."""
    found: dict[str, Bundle] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        for directory in sorted(folder.iterdir()):
            if (directory / MANIFEST).is_file():
                bundle = open_bundle(directory)
                found.setdefault(bundle.name, bundle)
    return list(found.values())


def require_bundle(wanted: str | None, folders: list[Path]) -> Bundle:
    """A bundle by name or by directory; without either, the first of `folders`."""
    if wanted is not None and (Path(wanted) / MANIFEST).is_file():
        return open_bundle(Path(wanted))
    bundles = find_bundles(folders)
    if wanted is None and bundles:
        return bundles[0]
    for bundle in bundles:
        if bundle.name == wanted:
            return bundle
    names = ", ".join(bundle.name for bundle in bundles) or "none"
    if wanted is None:
        raise BundleError(
            "no bundle is installed, so nothing can be searched; reinstall photosearch"
        )
    raise BundleError(
        f"no bundle named {wanted}, and no bundle in a folder of that name; found: {names}"
    )


def verify_files(bundle: Bundle) -> list[str]:
    """Recompute sizes and hashes; one line for each file that differs."""
    wrong: list[str] = []
    for file in bundle.files:
        path = bundle.directory / file.name
        if path.is_symlink() or not path.resolve().is_relative_to(bundle.directory.resolve()):
            wrong.append(f"{file.name}: leads outside the bundle")
            continue
        try:
            size_bytes = path.stat().st_size
            if size_bytes != file.size_bytes:
                wrong.append(
                    f"{file.name}: {size_bytes} bytes, the manifest says {file.size_bytes}"
                )
            elif sha256_of(path) != file.sha256:
                wrong.append(f"{file.name}: its SHA-256 differs from the manifest's")
        except OSError as error:
            wrong.append(f"{file.name}: cannot be read ({error.strerror})")
    return wrong


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Golden:
    """Inputs with the vectors that the bundle's own encoders gave for them when it was made, after
    they had been compared with eager PyTorch."""

    texts: tuple[str, ...]
    text_tokens: tuple[tuple[int, ...], ...]  # what the tokenizer must give for `texts`
    text_vectors: Matrix
    images: tuple[bytes, ...]  # PNG files, S x S, so that no resize enters
    image_vectors: Matrix


def load_golden(bundle: Bundle) -> Golden:
    """Read golden.json. Images are base64 PNG; vectors are lists of D floats."""
    import base64

    if bundle.golden is None:
        raise BundleError(f"{bundle.directory}: holds no golden vectors, so it cannot be verified")
    try:
        raw = json.loads(bundle.file(bundle.golden).read_text(encoding="utf-8"))
        return Golden(
            texts=tuple(entry["text"] for entry in raw["texts"]),
            text_tokens=tuple(tuple(entry["tokens"]) for entry in raw["texts"]),
            text_vectors=np.asarray([entry["vector"] for entry in raw["texts"]], dtype=np.float32),
            images=tuple(base64.b64decode(entry["png"]) for entry in raw["images"]),
            image_vectors=np.asarray(
                [entry["vector"] for entry in raw["images"]], dtype=np.float32
            ),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{bundle.directory}: golden vectors are damaged ({error!r})") from error


def load_background(bundle: Bundle) -> Background | None:
    """Read the background embeddings: an .npy of int8 (N, D), 127 a row's largest value."""
    if bundle.background is None:
        return None
    try:
        stored = np.load(bundle.file(bundle.background), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{bundle.directory}: {bundle.background} is damaged ({error})"
        ) from error
    if stored.ndim != 2 or stored.shape[1] != bundle.dim or not len(stored):
        raise BundleError(
            f"{bundle.directory}: {bundle.background} has shape {stored.shape}, "
            f"needs (N, {bundle.dim})"
        )
    vectors = stored.astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return Background(vectors, bundle.cutoff_z)
