"""One pure function per strategy. Each returns one value per row, so that rows can be weighted.

Matrices M (N, M) hold cosines of the student, T those of the teacher, M >= N when extra
negatives are appended. P(M)[i] = softmax(M[i] / tau). Formulas are those of ConaCLIP
(arXiv:2305.17652) as docs/training.md reads them; where they are silent, our choice
stands beside the formula.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from models.distillation.cells import Align, Direction
from models.distillation.errors import NoPositives
from models.distillation.similarity import MASKED, off_diagonal, row_log_softmax


def infonce_rows(
    m: Tensor,
    tau: float | Tensor,
    target: Tensor | None = None,
    pos_mask: Tensor | None = None,
    ignore_mask: Tensor | None = None,
) -> Tensor:
    """Find each row's positive among all columns (CPC, arXiv:1807.03748; CLIP, arXiv:2103.00020).

        row i = -log mean over positives j of P(m)[i, j]

    target (N,): column of the one positive, by default i. pos_mask (N, M): several.
    ignore_mask (N, M): columns that are neither, such as other captions of the same photo;
    a positive is never ignored.
    Returns (N,) nats, >= 0; log(M) where nothing is told apart.
    """
    if pos_mask is None:
        rows = torch.arange(len(m), device=m.device) if target is None else target
        if ignore_mask is not None:
            own = functional.one_hot(rows, m.shape[1]).bool()
            m = (m / tau).masked_fill(ignore_mask & ~own, MASKED)
            return functional.cross_entropy(m, rows, reduction="none")
        return functional.cross_entropy(m / tau, rows, reduction="none")
    count = pos_mask.sum(dim=1)
    if bool((count == 0).any()):
        row = int((count == 0).nonzero()[0])
        raise NoPositives(f"row {row} of the batch has no positive; every row needs at least one")
    keep = None if ignore_mask is None else ~ignore_mask | pos_mask
    log_p = row_log_softmax(m, tau, keep)
    found = log_p.masked_fill(~pos_mask, MASKED).logsumexp(dim=1)
    return count.to(m.dtype).log() - found


def fd_rows(a: Tensor, b: Tensor, reduce_dim: str = "sum") -> Tensor:
    """Squared distance of unit rows: 2 - 2 cos. The best single loss of CLIP-KD (arXiv:2307.12732).

    a, b: (N, d); b is a constant when it comes from the teacher.
    reduce_dim "sum": (N,) in 0..4. "mean": the same divided by d, as mse_loss has it.
    """
    squared = (a - b).square()
    return squared.sum(dim=-1) if reduce_dim == "sum" else squared.mean(dim=-1)


def sd_rows(m: Tensor, t: Tensor, drop_diag: bool = False, mask: Tensor | None = None) -> Tensor:
    """Mean over columns of (m - t) squared; over rows it is ||M - T||_F^2 / (N M).

    m, t: (N, M), t a constant. mask (N, M): columns that count. Returns (N,) in 0..4.
    """
    squared = (m - t.detach()).square()
    keep = _keep(m, drop_diag, mask)
    if keep is None:
        return squared.mean(dim=1)
    kept = keep.to(m.dtype)
    return (squared * kept).sum(dim=1) / kept.sum(dim=1).clamp_min(1)


def kl_rows(
    student: Tensor,
    teacher: Tensor,
    tau_s: float | Tensor,
    tau_t: float,
    direction: Direction = "forward",
    drop_diag: bool = False,
    scale_T2: bool = False,
    mask: Tensor | None = None,
) -> Tensor:
    """Match the distribution over columns.

        forward:  KL(P(teacher) || P(student)), our reading; the published code of a
                  re-implementation has the reverse
        jeffreys: half the sum of both

    student, teacher: (N, M) cosines, the teacher's a constant; mask (N, M): columns that count.
    Returns (N,) nats, >= 0; unchanged by a constant added to a row of either.
    """
    keep = _keep(student, drop_diag, mask)
    log_s = row_log_softmax(student, tau_s, keep)
    log_t = row_log_softmax(teacher.detach(), tau_t, keep)
    rows = _divergence(log_t, log_s, keep, direction)
    return rows * tau_s**2 if scale_T2 else rows


def sym_sd_rows(m1: Tensor, m2: Tensor, align: Align = "row", stop_target: bool = False) -> Tensor:
    """Each student edge is the other's target: mean over columns of (m1 - A(m2)) squared.

    m1, m2: (N, N). A is identity ("row") or transposition; the latter averages both
    orientations so that rows, too, treat the modalities alike. stop_target changes the
    gradient, never the value. Returns (N,) in 0..4. Zero for every constant student, so it
    needs an anchored cell beside it.
    """
    if align == "transpose":
        return (_sym_sd(m1, m2.T, stop_target) + _sym_sd(m2, m1.T, stop_target)) / 2
    return _sym_sd(m1, m2, stop_target)


def sym_kl_rows(
    m1: Tensor, m2: Tensor, tau: float | Tensor, align: Align = "row", stop_target: bool = False
) -> Tensor:
    """Half of KL(P(m1) || P(A(m2))) + KL(P(A(m2)) || P(m1)), the edges as in sym_sd_rows.

    Returns (N,) nats, >= 0; symmetric in m1 and m2 for both alignments.
    """
    if align == "transpose":
        one, other = _sym_kl(m1, m2.T, tau, stop_target), _sym_kl(m2, m1.T, tau, stop_target)
        return (one + other) / 2
    return _sym_kl(m1, m2, tau, stop_target)


def sigmoid_rows(m: Tensor, scale: Tensor, bias: Tensor, pos_mask: Tensor | None = None) -> Tensor:
    """Every pair by itself: is it a match? (SigLIP, arXiv:2303.15343.)

        row i = -sum_j log sigmoid(z_ij (scale m_ij + bias)),  z = +1 for positives, else -1

    m (N, M); scale, bias: scalars. Returns (N,) nats, > 0.
    """
    if pos_mask is None:
        pos_mask = torch.eye(m.shape[0], m.shape[1], dtype=torch.bool, device=m.device)
    sign = torch.where(pos_mask, 1.0, -1.0).to(m.dtype)
    return -functional.logsigmoid(sign * (scale * m + bias)).sum(dim=1)


def reduce_rows(rows: Tensor, w: Tensor | None = None) -> Tensor:
    """(N,) -> scalar: the mean, or the mean weighted by w (N,) >= 0, whatever its sum."""
    if w is None:
        return rows.mean()
    w = w.detach().to(rows.dtype)
    return (rows * w).sum() / w.sum().clamp_min(torch.finfo(rows.dtype).tiny)


def _keep(m: Tensor, drop_diag: bool, mask: Tensor | None) -> Tensor | None:
    if not drop_diag:
        return mask
    return off_diagonal(m) if mask is None else mask & off_diagonal(m)


def _divergence(log_t: Tensor, log_s: Tensor, keep: Tensor | None, direction: Direction) -> Tensor:
    gap = log_t - log_s
    if keep is not None:
        gap = gap.masked_fill(~keep, 0.0)
    if direction == "forward":
        return (log_t.exp() * gap).sum(dim=1)
    if direction == "reverse":
        return -(log_s.exp() * gap).sum(dim=1)
    return ((log_t.exp() - log_s.exp()) * gap).sum(dim=1) / 2


def _sym_sd(m1: Tensor, m2: Tensor, stop_target: bool) -> Tensor:
    if stop_target:
        both = (m1 - m2.detach()).square() + (m2 - m1.detach()).square()
        return both.mean(dim=1) / 2
    return (m1 - m2).square().mean(dim=1)


def _sym_kl(m1: Tensor, m2: Tensor, tau: float | Tensor, stop_target: bool) -> Tensor:
    log_1, log_2 = row_log_softmax(m1, tau), row_log_softmax(m2, tau)
    if stop_target:
        one = _divergence(log_2.detach(), log_1, None, "forward")
        return (one + _divergence(log_1.detach(), log_2, None, "forward")) / 2
    return _divergence(log_1, log_2, None, "jeffreys")
