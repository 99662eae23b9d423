"""Core ML, on Macs: their neural engine and GPU through coremltools.

Not the default: ONNX Runtime is smaller and runs everywhere. Elsewhere than on
a Mac, Core ML cannot predict, and this says so.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photosearch.bundle import Bundle
from photosearch.encoder import open_tokenizer
from photosearch.errors import BundleError
from photosearch.types import Matrix, Preprocess

Model = Callable[[dict[str, Any]], dict[str, Any]]  # named inputs -> named outputs

MISSING: Final = (
    'coremltools is not installed: install it with `pip install "photosearch[coreml]"`, '
    'or set runtime = "onnx".'
)


def load_model(package: Path) -> Model:
    """A compiled package's predict(). BundleError where this machine cannot run one."""
    if sys.platform != "darwin":
        raise BundleError('Core ML runs on Macs only; set runtime = "onnx" in config.toml.')
    try:
        import coremltools
    except ImportError as error:
        raise BundleError(MISSING) from error
    try:
        model = coremltools.models.MLModel(str(package))
    except (RuntimeError, ValueError, OSError) as error:
        raise BundleError(f"{package}: Core ML cannot load it ({error})") from error
    predict: Model = model.predict
    return predict


class CoremlEncoder:
    """A bundle's Image.mlpackage and Text.mlpackage. Safe to call from several threads.

    Image: `image`, RGB, S x S, values 0..255: mean and deviation are inside -> `embedding`
    Text:  `tokens` (1, context) int32, padded -> `embedding`
    """

    def __init__(self, bundle: Bundle, *, load: Callable[[Path], Model] = load_model) -> None:
        image, text = bundle.towers("coreml")
        self.space = bundle.space
        self.dim = bundle.dim
        self.preprocess: Preprocess = bundle.preprocess
        self._tokenizer = open_tokenizer(bundle)
        self._lock = threading.Lock()
        self._image, self._text = load(image), load(text)

    def images(self, images: NDArray[np.float32]) -> Matrix:
        side = self.preprocess.side_px
        assert images.ndim == 4 and images.shape[1:] == (3, side, side), images.shape
        pixels = self._pixels(images)
        return self._rows([self._run(self._image, "image", Image.fromarray(p)) for p in pixels])

    def texts(self, texts: Sequence[str]) -> Matrix:
        rows = []
        for text in texts:
            tokens = self._tokenizer.encode(text)
            padded = np.full(
                (1, self._tokenizer.context_length), self._tokenizer.pad_id, dtype=np.int32
            )
            padded[0, : len(tokens)] = tokens
            rows.append(self._run(self._text, "tokens", padded))
        return self._rows(rows)

    def tokens(self, text: str) -> NDArray[np.int64]:
        """One text -> (L,), as the text tower meets it."""
        return self._tokenizer.encode(text)

    def _pixels(self, images: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Undo normalise(), exactly: its values come from 256 levels."""
        mean = np.asarray(self.preprocess.mean, np.float32)[:, None, None]
        std = np.asarray(self.preprocess.std, np.float32)[:, None, None]
        levels = np.rint((images * std + mean) * 255.0).clip(0, 255).astype(np.uint8)
        return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))

    def _run(self, model: Model, name: str, value: Any) -> Matrix:
        with self._lock:
            found = model({name: value})["embedding"]
        return np.asarray(found, dtype=np.float32).reshape(1, -1)

    def _rows(self, rows: Sequence[Matrix]) -> Matrix:
        found = np.concatenate(rows) if rows else np.empty((0, self.dim), np.float32)
        if found.shape != (len(rows), self.dim):
            raise BundleError(
                f"the encoder gave {found.shape}, the manifest says ({len(rows)}, {self.dim})"
            )
        return found
