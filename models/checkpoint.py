"""Weights, optimizer, recipe, step: what a run leaves behind. Never shipped."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.layers import BertConfig, EfficientNetConfig, Stage, fuse
from models.recipes import Recipe
from models.students import DualEncoder, StudentConfig
from photosearch.errors import PhotosearchError
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Matrix, Preprocess

FORMAT: Final = 1


class CheckpointError(PhotosearchError):
    """A checkpoint is missing, damaged or foreign."""


@dataclass(frozen=True)
class Checkpoint:
    """A state of a run. Tensors are on the CPU."""

    recipe: Recipe
    student: StudentConfig
    vocabulary: tuple[str, ...]
    step: int
    weights: dict[str, Tensor]
    training: dict[str, Any]  # optimizer and random state; empty once a run is finished
    background: Tensor | None  # (N, D) unit rows
    metrics: dict[str, float]
    # Everyday queries: mean and deviation of cosines with photos that they are not true of.
    words: dict[str, tuple[float, float]] = field(default_factory=dict)


def save_checkpoint(file: Path, checkpoint: Checkpoint) -> None:
    """Write as save_whole() does."""
    document = {
        "format": FORMAT,
        "recipe": dataclasses.asdict(checkpoint.recipe),
        "student": dataclasses.asdict(checkpoint.student),
        "vocabulary": list(checkpoint.vocabulary),
        "step": checkpoint.step,
        "weights": checkpoint.weights,
        "training": checkpoint.training,
        "background": checkpoint.background,
        "metrics": checkpoint.metrics,
        "words": {text: list(pair) for text, pair in checkpoint.words.items()},
    }
    save_whole(file, document)


def save_whole(file: Path, document: dict[str, Any]) -> None:
    """Write with torch.save, whole or not at all: a crash leaves the previous file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with staged.open("wb") as stream:
            torch.save(document, stream)
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(file)
    finally:
        staged.unlink(missing_ok=True)


def load_checkpoint(file: Path) -> Checkpoint:
    """Read a checkpoint; runs no code from it. Raises CheckpointError with the reason."""
    try:
        document = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{file}: not a whole checkpoint of ours ({first})") from error
    try:
        if document["format"] > FORMAT:
            raise CheckpointError(f"{file}: written by a newer version of models.train")
        return Checkpoint(
            recipe=Recipe(**document["recipe"]),
            student=student_config(document["student"]),
            vocabulary=tuple(document["vocabulary"]),
            step=document["step"],
            weights=document["weights"],
            training=document["training"],
            background=document["background"],
            metrics=document["metrics"],
            words={text: (a, b) for text, (a, b) in document.get("words", {}).items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: not a checkpoint of ours ({error!r})") from error


def student_config(stored: Mapping[str, Any]) -> StudentConfig:
    """Nested dataclasses back from the plain dicts that checkpoints and manifests hold."""
    image = dict(stored["image"])
    image["stages"] = tuple(Stage(**stage) for stage in image["stages"])
    return StudentConfig(
        **{**stored, "image": EfficientNetConfig(**image), "text": BertConfig(**stored["text"])}
    )


def build(checkpoint: Checkpoint) -> DualEncoder:
    """The student with its weights, in eval mode."""
    student = DualEncoder(checkpoint.student)
    try:
        student.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"the checkpoint's weights do not fit its student: {error}"
        ) from error
    return student.eval()


def at_side(loaded: Checkpoint, side_px: int) -> Checkpoint:
    """The same weights for photos of another side: convolutions have the same at any."""
    return dataclasses.replace(
        loaded,
        recipe=dataclasses.replace(loaded.recipe, side_px=side_px),
        student=dataclasses.replace(loaded.student, side_px=side_px),
    )


class EagerEncoder:
    """A checkpoint's student behind the calls of photosearch.encoder.Encoder.

    fused: batch norms are folded into their convolutions, a third less work for the same
    vectors but for rounding.
    """

    def __init__(self, checkpoint: Checkpoint, *, fused: bool = False) -> None:
        self.preprocess: Preprocess = checkpoint.recipe.preprocess()
        self.dim = checkpoint.student.dim
        self.tokenizer = WordPieceTokenizer(
            checkpoint.vocabulary, context_length=checkpoint.student.text.positions
        )
        self._student = build(checkpoint)
        if fused:
            fuse(self._student)

    @torch.inference_mode()
    def images(self, images: NDArray[np.float32]) -> Matrix:
        """(N, 3, S, S), normalised -> (N, D) unit rows."""
        pixels = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
        vectors: Matrix = self._student.image(pixels).numpy()
        return vectors

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Matrix:
        """N texts -> (N, D) unit rows."""
        vectors: Matrix = self._student.text(torch.from_numpy(self.tokenizer.batch(texts))).numpy()
        return vectors
