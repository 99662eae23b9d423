"""Whether a bundle is what its maker shipped, and computes what its maker's machine did."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from photosearch.bundle import MIN_GOLDEN_COSINE, Bundle, Golden, load_golden, verify_files
from photosearch.errors import BundleError
from photosearch.preprocess import normalise
from photosearch.runtimes.onnx import OnnxEncoder
from photosearch.types import Matrix


def verify_bundle(bundle: Bundle) -> list[str]:
    """Hash every file, then run the golden vectors on every target this machine can run.

    Returns one line for each thing that differs; empty means the bundle is sound.
    """
    problems = verify_files(bundle)
    if problems:
        return problems  # running damaged programs proves nothing more
    try:
        golden = load_golden(bundle)
        encoder = OnnxEncoder(bundle)
        images = _embed_images(golden, encoder)
        return [
            *_check_tokens(golden, encoder),
            *_check_vectors("text", golden.text_vectors, encoder.texts(golden.texts)),
            *_check_vectors("image", golden.image_vectors, images),
        ]
    except BundleError as error:
        return [str(error)]


def _check_tokens(golden: Golden, encoder: OnnxEncoder) -> list[str]:
    problems: list[str] = []
    for text, wanted in zip(golden.texts, golden.text_tokens, strict=True):
        found = tuple(int(token) for token in encoder.tokens(text))
        if found != wanted:
            problems.append(f"tokenizer: {text!r} gives {found}, the golden tokens are {wanted}")
    return problems


def _embed_images(golden: Golden, encoder: OnnxEncoder) -> Matrix:
    pixels = [
        np.asarray(Image.open(io.BytesIO(png), formats=("PNG",)).convert("RGB"))
        for png in golden.images
    ]
    return encoder.images(normalise(np.stack(pixels), encoder.preprocess))


def _check_vectors(tower: str, wanted: Matrix, found: Matrix) -> list[str]:
    if wanted.shape != found.shape:
        return [f"{tower} encoder: gives {found.shape}, the golden vectors are {wanted.shape}"]
    cosines = (wanted * found).sum(axis=1)
    return [
        f"{tower} encoder: golden input {number} has cosine {cosine:.5f}, needs {MIN_GOLDEN_COSINE}"
        for number, cosine in enumerate(cosines)
        if not cosine >= MIN_GOLDEN_COSINE  # also catches NaN
    ]
