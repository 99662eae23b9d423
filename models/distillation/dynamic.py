"""How much each row counts, and how candidates are distilled (the other half of DCD).

Rows whose negatives the teacher finds hard to tell from the positive lean on the label;
rows that it is sure of lean on the teacher. The published code reduces its distillation
term to a scalar before weighting it with weights that sum to 1, which makes them a no-op;
RELEASED reproduces that for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional

from models.distillation.losses import kl_rows, reduce_rows
from models.distillation.miner import Filter, MinedBatch, MinedDirection
from models.distillation.similarity import MASKED

Kind = Literal["teacher_entropy", "teacher_margin", "student_teacher_ratio", "uniform"]
CandidateKind = Literal["mse", "listwise_kl", "zscore_kl", "partial_rank"]


@dataclass(frozen=True)
class RowWeights:
    """Weights of rows, each set summing to 1."""

    w_label: Tensor  # (N,) for label-driven cells
    w_kd: Tensor  # (N,) for teacher-driven cells


class Difficulty:
    """How unsure the teacher is about each row's candidates."""

    def __init__(
        self,
        kind: Kind = "teacher_entropy",
        tau_w: float = 1.0,
        norm: Literal["log", "batch_sum"] = "log",
        zscore: bool = False,
    ) -> None:
        self.kind, self.tau_w, self.norm, self.zscore = kind, tau_w, norm, zscore

    @torch.no_grad()
    def __call__(
        self, t_scores: Tensor, s_scores: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """(N, k+1) -> (N,). "log": in 0..1, 1 = cannot tell. "batch_sum": sums to 1.

        batch_sum is the published normalisation. It makes all weights alike as the batch
        grows: softmax((1 - h)^2) spans 1.42 at 8 rows, 1.009 at 512.
        """
        if valid is None:
            valid = torch.ones_like(t_scores, dtype=torch.bool)
        hard = self._hardness(t_scores, s_scores, valid)
        if self.norm == "batch_sum":
            hard = hard / hard.sum().clamp_min(torch.finfo(hard.dtype).tiny)
        return hard

    def _hardness(self, t_scores: Tensor, s_scores: Tensor | None, valid: Tensor) -> Tensor:
        t = zscored(t_scores, valid) if self.zscore else t_scores
        most: Tensor = valid.sum(dim=1).clamp_min(2).to(t.dtype).log()  # entropy of knowing nothing
        if self.kind == "uniform":
            return torch.ones(len(t), dtype=t.dtype, device=t.device)
        if self.kind == "teacher_entropy":
            p = (t / self.tau_w).masked_fill(~valid, MASKED).softmax(dim=1)
            # entr, because p log p is NaN once a probability underflows
            entropy: Tensor = torch.special.entr(p).sum(dim=1)
            return entropy / most
        if self.kind == "teacher_margin":
            best = t[:, 1:].masked_fill(~valid[:, 1:], MASKED).max(dim=1).values
            return torch.exp(-(t[:, 0] - best) / self.tau_w).clamp(max=1.0)
        if s_scores is None:
            raise ValueError("student_teacher_ratio compares with the student: pass s_scores")
        ce_s, ce_t = (_label_loss(s / self.tau_w, valid) for s in (s_scores, t))
        return wsl_weights(ce_s, ce_t)


def dcd_weights(h: Tensor, gamma: float = 2.0, label_power: float = 1.0) -> RowWeights:
    """Difficulty h (N,) -> w_label = h^p / sum h^p, w_kd = softmax((1 - h)^gamma); constants."""
    h = h.detach()
    label = h.clamp_min(0) ** label_power
    total = label.sum()
    # All rows certain: the label has nothing to add anywhere, so it counts alike everywhere.
    even = torch.full_like(label, 1 / len(label))
    w_label = torch.where(total > 0, label / total.clamp_min(torch.finfo(h.dtype).tiny), even)
    return RowWeights(w_label=w_label, w_kd=((1 - h) ** gamma).softmax(dim=0))


def wsl_weights(ce_s: Tensor, ce_t: Tensor, eps: float = 1e-7) -> Tensor:
    """Weighted soft labels (arXiv:2102.00650): 1 - exp(-ce_s / ce_t), constants, in 0..1.

    A row that the student has learned better than the teacher needs no more distilling.
    """
    return (1 - torch.exp(-ce_s / (ce_t + eps))).detach()


def zscored(scores: Tensor, valid: Tensor) -> Tensor:
    """Rows with mean 0 and deviation 1 over their valid columns."""
    count = valid.sum(dim=1, keepdim=True).clamp_min(1)
    mean = (scores * valid).sum(dim=1, keepdim=True) / count
    centred = (scores - mean) * valid
    deviation = (centred.square().sum(dim=1, keepdim=True) / count).sqrt()
    return centred / deviation.clamp_min(1e-6)


def candidate_kd_rows(
    s: Tensor,
    t: Tensor,
    valid: Tensor,
    kind: CandidateKind = "listwise_kl",
    tau_s: float = 0.07,
    tau_t: float | None = None,
) -> Tensor:
    """Distil scores of each row's candidates: student s, teacher t (N, k+1) -> (N,) >= 0.

    mse           mean over candidates of (s - t)^2
    listwise_kl   KL(softmax(t / tau_t) || softmax(s / tau_s))
    zscore_kl     the same with the teacher's rows standardised: a cross-encoder's
                  logits crowd together, and their scale says nothing
    partial_rank  each candidate is beaten by those the teacher puts above it; only
                  negatives above the teacher's median count (after CPRD, arXiv:2407.07479)
    """
    t = t.detach().to(s.dtype)
    if kind == "mse":
        kept = valid.to(s.dtype)
        return ((s - t).square() * kept).sum(dim=1) / kept.sum(dim=1)
    if kind == "partial_rank":
        return _partial_rank(s, t, valid, tau_s)
    if kind == "zscore_kl":
        return kl_rows(s, zscored(t, valid), tau_s, 1.0, mask=valid)
    return kl_rows(s, t, tau_s, tau_s if tau_t is None else tau_t, mask=valid)


def _partial_rank(s: Tensor, t: Tensor, valid: Tensor, tau: float) -> Tensor:
    """-log P(each listed candidate beats all that the teacher ranks below it), averaged."""
    order = t.masked_fill(~valid, MASKED).argsort(dim=1, descending=True, stable=True)
    ranked = (s / tau).masked_fill(~valid, MASKED).gather(1, order)
    # log of the sum over a candidate and all below it, from the end
    tail = ranked.flip(1).logcumsumexp(dim=1).flip(1)
    listed = torch.arange(s.shape[1], device=s.device)[None, :] < (
        valid.sum(dim=1, keepdim=True) // 2
    ).clamp_min(1)
    rows = (tail - ranked).masked_fill(~listed, 0.0).sum(dim=1)
    return rows / listed.sum(dim=1)


def _label_loss(logits: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy of column 0, (N,) nats."""
    return -logits.masked_fill(~valid, MASKED).log_softmax(dim=1)[:, 0]


# --- presets ----------------------------------------------------------------------------


@dataclass(frozen=True)
class DcdConfig:
    """One way to do DCD; DCD_PRESETS has the named ones."""

    k: int = 7
    pool: int = 64
    fn_filter: Filter = "teacher_margin"
    margin: float = 0.95
    kind: Kind = "teacher_entropy"
    norm: Literal["log", "batch_sum"] = "log"
    tau_w: float = 1.0
    zscore: bool = False  # of the teacher's scores, before their entropy
    gamma: float = 2.0
    alpha: float = 0.2  # of the distillation term; the label has the rest
    tau_s: float = 0.07
    label_loss: Literal["infonce", "bce"] = "infonce"
    kd_kind: CandidateKind = "listwise_kl"
    directions: tuple[MinedDirection, ...] = ("i2t", "t2i")
    aligned: bool = True  # False: columns as the published code has them
    scalar_kd: bool = False  # True: weights that do nothing, as published
    wsl: bool = False


DCD_PRESETS: Final[dict[str, DcdConfig]] = {
    "PAPER": DcdConfig(fn_filter="none", label_loss="bce", kd_kind="mse", directions=("i2t",)),
    "RELEASED": DcdConfig(
        fn_filter="none",
        norm="batch_sum",
        label_loss="bce",
        kd_kind="mse",
        directions=("i2t",),
        aligned=False,
        scalar_kd=True,
    ),
    # tau_w: at 1 cosines of the candidates are all alike, and so are their entropies
    "FIXED": DcdConfig(tau_w=0.07),
    "WSL": DcdConfig(tau_w=0.07, wsl=True),
    # For a cross-encoder's scores: their scale says nothing, and a score above the positive's is
    # what it has to say, so only what is known to be true is left out.
    "CROSS": DcdConfig(
        fn_filter="pair_id", pool=0, zscore=True, kd_kind="zscore_kl", directions=("i2t",)
    ),
    "RANK": DcdConfig(
        fn_filter="pair_id", pool=0, zscore=True, kd_kind="partial_rank", directions=("i2t",)
    ),
}


def dcd_loss(
    s: Tensor,
    mined: MinedBatch,
    weights: RowWeights,
    alpha: float = 0.2,
    tau_s: float = 0.07,
    label_loss: Literal["infonce", "bce"] = "infonce",
    kd_kind: CandidateKind = "listwise_kl",
    *,
    aligned: bool = True,
    scalar_kd: bool = False,
) -> Tensor:
    """alpha * sum_i w_kd[i] kd[i] + (1 - alpha) * sum_i w_label[i] label[i]; a scalar.

    s (N, k+1): the student's cosines with the candidates, column 0 the positive.
    aligned False puts the teacher's scores in descending order beside them.
    """
    t, valid = mined.t_scores, mined.valid
    if not aligned:
        t = t.masked_fill(~valid, MASKED).sort(dim=1, descending=True).values
    kd = candidate_kd_rows(s, t, valid, kd_kind, tau_s)
    distil = kd.mean() if scalar_kd else reduce_rows(kd, weights.w_kd)
    if label_loss == "bce":
        wanted = torch.zeros_like(s)
        wanted[:, 0] = 1.0
        each = functional.binary_cross_entropy_with_logits(s / tau_s, wanted, reduction="none")
        label = (each * valid).sum(dim=1) / valid.sum(dim=1)
    else:
        label = _label_loss(s / tau_s, valid)
    return alpha * distil + (1 - alpha) * reduce_rows(label, weights.w_label)


def apply_dcd(config: DcdConfig, s: Tensor, mined: MinedBatch) -> Tensor:
    """The whole of one preset on one direction's candidates: a scalar."""
    hard = Difficulty(config.kind, config.tau_w, config.norm, config.zscore)(
        mined.t_scores, s, mined.valid
    )
    weights = dcd_weights(hard, config.gamma)
    if config.wsl:
        ce_s = _label_loss(s.detach() / config.tau_s, mined.valid)
        ce_t = _label_loss(mined.t_scores / config.tau_s, mined.valid)
        even = torch.full_like(hard, 1 / len(hard))
        weights = RowWeights(w_label=even, w_kd=even)
        kd = candidate_kd_rows(s, mined.t_scores, mined.valid, config.kd_kind, config.tau_s)
        label = _label_loss(s / config.tau_s, mined.valid).mean()
        return config.alpha * (wsl_weights(ce_s, ce_t) * kd).mean() + (1 - config.alpha) * label
    return dcd_loss(
        s,
        mined,
        weights,
        config.alpha,
        config.tau_s,
        config.label_loss,
        config.kd_kind,
        aligned=config.aligned,
        scalar_kd=config.scalar_kd,
    )
