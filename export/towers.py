"""What is exported: two towers with what they need to meet photos and texts.

A checkpoint of ours becomes this, and so does a model of OpenCLIP; from here on
the export does not ask where it came from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from photosearch.preprocess import normalise
from photosearch.tokenizer import Tokenizer
from photosearch.types import Matrix, Preprocess

BATCH: Final = 32


@dataclass(frozen=True)
class Towers:
    """Both towers in eval mode, on the CPU.

    image: (B, 3, S, S) float32, normalised -> (B, D) unit rows
    text:  (B, L) int64 -> (B, D) unit rows
    """

    image: nn.Module
    text: nn.Module
    preprocess: Preprocess
    tokenizer: Tokenizer
    dim: int

    @torch.inference_mode()
    def images(self, photos: NDArray[np.uint8]) -> Matrix:
        """(N, S, S, 3) -> (N, D): eager PyTorch, the truth that lowered files are held to."""
        parts = []
        for start in range(0, len(photos), BATCH):
            pixels = torch.from_numpy(normalise(photos[start : start + BATCH], self.preprocess))
            parts.append(self.image(pixels.contiguous(memory_format=torch.channels_last)).numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Matrix:
        """N texts -> (N, D), in batches of similar length."""
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        found = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            tokens = self.tokenizer.batch([texts[number] for number in part])
            found[part] = self.text(torch.from_numpy(tokens)).numpy()
        return found

    def rows(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Each text -> (L,), as a runtime that takes one at a time meets it."""
        return [self.tokenizer.batch([text])[0] for text in texts]


@dataclass(frozen=True)
class Lowered:
    """What one target wrote into the bundle's folder, and how to run it on this machine."""

    target: str
    image: str  # file or package, by its name in the bundle
    text: str
    runtime: str  # what it was lowered with
    checked: str  # how far it could be checked here: run, interpreted, or inspected
    images: Callable[[NDArray[np.uint8]], Matrix] | None  # (N, S, S, 3) -> (N, D)
    texts: Callable[[Sequence[NDArray[np.int64]]], Matrix] | None  # N rows (L,) -> (N, D)
    details: dict[str, str | int]  # more for the manifest: opset, delegates

    @property
    def verified(self) -> bool:
        """Whether the target's own runtime gave the vectors that were compared."""
        return self.checked == "run"


class Int8Embedding(nn.Module):
    """A table of int8 rows, each with its own scale; a quarter of the size, cosine above 0.9999.

    The runtimes' own quantisers have one scale for the whole table, which a few
    large rows spoil for the others.
    """

    rows: torch.Tensor
    scales: torch.Tensor

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        weight = table.weight.detach()
        scales = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / 127
        self.register_buffer("rows", (weight / scales).round().to(torch.int8))
        self.register_buffer("scales", scales)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, L) -> (B, L, W)."""
        return self.rows[tokens].to(self.scales.dtype) * self.scales[tokens]


class Float32Embedding(nn.Module):
    """The table by indexing: nn.Embedding would export a tensor named as our output is."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.rows = table.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, L) -> (B, L, W)."""
        return self.rows[tokens]


@contextlib.contextmanager
def tables_as(tower: nn.Module, precision: str) -> Iterator[None]:
    """Within: every word table of `tower` in the form it is shipped in."""
    kind = Int8Embedding if precision == "int8" else Float32Embedding
    swapped: list[tuple[nn.Module, str, nn.Embedding]] = []
    for parent in list(tower.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Embedding):
                swapped.append((parent, name, child))
                setattr(parent, name, kind(child))
    try:
        yield
    finally:
        for parent, name, table in swapped:
            setattr(parent, name, table)


def padded(row: NDArray[np.int64], length: int, pad_id: int) -> NDArray[np.int64]:
    """(L,) -> (1, length)."""
    assert len(row) <= length, (len(row), length)
    return np.pad(row, (0, length - len(row)), constant_values=pad_id)[None]
