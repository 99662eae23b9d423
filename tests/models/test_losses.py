"""Losses against double loops written from their formulas, and closed forms."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.layers import unit  # noqa: E402
from models.losses import info_nce, row_kl, soft_cross_entropy  # noqa: E402


def rows(seed: int, count: int = 7, width: int = 5) -> torch.Tensor:
    return unit(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)))


def test_info_nce_equals_a_double_loop() -> None:
    image, text, scale = rows(0), rows(1), 3.0
    total = 0.0
    for n in range(len(image)):
        for mine, others in ((image[n], text), (text[n], image)):
            cosines = [math.exp(scale * float(mine @ other)) for other in others]
            total -= math.log(cosines[n] / sum(cosines))
    assert info_nce(image, text, scale=scale).item() == pytest.approx(
        total / (2 * len(image)), abs=1e-5
    )


def test_info_nce_of_embeddings_that_tell_nothing_apart_is_log_b() -> None:
    same = rows(0, count=1).expand(6, -1)
    assert info_nce(same, same, scale=20.0).item() == pytest.approx(math.log(6), abs=1e-5)


def test_info_nce_of_a_perfect_match_nears_zero() -> None:
    assert info_nce(torch.eye(8), torch.eye(8), scale=50.0).item() < 1e-6


def test_info_nce_does_not_care_which_is_which() -> None:
    image, text = rows(2), rows(3)
    torch.testing.assert_close(info_nce(image, text, scale=4.0), info_nce(text, image, scale=4.0))


def test_info_nce_moves_both_sides_and_the_scale() -> None:
    image, text = rows(4).requires_grad_(), rows(5).requires_grad_()
    scale = torch.tensor(2.0, requires_grad=True)
    info_nce(image, text, scale=scale).backward()
    for part in (image, text, scale):
        assert part.grad is not None
        assert part.grad.abs().sum() > 0


def test_soft_cross_entropy_equals_a_double_loop() -> None:
    logits, target = 4 * rows(0), (3 * rows(1)).softmax(1)
    total = 0.0
    for row, wanted in zip(logits, target, strict=True):
        normaliser = sum(math.exp(float(value)) for value in row)
        for value, share in zip(row, wanted, strict=True):
            total -= float(share) * math.log(math.exp(float(value)) / normaliser)
    found = soft_cross_entropy(logits, target).item()
    assert found == pytest.approx(total / len(logits), abs=1e-5)


def test_soft_cross_entropy_is_least_where_they_agree_and_there_the_entropy() -> None:
    logits = 3 * rows(2)
    target = logits.softmax(1)
    entropy = -(target * target.log()).sum(1).mean()
    torch.testing.assert_close(soft_cross_entropy(logits, target), entropy)
    assert soft_cross_entropy(3 * rows(3), target) > entropy


def test_soft_cross_entropy_leaves_the_target_alone() -> None:
    target = rows(6).softmax(1).requires_grad_()
    soft_cross_entropy(rows(7).requires_grad_(), target).backward()
    assert target.grad is None


def test_row_kl_is_zero_exactly_where_rows_differ_by_a_constant() -> None:
    logits = 3 * rows(0)
    assert row_kl(logits, logits + 5.0).item() == pytest.approx(0.0, abs=1e-6)
    assert row_kl(logits, 3 * rows(1)).item() > 0.01


def test_row_kl_is_cross_entropy_less_entropy() -> None:
    target, logits = 2 * rows(2), 2 * rows(3)
    shares = target.softmax(1)
    entropy = -(shares * shares.log()).sum(1).mean()
    torch.testing.assert_close(row_kl(target, logits), soft_cross_entropy(logits, shares) - entropy)
