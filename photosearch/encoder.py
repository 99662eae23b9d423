"""The Encoder protocol, and how a Bundle becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from photosearch.bpe import ClipTokenizer
from photosearch.bundle import Bundle
from photosearch.errors import BundleError
from photosearch.tokenizer import Tokenizer, WordPieceTokenizer
from photosearch.types import Matrix, Preprocess
from photosearch.unigram import UnigramTokenizer

RUNTIMES: Final = ("onnx", "executorch", "coreml")


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


def open_encoder(bundle: Bundle, *, threads: int = 0, runtime: str = "onnx") -> Encoder:
    """Load a bundle's encoders in one of RUNTIMES. `threads` 0 lets it use every core.

    A runtime that is not installed, or that the bundle has no files for, is a
    BundleError that says which would do.
    """
    if runtime == "onnx":
        from photosearch.runtimes.onnx import OnnxEncoder  # ONNX Runtime: 0.1 s, 40 MB

        return OnnxEncoder(bundle, threads=threads)
    if runtime == "executorch":
        from photosearch.runtimes.executorch import ExecutorchEncoder  # torch: 2 s, 220 MB

        return ExecutorchEncoder(bundle, threads=threads)
    if runtime == "coreml":
        from photosearch.runtimes.coreml import CoremlEncoder

        return CoremlEncoder(bundle)
    raise BundleError(f"no runtime named {runtime}; known: {', '.join(RUNTIMES)}")


def open_tokenizer(bundle: Bundle) -> Tokenizer:
    """The tokenizer a bundle's text encoder was trained with."""
    file, length = bundle.file(bundle.vocabulary), bundle.context_length
    if bundle.tokenizer == "clip-bpe":
        return ClipTokenizer.from_file(file, context_length=length)
    if bundle.tokenizer == "unigram":
        pad_id = int(bundle.text.get("pad_id", 1))
        return UnigramTokenizer.from_file(file, context_length=length, pad_id=pad_id)
    return WordPieceTokenizer.from_file(file, context_length=length)
