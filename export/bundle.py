"""Checkpoint -> bundle, start to end. The format is described in docs/bundles.md."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from export import to_onnx
from export.card import model_card
from export.parity import TEXTS, Parity, probe_photos, require_parity
from models.checkpoint import Checkpoint, EagerEncoder, build
from models.data import expand, read_photos
from models.evaluate import Metrics, evaluate_captions
from models.layers import fuse
from models.recipes import Recipe
from models.students import DualEncoder
from models.teachers import weights_digest
from photosearch.bundle import FORMAT, MANIFEST, open_bundle, sha256_of
from photosearch.encoder import open_encoder
from photosearch.errors import PhotosearchError
from photosearch.preprocess import normalise
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Matrix, Pixels

VOCABULARY: Final = "vocab.txt"
GOLDEN: Final = "golden.json"
BACKGROUND: Final = "background.npy"
CARD: Final = "README.md"
GOLDEN_DIGITS: Final = 6

LICENCES: Final = {
    "EfficientNet-lite2 weights": "Apache-2.0, Google; converted by ML Illustrated",
    "all-MiniLM-L6-v2 weights and vocabulary": (
        "Apache-2.0, Microsoft and the sentence-transformers authors"
    ),
    "ImageNet class names": (
        "MIT, the OpenCLIP authors; WordNet 3.0 licence, Princeton University. "
        "Used in training; the bundle holds vectors made from them"
    ),
    "Flickr8k": (
        "research use (Hodosh, Young and Hockenmaier 2013); no photo or caption is included"
    ),
    "ADE20K, Places": "research use; no photo is included, only vectors of some as the background",
    "golden photos": (
        "scikit-image's samples: chelsea, coffee, rocket CC0; astronaut public domain, NASA"
    ),
}


class ExportError(PhotosearchError):
    """A bundle cannot be made as asked."""


@dataclass(frozen=True)
class Probes:
    """Inputs of the parity gate and the golden file, with eager PyTorch's answers."""

    photos: tuple[Pixels, ...]
    texts: tuple[str, ...]
    images: Matrix
    text_vectors: Matrix


def export_bundle(checkpoint: Checkpoint, out: Path, *, precision: str, val: str) -> Path:
    """Lower both towers, require parity, and put the bundle in place, whole or not at all.

    `val` names photos with captions to measure the shipped files on; "" for none.
    """
    with staging(out) as folder:
        eager = EagerEncoder(checkpoint)
        probes = make_probes(eager)
        write_towers(checkpoint, folder, precision=precision)
        parity = require_towers(folder, probes, eager, precision)
        write_vocabulary(folder / VOCABULARY, checkpoint.vocabulary)
        if checkpoint.background is not None:
            write_background(folder / BACKGROUND, checkpoint.background.numpy())
        write_golden(folder, probes, eager)
        description = describe(checkpoint)
        write_manifest(folder, checkpoint, precision, parity, description)
        if val:
            metrics = measure(folder, val)
            description["metrics"] = {"data": val.rsplit("/", 1)[-1], **metrics}
        card = model_card(checkpoint.recipe, precision, description, LICENCES)
        (folder / CARD).write_text(card, encoding="utf-8")
        write_manifest(folder, checkpoint, precision, parity, description)
    return out


@contextlib.contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` if the block succeeds, and is gone if it does not."""
    if out.exists() or out.is_symlink():
        raise ExportError(f"{out} exists already; a bundle is never changed. Choose another --out.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise ExportError(f"{out}: cannot be created ({error.strerror})") from error
    try:
        yield folder
        folder.chmod(0o755)
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_probes(eager: EagerEncoder) -> Probes:
    photos = probe_photos(eager.preprocess)
    images = eager.images(normalise(np.stack(photos), eager.preprocess))
    return Probes(tuple(photos), TEXTS, images, eager.texts(TEXTS))


def write_towers(checkpoint: Checkpoint, folder: Path, *, precision: str) -> None:
    student = build(checkpoint)
    fuse(student)
    to_onnx.write_image(
        student.image, student.config.side_px, folder / "image.onnx", precision=precision
    )
    to_onnx.write_text(
        student.text, student.config.text.positions, folder / "text.onnx", precision=precision
    )


def require_towers(
    folder: Path, probes: Probes, eager: EagerEncoder, precision: str
) -> dict[str, Parity]:
    """Run the written files on every probe; each alone and all together, as both happen."""
    pixels = normalise(np.stack(probes.photos), eager.preprocess)

    def images() -> Matrix:
        return run_onnx(folder / "image.onnx", "pixels", pixels)

    def texts() -> Matrix:
        rows = [eager.tokenizer.encode(text)[None] for text in probes.texts]
        alone = [run_onnx(folder / "text.onnx", "tokens", row) for row in rows]
        return np.concatenate(alone)

    return {
        "image": require_parity("image", precision, probes.images, images),
        "text": require_parity("text", precision, probes.text_vectors, texts),
    }


def run_onnx(file: Path, name: str, array: NDArray[np.float32] | NDArray[np.int64]) -> Matrix:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(file), sess_options=options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(["embedding"], {name: array})[0], dtype=np.float32)


def write_vocabulary(file: Path, vocabulary: tuple[str, ...]) -> None:
    file.write_bytes("".join(f"{piece}\n" for piece in vocabulary).encode())


def write_background(file: Path, vectors: Matrix) -> None:
    """int8 (N, D), each row scaled so that its largest value is 127."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    with file.open("wb") as stream:
        np.save(stream, np.round(vectors / largest * 127).astype(np.int8))


def write_golden(folder: Path, probes: Probes, eager: EagerEncoder) -> None:
    """Inputs, and what the files just written give for them here.

    Not eager PyTorch's own vectors: parity with those is already required, at a
    cosine that int8 weights can meet; a user's machine must meet these more closely.
    """
    tokenizer: WordPieceTokenizer = eager.tokenizer
    tokens = [tokenizer.encode(text) for text in probes.texts]
    batch = tokenizer.batch(probes.texts)
    texts = run_onnx(folder / "text.onnx", "tokens", batch)
    photos = probes.photos[::2]  # without the mirror images
    pixels = normalise(np.stack(photos), eager.preprocess)
    images = run_onnx(folder / "image.onnx", "pixels", pixels)
    golden = {
        "texts": [
            {"text": text, "tokens": row.tolist(), "vector": _rounded(vector)}
            for text, row, vector in zip(probes.texts, tokens, texts, strict=True)
        ],
        "images": [
            {"png": base64.b64encode(_png(photo)).decode(), "vector": _rounded(vector)}
            for photo, vector in zip(photos, images, strict=True)
        ],
    }
    (folder / GOLDEN).write_text(json.dumps(golden), encoding="utf-8")


def _png(photo: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _rounded(vector: NDArray[np.float32]) -> list[float]:
    return [round(float(value), GOLDEN_DIGITS) for value in vector]


def space_of(student: DualEncoder, recipe: Recipe, vocabulary: tuple[str, ...]) -> str:
    """Identity of the Space: float32 weights, preprocessing and tokenizer.

    The same for every precision and target, whose vectors may be compared.
    """
    how = recipe.preprocess()
    parts = [
        weights_digest(student),
        json.dumps(dataclasses.asdict(how), sort_keys=True),
        json.dumps(dataclasses.asdict(student.config), sort_keys=True),
        "wordpiece",
        "\n".join(vocabulary),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def measure(folder: Path, val: str) -> Metrics:
    """Retrieval through the files just written, as a user would get it."""
    bundle = open_bundle(folder)
    expand(val)
    return evaluate_captions(open_encoder(bundle), read_photos(val, bundle.preprocess))


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """For people: nothing here changes what the encoders do."""
    recipe = dataclasses.asdict(checkpoint.recipe)
    for place in ("out", "cache", "threads"):
        del recipe[place]
    return {
        "title": checkpoint.recipe.title,
        "recipe": recipe,
        "student": dataclasses.asdict(checkpoint.student),
        "training_data": checkpoint.recipe.training_data,
        "metrics": {},
        "licences": LICENCES,
    }


def write_manifest(
    folder: Path,
    checkpoint: Checkpoint,
    precision: str,
    parity: dict[str, Parity],
    description: dict[str, Any],
) -> None:
    recipe, student = checkpoint.recipe, build(checkpoint)
    how = recipe.preprocess()
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": recipe.name,
        "version": recipe.version,
        "space": space_of(student, recipe, checkpoint.vocabulary),
        "dim": student.config.dim,
        "image": dataclasses.asdict(how),
        "text": {
            "tokenizer": "wordpiece",
            "vocabulary": VOCABULARY,
            "context_length": student.config.text.positions,
        },
        "files": {
            path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in files
        },
        "targets": {
            "onnx": {
                "image": "image.onnx",
                "text": "text.onnx",
                "runtime": to_onnx.runtime_version(),
                "opset": to_onnx.OPSET,
                "precision": precision,
                "parity": {tower: dataclasses.asdict(found) for tower, found in parity.items()},
                "verified": True,
            }
        },
        "golden": GOLDEN,
        "description": description,
    }
    if checkpoint.background is not None:
        manifest["background"] = {"file": BACKGROUND, "cutoff_z": recipe.cutoff_z}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
