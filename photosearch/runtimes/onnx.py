"""The default runtime: ONNX Runtime on the CPU. Small, and no torch."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from photosearch.bundle import Bundle
from photosearch.encoder import open_tokenizer
from photosearch.errors import BundleError
from photosearch.types import Matrix, Preprocess

if TYPE_CHECKING:
    import onnxruntime

# In work at a time: it bounds the memory of activations. 8 cost 76 MB less than 16 and no more
# time (lantern, docs/ingest.md).
MAX_IMAGES: Final = 8


class OnnxEncoder:
    """A bundle's `image.onnx` and `text.onnx`. Safe to call from several threads.

    image.onnx: `pixels` (N, 3, S, S) float32 -> `embedding` (N, D) float32, unit rows.
    text.onnx:  `tokens` (N, L) int64, padded with 0 -> `embedding` (N, D) float32, unit rows.

    Each tower loads when it is first used: a search without new photos never
    loads the image tower, and indexing's worker threads inherit the low priority
    of the thread that first asks for them.

    Photos are shared out among `threads`, each of which embeds its own from end to end:
    two threads that share every product instead take a sixth more processor time, and a
    third more time (docs/ingest.md).
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        image, text = bundle.towers("onnx")
        self.space = bundle.space
        self.dim = bundle.dim
        self.preprocess: Preprocess = bundle.preprocess
        self._tokenizer = open_tokenizer(bundle)
        self._image = _Tower(image)
        # One short text is over before a second thread has woken: two threads take 1.3 to 1.5
        # times one's processor time and save no time that can be felt (docs/search-bar.md).
        self._text = _Tower(text)
        self._threads = min(threads or os.cpu_count() or 1, MAX_IMAGES)
        self._workers = ThreadPoolExecutor(self._threads, "embedding")  # started when needed

    def images(self, images: NDArray[np.float32]) -> Matrix:
        side = self.preprocess.side_px
        assert images.ndim == 4 and images.shape[1:] == (3, side, side), images.shape
        share = MAX_IMAGES // self._threads
        parts = [images[start : start + share] for start in range(0, len(images), share)]
        run = functools.partial(self._run, self._image, "pixels")
        found = list(self._workers.map(run, parts) if len(parts) > 1 else map(run, parts))
        return np.concatenate(found) if found else np.empty((0, self.dim), np.float32)

    def texts(self, texts: Sequence[str]) -> Matrix:
        if not texts:
            return np.empty((0, self.dim), np.float32)
        return self._run(self._text, "tokens", self._tokenizer.batch(texts))

    def tokens(self, text: str) -> NDArray[np.int64]:
        """One text -> (L,), as the text tower meets it."""
        return self._tokenizer.encode(text)

    def _run(
        self,
        tower: _Tower,
        name: str,
        array: NDArray[np.float32] | NDArray[np.int64],
    ) -> Matrix:
        vectors = np.asarray(tower.session().run(["embedding"], {name: array})[0], dtype=np.float32)
        if vectors.shape != (len(array), self.dim):
            raise BundleError(
                f"the encoder gave {vectors.shape}, the manifest says ({len(array)}, {self.dim})"
            )
        return vectors


class _Tower:
    """One ONNX file, loaded on first use. A run takes the thread that asks for it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._session: onnxruntime.InferenceSession | None = None

    def session(self) -> onnxruntime.InferenceSession:
        with self._lock:
            if self._session is None:
                self._session = _session(self._file)
            return self._session


@functools.cache
def _runtime() -> Any:
    """Load ONNX Runtime, silent.

    From 1.29 on its wheels carry an HTTP client, and from 1.31 on telemetry that
    writes a device id under the user's cache folder when it is imported. Our pin
    keeps those out; should one be installed all the same, these are its switches.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _session(file: Path) -> onnxruntime.InferenceSession:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(
            str(file), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime raises bare pybind exceptions for damaged files
        raise BundleError(f"{file}: ONNX Runtime cannot load it ({error})") from error
