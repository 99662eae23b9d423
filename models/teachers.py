"""Frozen networks -> cached features, and features of kinds no photo shows us.

What is computed here depends on files and published weights alone, so it is
cached by content: only the first run waits for it.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.resources
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data import cached, read_examples, read_photos
from models.finetune import crops
from models.layers import fuse, unit
from models.students import ImageTower, TextTower
from photosearch.preprocess import normalise
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Matrix, Preprocess

log = logging.getLogger(__name__)

PHOTO_BATCH: Final = 32
TEXT_BATCH: Final = 128

# Three ways to name a thing; more, and stranger ones, gained nothing here.
PROMPTS: Final = ("a photo of a {}", "{}", "a {}")


def weights_digest(module: torch.nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers, names included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def photo_features(
    tower: ImageTower,
    spec: str,
    how: Preprocess,
    cache: Path,
    *,
    mirrored: bool = False,
    crop: int | None = None,
) -> Tensor:
    """Pooled features of every photo of `spec`, in its order: (N, F).

    `crop` is the seed of random parts to take of the photos; None takes them whole.
    """
    content = hashlib.sha256()
    for example in read_examples(spec):
        content.update(hashlib.sha256(example.image).digest())
    parts: list[bytes | str] = [
        content.digest(),
        repr(how),
        str(mirrored),
        weights_digest(tower.backbone),
    ]
    if crop is not None:
        parts.append(f"crop {crop}")

    def make() -> Matrix:
        log.info("teachers.photos spec=%s mirrored=%s", spec, mirrored)
        pixels = read_photos(spec, how).pixels
        if mirrored:
            pixels = pixels[:, :, ::-1]
        if crop is not None:
            pixels = crops(pixels, np.random.default_rng(crop))
        backbone = copy.deepcopy(tower.backbone)
        fuse(backbone)  # half as long again without
        return encode_pixels(backbone.features, pixels, how)

    return torch.from_numpy(cached(cache, "photos", parts, make))


def encode_pixels(
    encode: Callable[[Tensor], Tensor], pixels: NDArray[np.uint8], how: Preprocess
) -> Matrix:
    """Run `encode` over (N, S, S, 3) uint8 photos in batches: (N, ...) float32."""
    rows: list[Matrix] = []
    for start in range(0, len(pixels), PHOTO_BATCH):
        batch = torch.from_numpy(normalise(pixels[start : start + PHOTO_BATCH], how))
        # Channels last: a third faster on CPUs for these convolutions.
        rows.append(encode(batch.contiguous(memory_format=torch.channels_last)).numpy())
    return np.concatenate(rows)


@torch.inference_mode()
def sentence_vectors(
    tower: TextTower, texts: Sequence[str], tokenizer: WordPieceTokenizer, cache: Path
) -> Tensor:
    """Unit sentence vectors before the head: (N, W)."""
    parts = ["\0".join(texts), str(tokenizer.context_length), weights_digest(tower.encoder)]

    def make() -> Matrix:
        log.info("teachers.texts count=%d", len(texts))
        return encode_texts(lambda tokens: unit(tower.encoder(tokens)), texts, tokenizer)

    return torch.from_numpy(cached(cache, "texts", parts, make))


def encode_texts(
    encode: Callable[[Tensor], Tensor], texts: Sequence[str], tokenizer: WordPieceTokenizer
) -> Matrix:
    """Run `encode` over texts, short ones together so that little is padding: (N, ...)."""
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    rows: list[Matrix] = []
    for start in range(0, len(order), TEXT_BATCH):
        batch = tokenizer.batch([texts[number] for number in order[start : start + TEXT_BATCH]])
        rows.append(encode(torch.from_numpy(batch)).numpy())
    found = np.concatenate(rows)
    result = np.empty_like(found)
    result[np.asarray(order)] = found
    return result


def class_names() -> list[tuple[str, ...]]:
    """The names of each ImageNet class, in the classifier's order."""
    text = (importlib.resources.files("models") / "imagenet_classes.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(name.strip() for name in line.split(",")) for line in lines]


@dataclass(frozen=True)
class ClassPrompts:
    """Sentence vectors of every name of every class, in each of PROMPTS."""

    vectors: Tensor  # (P, M, W) unit rows
    owner: Tensor  # (M,) class of each name, ascending

    def prototypes(self) -> Tensor:
        """One unit vector per class, the mean over its names and prompts: (C, W)."""
        classes = int(self.owner.max()) + 1
        total = torch.zeros(classes, self.vectors.shape[2])
        return unit(total.index_add(0, self.owner, self.vectors.mean(dim=0)))

    def sample(self) -> Tensor:
        """One vector per class, by a random name in a random prompt: (C, W)."""
        counts = torch.bincount(self.owner)
        first = counts.cumsum(0) - counts
        name = first + (torch.rand(len(counts)) * counts).long()
        prompt = torch.randint(len(self.vectors), (len(counts),))
        return self.vectors[prompt, name]


def class_prompts(
    tower: TextTower,
    names: Sequence[Sequence[str]],
    tokenizer: WordPieceTokenizer,
    cache: Path,
) -> ClassPrompts:
    """Encode every class name in every prompt."""
    flat = [(number, name) for number, group in enumerate(names) for name in group]
    texts = [prompt.format(name) for prompt in PROMPTS for _, name in flat]
    vectors = sentence_vectors(tower, texts, tokenizer, cache).reshape(len(PROMPTS), len(flat), -1)
    return ClassPrompts(vectors, torch.tensor([number for number, _ in flat]))


class SyntheticFeatures:
    """Features such as a photo of a given class might have.

    We own no photos of a thousand kinds of things, but the classifier remembers
    them. For classes with means m_c and a common covariance S, the best linear
    classifier has weights w_c = inverse(S) m_c + constant (Fisher's discriminant),
    so S (w_c - mean w) points from the middle of all features to those of class c.
    Starting from a real photo drawn towards the middle, one step that way gives
    features that the classifier names c and that vary as real ones do.
    """

    KEEP: Final = 0.7  # of the real photo's own deviation
    CERTAINTY: Final = 0.6  # mean probability of the wanted class, by calibration
    REACH: Final = (0.6, 1.4)  # steps vary by this factor around the calibrated one
    MOST: Final = 6.0  # features are means of ReLU6

    def __init__(self, pool: Tensor, weight: Tensor, bias: Tensor) -> None:
        """pool (N, F) real features; weight (C, F) and bias (C,) of the classifier."""
        self._pool, self._weight, self._bias = pool, weight, bias
        self._middle = pool.mean(dim=0)
        deviation = pool - self._middle
        covariance = deviation.T @ deviation / len(pool)
        self._direction = (weight - weight.mean(dim=0)) @ covariance  # (C, F)
        self._step = self._calibrate()

    def sample(self, classes: Tensor, *, reach: float = 1.0) -> tuple[Tensor, Tensor]:
        """(B,) classes -> features (B, F) and the classifier's logits for them (B, C)."""
        photo = self._pool[torch.randint(len(self._pool), (len(classes),))]
        features = self._middle + self.KEEP * (photo - self._middle)
        features = features + reach * self._step * self._direction[classes]
        features = features.clamp(0, self.MOST)
        return features, features @ self._weight.T + self._bias

    def varied(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """`sample` at a random reach: some sure, some doubtful."""
        low, high = self.REACH
        return self.sample(classes, reach=low + (high - low) * float(torch.rand(())))

    def _calibrate(self) -> float:
        """The step at which the wanted class gets CERTAINTY on average, by bisection."""
        every = torch.arange(len(self._weight))
        low, high = 0.0, 100.0
        for _ in range(20):
            self._step = (low + high) / 2
            _, logits = self.sample(every)
            sure = logits.softmax(dim=1)[every, every].mean()
            low, high = (self._step, high) if sure < self.CERTAINTY else (low, self._step)
        return (low + high) / 2
