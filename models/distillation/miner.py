"""Hard negatives, chosen by the teacher (the first half of DCD, arXiv:2207.01426).

The published code keeps teacher scores in the teacher's order and the student's
candidates positive first, so its columns do not match; here one index gathers both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from models.distillation.bank import TeacherBank
from models.distillation.errors import MismatchedShapes
from models.distillation.similarity import MASKED

Mode = Literal["topk", "sample_topk", "band"]
Filter = Literal["none", "pair_id", "teacher_margin"]
MinedDirection = Literal["i2t", "t2i"]


@dataclass(frozen=True)
class MinedBatch:
    """Candidates of each row: its positive in column 0, then k negatives.

    Every field speaks of the same items in the same columns.
    """

    key_ids: Tensor  # (N, k+1) int64
    t_scores: Tensor  # (N, k+1) the teacher's
    valid: Tensor  # (N, k+1) bool; False = there were too few candidates
    direction: MinedDirection = "i2t"  # the keys of i2t are texts
    score_kind: Literal["cosine", "logit"] = "cosine"
    t_keys: Tensor | None = None  # (N, k+1, d) teacher vectors of the keys
    t_own: Tensor | None = None  # (N, k+1, d) the same items in the query's modality
    s_keys: Tensor | None = None  # (N, k+1, d) student vectors, for student-student types
    s_own: Tensor | None = None

    def keys_for(self, type_: str) -> tuple[Tensor | None, Tensor | None]:
        """The teacher's keys, and what the student is compared with, of a learning type."""
        teacher, student = (
            (self.t_own, self.s_own) if type_.startswith("intra") else (self.t_keys, self.s_keys)
        )
        return teacher, teacher if type_.endswith("ts") else student


class HardNegativeMiner:
    """Choose the negatives that the teacher finds most like the positive."""

    def __init__(
        self,
        k: int = 7,
        pool: int = 64,
        mode: Mode = "topk",
        fn_filter: Filter = "teacher_margin",
        margin: float = 0.95,
    ) -> None:
        """pool: candidates looked at per row; 0 = all. margin: a candidate whose score is
        above margin * the positive's is suspected to be true as well, and left out."""
        if k < 1 or pool < 0 or not margin > 0:
            raise MismatchedShapes(f"k {k}, pool {pool}, margin {margin}: k and margin above 0")
        self.k, self.pool, self.mode, self.fn_filter, self.margin = k, pool, mode, fn_filter, margin

    @torch.no_grad()
    def mine(
        self,
        t_scores: Tensor,
        cand_ids: Tensor,
        pos_ids: Tensor,
        pos_scores: Tensor,
        bank: TeacherBank | None = None,
        *,
        duplicates: Tensor | None = None,
        direction: MinedDirection = "i2t",
        score_kind: Literal["cosine", "logit"] = "cosine",
        generator: torch.Generator | None = None,
    ) -> MinedBatch:
        """t_scores (N, C) of candidates cand_ids (N, C); pos_ids and pos_scores (N,).

        duplicates (N, C) bool: candidates known to be true for the row as well, such as
        other captions of its photo; left out unless the filter is "none".
        The bank, when given, supplies the teacher's vectors of what was chosen.
        """
        n, c = t_scores.shape
        if cand_ids.shape != (n, c) or pos_ids.shape != (n,) or pos_scores.shape != (n,):
            raise MismatchedShapes(
                f"scores {(n, c)}, candidates {tuple(cand_ids.shape)}, positives "
                f"{tuple(pos_ids.shape)} and {tuple(pos_scores.shape)} do not belong together"
            )
        usable = cand_ids != pos_ids[:, None]
        usable &= ~_repeated(cand_ids)
        if duplicates is not None and self.fn_filter != "none":
            usable &= ~duplicates
        if self.fn_filter == "teacher_margin":
            usable &= ~self.suspected(t_scores, pos_scores)
        if self.pool and self.pool < c:
            usable &= _drawn(usable, self.pool, generator)
        chosen, valid = self._choose(t_scores, cand_ids, usable, generator)
        key_ids = torch.cat((pos_ids[:, None], cand_ids.gather(1, chosen)), dim=1)
        scores = torch.cat((pos_scores[:, None], t_scores.gather(1, chosen)), dim=1)
        valid = torch.cat((torch.ones(n, 1, dtype=torch.bool, device=valid.device), valid), dim=1)
        keys = own = None
        if bank is not None:
            side, other = ("text", "image") if direction == "i2t" else ("image", "text")
            rows = bank.places(key_ids)
            keys, own = bank.rows(side)[rows], bank.rows(other)[rows]  # type: ignore[arg-type]
        return MinedBatch(
            key_ids=key_ids,
            t_scores=scores,
            valid=valid,
            direction=direction,
            score_kind=score_kind,
            t_keys=keys,
            t_own=own,
        )

    def suspected(self, t_scores: Tensor, pos_scores: Tensor) -> Tensor:
        """(N, C) bool: candidates that the teacher finds about as true as the positive."""
        # A negative score times the margin would be a higher limit, so the gap is taken.
        limit = pos_scores - (1 - self.margin) * pos_scores.abs()
        return ~(t_scores <= limit[:, None])  # NaN is suspected, too

    def _choose(
        self, scores: Tensor, ids: Tensor, usable: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Columns (N, k) and whether each is a real choice (N, k)."""
        by_id = ids.argsort(dim=1, stable=True)  # equal scores: the lower id first
        masked = scores.masked_fill(~usable, MASKED)
        order = masked.gather(1, by_id).argsort(dim=1, descending=True, stable=True)
        ranked = by_id.gather(1, order)
        count = usable.sum(dim=1, keepdim=True)
        missing = max(0, self.k - ranked.shape[1])
        if missing:
            ranked = torch.nn.functional.pad(ranked, (0, missing), value=0)
        place = torch.arange(ranked.shape[1], device=scores.device)[None, :]
        if self.mode == "topk":
            return ranked[:, : self.k], (place < count)[:, : self.k]
        noise = torch.rand(ranked.shape, generator=generator).to(scores.device)
        if self.mode == "sample_topk":  # k of the 2k hardest, at random
            wanted = place < count.clamp(max=2 * self.k)
        else:  # the hardest tenth is skipped: nearest of all are the likeliest mistakes
            skip = (count // 10).clamp(max=(count - self.k).clamp_min(0))
            wanted = (place >= skip) & (place < count)
            noise = -place.expand(ranked.shape).float()
        best = noise.masked_fill(~wanted, MASKED).argsort(dim=1, descending=True, stable=True)
        best = best[:, : self.k]
        return ranked.gather(1, best), wanted.gather(1, best)


def _repeated(ids: Tensor) -> Tensor:
    """(N, C): True for all but the first of equal ids in a row."""
    order = ids.argsort(dim=1, stable=True)
    ordered = ids.gather(1, order)
    again = torch.zeros_like(ids, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return torch.zeros_like(again).scatter(1, order, again)


def _drawn(usable: Tensor, pool: int, generator: torch.Generator | None) -> Tensor:
    """(N, C): `pool` usable columns of each row, at random."""
    noise = torch.rand(usable.shape, generator=generator).to(usable.device)
    order = noise.masked_fill(~usable, MASKED).argsort(dim=1, descending=True)[:, :pool]
    return torch.zeros_like(usable).scatter(1, order, True)
