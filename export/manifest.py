"""manifest.json: the bundle's own list of what it holds and how it was checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from export.golden import GOLDEN
from export.source import Source
from export.towers import Lowered
from photosearch.bundle import FORMAT
from photosearch.bundles import write_manifest as write_with_files
from photosearch.types import Matrix

BACKGROUND: Final = "background.npy"


@dataclass(frozen=True)
class Checked:
    """A target with what its gates found."""

    lowered: Lowered
    precision: str
    parity: dict[str, Any]
    held_out: dict[str, Any]


def write_manifest(folder: Path, source: Source, targets: Sequence[Checked]) -> None:
    """Hash what lies in the folder; written last."""
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": source.name,
        "version": source.version,
        "space": source.space,
        "dim": source.towers.dim,
        "image": source.towers.preprocess.as_json(),
        "text": source.text,
        "files": {},  # as they lie in the folder now
        "targets": {checked.lowered.target: _entry(folder, checked) for checked in targets},
        "description": source.description,
    }
    if (folder / GOLDEN).exists():
        manifest["golden"] = GOLDEN
    if source.background is not None:
        manifest["background"] = {
            "file": BACKGROUND,
            "cutoff_z": source.cutoff_z,
            **{kind: dataclasses.asdict(tail) for kind, tail in source.tails.items()},
            "words": {
                text: [round(value, 4) for value in pair] for text, pair in source.words.items()
            },
        }
        if "parts" in source.tails:
            manifest["background"]["parts"]["widths"] = list(source.parts)
    write_with_files(folder, manifest)


def _entry(folder: Path, checked: Checked) -> dict[str, Any]:
    lowered = checked.lowered
    return {
        "image": lowered.image,
        "text": lowered.text,
        "runtime": lowered.runtime,
        "precision": checked.precision,
        "bytes": sum(tree_bytes(folder / name) for name in {lowered.image, lowered.text}),
        **lowered.details,
        "parity": checked.parity,
        "held_out": checked.held_out,
        "checked": lowered.checked,
        "verified": lowered.verified,
    }


def tree_bytes(path: Path) -> int:
    """Size of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def write_background(file: Path, vectors: Matrix) -> None:
    """int8 (N, D), each row scaled so that its largest value is 127."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    with file.open("wb") as stream:
        np.save(stream, np.round(vectors / largest * 127).astype(np.int8))
