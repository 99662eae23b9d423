"""Weights are rounded as exports round them, and means stay where they were."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("onnx", reason="onnx is in the [train] extra")

from export.quantize import quantise  # noqa: E402
from models.layers import EfficientNetLite, fuse  # noqa: E402
from models.rounding import round_convolutions, rounded  # noqa: E402
from models.students import tiny  # noqa: E402


def test_what_is_rounded_is_what_exports_store() -> None:
    torch.manual_seed(0)
    for shape in ((6, 5, 3, 3), (7, 1, 5, 5), (4, 9)):
        weight = torch.randn(shape)
        levels, scale = quantise(weight.numpy(), 0)
        found = rounded(weight)
        np.testing.assert_allclose(found.numpy(), levels * scale, rtol=1e-6, atol=1e-7)
        again, _ = quantise(found.numpy(), 0)
        np.testing.assert_array_equal(again, levels)  # rounding again changes nothing
    assert torch.equal(rounded(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.fixture
def network() -> EfficientNetLite:
    torch.manual_seed(0)
    made = EfficientNetLite(tiny(vocabulary=60).image, side_px=32).eval()
    with torch.no_grad():
        for value in made.parameters():
            value.mul_(1.5)
    fuse(made)
    with (
        torch.no_grad()
    ):  # one large weight in each channel, so that all others are rounded coarsely
        for part in made.modules():
            if isinstance(part, torch.nn.Conv2d):
                part.weight.flatten(1)[:, 0] *= 12
    return made


def test_every_channel_keeps_its_mean(network: EfficientNetLite) -> None:
    pixels = torch.rand(16, 3, 32, 32)
    bare, corrected = copy.deepcopy(network), copy.deepcopy(network)
    with torch.no_grad():
        for part in bare.modules():
            if isinstance(part, torch.nn.Conv2d):
                part.weight.copy_(rounded(part.weight))
    round_convolutions(corrected, pixels)
    for one, other in zip(bare.modules(), corrected.modules(), strict=True):
        if isinstance(one, torch.nn.Conv2d):
            assert torch.equal(one.weight, other.weight)
            assert not torch.equal(one.bias, other.bias)
    fresh = torch.rand(16, 3, 32, 32)
    with torch.inference_mode():
        wanted = network.features(pixels).mean(dim=0)

        def off(of: EfficientNetLite) -> float:
            return float((of.features(pixels).mean(dim=0) - wanted).norm() / wanted.norm())

        assert off(corrected) < off(bare) / 5
        real = network.features(fresh)
        errors = [float((of.features(fresh) - real).norm()) for of in (bare, corrected)]
        assert errors[1] < errors[0]


def test_folding_comes_first() -> None:
    with pytest.raises(AssertionError, match="fold the batch norms first"):
        round_convolutions(
            EfficientNetLite(tiny(vocabulary=60).image, side_px=32), torch.rand(2, 3, 32, 32)
        )
