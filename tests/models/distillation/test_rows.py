"""The strategies by themselves (T9 to T12, T21, T24) and the sigmoid extension."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.distillation.losses import (  # noqa: E402
    fd_rows,
    infonce_rows,
    kl_rows,
    reduce_rows,
    sd_rows,
    sigmoid_rows,
    sym_kl_rows,
    sym_sd_rows,
)
from models.distillation.similarity import l2_normalize, row_log_softmax  # noqa: E402


def cosines(seed: int, count: int = 8, columns: int | None = None) -> torch.Tensor:
    made = torch.Generator().manual_seed(seed)
    shape = (count, columns or count)
    return torch.rand(shape, generator=made, dtype=torch.float64) * 2 - 1


def test_kl_does_not_mind_a_constant_and_sd_does() -> None:
    """T9."""
    s, t = cosines(0), cosines(1)
    plain = kl_rows(s, t, 0.2, 0.1)
    assert (plain >= 0).all()
    shift = torch.arange(8.0, dtype=torch.float64)[:, None]
    torch.testing.assert_close(kl_rows(s + shift, t, 0.2, 0.1), plain)
    torch.testing.assert_close(kl_rows(s, t - shift, 0.2, 0.1), plain)
    assert not torch.allclose(sd_rows(s + shift, t), sd_rows(s, t))


def test_soft_cross_entropy_is_kl_and_the_teachers_entropy() -> None:
    """T10: and their gradients are the same."""
    s, t = cosines(2).requires_grad_(), cosines(3)
    p = (t / 0.1).softmax(1)
    soft = -(p * row_log_softmax(s, 0.2)).sum(1)
    entropy = torch.special.entr(p).sum(1)
    kl = kl_rows(s, t, 0.2, 0.1)
    torch.testing.assert_close(soft - kl, entropy)
    one, other = (torch.autograd.grad(rows.sum(), s, retain_graph=True)[0] for rows in (soft, kl))
    torch.testing.assert_close(one, other)


def test_hot_kl_is_a_squared_distance() -> None:
    """T11: sum of squared deviations over 2 tau^2 N."""
    s, t, tau = cosines(4), cosines(5), 50.0
    gap = t - s
    gap = gap - gap.mean(dim=1, keepdim=True)
    near = gap.square().sum(1) / (2 * tau**2 * 8)
    assert 0.99 < (kl_rows(s, t, tau, tau).mean() / near.mean()).item() < 1.01
    scaled = kl_rows(s, t, tau, tau, scale_T2=True)
    torch.testing.assert_close(scaled, kl_rows(s, t, tau, tau) * tau**2)


def test_directions_and_symmetry() -> None:
    """T12."""
    a, b, tau = cosines(6), cosines(7), 0.3
    forward = kl_rows(a, b, tau, tau)
    torch.testing.assert_close(forward, kl_rows(b, a, tau, tau, direction="reverse"))
    both = kl_rows(a, b, tau, tau, direction="jeffreys")
    torch.testing.assert_close(both, kl_rows(b, a, tau, tau, direction="jeffreys"))
    torch.testing.assert_close(both, (forward + kl_rows(b, a, tau, tau)) / 2)
    for align in ("row", "transpose"):
        for stop in (False, True):
            one = sym_kl_rows(a, b, tau, align, stop).mean()
            torch.testing.assert_close(one, sym_kl_rows(b, a, tau, align, stop).mean())
            two = sym_sd_rows(a, b, align, stop).mean()
            torch.testing.assert_close(two, sym_sd_rows(b, a, align, stop).mean())


def test_more_negatives_never_make_it_easier() -> None:
    """T21: and a masked column changes nothing."""
    m, extra = cosines(8), cosines(9, columns=5)
    plain = infonce_rows(m, 0.1)
    wide = torch.cat((m, extra), dim=1)
    assert (infonce_rows(wide, 0.1) >= plain).all()
    hidden = torch.zeros_like(wide, dtype=torch.bool)
    hidden[:, 8:] = True
    torch.testing.assert_close(infonce_rows(wide, 0.1, ignore_mask=hidden), plain)
    own = torch.eye(8, 13, dtype=torch.bool)
    found = infonce_rows(wide, 0.1, pos_mask=own, ignore_mask=hidden)
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(infonce_rows(m.flip(1), 0.1, torch.arange(8).flip(0)), plain)
    # A positive is never ignored.
    torch.testing.assert_close(
        infonce_rows(m, 0.1, ignore_mask=torch.ones_like(m, dtype=torch.bool)),
        torch.zeros(8, dtype=torch.float64),
    )


def test_masked_columns_take_no_part_in_kl_and_sd() -> None:
    s, t = cosines(10, columns=12), cosines(11, columns=12)
    keep = torch.zeros(8, 12, dtype=torch.bool)
    keep[:, :7] = True
    torch.testing.assert_close(
        kl_rows(s, t, 0.1, 0.1, mask=keep), kl_rows(s[:, :7], t[:, :7], 0.1, 0.1)
    )
    torch.testing.assert_close(sd_rows(s, t, mask=keep), sd_rows(s[:, :7], t[:, :7]))
    one = torch.ones(1, 1, dtype=torch.float64)
    assert kl_rows(one, one, 0.1, 0.1, drop_diag=True).tolist() == [0.0]
    assert sd_rows(one, one, drop_diag=True).tolist() == [0.0]


def test_rows_move_with_their_pairs() -> None:
    """T16: permuting the pairs permutes every strategy's rows, and changes none."""
    a, b = cosines(20), cosines(21)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    c, d = (m[order][:, order] for m in (a, b))
    strategies = [
        lambda m, t: infonce_rows(m, 0.2),
        lambda m, t: fd_rows(m, t),
        lambda m, t: sd_rows(m, t, drop_diag=True),
        lambda m, t: kl_rows(m, t, 0.2, 0.1, drop_diag=True),
        *(lambda m, t, align=align: sym_sd_rows(m, t, align) for align in ("row", "transpose")),
        *(
            lambda m, t, align=align: sym_kl_rows(m, t, 0.2, align)
            for align in ("row", "transpose")
        ),
    ]
    for number, rows in enumerate(strategies):
        torch.testing.assert_close(rows(c, d), rows(a, b)[order], msg=str(number))


def test_row_weights() -> None:
    """T24."""
    rows = torch.rand(6, dtype=torch.float64)
    torch.testing.assert_close(reduce_rows(rows, torch.ones(6)), reduce_rows(rows))
    one = torch.zeros(6)
    one[3] = 1.0
    assert reduce_rows(rows, one).item() == pytest.approx(rows[3].item())
    w = torch.rand(6)
    torch.testing.assert_close(reduce_rows(rows, 7 * w), reduce_rows(rows, w))
    assert reduce_rows(rows, torch.zeros(6)).item() == 0.0


def test_every_pair_by_itself() -> None:
    """The loss of SigLIP against a double loop."""
    m, scale, bias = cosines(12, count=4), torch.tensor(5.0), torch.tensor(-2.0)
    found = sigmoid_rows(m.float(), scale, bias)
    for i in range(4):
        total = 0.0
        for j in range(4):
            sign = 1 if i == j else -1
            total += math.log(1 + math.exp(-sign * (5 * m[i, j].item() - 2)))
        assert found[i].item() == pytest.approx(total, rel=1e-5)


def test_zero_rows_stay_finite() -> None:
    rows = torch.zeros(2, 3, requires_grad=True)
    unit = l2_normalize(rows)
    unit.sum().backward()
    assert torch.isfinite(unit).all()
    assert rows.grad is not None and torch.isfinite(rows.grad).all()
