"""The active cells of one batch, computed together and summed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor, nn

from models.distillation import losses
from models.distillation.cells import (
    LABEL_DRIVEN,
    SYMMETRIC,
    TYPES,
    CellKey,
    CellSpec,
    LearningType,
    validate,
)
from models.distillation.dynamic import RowWeights
from models.distillation.embeddings import EmbeddingSet
from models.distillation.miner import MinedBatch
from models.distillation.similarity import cosine

Side = Literal["v_s", "x_s", "v_t", "x_t"]
MAX_SCALE: Final = 100.0  # of a learned temperature's inverse, as CLIP's

# Query and key of the image edge, then of the text edge. The teacher's target of an edge is
# the same edge with both ends replaced by the teacher's.
EDGES: Final[Mapping[LearningType, tuple[tuple[Side, Side], tuple[Side, Side]]]] = {
    "intra_ts": (("v_s", "v_t"), ("x_s", "x_t")),
    "intra_ss": (("v_s", "v_s"), ("x_s", "x_s")),
    "inter_ts": (("v_s", "x_t"), ("x_s", "v_t")),
    "inter_ss": (("v_s", "x_s"), ("x_s", "v_s")),
}
TEACHER: Final[Mapping[Side, Side]] = {"v_s": "v_t", "x_s": "x_t", "v_t": "v_t", "x_t": "x_t"}


class EdgePair(NamedTuple):
    """One edge of a learning type: four (N, d)."""

    query: Tensor
    key: Tensor
    t_query: Tensor
    t_key: Tensor


class Matrices(NamedTuple):
    """One edge's cosines, with columns of mined negatives after the N of the batch."""

    student: Tensor  # (N, M)
    teacher: Tensor  # (N, M)
    valid: Tensor | None  # (N, M) bool; None = all


@dataclass(frozen=True)
class LossReport:
    """What one batch gave. `values` are unweighted scalars, cut from the graph."""

    total: Tensor
    values: dict[CellKey, Tensor]
    weights: dict[CellKey, float]  # with ramp and balance
    stats: dict[str, float]  # mean positive and negative cosine per type, when asked for

    @property
    def cells(self) -> dict[CellKey, float]:
        return {key: float(value) for key, value in self.values.items()}

    @property
    def weighted(self) -> dict[CellKey, float]:
        return {key: self.weights[key] * float(value) for key, value in self.values.items()}


class Products:
    """Cosine matrices of one batch, each computed once, when first asked for."""

    def __init__(self, e: EmbeddingSet) -> None:
        self.e = e
        self._found: dict[tuple[Side, Side], Tensor] = {}

    def get(self, query: Side, key: Side) -> Tensor:
        if (query, key) not in self._found:
            if (key, query) in self._found:
                self._found[query, key] = self._found[key, query].T
            else:
                self._found[query, key] = cosine(getattr(self.e, query), getattr(self.e, key))
        return self._found[query, key]

    @property
    def count(self) -> int:
        """How many products were computed; a transposed one is not."""
        return len({frozenset(pair) for pair in self._found})


class KnowledgeGraph(nn.Module):
    """Cells with their weights. Its parameters, if any, are learned temperatures.

    True between calls: the cells are validated and never change; `multipliers` is what
    balance.GradMatch sets, 1 for every cell until then.
    """

    def __init__(self, cells: Mapping[CellKey, CellSpec], *, learn_tau: bool = False) -> None:
        super().__init__()
        validate(cells)
        self.cells: dict[CellKey, CellSpec] = {k: s for k, s in cells.items() if s.weight > 0}
        self.multipliers: dict[CellKey, float] = dict.fromkeys(self.cells, 1.0)
        self.log_scales = nn.ParameterDict()
        if learn_tau:
            for key, spec in self.cells.items():
                if key.strategy == "infonce":
                    start = torch.tensor(-math.log(spec.tau))
                    self.log_scales[_parameter(key)] = nn.Parameter(start)

    def edges(self, e: EmbeddingSet, type_: LearningType) -> tuple[EdgePair, EdgePair]:
        """Image edge, text edge."""
        image, text = (
            EdgePair(*(getattr(e, side) for side in (q, k, TEACHER[q], TEACHER[k])))
            for q, k in EDGES[type_]
        )
        return image, text

    def tau(self, key: CellKey) -> float | Tensor:
        """The student's temperature of a cell; learned ones never below 1 / MAX_SCALE."""
        name = _parameter(key)
        if name in self.log_scales:
            learned: Tensor = (-self.log_scales[name].clamp(max=math.log(MAX_SCALE))).exp()
            return learned
        return self.cells[key].tau

    def values(
        self,
        e: EmbeddingSet,
        *,
        row_weight: RowWeights | None = None,
        negatives: Sequence[MinedBatch] = (),
        products: Products | None = None,
        types: Collection[LearningType] = TYPES,
    ) -> dict[CellKey, Tensor]:
        """Every active cell's scalar, unweighted, with its gradient; of these types only."""
        products = products or Products(e)
        active = {key: spec for key, spec in self.cells.items() if key.type in types}
        with torch.autocast(e.v_s.device.type, enabled=False):
            with torch.no_grad():  # constants first, so that no edge records them
                for type_ in {key.type for key in active}:
                    for q, k in EDGES[type_]:
                        products.get(TEACHER[q], TEACHER[k])
            return {
                key: self._cell(key, spec, e, products, row_weight, negatives)
                for key, spec in active.items()
            }

    def forward(
        self,
        e: EmbeddingSet,
        *,
        row_weight: RowWeights | None = None,
        negatives: Sequence[MinedBatch] = (),
        progress: float = 0.0,
        with_stats: bool = False,
    ) -> LossReport:
        """Sum the cells. `progress` is the share of training done, in 0..1, for ramps."""
        products = Products(e)
        found = self.values(e, row_weight=row_weight, negatives=negatives, products=products)
        report = self.sum(found, progress)
        if with_stats:
            return dataclasses.replace(report, stats=_stats(self.cells, products))
        return report

    def sum(self, values: Mapping[CellKey, Tensor], progress: float = 0.0) -> LossReport:
        """Weigh and add what values() gave."""
        weights = {
            key: spec.strength(progress) * self.multipliers[key] for key, spec in self.cells.items()
        }
        return LossReport(
            total=torch.stack([weights[key] * value for key, value in values.items()]).sum(),
            values={key: value.detach() for key, value in values.items()},
            weights=weights,
            stats={},
        )

    def _cell(
        self,
        key: CellKey,
        spec: CellSpec,
        e: EmbeddingSet,
        products: Products,
        row_weight: RowWeights | None,
        negatives: Sequence[MinedBatch],
    ) -> Tensor:
        w = None
        if row_weight is not None:
            w = row_weight.w_label if key.strategy in LABEL_DRIVEN else row_weight.w_kd
        (q1, k1), (q2, k2) = EDGES[key.type]
        if key.strategy in SYMMETRIC:
            m1, m2 = products.get(q1, k1), products.get(q2, k2)
            if key.strategy == "sym_sd":
                return losses.reduce_rows(
                    losses.sym_sd_rows(m1, m2, spec.align, spec.stop_target), w
                )
            tau = self.tau(key)
            rows = losses.sym_kl_rows(m1, m2, tau, spec.align, spec.stop_target)
            return losses.reduce_rows(rows, w)
        chosen = {"both": (0, 1), "image": (0,), "text": (1,)}[spec.edges]
        parts = [self._edge(key, spec, e, products, number, negatives) for number in chosen]
        return torch.stack([losses.reduce_rows(rows, w) for rows in parts]).mean()

    def _edge(
        self,
        key: CellKey,
        spec: CellSpec,
        e: EmbeddingSet,
        products: Products,
        number: int,
        negatives: Sequence[MinedBatch],
    ) -> Tensor:
        """One edge's rows (N,)."""
        query, keys = EDGES[key.type][number]
        if key.strategy == "fd":
            return losses.fd_rows(getattr(e, query), getattr(e, keys))
        teacher = products.get(TEACHER[query], TEACHER[keys])
        found = Matrices(products.get(query, keys), teacher, None)
        for mined in negatives:
            if mined.direction == ("i2t", "t2i")[number]:
                found = _append(
                    found, getattr(e, query), getattr(e, TEACHER[query]), key.type, mined
                )
        if key.strategy == "sd":
            return losses.sd_rows(found.student, found.teacher, spec.drop_diag, found.valid)
        if key.strategy == "kl":
            return losses.kl_rows(
                found.student,
                found.teacher,
                self.tau(key),
                spec.teacher_tau,
                spec.direction,
                spec.drop_diag,
                spec.scale_T2,
                found.valid,
            )
        rows = _find(found, e.positives(), self.tau(key))
        if spec.symmetric_nce:
            turned = Matrices(products.get(keys, query), teacher.T, None)
            rows = (rows + _find(turned, e.positives(), self.tau(key))) / 2
        return rows


def _parameter(key: CellKey) -> str:
    return f"{key.type}_{key.strategy}"  # a parameter's name may not hold a dot


def _find(found: Matrices, positives: Tensor | None, tau: float | Tensor) -> Tensor:
    """InfoNCE rows of one edge, whose appended columns are all negatives."""
    ignore = None if found.valid is None else ~found.valid
    extra = found.student.shape[1] - found.student.shape[0]
    if positives is not None and extra:
        positives = torch.nn.functional.pad(positives, (0, extra), value=False)
    return losses.infonce_rows(found.student, tau, pos_mask=positives, ignore_mask=ignore)


def _append(
    found: Matrices, query: Tensor, t_query: Tensor, type_: LearningType, mined: MinedBatch
) -> Matrices:
    """Columns of the mined negatives, where their vectors are there for this type."""
    t_keys, s_keys = mined.keys_for(type_)
    if t_keys is None or s_keys is None:
        return found
    student = torch.einsum("nd,nkd->nk", query, s_keys[:, 1:].to(query.dtype))
    with torch.no_grad():
        teacher = torch.einsum("nd,nkd->nk", t_query, t_keys[:, 1:].to(query.dtype))
    own = found.valid
    if own is None:
        own = torch.ones_like(found.student, dtype=torch.bool)
    return Matrices(
        torch.cat((found.student, student), dim=1),
        torch.cat((found.teacher, teacher), dim=1),
        torch.cat((own, mined.valid[:, 1:]), dim=1),
    )


@torch.no_grad()
def _stats(cells: Mapping[CellKey, CellSpec], products: Products) -> dict[str, float]:
    """Mean cosine of positives and of the rest, per active type, both edges."""
    stats: dict[str, float] = {}
    for type_ in sorted({key.type for key in cells}):
        own, others = [], []
        for query, key in EDGES[type_]:
            m = products.get(query, key)
            count, diagonal = len(m), m.diagonal().sum()
            own.append(diagonal / count)
            others.append((m.sum() - diagonal) / max(1, count * (count - 1)))
        stats[f"{type_}.positive"] = float(sum(own) / len(own))
        stats[f"{type_}.negative"] = float(sum(others) / len(others))
    return stats
