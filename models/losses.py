"""Losses: pure functions of tensors, each with its source and formula."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(image: Tensor, text: Tensor, *, scale: Tensor | float) -> Tensor:
    """Tell each photo's caption from the batch's others, and each caption's photo.

    The symmetric contrastive loss of CLIP (arXiv:2103.00020, figure 3).

        P(u, v) = softmax(scale * u @ v.T)                  rows sum to 1
        loss = -mean(log P(i, t)[n, n] + log P(t, i)[n, n]) / 2

    image, text: (B, D) unit rows; row n of one belongs to row n of the other
    Returns nats, >= 0; log(B) for embeddings that tell nothing apart.
    """
    affinity = scale * image @ text.T  # (B, B)
    own = torch.arange(len(image), device=image.device)
    return (functional.cross_entropy(affinity, own) + functional.cross_entropy(affinity.T, own)) / 2


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy to a distribution instead of a class (Hinton et al., arXiv:1503.02531).

        loss = -mean over rows of sum_c target[c] * log softmax(logits)[c]

    logits: (B, C); target: (B, C) rows that sum to 1, constants
    Returns nats, at least the mean entropy of `target`; equal to it where they agree.
    """
    return -(target.detach() * logits.log_softmax(dim=1)).sum(dim=1).mean()


def presence_loss(
    text: Tensor, image: Tensor, truth: Tensor, *, scale: Tensor, boundary: Tensor
) -> Tensor:
    """Tell the photos that a query is true of from the others, at one cosine for all queries.

    The pairwise sigmoid loss of SigLIP (arXiv:2303.15343), where a text may be true of many photos;
    both kinds count as much in every row, however few are true.

        z = scale * (t @ i.T - boundary)
        row = (mean of softplus(-z) over true + mean of softplus(z) over others) / 2

    text: (Q, D), image: (N, D) unit rows; truth: (Q, N) bool; rows of none are left out
    Returns nats, >= 0; ln 2 where nothing is told apart.
    """
    told = scale * (text @ image.T - boundary)
    others = ~truth
    true = (functional.softplus(-told) * truth).sum(dim=1) / truth.sum(dim=1).clamp_min(1)
    rest = (functional.softplus(told) * others).sum(dim=1) / others.sum(dim=1).clamp_min(1)
    asked = truth.any(dim=1)
    return ((true + rest) * asked).sum() / (2 * asked.sum().clamp_min(1))


def row_kl(target_logits: Tensor, logits: Tensor) -> Tensor:
    """Mean over rows of KL(softmax(target_logits) || softmax(logits)).

    Both (B, C); the target is a constant. Returns nats, >= 0; zero exactly where
    the two differ by a constant in every row.
    """
    target = target_logits.detach().log_softmax(dim=1)
    return (target.exp() * (target - logits.log_softmax(dim=1))).sum(dim=1).mean()
