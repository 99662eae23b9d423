"""Files of photos with captions or labels -> examples, and frozen networks' features of them.

Three layouts are read: WebDataset tar shards, a COCO or Karpathy JSON beside an
image folder, and a CSV. Features of frozen networks are cached by content, so
that a second run, or another head, starts training within seconds.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import logging
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from photosearch.errors import PhotoRejected, PhotosearchError
from photosearch.preprocess import load
from photosearch.types import Pixels, Preprocess

log = logging.getLogger(__name__)

Array = TypeVar("Array", bound=NDArray[Any])

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp")
MAX_EXAMPLE_BYTES: Final = 64 << 20  # a larger member of a shard is a mistake


class DataError(PhotosearchError):
    """Training or evaluation data is missing or damaged."""


@dataclass(frozen=True)
class Example:
    """One photo as its data set stores it."""

    key: str
    image: bytes  # a whole image file
    captions: tuple[str, ...]
    label: str | None


def split_patterns(spec: str) -> list[str]:
    """Patterns are separated by commas or white space."""
    return [pattern for pattern in re.split(r"[,\s]+", spec) if pattern]


def expand(spec: str) -> list[Path]:
    """Patterns -> files, sorted within each; a pattern that matches none is an error."""
    files: list[Path] = []
    for pattern in split_patterns(spec):
        found = sorted(glob.glob(os.path.expanduser(pattern)))
        if not found:
            raise DataError(f"no file matches {pattern!r}; pass shards with --data 'FOLDER/*.tar'")
        files += (Path(name) for name in found)
    if not files:
        raise DataError("no data: pass shards with --data 'FOLDER/*.tar'")
    return files


def read_examples(spec: str) -> Iterator[Example]:
    """Every example of every file that `spec` names. Raises DataError naming the damaged file."""
    for file in expand(spec):
        reader = READERS.get(file.suffix.lower())
        if reader is None:
            known = ", ".join(READERS)
            raise DataError(f"{file}: data files end in one of {known}")
        yield from reader(file)


def _read_tar(file: Path) -> Iterator[Example]:
    """WebDataset: members of one key lie beside each other and differ in their suffix."""
    parts: dict[str, bytes] = {}
    current = ""
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                if not member.isfile():
                    continue
                key, _, suffix = member.name.rpartition(".")
                if key != current and parts:
                    yield from _from_parts(file, current, parts)
                    parts = {}
                current = key
                parts[f".{suffix.lower()}"] = _read_member(file, archive, member)
        yield from _from_parts(file, current, parts)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{file}: damaged shard ({error})") from error


def _read_member(file: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_EXAMPLE_BYTES:
        raise DataError(f"{file}: {member.name} holds {member.size} bytes; not a photo or caption")
    stream = archive.extractfile(member)
    data = stream.read() if stream is not None else b""
    if len(data) != member.size:
        raise DataError(f"{file}: damaged shard ({member.name} is cut short)")
    return data


def _from_parts(file: Path, key: str, parts: dict[str, bytes]) -> Iterator[Example]:
    """At most one example: members without an image are skipped."""
    image = next((parts[suffix] for suffix in IMAGE_SUFFIXES if suffix in parts), None)
    if image is None:
        return
    captions: tuple[str, ...] = ()
    label = None
    try:
        if ".json" in parts:
            fields = json.loads(parts[".json"])
            captions = tuple(str(caption) for caption in fields.get("captions", ()))
            label = fields.get("label")
        elif ".txt" in parts:
            captions = (parts[".txt"].decode("utf-8").strip(),)
    except (ValueError, AttributeError) as error:
        raise DataError(f"{file}: {key} has damaged captions ({error})") from error
    yield Example(key, image, captions, None if label is None else str(label))


def _read_json(file: Path) -> Iterator[Example]:
    """COCO (`images`, `annotations`) or Karpathy (`images` with `sentences`), images beside it.

    An image is looked for by its name, below its `filepath` when it has one, in
    the JSON's folder and in `images/` there.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        images = document["images"]
        captions: dict[Any, list[str]] = {}
        for annotation in document.get("annotations", ()):
            captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
        for entry in images:
            name = entry.get("file_name") or entry["filename"]
            if "sentences" in entry:
                texts = [str(sentence["raw"]) for sentence in entry["sentences"]]
            else:
                texts = captions.get(entry.get("id"), [])
            path = _beside(file, str(entry.get("filepath", "")), str(name))
            yield Example(Path(name).stem, path.read_bytes(), tuple(texts), None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: not COCO or Karpathy captions ({error!r})") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error


def _read_csv(file: Path) -> Iterator[Example]:
    """Columns `image` or `filename`, and `caption` or `label`; rows of one image are merged."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    captions: dict[str, list[str]] = {}
    labels: dict[str, str] = {}
    for row in rows:
        name = row.get("image") or row.get("filename") or row.get("filepath")
        if not name or not (row.get("caption") or row.get("label")):
            raise DataError(f"{file}: needs a column `image` and one of `caption`, `label`")
        captions.setdefault(name, [])
        if row.get("caption"):
            captions[name].append(row["caption"])
        if row.get("label"):
            labels[name] = row["label"]
    for name, texts in captions.items():
        try:
            image = _beside(file, "", name).read_bytes()
        except OSError as error:
            raise DataError(f"{file}: {name} cannot be read ({error.strerror})") from error
        yield Example(Path(name).stem, image, tuple(texts), labels.get(name))


def _beside(file: Path, folder: str, name: str) -> Path:
    places = [file.parent / name, file.parent / folder / name, file.parent / "images" / name]
    for place in places:
        if place.is_file():
            return place
    raise DataError(f"{file}: the image {name} is not beside it, nor in its folder images/")


READERS: Final[dict[str, Callable[[Path], Iterator[Example]]]] = {
    ".tar": _read_tar,
    ".json": _read_json,
    ".csv": _read_csv,
}


@dataclass(frozen=True)
class PhotoSet:
    """Photos in memory, at the encoder's size, with what is said of them."""

    keys: tuple[str, ...]
    pixels: NDArray[np.uint8]  # (N, S, S, 3)
    captions: tuple[tuple[str, ...], ...]
    labels: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.keys)


def read_photos(spec: str, how: Preprocess) -> PhotoSet:
    """Decode every photo of `spec` as the product would; a damaged one is an error naming it."""
    keys: list[str] = []
    pixels: list[Pixels] = []
    captions: list[tuple[str, ...]] = []
    labels: list[str | None] = []
    for example in read_examples(spec):
        try:
            pixels.append(load(example.image, how))
        except PhotoRejected as error:
            raise DataError(f"{spec}: photo {example.key} is {error}") from error
        keys.append(example.key)
        captions.append(example.captions)
        labels.append(example.label)
    if not keys:
        raise DataError(f"{spec}: holds no photos")
    return PhotoSet(tuple(keys), np.stack(pixels), tuple(captions), tuple(labels))


def read_captions(file: Path, field: str) -> dict[str, tuple[str, ...]]:
    """Captions by photo key, from JSON lines {"key": ..., field: [...]}."""
    captions: dict[str, tuple[str, ...]] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            captions[str(row["key"])] = tuple(str(text) for text in row[field])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file}, line {number}: needs `key` and a list `{field}`") from error
    return captions


def cache_file(cache: Path, name: str, parts: Sequence[bytes | str], suffix: str) -> Path:
    """The file that keeps what depends on these `parts`, named by their hash."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return cache / f"{name}-{digest.hexdigest()[:20]}{suffix}"


def cached(
    cache: Path, name: str, parts: Sequence[bytes | str], make: Callable[[], Array]
) -> Array:
    """`make()`, or what it gave last time for the same `parts`: a file named by their hash."""
    file = cache_file(cache, name, parts, ".npy")
    if file.is_file():
        try:
            found: Array = np.load(file, allow_pickle=False)
            return found
        except (ValueError, OSError, EOFError):
            log.warning("data.cache_damaged path=%s", file)
    made = make()
    cache.mkdir(parents=True, exist_ok=True)
    staged = file.with_name(f"{file.name}.{os.getpid()}.part")
    with staged.open("wb") as stream:
        np.save(stream, made)
    staged.replace(file)
    return made
