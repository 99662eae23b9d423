"""Unit rows and their cosines, in float32 or better whatever the towers computed in."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

# Stands for minus infinity: exp() of it is 0 in every float type, and unlike infinity it
# leaves no NaN in a row that is masked throughout.
MASKED: Final = -1e30


def upcast(z: Tensor) -> Tensor:
    """At least float32: bfloat16 has 8 bits, too few for cosines that differ by 0.001."""
    return z if z.dtype == torch.float64 else z.float()


def l2_normalize(z: Tensor, eps: float = 1e-6) -> Tensor:
    """(*, d) -> (*, d) unit rows. A row shorter than `eps` stays short, and finite."""
    return functional.normalize(upcast(z), dim=-1, eps=eps)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Unit rows (N, d) and (M, d) -> (N, M), in -1..1."""
    return a @ b.T


def row_log_softmax(m: Tensor, tau: float | Tensor, mask: Tensor | None = None) -> Tensor:
    """(N, M) -> (N, M) log-probabilities in nats; where `mask` is False at most MASKED."""
    logits = m / tau
    if mask is not None:
        logits = logits.masked_fill(~mask, MASKED)
    return logits.log_softmax(dim=-1)


def off_diagonal(m: Tensor) -> Tensor:
    """(N, M) bool: True but on the diagonal."""
    return ~torch.eye(m.shape[0], m.shape[1], dtype=torch.bool, device=m.device)
