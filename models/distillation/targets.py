"""The teacher's rows of a batch, and the loss of a batch against them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from models.distillation.cells import TYPES, CellKey, Cells, LearningType
from models.distillation.dynamic import RowWeights
from models.distillation.embeddings import EmbeddingSet
from models.distillation.graph import KnowledgeGraph
from models.distillation.index import FrozenIndex
from models.distillation.miner import MinedBatch
from models.distillation.similarity import l2_normalize
from models.distillation.teachers import Part, reduced, split

ACROSS: Final[frozenset[LearningType]] = frozenset({"intra_ts", "inter_ts"})
WITHIN: Final[frozenset[LearningType]] = frozenset(TYPES) - ACROSS


@dataclass(frozen=True)
class Targets:
    """One teacher's rows of a whole batch, of all processes: unit, as wide as the student's."""

    image: Tensor  # (N, D)
    text: Tensor  # (N, D)
    weight: float


class Reducer:
    """Cached rows of an ensemble's parts -> each part at the student's width.

    Where one space is needed, to be compared with, to mine negatives in or to be the frozen
    side of a stage, one_space() lays the parts side by side.
    """

    def __init__(self, parts: Sequence[Part], sample: Sequence[Tensor], width: int) -> None:
        self.parts = tuple(parts)
        pieces = [split(rows, self.parts) for rows in sample]
        self.axes = [
            None if part.width == width else reduced([piece[number] for piece in pieces], width)
            for number, part in enumerate(self.parts)
        ]
        self._joined_axes = (
            reduced([self._side_by_side(rows) for rows in sample], width)
            if len(self.parts) > 1 and sample
            else None
        )

    def __call__(self, image: Tensor, text: Tensor) -> list[Targets]:
        """(N, T), (N, T) -> one Targets a part."""
        found = []
        sides = zip(split(image, self.parts), split(text, self.parts), strict=True)
        for part, axes, (v, x) in zip(self.parts, self.axes, sides, strict=True):
            if axes is not None:
                axes = axes.to(v.device)
                v, x = l2_normalize(v @ axes), l2_normalize(x @ axes)
            found.append(Targets(v, x, part.weight))
        return found

    def one_space(self, image: Tensor, text: Tensor) -> Targets:
        """All parts as one teacher whose cosines are the weighted mean of theirs, as well as
        the student's width can hold them; of a single part, that part."""
        if self._joined_axes is None:
            # Several live teachers have no sample to find axes in; start() lets them through
            # only where nothing asks for one space.
            return self(image, text)[0]
        axes = self._joined_axes.to(image.device)
        v, x = (l2_normalize(self._side_by_side(rows) @ axes) for rows in (image, text))
        return Targets(v, x, 1.0)

    def _side_by_side(self, rows: Tensor) -> Tensor:
        """(N, T) -> (N, T) unit rows; a part's columns have its weight as squared length."""
        total = sum(part.weight for part in self.parts)
        pieces = zip(self.parts, split(rows, self.parts), strict=True)
        return torch.cat([(part.weight / total) ** 0.5 * piece for part, piece in pieces], dim=1)


@dataclass(frozen=True)
class BatchLoss:
    """A batch's loss and its parts by name, unweighted."""

    total: Tensor
    parts: dict[str, float]


def graph_loss(
    graph: KnowledgeGraph,
    image: Tensor,
    text: Tensor,
    targets: Sequence[Targets],
    one_space: Targets,
    *,
    pair_id: Tensor,
    progress: float,
    row_weight: RowWeights | None = None,
    negatives: Sequence[MinedBatch] = (),
) -> BatchLoss:
    """The graph against one teacher, or several.

    row_weight: what each pair counts; negatives: further columns. Both mined in one space.

    Types that compare student and teacher need one space, because those of two teachers are
    turned against each other. The others see teachers only through their cosines: each is
    asked, and the results are averaged by weight. For forward KL this has the gradient of KL
    to the mean of the teachers' distributions, because sum_k w_k KL(P_k || Q) differs from it
    by terms without Q.
    """

    def values(target: Targets, types: Collection[LearningType]) -> dict[CellKey, Tensor]:
        e = EmbeddingSet.build(image, text, target.image, target.text, pair_id=pair_id)
        return graph.values(e, row_weight=row_weight, negatives=negatives, types=types)

    if len(targets) == 1:
        found = values(targets[0], TYPES)
    else:
        found = values(one_space, ACROSS) if needs_one_space(graph.cells) else {}
        total = sum(target.weight for target in targets)
        for target in targets:
            for key, value in values(target, WITHIN).items():
                found[key] = found.get(key, value.new_zeros(())) + target.weight / total * value
    report = graph.sum(found, progress)
    return BatchLoss(report.total, {str(key): value for key, value in report.cells.items()})


def needs_one_space(cells: Cells) -> bool:
    """Whether any cell compares student vectors with teacher vectors."""
    return any(key.type in ACROSS for key in cells)


def sequential_loss(
    graph: KnowledgeGraph,
    learning: Tensor,
    frozen: Tensor,
    target: Targets,
    index: FrozenIndex,
    photo: Tensor,
    *,
    image_learns: bool,
    pair_id: Tensor,
    k: int,
    tau: float,
) -> BatchLoss:
    """MoTIS stage 2: L_t2v + L_v2t + L_KD + L_HN, unweighted; one side learns.

    The first two are inter_ss.infonce of the preset, L_KD its inter_ss.kl against the
    teacher; L_HN finds the positive among k hard negatives of the whole corpus.
    learning, frozen: (N, D); photo (N,): rows of the corpus.
    """
    v, x = (learning, frozen) if image_learns else (frozen, learning)
    e = EmbeddingSet.build(v, x, target.image, target.text, pair_id=pair_id)
    report = graph(e)
    query, own = (e.v_s, e.x_s) if image_learns else (e.x_s, e.v_s)
    hard = index.loss_rows(query, own, photo, k, tau).mean()
    parts = {str(key): value for key, value in report.cells.items()}
    return BatchLoss(report.total + hard, parts | {"hard": float(hard.detach())})
