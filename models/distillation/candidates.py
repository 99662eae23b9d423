"""What a run mines from, and what the mined give: further columns of any cell, weights of rows.

Two of DCD's parts (arXiv:2207.01426) that need nothing else of it: hard negatives that the
teacher finds among items seen before, and how much each pair of a batch counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn

from models.distillation.bank import MomentumBank, TeacherBank
from models.distillation.cells import Cells
from models.distillation.dynamic import DcdConfig, Difficulty, RowWeights, apply_dcd, dcd_weights
from models.distillation.errors import BadCells
from models.distillation.miner import HardNegativeMiner, MinedBatch, MinedDirection
from models.distillation.similarity import l2_normalize
from models.distillation.targets import Targets

RowWeight = Literal["", "difficulty", "wsl"]
Negatives = Literal["", "mined", "momentum"]

BOTH: Final[tuple[MinedDirection, ...]] = get_args(MinedDirection)
WITH_COLUMNS: Final = frozenset({"infonce", "kl", "sd"})  # strategies that look along a row


class Candidates:
    """Items seen before, mined by the teacher; with a follower also as the student saw them.

    True between calls: the bank and the follower's bank hold the same items in the same
    order, none of them twice.
    """

    def __init__(
        self,
        config: DcdConfig,
        width: int,
        *,
        follower: nn.Module | None = None,
        momentum: float = 0.999,
    ) -> None:
        """follower: a copy of the student, which is to follow it slowly."""
        self.config = config
        self.bank = TeacherBank(width)
        self.follower = follower
        self.followed = None if follower is None else MomentumBank(width, momentum=momentum)
        self._miner = HardNegativeMiner(
            config.k, config.pool, fn_filter=config.fn_filter, margin=config.margin
        )

    def mine(
        self,
        target: Targets,
        ids: Tensor,
        generator: torch.Generator,
        directions: Sequence[MinedDirection] = BOTH,
    ) -> list[MinedBatch]:
        """Each pair's hard negatives, a batch of them for each direction; none until the bank
        holds enough.

        target: the teacher's rows of this batch; ids (N,). Items of the batch itself are left
        out: they are columns of its matrices already.
        """
        other = ~torch.isin(self.bank.ids, ids)
        if int(other.sum()) < self.config.k:
            return []
        # The positive must be among the rows for its vectors to be gathered with the rest.
        whole = TeacherBank(target.image.shape[1], len(self.bank) + len(ids))
        whole.push(
            self.bank.ids[other], self.bank.rows("image")[other], self.bank.rows("text")[other]
        )
        found = whole.ids.expand(len(ids), -1)
        whole.push(ids, target.image, target.text)
        batches = []
        for direction in directions:
            texts = direction == "i2t"
            query, own = (target.image, target.text) if texts else (target.text, target.image)
            scores, _ = self.bank.scores(query, "text" if texts else "image")
            mined = self._miner.mine(
                scores[:, other],
                found,
                ids,
                (query * own).sum(dim=1),
                whole,
                direction=direction,
                generator=generator,
            )
            batches.append(self._with_followed(mined))
        return batches

    def _with_followed(self, mined: MinedBatch) -> MinedBatch:
        """The same with the follower's vectors. Of the positive, column 0, there is none yet,
        and none is asked for: the student itself has embedded it."""
        if self.followed is None:
            return mined
        image, text = self.followed.rows_of(mined.key_ids[:, 1:])
        keys, own = (text, image) if mined.direction == "i2t" else (image, text)
        empty = torch.zeros_like(keys[:, :1])
        return dataclasses.replace(
            mined,
            s_keys=torch.cat((empty, keys), dim=1),
            s_own=torch.cat((empty, own), dim=1),
        )

    def push(
        self,
        ids: Tensor,
        target: Targets,
        student: nn.Module,
        embed: Callable[[nn.Module], tuple[Tensor, Tensor]],
    ) -> None:
        """After a step. embed: a student -> its vectors (N, D) of the same batch."""
        self.bank.push(ids, target.image, target.text)
        if self.followed is None or self.follower is None:
            return
        self.followed.follow(self.follower, student)
        with torch.no_grad():
            self.followed.push(ids, *embed(self.follower))

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = {"bank": self.bank.state()}
        if self.followed is not None and self.follower is not None:
            found |= {"followed": self.followed.state(), "follower": self.follower.state_dict()}
        return found

    def restore(self, state: dict[str, Any]) -> None:
        self.bank.restore(state["bank"])
        if self.followed is not None and self.follower is not None:
            self.followed.restore(state["followed"])
            self.follower.load_state_dict(state["follower"])


def student_scores(mined: MinedBatch, image: Tensor, text: Tensor) -> Tensor:
    """(N, k+1) cosines of the student's queries with the teacher's frozen keys, which cost no
    forward; the positive is the pair's own teacher vector."""
    assert mined.t_keys is not None
    query = l2_normalize(image if mined.direction == "i2t" else text)
    return torch.einsum("nd,nkd->nk", query, mined.t_keys.to(query.dtype))


def dcd_term(
    config: DcdConfig, mined: Sequence[MinedBatch], image: Tensor, text: Tensor
) -> Tensor | None:
    """DCD on what was mined in the directions that it is for; None where nothing was."""
    parts = [
        apply_dcd(config, student_scores(one, image, text), one)
        for one in mined
        if one.direction in config.directions
    ]
    return torch.stack(parts).mean() if parts else None


@torch.no_grad()
def row_weights(
    kind: RowWeight, config: DcdConfig, mined: Sequence[MinedBatch], image: Tensor, text: Tensor
) -> RowWeights | None:
    """What each pair of a batch counts in every cell; None where all count alike.

    difficulty: pairs whose candidates the teacher can tell apart lean on the teacher, the
    others on the label. wsl: pairs that the student has learned better than the teacher need
    no more distilling; the label counts alike. A pair's difficulty is the mean of both
    directions'. Only the proportions count: reduce_rows() makes the weights add up to 1.
    """
    if not kind or not mined:
        return None
    if kind == "wsl":
        measure = Difficulty("student_teacher_ratio", config.tau_s)
    else:
        measure = Difficulty(config.kind, config.tau_w, config.norm, config.zscore)
    each = [
        measure(one.t_scores, student_scores(one, image, text).to(one.t_scores.dtype), one.valid)
        for one in mined
    ]
    hard = torch.stack(each).mean(dim=0)
    if kind == "difficulty":
        return dcd_weights(hard, config.gamma)
    even = torch.full_like(hard, 1 / len(hard))
    return RowWeights(w_label=even, w_kd=hard)


def require_columns(cells: Cells, negatives: Negatives) -> None:
    """Raise BadCells where no active cell has columns that mined negatives could join."""
    for key, spec in cells.items():
        whose = key.type.endswith("ts") or negatives == "momentum"
        if spec.weight > 0 and key.strategy in WITH_COLUMNS and whose:
            return
    wanted = "infonce, kl or sd" + ("" if negatives == "momentum" else " of a teacher-student type")
    raise BadCells(
        f"negatives = {negatives}: none of {', '.join(map(str, cells))} looks at negatives that "
        f"can be had; add {wanted}"
    )
