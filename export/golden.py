"""golden.json: inputs, and what each target's files just written give for them.

Not eager PyTorch's own vectors: parity with those is already required, at a
cosine that int8 weights can meet; a user's machine must meet these more closely.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.parity import Probes
from export.towers import Lowered, Towers
from photosearch.types import Pixels

GOLDEN: Final = "golden.json"
DIGITS: Final = 6


def write_golden(folder: Path, towers: Towers, probes: Probes, targets: Sequence[Lowered]) -> None:
    """The vectors beside each input are the first target's; the others follow by name."""
    photos = probes.photos[::2]  # without the mirror images
    rows = towers.rows(probes.texts)
    found = {
        lowered.target: {
            "texts": _rounded(lowered.texts(rows)),
            "images": _rounded(lowered.images(np.stack(photos))),
        }
        for lowered in targets
        if lowered.images is not None and lowered.texts is not None
    }
    if not found:
        return
    first, *_ = found.values()
    golden: dict[str, Any] = {
        "texts": [
            {"text": text, "tokens": towers.tokenizer.encode(text).tolist(), "vector": vector}
            for text, vector in zip(probes.texts, first["texts"], strict=True)
        ],
        "images": [
            {"png": base64.b64encode(_png(photo)).decode(), "vector": vector}
            for photo, vector in zip(photos, first["images"], strict=True)
        ],
        "targets": found,
    }
    (folder / GOLDEN).write_text(json.dumps(golden), encoding="utf-8")


def _png(photo: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _rounded(vectors: NDArray[np.float32]) -> list[list[float]]:
    return [[round(float(value), DIGITS) for value in vector] for vector in vectors]
