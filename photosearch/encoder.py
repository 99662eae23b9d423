"""The Encoder protocol, and how a Bundle becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from photosearch.bundle import Bundle
from photosearch.types import Matrix, Preprocess


class Encoder(Protocol):
    """Two towers into one Space. Rows of both are unit vectors; any thread may call."""

    @property
    def space(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def preprocess(self) -> Preprocess: ...

    def images(self, images: NDArray[np.float32]) -> Matrix:
        """(N, 3, S, S), normalised -> (N, D) unit rows."""
        ...

    def texts(self, texts: Sequence[str]) -> Matrix:
        """N texts -> (N, D) unit rows."""
        ...


def open_encoder(bundle: Bundle, *, threads: int = 0) -> Encoder:
    """Load a bundle's desktop encoders. `threads` 0 lets the runtime use every core."""
    from photosearch.runtimes.onnx import OnnxEncoder  # loads ONNX Runtime: 0.1 s, 40 MB

    return OnnxEncoder(bundle, threads=threads)
