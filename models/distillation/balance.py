"""Weights of cells from their gradients, because published weights are mostly unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from models.distillation.cells import SYMMETRIC, CellKey
from models.distillation.errors import BadCells
from models.distillation.graph import KnowledgeGraph

# At a full share the factor of Sym-SD reaches 100, and training collapses (measured in the
# toy world): symmetric cells stay regularisers.
SYMMETRIC_SHARE: Final = 0.1
CLIP: Final = (1e-2, 1e2)


class GradMatch:
    """Scale each cell so that its gradient has `rho` times the norm of the first cell's.

    At the steps named, and in between the factors stay. A later measurement moves a factor
    by a tenth of the way (exponential mean, 0.9).
    """

    def __init__(
        self,
        rho: float = 1.0,
        *,
        at: Sequence[int] = (0, 100, 1000),
        keep: float = 0.9,
        base: CellKey | None = None,
    ) -> None:
        if not rho > 0:
            raise BadCells(f"gradmatch({rho}): the ratio must be above 0")
        self.rho, self.at, self.keep, self.base = rho, frozenset(at), keep, base

    def due(self, step: int) -> bool:
        return step in self.at

    def update(
        self,
        graph: KnowledgeGraph,
        values: dict[CellKey, Tensor],
        parameters: Sequence[nn.Parameter],
        step: int,
    ) -> dict[CellKey, float]:
        """Measure and set `graph.multipliers`; values are graph.values(...), still attached."""
        norms = {key: gradient_norm(value, parameters) for key, value in values.items()}
        base = self.base or next(iter(values))
        if base not in norms or norms[base] == 0:
            raise BadCells(f"gradmatch: the base cell {base} has no gradient to match")
        for key, norm in norms.items():
            if key == base or norm == 0:
                continue
            share = min(self.rho, SYMMETRIC_SHARE) if key.strategy in SYMMETRIC else self.rho
            weight = graph.cells[key].weight
            wanted = min(max(share * norms[base] / norm, CLIP[0]), CLIP[1]) / weight
            old = graph.multipliers[key]
            first = step == min(self.at)
            graph.multipliers[key] = wanted if first else self.keep * old + (1 - self.keep) * wanted
        return dict(graph.multipliers)


def gradient_norm(value: Tensor, parameters: Sequence[nn.Parameter]) -> float:
    """L2 norm of d value / d parameters; leaves every .grad alone."""
    if not value.requires_grad:
        return 0.0
    grads = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    squares = [grad.square().sum() for grad in grads if grad is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
