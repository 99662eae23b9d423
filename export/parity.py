"""The gates of every export: a lowered tower must agree with eager PyTorch on real inputs.

Two of them. Cosines on a few photos and texts catch a layout, a padding or a
scale gone wrong, at once and on any machine. Retrieval on held-out photos with
their captions says what int8 costs a user: at most one point of recall at 1.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.towers import Lowered, Towers
from models.evaluate import ranks_of, recall
from photosearch.errors import PhotosearchError
from photosearch.preprocess import load
from photosearch.types import Matrix, Pixels, Preprocess

MAX_R1_LOST: Final = 1.0  # points of text-to-image recall at 1


class Least(NamedTuple):
    """Cosines to eager PyTorch below which an export fails."""

    probe: float  # of any probe
    mean: float  # over the probes, and over the held-out photos or captions


# Measured with lantern, twice (docs/mobile.md), and below it by half of its distance to 1, or
# so. One of 500 held-out photos may be far off (0.938 was seen): the mean shows what is broken for
# all, recall what is lost. Activations of ExecuTorch's convolutions are int8 too; the others
# quantise weights alone.
LEAST: Final = {
    ("onnx", "image", "int8"): Least(0.99, 0.997),
    ("onnx", "text", "int8"): Least(0.99, 0.999),
    ("executorch", "image", "int8"): Least(0.97, 0.98),
    ("executorch", "text", "int8"): Least(0.99, 0.999),
    ("coreml", "image", "int8"): Least(0.999, 0.9995),
    ("coreml", "text", "int8"): Least(0.999, 0.9995),
    ("coreml", "image", "palette6"): Least(0.95, 0.97),
    ("coreml", "text", "palette6"): Least(0.95, 0.97),
    ("executorch-coreml", "image", "int8"): Least(0.999, 0.9995),
    ("executorch-coreml", "text", "int8"): Least(0.999, 0.9995),
}
LEAST_FP32: Final = Least(0.9999, 0.9999)
# Core ML as ExecuTorch gives it keeps float32 where we ask for it, and is interpreted in float32.

# Scikit-image's sample photos, scaled down: chelsea, coffee and rocket are CC0
# (S. van der Walt; R. Michetti; SpaceX), astronaut is NASA's, public domain.
PHOTOS: Final = ("astronaut.jpg", "chelsea.jpg", "coffee.jpg", "rocket.jpg")

# Ours: one word to many, punctuation, digits, accents, another script, and nothing at all.
TEXTS: Final = (
    "a cat",
    "dog",
    "a photo of a pomegranate",
    "a cup of coffee on a wooden table",
    "two children in red jackets run along the beach at sunset",
    "A man riding a bicycle down a wet street, holding a yellow umbrella in one hand.",
    "rocket launch at night, 1969",
    "Café crème & croissants!",
    "an old brick church with a clock tower, seen from across the river behind bare trees",
    "一只猫坐在窗边",
    "",
)


class ParityError(PhotosearchError):
    """A lowered tower does not agree with the one it was made from."""


@dataclass(frozen=True)
class Parity:
    """How far a lowered tower is from eager PyTorch over all probes."""

    cosine_min: float
    cosine_mean: float
    probes: int


@dataclass(frozen=True)
class Probes:
    """Inputs of the first gate and of the golden file, with eager PyTorch's answers."""

    photos: tuple[Pixels, ...]
    texts: tuple[str, ...]
    images: Matrix
    text_vectors: Matrix


@dataclass(frozen=True)
class HeldOut:
    """Photos that were not trained on, and captions of them in one language or several."""

    photos: NDArray[np.uint8]  # (N, S, S, 3)
    captions: dict[str, tuple[tuple[str, ...], NDArray[np.int64]]]  # texts, and whose they are
    images: Matrix  # eager PyTorch's
    texts: dict[str, Matrix]


def make_probes(towers: Towers) -> Probes:
    photos = probe_photos(towers.preprocess)
    return Probes(tuple(photos), TEXTS, towers.images(np.stack(photos)), towers.texts(TEXTS))


def probe_photos(how: Preprocess) -> list[Pixels]:
    """Real photos at the encoder's size, and their mirror images: a constant hides layout bugs."""
    folder = importlib.resources.files("export") / "probes"
    photos = [load((folder / name).read_bytes(), how) for name in PHOTOS]
    return [view for photo in photos for view in (photo, np.ascontiguousarray(photo[:, ::-1]))]


def require_probes(
    lowered: Lowered, towers: Towers, probes: Probes, precision: str
) -> dict[str, Any]:
    """The first gate. Returns what the manifest says of it; nothing where nothing can be run."""
    if lowered.images is None or lowered.texts is None:
        return {}
    images, texts = lowered.images, lowered.texts
    towers_of: dict[str, tuple[Matrix, Callable[[], Matrix]]] = {
        "image": (probes.images, lambda: images(np.stack(probes.photos))),
        "text": (probes.text_vectors, lambda: texts(towers.rows(probes.texts))),
    }
    return {
        tower: asdict(require_parity(lowered.target, tower, precision, eager, run))
        for tower, (eager, run) in towers_of.items()
    }


def least_cosine(target: str, tower: str, precision: str) -> Least:
    return LEAST.get((target, tower, precision), LEAST_FP32)


def require_parity(
    target: str, tower: str, precision: str, eager: Matrix, lowered: Callable[[], Matrix]
) -> Parity:
    """Compare unit rows (N, D); raises ParityError naming the worst probe, or the mean."""
    found = lowered()
    where = f"{target}, {tower} encoder"
    if found.shape != eager.shape:
        raise ParityError(f"{where}: gives {found.shape}, eager PyTorch {eager.shape}")
    cosines = (eager * found).sum(axis=1)
    least = least_cosine(target, tower, precision)
    worst = int(np.argmin(np.where(np.isfinite(cosines), cosines, -np.inf)))
    if not float(cosines[worst]) >= least.probe:  # also catches NaN
        raise ParityError(
            f"{where}, probe {worst}: cosine {cosines[worst]:.5f} to eager PyTorch, "
            f"needs {least.probe}"
        )
    _require_mean(where, "probes", cosines, least)
    lengths = np.linalg.norm(found, axis=1)
    if not np.allclose(lengths, 1.0, atol=2e-3):
        raise ParityError(f"{where}: rows have lengths {lengths}, not 1")
    return Parity(round(float(cosines.min()), 6), round(float(cosines.mean()), 6), len(cosines))


def hold_out(
    towers: Towers, photos: NDArray[np.uint8], captions: dict[str, Sequence[Sequence[str]]]
) -> HeldOut:
    """captions: by language, the captions of each photo in turn."""
    flat = {
        name: (
            tuple(text for group in groups for text in group),
            np.asarray([number for number, group in enumerate(groups) for _ in group]),
        )
        for name, groups in captions.items()
    }
    return HeldOut(
        photos,
        flat,
        towers.images(photos),
        {name: towers.texts(texts) for name, (texts, _) in flat.items()},
    )


def require_recall(
    lowered: Lowered, towers: Towers, held: HeldOut, precision: str
) -> dict[str, Any]:
    """The second gate: every held-out photo and caption through the lowered files."""
    if lowered.images is None or lowered.texts is None:
        return {}
    target = lowered.target
    images = lowered.images(held.photos)
    least = least_cosine(target, "image", precision)
    cosines = (held.images * images).sum(axis=1)
    _require_mean(f"{target}, image encoder", "held-out photos", cosines, least)
    found: dict[str, Any] = {"photos": len(images), "image": _told(cosines)}
    least = least_cosine(target, "text", precision)
    for name, (texts, owner) in held.captions.items():
        vectors = lowered.texts(towers.rows(texts))
        cosines = (held.texts[name] * vectors).sum(axis=1)
        _require_mean(f"{target}, text encoder", f"held-out {name}", cosines, least)
        eager = r1_of(held.images, held.texts[name], owner)
        here = r1_of(images, vectors, owner)
        require_little_lost(target, name, eager=eager, lowered=here)
        found[name] = {
            "captions": len(texts),
            **_told(cosines),
            "r1_eager": eager,
            "r1": here,
            "r1_lost": round(eager - here, 2),
        }
    return found


def r1_of(images: Matrix, texts: Matrix, owner: NDArray[np.int64]) -> float:
    """Text to image, in percent."""
    return recall(ranks_of(texts @ images.T, owner), 1)


def require_little_lost(target: str, captions: str, *, eager: float, lowered: float) -> None:
    if not eager - lowered <= MAX_R1_LOST:  # also catches NaN
        raise ParityError(
            f"{target}, {captions}: finds the photo of a caption first in {lowered:.2f} %, eager "
            f"PyTorch in {eager:.2f} %; at most {MAX_R1_LOST} points may be lost"
        )


def _require_mean(where: str, what: str, cosines: NDArray[np.float32], least: Least) -> None:
    mean = float(cosines.mean())
    if not mean >= least.mean:  # also catches NaN
        raise ParityError(
            f"{where}: mean cosine {mean:.5f} to eager PyTorch over {len(cosines)} {what}, "
            f"needs {least.mean}"
        )


def _told(cosines: NDArray[np.float32]) -> dict[str, float]:
    return {
        "cosine_min": round(float(cosines.min()), 6),
        "cosine_mean": round(float(cosines.mean()), 6),
    }
