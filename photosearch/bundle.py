"""Find, open and verify bundles: the immutable directories that hold two encoders.

`manifest.json` is the bundle. It names every other file with its size and
SHA-256, and nothing outside that list is ever opened. The format is described
in docs/bundles.md.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from photosearch.errors import BundleError
from photosearch.types import Matrix, Preprocess

log = logging.getLogger(__name__)

FORMAT: Final = 1  # raise when an older program would misread the bundle
MANIFEST: Final = "manifest.json"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_MANIFEST_BYTES: Final = 1 << 20
TOKENIZERS: Final = ("wordpiece", "clip-bpe", "unigram")


@dataclass(frozen=True)
class BundleFile:
    """One file the manifest vouches for."""

    name: str  # "/" between parts, inside the bundle
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Tail:
    """How high the best of N photos scores that nobody chose, measured by a bundle's export.

    A score is told as (cosine - level) / (spread + floor), with the query's own
    level and spread over the background. The median over many queries of the best
    so told is start + slope * ln N: the location of an extreme value, which is why
    it grows with the logarithm (docs/relevance.md).
    """

    floor: float
    start: float
    slope: float

    def height(self, photos: float) -> float:
        """What the best of so many strangers reaches, in spreads."""
        return self.start + self.slope * math.log(max(1.0, photos))


# For bundles that were exported before there was a measurement: first-light's own.
OLD_TEXT_TAIL: Final = Tail(floor=0.0488, start=0.4776, slope=0.2609)
OLD_IMAGE_TAIL: Final = Tail(floor=0.0802, start=0.7398, slope=0.2595)


@dataclass(frozen=True)
class Background:
    """How a query scores against photos that have nothing to do with it.

    `vectors` are embeddings of a fixed, varied set of photos in this space, from
    which relevance.py takes each query's own level and spread of irrelevant scores.
    """

    vectors: Matrix  # (N, D) unit rows
    text: Tail = OLD_TEXT_TAIL  # of queries in words
    image: Tail = OLD_IMAGE_TAIL  # of photos as queries
    # Queries of a word or two that many photos answer: mean and deviation of their cosines with
    # photos that do not.
    words: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    # Widths of the parts that its vectors are put together from, none where they are of one piece,
    # and the tail of queries told by the whole and the strongest part.
    parts: tuple[int, ...] = ()
    by_parts: Tail = OLD_TEXT_TAIL


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
    tokenizer: str  # one of TOKENIZERS
    vocabulary: str  # file name
    text: Mapping[str, Any]  # as written: what else the tokenizer needs to know
    golden: str | None
    background: str | None
    tails: Mapping[str, Tail]  # "text", "image", "parts", as far as the export measured them
    files: tuple[BundleFile, ...]
    targets: Mapping[str, Mapping[str, Any]]  # as written: files, precision, parity, verified
    description: Mapping[str, Any]  # recipe, training data, metrics, licences: for people
    words: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # Background.words
    parts: tuple[int, ...] = ()  # Background.parts

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def file(self, name: str) -> Path:
        """Path of a file, or of a folder of files, the manifest lists; BundleError for any
        other name."""
        if not lists(self.files, name):
            raise BundleError(f"{self.directory}: its manifest does not list {name}")
        return self.directory / name

    def towers(self, target: str) -> tuple[Path, Path]:
        """The image and the text encoder for a target. BundleError where it has none."""
        entry = self.targets.get(target)
        if entry is None:
            held = ", ".join(sorted(self.targets)) or "none"
            raise BundleError(
                f"{self.directory}: holds no encoders for {target}, only for: {held}. "
                f"In a checkout, `python -m export --bundle {self.directory} --targets {target}` "
                "makes one that has them."
            )
        return self.file(entry["image"]), self.file(entry["text"])


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
    background = manifest.get("background", {})
    files = tuple(
        BundleFile(_inside(directory, name), str(entry["sha256"]), int(entry["bytes"]))
        for name, entry in manifest["files"].items()
    )
    targets = {str(name): dict(entry) for name, entry in manifest["targets"].items()}
    towers = [str(entry[tower]) for entry in targets.values() for tower in ("image", "text")]
    bundle = Bundle(
        directory=directory,
        name=_name(directory, manifest["name"]),
        version=str(manifest["version"]),
        space=str(manifest["space"]),
        dim=int(manifest["dim"]),
        preprocess=Preprocess(
            side_px=int(image["side_px"]),
            mean=_triple(image["mean"]),
            std=_triple(image["std"]),
            resize=image["resize"],
            filter=image.get("filter", "bicubic"),
        ),
        context_length=int(text["context_length"]),
        tokenizer=str(text["tokenizer"]),
        vocabulary=str(text["vocabulary"]),
        text=dict(text),
        golden=manifest.get("golden"),
        background=background.get("file"),
        tails={
            kind: _tail(background[kind])
            for kind in ("text", "image", "parts")
            if kind in background
        },
        words={str(text): _pair(values) for text, values in background.get("words", {}).items()},
        parts=_widths(background["parts"]["widths"], int(manifest["dim"]))
        if "parts" in background
        else (),
        files=files,
        targets=targets,
        description=manifest.get("description", {}),
    )
    if bundle.tokenizer not in TOKENIZERS:
        raise BundleError(
            f"{directory}: tokenizer {bundle.tokenizer!r} is not one this program has"
        )
    for name in (bundle.vocabulary, bundle.golden, bundle.background, *towers):
        if name is not None and not lists(files, name):
            raise BundleError(f"{directory}: its {MANIFEST} uses {name} but does not list it")
    return bundle


def _tail(values: Mapping[str, float]) -> Tail:
    tail = Tail(*(float(values[name]) for name in ("floor", "start", "slope")))
    if not (tail.floor >= 0 and tail.slope >= 0 and abs(tail.start) < math.inf):
        raise ValueError(f"background is told by {tail}, which no measurement gives")
    return tail


def _widths(values: Sequence[int], dim: int) -> tuple[int, ...]:
    widths = tuple(int(value) for value in values)
    if not (widths and min(widths) > 0 and sum(widths) == dim):
        raise ValueError(f"its vectors of {dim} numbers cannot be of parts as wide as {values}")
    return widths


def _pair(values: Sequence[float]) -> tuple[float, float]:
    level, spread = (float(value) for value in values)
    if not (abs(level) <= 1 and 0 <= spread <= 1):
        raise ValueError(f"a word's cosines are told by {values}, which no measurement gives")
    return level, spread


def lists(files: Iterable[BundleFile], name: str) -> bool:
    """Whether a manifest's files are this one, or some of them lie in a folder of this name."""
    return any(file.name == name or file.name.startswith(f"{name}/") for file in files)


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


def _name(directory: Path, name: object) -> str:
    """A bundle's name is its folder's in a home: no separators, nothing hidden, no surprises."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BundleError(
            f"{directory}: its {MANIFEST} gives the name {name!r}; a name is up to 64 letters, "
            "digits, dots, dashes and underscores, and begins with a letter or digit"
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
    found, broken = look_for_bundles(folders)
    for problem in broken:
        log.warning("bundle.unreadable reason=%s", problem)
    return found


def look_for_bundles(folders: list[Path]) -> tuple[list[Bundle], list[str]]:
    """The bundles in these folders, and what is wrong with the folders that are none."""
    found: dict[str, Bundle] = {}
    broken: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            continue
        for directory in sorted(folder.iterdir()):
            if directory.name.startswith(".") or not directory.is_dir():
                continue
            try:
                bundle = open_bundle(directory)
            except BundleError as error:
                broken.append(str(error))
                continue
            found.setdefault(bundle.name, bundle)
    return list(found.values()), broken


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
    if wanted is not None:
        for folder in folders:
            if (folder / wanted).is_dir() and NAME.fullmatch(wanted):
                return open_bundle(folder / wanted)  # raises: says what is wrong with it
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
    targets: Mapping[str, tuple[Matrix, Matrix]]  # of a target's own files: texts, images

    def vectors(self, target: str) -> tuple[Matrix, Matrix]:
        """What a target's files gave; int8 differs more between runtimes than machines do."""
        return self.targets.get(target, (self.text_vectors, self.image_vectors))


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
            targets={
                str(name): (_matrix(entry["texts"]), _matrix(entry["images"]))
                for name, entry in raw.get("targets", {}).items()
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{bundle.directory}: golden vectors are damaged ({error!r})") from error


def _matrix(rows: list[list[float]]) -> Matrix:
    return np.asarray(rows, dtype=np.float32)


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
    return Background(
        vectors,
        text=bundle.tails.get("text", OLD_TEXT_TAIL),
        image=bundle.tails.get("image", OLD_IMAGE_TAIL),
        words=bundle.words,
        parts=bundle.parts,
        by_parts=bundle.tails.get("parts", OLD_TEXT_TAIL),
    )
