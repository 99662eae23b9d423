"""The four sets of embeddings of one batch, checked once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.distillation.errors import MismatchedShapes, NotFinite
from models.distillation.similarity import l2_normalize


@dataclass(frozen=True)
class EmbeddingSet:
    """Unit rows of one batch, float32 or better. Make one with build()."""

    v_s: Tensor  # (N, d) student image
    x_s: Tensor  # (N, d) student text
    v_t: Tensor  # (N, d) teacher image, a constant
    x_t: Tensor  # (N, d) teacher text, a constant
    pair_id: Tensor | None = None  # (N,) int64; equal ids are positives of each other, too

    @staticmethod
    def build(
        v_s: Tensor,
        x_s: Tensor,
        v_t: Tensor,
        x_t: Tensor,
        *,
        pair_id: Tensor | None = None,
        eps: float = 1e-6,
    ) -> EmbeddingSet:
        """Normalise and check; the teacher is cut from the graph.

        Raises MismatchedShapes naming the set that differs, NotFinite naming the rows.
        """
        sets = {"student image": v_s, "student text": x_s}
        sets |= {"teacher image": v_t, "teacher text": x_t}
        for name, rows in sets.items():
            if rows.ndim != 2 or rows.shape != v_s.shape or 0 in rows.shape:
                raise MismatchedShapes(
                    f"{name} embeddings are {tuple(rows.shape)}, student image embeddings "
                    f"{tuple(v_s.shape)}; all four need the same (batch, width), both above 0"
                )
        if pair_id is not None and pair_id.shape != v_s.shape[:1]:
            raise MismatchedShapes(f"pair_id is {tuple(pair_id.shape)}, needs ({len(v_s)},)")
        require_finite(sets)
        return EmbeddingSet(
            v_s=l2_normalize(v_s, eps),
            x_s=l2_normalize(x_s, eps),
            v_t=l2_normalize(v_t.detach(), eps),
            x_t=l2_normalize(x_t.detach(), eps),
            pair_id=pair_id,
        )

    def positives(self) -> Tensor | None:
        """(N, N) bool: who belongs to whom; None when it is the diagonal alone."""
        if self.pair_id is None:
            return None
        return self.pair_id[:, None] == self.pair_id[None, :]


def require_finite(sets: dict[str, Tensor]) -> None:
    """Raise NotFinite naming the first set with NaN or infinity, and its rows."""
    # One question for all, because each one makes an accelerator wait.
    if all(bool(torch.isfinite(rows.detach().sum())) for rows in sets.values()):
        return
    for name, rows in sets.items():
        bad = (~torch.isfinite(rows)).any(dim=-1).nonzero().flatten().tolist()
        if bad:
            raise NotFinite(
                f"{name} embeddings hold NaN or infinity in rows {bad[:10]} of the batch; "
                "lower learning_rate, or look for the damaged input"
            )
