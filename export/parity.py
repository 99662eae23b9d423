"""The gate of every export: a lowered tower must agree with eager PyTorch on real inputs."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from photosearch.errors import PhotosearchError
from photosearch.preprocess import load
from photosearch.types import Matrix, Pixels, Preprocess

# Below the measured minimum over the probes by half of its distance to 1, or so.
MIN_COSINE: Final = {
    ("image", "fp32"): 0.9999,
    ("text", "fp32"): 0.9999,
    ("image", "int8"): 0.99,
    ("text", "int8"): 0.99,
}

# Scikit-image's sample photos, scaled down: chelsea, coffee and rocket are CC0
# (S. van der Walt; R. Michetti; SpaceX), astronaut is NASA's, public domain.
PHOTOS: Final = ("astronaut.jpg", "chelsea.jpg", "coffee.jpg", "rocket.jpg")

# Ours: one word to many, punctuation, digits, accents, and nothing at all.
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


def probe_photos(how: Preprocess) -> list[Pixels]:
    """Real photos at the encoder's size, and their mirror images: a constant hides layout bugs."""
    folder = importlib.resources.files("export") / "probes"
    photos = [load((folder / name).read_bytes(), how) for name in PHOTOS]
    return [view for photo in photos for view in (photo, np.ascontiguousarray(photo[:, ::-1]))]


def require_parity(
    tower: str, precision: str, eager: Matrix, lowered: Callable[[], Matrix]
) -> Parity:
    """Compare unit rows (N, D); raises ParityError naming the worst probe."""
    found = lowered()
    if found.shape != eager.shape:
        raise ParityError(f"{tower} encoder: gives {found.shape}, eager PyTorch {eager.shape}")
    cosines = (eager * found).sum(axis=1)
    least = MIN_COSINE[tower, precision]
    worst = int(np.argmin(np.where(np.isfinite(cosines), cosines, -np.inf)))
    if not float(cosines[worst]) >= least:  # also catches NaN
        raise ParityError(
            f"{tower} encoder, probe {worst}: "
            f"cosine {cosines[worst]:.5f} to eager PyTorch, needs {least}"
        )
    lengths = np.linalg.norm(found, axis=1)
    if not np.allclose(lengths, 1.0, atol=1e-3):
        raise ParityError(f"{tower} encoder: rows have lengths {lengths}, not 1")
    return Parity(round(float(cosines.min()), 6), round(float(cosines.mean()), 6), len(cosines))
