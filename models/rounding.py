"""Weights as int8 will hold them, before anything is trained on top of them.

Every export stores a convolution's weights as int8, one scale per output (`export/quantize.py`).
Behind a ReLU6 all inputs are positive, so what rounding does to a channel's weights moves its
mean: over twenty layers a photo's vector turned by a cosine of 0.991. The mean is what a bias can
give back (Nagel et al. 2019, arXiv:1906.04721, section 4.2). Here the weights are rounded, each
bias is corrected on photos, layer after layer, and what is trained afterwards has seen what will
ship. Rounding again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

Hook = Callable[[nn.Module, object, Tensor], Tensor | None]

LEVELS: Final = 127  # of int8, on either side of zero
LEAST: Final = 1e-12


def rounded(weight: Tensor) -> Tensor:
    """Weights (N, ...) as int8 with a scale for each of N outputs has them."""
    largest = weight.abs().flatten(1).amax(dim=1).clamp_min(LEAST)
    scale = (largest / LEVELS).reshape(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round() * scale


@torch.no_grad()
def round_convolutions(network: nn.Module, pixels: Tensor) -> None:
    """Round the convolutions of a network whose batch norms are folded, in place, and correct
    their biases so that each channel's mean over the photos `pixels` (B, 3, S, S) stays."""
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    assert all(part.bias is not None for part in convolutions), "fold the batch norms first"
    means: list[Tensor] = []

    def note(_: nn.Module, __: object, found: Tensor) -> None:
        means.append(found.mean(dim=(0, 2, 3)))

    _with_hooks(network, convolutions, note, pixels)
    for part in convolutions:
        part.weight.copy_(rounded(part.weight))
    wanted = iter(means)

    def correct(part: nn.Module, _: object, found: Tensor) -> Tensor:
        assert isinstance(part, nn.Conv2d) and part.bias is not None
        moved = next(wanted) - found.mean(dim=(0, 2, 3))
        part.bias += moved
        return found + moved[:, None, None]  # what follows meets the corrected layer

    _with_hooks(network, convolutions, correct, pixels)


def _with_hooks(
    network: nn.Module, convolutions: list[nn.Conv2d], hook: Hook, pixels: Tensor
) -> None:
    handles = [part.register_forward_hook(hook) for part in convolutions]
    try:
        network(pixels)
    finally:
        for handle in handles:
            handle.remove()
