"""BERT for the desktop: ONNX Runtime's own operators in place of the many that torch exports.

A query is a few tokens, so that a text tower spends its time on fetching weights, not on
arithmetic. MatMulNBits reads them as int8 where they would be 30 MB of float32 otherwise;
attention, GELU, and a sum with its norm are one operator each instead of fourteen, five and
two (docs/search-bar.md has what it gains).

The products are of int8 too: 32 numbers of a row share a scale, which they get when the row
comes. So a text's vector does not depend on what else is in its batch, and is within a cosine of
0.9995 of float32's; a processor without such products computes in float32, several times slower.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.onnx.ops import symbolic

from export.quantize import MIN_ELEMENTS, quantise
from models.layers import BertEncoder, BertLayer
from models.students import TextHead

BLOCK: Final = 32  # numbers of a row that share a scale
INT8_PRODUCTS: Final = 4  # of MatMulNBits: its `accuracy_level`
ZERO: Final = 128  # a level of MatMulNBits that stands for 0


class Int8Linear(nn.Module):
    """nn.Linear as MatMulNBits. Levels (N, K / BLOCK, BLOCK) and a scale for each block, which is
    the output's: the weights are those that every other target of the bundle has."""

    levels: Tensor
    scales: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().numpy()
        levels, scale = quantise(weight, 0)
        blocks = -(-linear.in_features // BLOCK)
        padded = np.full((len(weight), blocks * BLOCK), ZERO, np.uint8)
        padded[:, : linear.in_features] = levels.astype(np.int16) + ZERO
        self.shape = tuple(weight.shape)
        self.register_buffer("levels", torch.from_numpy(padded.reshape(len(weight), blocks, BLOCK)))
        self.register_buffer("scales", torch.from_numpy(np.repeat(scale[:, 0], blocks)))
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        wide, narrow = self.shape
        return symbolic(
            "com.microsoft::MatMulNBits",
            (x, self.levels, self.scales, None, None, self.bias),
            {"K": narrow, "N": wide, "bits": 8, "block_size": BLOCK,
             "accuracy_level": INT8_PRODUCTS},
            dtype=x.dtype,
            shape=(*x.shape[:-1], wide),
            version=1,
        )  # fmt: skip


class FusedLayer(nn.Module):
    """A BertLayer whose products are Int8Linear, or not."""

    def __init__(self, layer: BertLayer) -> None:
        super().__init__()
        self.heads = layer.heads
        # By the same names: the file's weights are called after them.
        self.query, self.key, self.value, self.out = layer.query, layer.key, layer.value, layer.out
        self.attention_norm = layer.attention_norm
        self.up, self.down = layer.up, layer.down
        self.norm = layer.norm

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x (B, L, W), bias (B, 1, 1, L) -> (B, L, W)."""
        mixed = _one(
            "MultiHeadAttention",
            x,
            self.query(x),
            self.key(x),
            self.value(x),
            None,
            None,
            bias.expand(-1, -1, x.shape[1], -1),
            num_heads=self.heads,
        )
        x = _sum_and_norm(x, self.out(mixed), self.attention_norm)
        return _sum_and_norm(x, self.down(_gelu(self.up(x))), self.norm)


def _gelu(x: Tensor) -> Tensor:
    return _one("Gelu", x, x)


def _sum_and_norm(x: Tensor, y: Tensor, norm: nn.LayerNorm) -> Tensor:
    return _one("SkipLayerNormalization", x, x, y, norm.weight, norm.bias, epsilon=float(norm.eps))


def _one(name: str, like: Tensor, *inputs: Tensor | None, **attributes: float) -> Tensor:
    """One of ONNX Runtime's operators, whose output has the shape of `like`."""
    return symbolic(
        f"com.microsoft::{name}",
        inputs,
        dict(attributes),
        dtype=like.dtype,
        shape=like.shape,
        version=1,
    )


@contextlib.contextmanager
def fused(tower: nn.Module) -> Iterator[None]:
    """Within: the layers of a BERT in `tower`, and its products and those of a text head, as ONNX
    Runtime has them. For the exporter alone: meanwhile the tower computes nothing. Another
    text encoder stays as it is."""
    swapped: list[tuple[nn.Module, str, nn.Module]] = []

    def swap(parent: nn.Module, name: str, new: nn.Module) -> None:
        swapped.append((parent, name, getattr(parent, name)))
        setattr(parent, name, new)

    for module in list(tower.modules()):
        if isinstance(module, BertEncoder | BertLayer | TextHead):
            for name, child in list(module.named_children()):
                if type(child) is nn.Linear and child.weight.numel() >= MIN_ELEMENTS:
                    swap(module, name, Int8Linear(child))
    for parent in list(tower.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BertLayer):
                swap(parent, name, FusedLayer(child))
    try:
        yield
    finally:
        for parent, name, old in reversed(swapped):
            setattr(parent, name, old)
