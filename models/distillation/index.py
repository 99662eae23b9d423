"""Corpus-level hard negatives: one side does not learn, so its vectors are searched whole.

MoTIS's second stage (arXiv:2204.13913). Its index is computed once a phase; searched anew
for every batch, it never lags behind the side that learns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.distillation.losses import infonce_rows
from models.distillation.similarity import MASKED


@dataclass(frozen=True)
class FrozenIndex:
    """All vectors of the frozen side and which photo each belongs to."""

    rows: Tensor  # (M, d) unit
    owner: Tensor  # (M,) photo

    @torch.no_grad()
    def hardest(self, query: Tensor, photo: Tensor, k: int) -> Tensor:
        """(N, d) queries of photos (N,) -> (N, k) nearest rows that are not the photo's own."""
        scores = query @ self.rows.T
        scores = scores.masked_fill(self.owner[None, :] == photo[:, None], MASKED)
        return scores.topk(min(k, scores.shape[1]), dim=1).indices

    def loss_rows(
        self, query: Tensor, positive: Tensor, photo: Tensor, k: int, tau: float
    ) -> Tensor:
        """InfoNCE of each row against its positive (N, d) and k hard negatives: (N,) nats."""
        chosen = self.hardest(query.detach(), photo, k)
        keys = self.rows[chosen]  # (N, k, d)
        own = (query * positive).sum(dim=1, keepdim=True)
        others = torch.einsum("nd,nkd->nk", query, keys)
        # With few photos there may be fewer than k others; own captions must stay out.
        wrong = self.owner[chosen] == photo[:, None]
        m = torch.cat((own, others.masked_fill(wrong, -1.0)), dim=1)
        ignore = torch.cat((torch.zeros_like(wrong[:, :1]), wrong), dim=1)
        first = torch.zeros(len(m), dtype=torch.int64, device=m.device)
        return infonce_rows(m, tau, target=first, ignore_mask=ignore)
