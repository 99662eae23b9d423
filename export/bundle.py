"""Source -> bundle, start to end. The format is described in docs/bundles.md."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.card import model_card
from export.golden import write_golden
from export.manifest import BACKGROUND, Checked, write_background, write_manifest
from export.parity import (
    HeldOut,
    Probes,
    hold_out,
    make_probes,
    probe_photos,
    require_probes,
    require_recall,
)
from export.querybank import bank_texts
from export.source import Source
from export.tails import image_tail, parts_tail, text_tail
from export.targets import TARGETS
from export.towers import Towers
from models.data import expand, read_captions, read_photos
from models.evaluate import Metrics, evaluate_captions
from photosearch.bundle import Tail, open_bundle
from photosearch.bundles import staging
from photosearch.encoder import open_encoder
from photosearch.errors import UsageError
from photosearch.types import Matrix

CARD: Final = "README.md"
CALIBRATION_PHOTOS: Final = 32


@dataclass(frozen=True)
class Wanted:
    """What to make of a source. Patterns name shards; "" for none."""

    targets: tuple[str, ...] = ("onnx",)
    precision: str = "int8"
    val: str = ""  # photos with captions, to measure what each target costs
    captions: Mapping[str, tuple[Path, str]] = field(default_factory=dict)  # by language:
    # a file of more captions for the same photos, and its field
    calibration: str = ""  # photos that int8's ranges are taken from; else the probes


class Progress:
    """One line for each step, with the seconds since the start."""

    def __init__(self, *, silent: bool = False) -> None:
        self._started = time.monotonic()
        self._silent = silent

    def __call__(self, step: str) -> None:
        if not self._silent:
            seconds = time.monotonic() - self._started
            print(f"export: {seconds:6.1f} s  {step}", file=sys.stderr, flush=True)


def export_bundle(source: Source, out: Path, wanted: Wanted, *, progress: Progress) -> Path:
    """Lower both towers to every target, require parity, and put the bundle in place, whole
    or not at all."""
    for target in wanted.targets:
        if target not in TARGETS:
            raise UsageError(f"--targets {target}: known targets are {', '.join(TARGETS)}")
    with staging(out) as folder:
        towers = source.towers
        progress("eager PyTorch on the probes")
        probes = make_probes(towers)
        held = read_held_out(source, wanted, progress)
        calibration = calibration_photos(source, wanted)
        checked = [
            _lower(source, folder, target, wanted.precision, probes, held, calibration, progress)
            for target in wanted.targets
        ]
        for name, data in source.tokenizer_files.items():
            (folder / name).write_bytes(data)
        if (background := source.background) is not None:
            progress("how high strangers score")
            source = replace(source, tails=measured_tails(towers, background, source.parts))
            write_background(folder / BACKGROUND, background)
        progress("golden vectors and manifest")
        write_golden(folder, towers, probes, [target.lowered for target in checked])
        write_manifest(folder, source, checked)
        description = dict(source.description)
        if wanted.val and "onnx" in wanted.targets:
            progress("retrieval through the product's own runtime")
            metrics = measure(folder, wanted.val)
            description["metrics"] = {"data": wanted.val.rsplit("/", 1)[-1], **metrics}
        source = replace(source, description=description)
        (folder / CARD).write_text(model_card(source, checked), encoding="utf-8")
        write_manifest(folder, source, checked)
    progress(f"{out}")
    return out


def _lower(
    source: Source,
    folder: Path,
    target: str,
    precision: str,
    probes: Probes,
    held: HeldOut | None,
    calibration: NDArray[np.uint8],
    progress: Progress,
) -> Checked:
    """One target: write, compare on the probes, then on the held-out photos."""
    progress(f"{target}: lowering both towers, {precision}")
    lowered = TARGETS[target](source.towers, folder, calibration, precision)
    progress(f"{target}: parity with eager PyTorch ({lowered.checked})")
    parity = require_probes(lowered, source.towers, probes, precision)
    found = {}
    if held is not None:
        progress(f"{target}: retrieval on {len(held.photos)} held-out photos")
        found = require_recall(lowered, source.towers, held, precision)
        for name in held.captions.keys() & found.keys():
            lost = found[name]["r1_lost"]
            progress(f"{target}: {name}: R@1 {found[name]['r1']:.2f} %, {lost:+.2f} lost")
    return Checked(lowered, precision, parity, found)


def read_held_out(source: Source, wanted: Wanted, progress: Progress) -> HeldOut | None:
    """Held-out photos with eager PyTorch's vectors; None where there are none to read."""
    if not wanted.val:
        return None
    photos = read_photos(wanted.val, source.towers.preprocess)
    captions: dict[str, Sequence[Sequence[str]]] = {"captions": photos.captions}
    for name, (file, field_name) in wanted.captions.items():
        known = read_captions(file, field_name)
        captions[name] = [known.get(key, ()) for key in photos.keys]
    progress(f"eager PyTorch on {len(photos)} held-out photos")
    return hold_out(source.towers, photos.pixels, captions)


def calibration_photos(source: Source, wanted: Wanted) -> NDArray[np.uint8]:
    """(N, S, S, 3): spread over the shards named, none of them held out; or the probes."""
    how = source.towers.preprocess
    if not wanted.calibration:
        return np.stack(probe_photos(how))
    photos = read_photos(expand(wanted.calibration)[0].as_posix(), how).pixels
    step = max(1, len(photos) // CALIBRATION_PHOTOS)
    return photos[::step][:CALIBRATION_PHOTOS]


def measured_tails(
    towers: Towers, background: Matrix, parts: Sequence[int] = ()
) -> dict[str, Tail]:
    """What search needs to tell whether a library has an answer, for words, for photos, and where
    vectors have parts for words by these."""
    texts = towers.texts(bank_texts())
    found = {"text": text_tail(texts, background), "image": image_tail(background)}
    if parts:
        found["parts"] = parts_tail(texts, background, parts, found["text"].floor)
    return found


def measure(folder: Path, val: str) -> Metrics:
    """Retrieval through the files just written, as a user would get it."""
    bundle = open_bundle(folder)
    return evaluate_captions(open_encoder(bundle), read_photos(val, bundle.preprocess))
