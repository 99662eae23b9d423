"""ExecuTorch on the CPU (XNNPACK): what the phone runs, on the desktop.

Not the default: its Python binding needs torch, which this file alone imports,
and only when it is asked for. It is here so that what a phone will answer can be
seen and tested where the bundle is made.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from photosearch.bundle import Bundle
from photosearch.encoder import open_tokenizer
from photosearch.errors import BundleError
from photosearch.types import Matrix, Preprocess

SHORT_TOKENS: Final = 16  # what the method `short` of a text program takes
MISSING: Final = (
    "ExecuTorch is not installed in this environment (it needs torch): "
    'install it with `pip install "photosearch[executorch]"`, or set runtime = "onnx".'
)


class ExecutorchEncoder:
    """A bundle's `image.pte` and `text.pte`. Safe to call from several threads.

    image: `forward`, pixels (1, 3, S, S) float32 -> (1, D) unit rows
    text:  `forward`, tokens (1, context) int64, padded -> (1, D); perhaps `short`,
           the same for 16 tokens, at a fraction of the time
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        image, text = bundle.towers("executorch")
        self.space = bundle.space
        self.dim = bundle.dim
        self.preprocess: Preprocess = bundle.preprocess
        self._tokenizer = open_tokenizer(bundle)
        self._image = _Program(image, threads)
        self._text = _Program(text, threads)

    def images(self, images: NDArray[np.float32]) -> Matrix:
        side = self.preprocess.side_px
        assert images.ndim == 4 and images.shape[1:] == (3, side, side), images.shape
        return self._rows([self._image.run(row[None], "forward") for row in images])

    def texts(self, texts: Sequence[str]) -> Matrix:
        return self._rows([self._one_text(text) for text in texts])

    def tokens(self, text: str) -> NDArray[np.int64]:
        """One text -> (L,), as the text tower meets it."""
        return self._tokenizer.encode(text)

    def _one_text(self, text: str) -> Matrix:
        row = self._tokenizer.encode(text)
        short = (
            self._tokenizer.pads_to_longest
            and len(row) <= SHORT_TOKENS
            and "short" in self._text.methods()
        )
        length = SHORT_TOKENS if short else self._tokenizer.context_length
        padded = np.full((1, length), self._tokenizer.pad_id, np.int64)
        padded[0, : len(row)] = row
        return self._text.run(padded, "short" if short else "forward")

    def _rows(self, rows: Sequence[Matrix]) -> Matrix:
        if not rows:
            return np.empty((0, self.dim), np.float32)
        found = np.concatenate(rows)
        if found.shape != (len(rows), self.dim):
            raise BundleError(
                f"the encoder gave {found.shape}, the manifest says ({len(rows)}, {self.dim})"
            )
        return found


class _Program:
    """One .pte, loaded on first use. A method holds its own activations: one call at a time."""

    def __init__(self, file: Path, threads: int) -> None:
        self._file = file
        self._threads = threads
        self._lock = threading.Lock()
        self._program: Any = None

    def methods(self) -> set[str]:
        with self._lock:
            return set(self._loaded().method_names)

    def run(self, array: NDArray[np.float32] | NDArray[np.int64], method: str) -> Matrix:
        """(1, ...) -> (1, D)."""
        import torch

        given = torch.from_numpy(np.ascontiguousarray(array))
        with self._lock:
            found = self._loaded().load_method(method).execute([given])[0]
            return np.array(found.numpy(), dtype=np.float32)

    def _loaded(self) -> Any:
        if self._program is None:
            runtime = _runtime(self._threads)
            try:
                self._program = runtime.load_program(str(self._file))
            except RuntimeError as error:
                raise BundleError(f"{self._file}: ExecuTorch cannot load it ({error})") from error
        return self._program


def _runtime(threads: int) -> Any:
    """Load ExecuTorch, silent. BundleError where it is not installed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # torchao names libraries that no CPU needs
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime
    except ImportError as error:
        raise BundleError(MISSING) from error
    finally:
        logging.disable(before)
    if threads and hasattr(portable_lib, "_unsafe_reset_threadpool"):
        portable_lib._unsafe_reset_threadpool(threads)
    return Runtime.get()
