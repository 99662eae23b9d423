"""An encoder for tests: no model, honest geometry.

A photo's vector is a hash of its coarse colours, a text's a hash of its words,
so equal inputs agree, different ones do not, and nothing needs a bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from photosearch.types import Matrix, Preprocess, Vector


class FakeEncoder:
    """Hashes inputs to unit vectors; `calls` counts the images it was given."""

    def __init__(self, *, dim: int = 16, space: str = "fake-space", side_px: int = 16) -> None:
        self.dim = dim
        self.space = space
        self.preprocess = Preprocess(side_px, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash")
        self.image_calls = 0

    def images(self, images: NDArray[np.float32]) -> Matrix:
        self.image_calls += len(images)
        rows = [self._unit(np.round(image, 2).tobytes()) for image in images]
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)

    def texts(self, texts: Sequence[str]) -> Matrix:
        rows = [self._unit(text.encode("utf-8", "replace")) for text in texts]
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)

    def _unit(self, data: bytes) -> Vector:
        seed = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
        row = np.random.default_rng(seed).standard_normal(self.dim).astype(np.float32)
        return row / np.float32(np.linalg.norm(row))
