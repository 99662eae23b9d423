"""Whether a bundle is what its maker shipped, and computes what its maker's machine did."""

from __future__ import annotations

import importlib.util
import io
import sys
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from photosearch.bundle import Bundle, Golden, load_golden, verify_files
from photosearch.encoder import RUNTIMES, Encoder, open_encoder, open_tokenizer
from photosearch.errors import BundleError
from photosearch.preprocess import normalise
from photosearch.types import Matrix

# Two versions of ONNX Runtime agree above 0.99999 on photos, in float32, and above 0.9999 on texts,
# whose products are of int8; a processor without those gives 0.9995 for the least of texts.
# The others round activations to 8 or 16 bits, which processors do in different orders.
MIN_GOLDEN_COSINE: Final = {"onnx": 0.999, "executorch": 0.99, "coreml": 0.99}


@dataclass(frozen=True)
class Verified:
    """What was found, and where it could be looked for."""

    problems: tuple[str, ...]  # one line for each thing that differs; none: it is sound
    ran: tuple[str, ...]  # targets whose golden vectors were computed here
    skipped: tuple[str, ...]  # "target: why not"


def verify_bundle(bundle: Bundle) -> list[str]:
    """One line for each thing that differs; empty means the bundle is sound."""
    return list(verify(bundle).problems)


def verify(bundle: Bundle) -> Verified:
    """Hash every file, then run the golden vectors on every target this machine can run."""
    problems = verify_files(bundle)
    if problems:  # running damaged programs proves nothing more
        return Verified(tuple(problems), (), ())
    try:
        golden = load_golden(bundle)
        problems = _check_tokens(golden, bundle)
    except BundleError as error:
        return Verified((str(error),), (), ())
    ran: list[str] = []
    skipped: list[str] = []
    for target in bundle.targets:
        reason = why_not(target)
        if reason is not None:
            skipped.append(f"{target}: {reason}")
            continue
        ran.append(target)
        problems += _check_target(bundle, golden, target)
    if not ran:
        skipped.append("no encoder of it could be run on this machine")
    return Verified(tuple(problems), tuple(ran), tuple(skipped))


def why_not(target: str) -> str | None:
    """Why a target cannot be run here; None where it can."""
    if target not in RUNTIMES:
        return "only phones run it"
    if target == "coreml" and sys.platform != "darwin":
        return "only Macs and phones run it"
    needed = {"executorch": "executorch", "coreml": "coremltools"}.get(target)
    if needed is not None and importlib.util.find_spec(needed) is None:
        return f"{needed} is not installed"
    return None


def _check_target(bundle: Bundle, golden: Golden, target: str) -> list[str]:
    texts, images = golden.vectors(target)
    try:
        encoder = open_encoder(bundle, runtime=target)
        return [
            *_check_vectors(target, "text", texts, encoder.texts(golden.texts)),
            *_check_vectors(target, "image", images, _embed_images(golden, encoder)),
        ]
    except BundleError as error:
        return [str(error)]


def _check_tokens(golden: Golden, bundle: Bundle) -> list[str]:
    tokenizer = open_tokenizer(bundle)
    problems: list[str] = []
    for text, wanted in zip(golden.texts, golden.text_tokens, strict=True):
        found = tuple(int(token) for token in tokenizer.encode(text))
        if found != wanted:
            problems.append(f"tokenizer: {text!r} gives {found}, the golden tokens are {wanted}")
    return problems


def _embed_images(golden: Golden, encoder: Encoder) -> Matrix:
    pixels = [
        np.asarray(Image.open(io.BytesIO(png), formats=("PNG",)).convert("RGB"))
        for png in golden.images
    ]
    return encoder.images(normalise(np.stack(pixels), encoder.preprocess))


def _check_vectors(target: str, tower: str, wanted: Matrix, found: Matrix) -> list[str]:
    where = f"{target}, {tower} encoder"
    if wanted.shape != found.shape:
        return [f"{where}: gives {found.shape}, the golden vectors are {wanted.shape}"]
    cosines = (wanted * found).sum(axis=1)
    least = MIN_GOLDEN_COSINE[target]
    return [
        f"{where}: golden input {number} has cosine {cosine:.5f}, needs {least}"
        for number, cosine in enumerate(cosines)
        if not cosine >= least  # also catches NaN
    ]
