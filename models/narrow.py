"""EfficientNet made narrower before it is trained again: which channels stay, and what they say.

Channels are chosen by how much they move what comes after them (He et al. 2017,
arXiv:1707.06168), block by block, and every 1x1 convolution is fitted again by least squares
to what the whole network gives at that place, from what the narrow one has: so each block
makes good what those before it lost. Depthwise kernels are copied.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from models.layers import ConvBn, EfficientNetConfig, EfficientNetLite, InvertedBottleneck

RIDGE: Final = 1e-3  # of the mean square of an input
MOST_ROWS: Final = 20_000  # of a fit: places of all photos
MIN_VARIANCE: Final = 1e-6


def is_narrower(thin: EfficientNetConfig, whole: EfficientNetConfig) -> bool:
    """Whether `thin` can be filled from `whole`: the same kernels and strides, nothing wider."""
    pairs = list(zip(thin.stages, whole.stages, strict=False))
    return (
        len(thin.stages) <= len(whole.stages)
        and all(
            (mine.kernel, mine.stride) == (theirs.kernel, theirs.stride)
            and (mine.expand == 1) == (theirs.expand == 1)
            and mine.repeats <= theirs.repeats
            and mine.expand <= theirs.expand
            and mine.width <= theirs.width
            for mine, theirs in pairs
        )
        and all(stage.stride == 1 for stage in whole.stages[len(thin.stages) :])
        and thin.stem_width <= whole.stem_width
        and thin.head_width <= whole.head_width
        and thin.classes == whole.classes
    )


@torch.no_grad()
def inherit_image(thin: EfficientNetLite, whole: EfficientNetLite, pixels: Tensor) -> None:
    """Fill every weight of `thin` from `whole`; both in eval mode, of the side of `pixels`.

    pixels (B, 3, S, S), normalised: the photos that channels are chosen and weights fitted on.
    """
    full = whole.stem(pixels)
    keep = _most(_deviation(full), thin.config.stem_width)
    _copy(thin.stem, whole.stem, keep)
    both = _Maps(thin.stem(pixels), full, keep)
    mine, theirs = iter(thin.blocks), iter(whole.blocks)
    for stage, wider in zip(thin.config.stages, whole.config.stages, strict=False):
        pairs = zip(
            itertools.islice(mine, stage.repeats),
            _grouped(list(itertools.islice(theirs, wider.repeats)), stage.repeats),
            strict=True,
        )
        both = _stage(list(pairs), both)
    rest = nn.Sequential(*theirs)
    wanted = whole.head.norm(whole.head.conv(rest(both.full)))
    pooled = wanted.clamp(0, 6).mean(dim=(2, 3))
    keep = _most(pooled.std(dim=0) * whole.classifier.weight.norm(dim=0), thin.config.head_width)
    _fit(thin.head, both.thin, wanted[:, keep])
    thin.classifier.weight.copy_(whole.classifier.weight[:, keep])
    thin.classifier.bias.copy_(whole.classifier.bias)


@dataclass(frozen=True)
class _Maps:
    """What both networks have at one place: (B, c, H, W), (B, C, H, W); kept channels (c,)."""

    thin: Tensor
    full: Tensor
    keep: Tensor


def _grouped(blocks: Sequence[nn.Module], count: int) -> list[list[nn.Module]]:
    """The first blocks alone, all that is left over with the last."""
    return [[block] for block in blocks[: count - 1]] + [list(blocks[count - 1 :])]


def _stage(pairs: Sequence[tuple[nn.Module, list[nn.Module]]], before: _Maps) -> _Maps:
    """Fill a stage's blocks. Its blocks keep the same channels, because they are added up."""
    fulls, x = [], before.full
    for _, group in pairs:
        x = nn.Sequential(*group)(x)
        fulls.append(x)
    first = pairs[0][0]
    assert isinstance(first, InvertedBottleneck)
    keep = _most(_deviation(x), first.project.conv.out_channels)
    both = before
    for (block, group), full in zip(pairs, fulls, strict=True):
        wider = group[0]
        assert isinstance(block, InvertedBottleneck) and isinstance(wider, InvertedBottleneck)
        both = _block(block, wider, both, full, keep)
    return both


def _block(
    thin: InvertedBottleneck, whole: InvertedBottleneck, at: _Maps, full: Tensor, keep: Tensor
) -> _Maps:
    """Fill one block so that it gives `full` at the channels `keep`, as well as it can."""
    wide = whole.expand(at.full)
    effect = _deviation(whole.depthwise(wide)) * whole.project.conv.weight[keep].flatten(1).norm(
        dim=0
    )
    if isinstance(thin.expand, ConvBn):
        assert isinstance(whole.expand, ConvBn)
        units = _most(effect, thin.depthwise.conv.out_channels)
        _fit(thin.expand, at.thin, whole.expand.norm(whole.expand.conv(at.full))[:, units])
    else:
        units = at.keep
    _copy(thin.depthwise, whole.depthwise, units)
    wanted = full[:, keep] - at.thin if thin.skip else full[:, keep]
    _fit(thin.project, thin.depthwise(thin.expand(at.thin)), wanted)
    return _Maps(thin(at.thin), full, keep)


def _deviation(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (C,)."""
    return maps.transpose(0, 1).flatten(1).std(dim=1)


def _most(effect: Tensor, count: int) -> Tensor:
    """Numbers of the `count` largest, ascending."""
    return effect.topk(count).indices.sort().values


def _copy(part: ConvBn, source: ConvBn, rows: Tensor) -> None:
    """A stem or depthwise convolution and its norm, of these channels."""
    part.conv.weight.copy_(source.conv.weight[rows])
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(part.norm, name).copy_(getattr(source.norm, name)[rows])


def _fit(part: ConvBn, inputs: Tensor, wanted: Tensor) -> None:
    """Set a 1x1 convolution and its norm to give `wanted` (B, O, H, W), before any ReLU6.

    The norm's statistics are those of these photos, so that it says the same in training.
    """
    rows, aims = (maps.permute(0, 2, 3, 1).flatten(0, 2) for maps in (inputs, wanted))
    step = -(-len(rows) // MOST_ROWS)
    rows, aims = rows[::step].double(), aims[::step].double()
    mean, middle = rows.mean(dim=0), aims.mean(dim=0)
    centred = rows - mean
    gram = centred.T @ centred
    gram.diagonal().add_(RIDGE * gram.diagonal().mean() + MIN_VARIANCE)
    weight = torch.linalg.solve(gram, centred.T @ (aims - middle))  # (I, O)
    variance = (centred @ weight).var(dim=0) + MIN_VARIANCE
    norm = part.norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    part.conv.weight.copy_(weight.T[:, :, None, None])
    norm.running_mean.copy_(mean @ weight)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(middle)
