"""MiniLM made smaller before it is trained again: fewer pieces, a narrower table, thinner layers.

What each step costs before any training, as the cosine to MiniLM's own sentence vectors,
stands in docs/experiments.md. Thinner layers cost far less than fewer of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import MASKED, BertEncoder, BertLayer

RIDGE: Final = 1e-3  # of the mean square of an activation, where `down` is fitted again
SMOOTHING: Final = 20.0  # counts added to every piece before the table is factorised


@dataclass(frozen=True)
class Factors:
    """A table as rows @ weight.T + bias."""

    rows: Tensor  # (V, R)
    weight: Tensor  # (W, R)
    bias: Tensor  # (W,)


def factorise(table: Tensor, counts: Tensor, width: int) -> Factors:
    """The best rank-`width` table for pieces seen `counts` times: principal axes, weighted.

    table (V, W), counts (V,). Unweighted, rare pieces take axes that no query needs:
    0.73 instead of 0.95 at 96 axes.
    """
    weight = counts + SMOOTHING
    mean = (table * weight[:, None]).sum(dim=0) / weight.sum()
    centred = table - mean
    axes = torch.linalg.svd(centred * weight.sqrt()[:, None], full_matrices=False).Vh[:width]
    return Factors(centred @ axes.T, axes.T.contiguous(), mean)


def inherit_table(student: BertEncoder, teacher: BertEncoder, counts: Tensor) -> None:
    """Fill the student's first rows from the teacher's table, which holds the same pieces."""
    assert isinstance(student.words, nn.Embedding) and isinstance(teacher.words, nn.Embedding)
    table = teacher.words.weight.detach()
    with torch.no_grad():
        if isinstance(student.widen, nn.Linear):
            factors = factorise(table, counts, student.config.factor)
            student.words.weight[: len(table)] = factors.rows
            student.widen.weight.copy_(factors.weight)
            student.widen.bias.copy_(factors.bias)
        else:
            student.words.weight[: len(table)] = table
        student.positions.copy_(teacher.positions[: student.config.positions])
        student.embedding_norm.load_state_dict(teacher.embedding_norm.state_dict())


@torch.no_grad()
def inherit_layers(student: BertEncoder, teacher: BertEncoder, tokens: Tensor) -> None:
    """Fill the student's layers from the teacher's first ones, thinned where they are narrower.

    A thinner perceptron keeps the units that move its output most over `tokens` (B, L), and
    its second matrix is fitted again, by least squares, to what the whole one gave.
    """
    mask = tokens != 0
    bias = (1.0 - mask.to(teacher.positions.dtype))[:, None, None, :] * MASKED
    x = teacher.embedding_norm(
        teacher.widen(teacher.words(tokens)) + teacher.positions[: tokens.shape[1]]
    )
    for thin, whole in zip(student.layers, teacher.layers, strict=False):
        assert isinstance(thin, BertLayer) and isinstance(whole, BertLayer)
        for name in ("query", "key", "value", "out", "attention_norm", "norm"):
            getattr(thin, name).load_state_dict(getattr(whole, name).state_dict())
        if thin.up.out_features == whole.up.out_features:
            thin.up.load_state_dict(whole.up.state_dict())
            thin.down.load_state_dict(whole.down.state_dict())
        else:
            thin_perceptron(thin, whole, _before_perceptron(whole, x, bias)[mask])
        x = thin(x, bias)  # what the next layer will see


def _before_perceptron(layer: BertLayer, x: Tensor, bias: Tensor) -> Tensor:
    """What reaches a layer's `up`, for x (B, L, W)."""
    seen: list[Tensor] = []
    hook = layer.up.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    layer(x, bias)
    hook.remove()
    return seen[0]


def thin_perceptron(thin: BertLayer, whole: BertLayer, states: Tensor) -> None:
    """Choose and fit; states (T, W) are inputs of `whole.up` over real tokens."""
    active = functional.gelu(whole.up(states))  # (T, H)
    moves = active.std(dim=0) * whole.down.weight.norm(dim=0)
    keep = moves.topk(thin.up.out_features).indices.sort().values
    thin.up.weight.copy_(whole.up.weight[keep])
    thin.up.bias.copy_(whole.up.bias[keep])
    inputs = torch.cat((active[:, keep], torch.ones(len(active), 1)), dim=1).double()
    gram = inputs.T @ inputs
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    fitted = torch.linalg.solve(gram, inputs.T @ whole.down(active).double()).float()
    thin.down.weight.copy_(fitted[:-1].T)
    thin.down.bias.copy_(fitted[-1])


@torch.no_grad()
def teacher_table(teacher: BertEncoder, whole: Sequence[str], vocabulary: Sequence[str]) -> Tensor:
    """MiniLM's rows in the order of `vocabulary`; zeros for pieces it lacks: (V, W)."""
    assert isinstance(teacher.words, nn.Embedding)
    number = {piece: row for row, piece in enumerate(whole)}
    rows = torch.tensor([number.get(piece, -1) for piece in vocabulary])
    return teacher.words.weight[rows.clamp_min(0)] * (rows >= 0)[:, None]


def translate(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]], sources: int, targets: int, rounds: int
) -> Tensor:
    """How each source piece translates: (sources, targets), rows of probabilities.

    IBM's model 1 (Brown et al. 1993) by expectation and maximisation over sentence pairs
    (source pieces, target pieces). Rows of sources that never occur are zero.
    """
    length = torch.tensor([len(a) * len(b) for a, b in pairs])
    pair = torch.repeat_interleave(torch.arange(len(pairs)), length)
    source = torch.cat([torch.tensor(a).repeat_interleave(len(b)) for a, b in pairs])
    target = torch.cat([torch.tensor(b).repeat(len(a)) for a, b in pairs])
    cells, cell = torch.unique(source * targets + target, return_inverse=True)
    # A target piece of a sentence is explained by one of the sentence's source pieces.
    slots, slot = torch.unique(pair * targets + target, return_inverse=True)
    chance = torch.ones(len(cells))
    for _ in range(rounds):
        weight = chance[cell]
        whole = torch.zeros(len(slots)).index_add_(0, slot, weight)
        share = weight / whole[slot]
        count = torch.zeros(len(cells)).index_add_(0, cell, share)
        row = cells // targets
        total = torch.zeros(sources).index_add_(0, row, count)
        chance = count / total[row]
    table = torch.zeros(sources, targets)
    table[cells // targets, cells % targets] = chance
    return table


@torch.no_grad()
def inherit_text(
    student: BertEncoder,
    teacher: BertEncoder,
    whole: Sequence[str],
    vocabulary: Sequence[str],
    counts: Tensor,
    tokens: Tensor,
    foreign: Tensor | None = None,
    meanings: Tensor | None = None,
) -> None:
    """Everything a smaller encoder can take from MiniLM before it is trained.

    whole names the teacher's rows, vocabulary the student's; counts (V,) say how often a
    piece is seen; tokens (B, L) are texts in the student's ids. Pieces foreign (F,), which the
    teacher lacks, become means of the rows they translate to: meanings (F, V).
    """
    table = teacher_table(teacher, whole, vocabulary)
    if foreign is not None and meanings is not None:
        table[foreign] = meanings @ table
    known = table.abs().sum(dim=1) > 0
    table[~known] = table[known].mean(dim=0)
    config = dataclasses.replace(teacher.config, vocabulary=len(vocabulary))
    reader = BertEncoder(config).eval()
    reader.load_state_dict({**teacher.state_dict(), "words.weight": table})
    inherit_table(student, reader, counts)
    inherit_layers(student, reader, tokens)
