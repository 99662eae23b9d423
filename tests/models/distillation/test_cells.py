"""Every cell of the grid: against the reference, and what must hold of it (T1 to T24, T36)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.distillation.cells import (  # noqa: E402
    GRID,
    SYMMETRIC,
    CellKey,
    CellSpec,
    parse_cells,
    parse_key,
    read_cells,
)
from models.distillation.embeddings import EmbeddingSet  # noqa: E402
from models.distillation.errors import (  # noqa: E402
    BadCells,
    MismatchedShapes,
    NoPositives,
    NotFinite,
)
from models.distillation.graph import KnowledgeGraph, Products  # noqa: E402
from models.distillation.losses import infonce_rows  # noqa: E402
from models.distillation.presets import PRESETS, cell, preset, with_teacher_tau  # noqa: E402
from tests.models.distillation import reference  # noqa: E402

BASE = CellKey("intra_ts", "infonce")
Cell = tuple[CellKey, CellSpec]


def every_cell(**options: Any) -> list[Any]:
    """All 22 cells, symmetric ones in each alignment that is allowed."""
    found = []
    for key in GRID:
        for align in ("row", "transpose") if key.strategy in SYMMETRIC else ("row",):
            if not (key.type == "inter_ss" and align == "transpose"):
                spec = CellSpec(align=align, **options)
                found.append(pytest.param(key, spec, id=f"{key}-{align}"))
    return found


def raw(seed: int, count: int, width: int) -> list[torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    return [torch.randn(count, width, generator=made, dtype=torch.float64) for _ in range(4)]


def value(key: CellKey, spec: CellSpec, e: EmbeddingSet, **more: Any) -> torch.Tensor:
    """One cell alone. Symmetric cells need an anchored one beside them, which is not read."""
    cells = {key: spec} if key.strategy not in SYMMETRIC else {key: spec, BASE: CellSpec()}
    return KnowledgeGraph(cells).values(e, **more)[key]


def numpy_sets(e: EmbeddingSet) -> dict[str, Any]:
    sides = {"vs": e.v_s, "xs": e.x_s, "vt": e.v_t, "xt": e.x_t}
    return {name: side.detach().numpy() for name, side in sides.items()}


@pytest.mark.parametrize("tau", [0.01, 0.07, 0.5, 5.0])
@pytest.mark.parametrize(("count", "width"), [(1, 4), (2, 20), (7, 4), (33, 20)])
def test_every_cell_equals_loops_written_from_the_formulas(
    count: int, width: int, tau: float
) -> None:
    """T1. Options that change the value included."""
    e = EmbeddingSet.build(*raw(count + width, count, width))
    sets = numpy_sets(e)
    for param in every_cell(tau=tau):
        key, spec = param.values
        variants: list[dict[str, Any]] = [{}]
        if key.strategy == "kl":
            variants += [{"direction": "reverse"}, {"direction": "jeffreys"}, {"tau_t": 2 * tau}]
        if key.strategy in ("kl", "sd") and key.type.startswith("intra"):
            variants.append({"drop_diag": True})
        for options in variants:
            found = value(key, dataclasses.replace(spec, **options), e).item()
            wanted = reference.cell(sets, key.type, key.strategy, tau, align=spec.align, **options)
            assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12), (key, options)


@pytest.mark.parametrize(("key", "spec"), every_cell())
def test_a_student_equal_to_its_teacher(key: CellKey, spec: CellSpec) -> None:
    """T2, T3, T4: zero for fd of intra_ts, sd and kl; for sym only across and transposed."""
    v, x, _, _ = raw(3, 12, 20)
    same = value(key, spec, EmbeddingSet.build(v, x, v, x)).item()
    if key.strategy in ("sd", "kl") or key == CellKey("intra_ts", "fd"):
        assert same == pytest.approx(0.0, abs=1e-14)
    elif key.strategy in SYMMETRIC:
        if key.type == "inter_ts" and spec.align == "transpose":
            assert same == pytest.approx(0.0, abs=1e-14)
        else:
            assert same > 1e-4
        everything = value(key, spec, EmbeddingSet.build(v, v, v, v)).item()
        assert everything == pytest.approx(0.0, abs=1e-14)
    else:
        assert same > 1e-4


def eye(count: int) -> torch.Tensor:
    return torch.eye(count, dtype=torch.float64)


def alike(count: int) -> torch.Tensor:
    return torch.eye(1, count, dtype=torch.float64).expand(count, -1)


@pytest.mark.parametrize("tau", [0.07, 0.5])
def test_infonce_in_closed_form(tau: float) -> None:
    """T5."""
    key, spec = CellKey("inter_ss", "infonce"), CellSpec(tau=tau)
    one = value(key, spec, EmbeddingSet.build(eye(6), eye(6), eye(6), eye(6))).item()
    assert one == pytest.approx(math.log(1 + 5 * math.exp(-1 / tau)), rel=1e-10)
    flat = value(key, spec, EmbeddingSet.build(alike(6), alike(6), eye(6), eye(6))).item()
    assert flat == pytest.approx(math.log(6), rel=1e-10)
    assert value(key, spec, EmbeddingSet.build(*raw(0, 1, 4))).item() == 0.0


def test_feature_distance_in_closed_form() -> None:
    """T6."""
    from models.distillation.losses import fd_rows

    v, x, t, u = raw(1, 9, 5)
    e = EmbeddingSet.build(v, x, t, u)
    cosines = ((e.v_s * e.v_t).sum(1).mean() + (e.x_s * e.x_t).sum(1).mean()) / 2
    found = value(CellKey("intra_ts", "fd"), CellSpec(), e)
    assert found.item() == pytest.approx(2 - 2 * cosines.item(), rel=1e-10)
    assert fd_rows(eye(4), eye(4).roll(1, 0)).tolist() == [2.0] * 4
    assert fd_rows(eye(4), -eye(4)).tolist() == [4.0] * 4
    torch.testing.assert_close(fd_rows(v, t, "mean"), fd_rows(v, t) / 5)


def test_collapse_and_orthonormality_in_closed_form() -> None:
    """T7, T8: one of student and teacher tells everything apart, the other nothing."""
    count, tau = 7, 0.3
    z = math.exp(1 / tau) + count - 1
    apart = EmbeddingSet.build(eye(count), eye(count), alike(count), alike(count))
    flat = EmbeddingSet.build(alike(count), alike(count), eye(count), eye(count))
    sd, kl = CellKey("intra_ss", "sd"), CellKey("intra_ss", "kl")
    for e in (apart, flat):
        assert value(sd, CellSpec(), e).item() == pytest.approx(1 - 1 / count, rel=1e-10)
    wanted = math.log(z) - 1 / (count * tau) - math.log(count)
    assert value(kl, CellSpec(tau=tau), apart).item() == pytest.approx(wanted, rel=1e-10)
    first, rest = math.exp(1 / tau) / z, 1 / z
    entropy = -first * math.log(first) - (count - 1) * rest * math.log(rest)
    found = value(kl, CellSpec(tau=tau), flat).item()
    assert found == pytest.approx(math.log(count) - entropy, rel=1e-10)


def test_gradients_reach_both_students_and_never_the_teacher() -> None:
    """T13."""
    for param in every_cell():
        key, spec = param.values
        for edges in ("both", "image", "text") if key.strategy not in SYMMETRIC else ("both",):
            leaves = [rows.requires_grad_() for rows in raw(5, 6, 8)]
            chosen = dataclasses.replace(spec, edges=edges)
            value(key, chosen, EmbeddingSet.build(*leaves)).backward()  # type: ignore[no-untyped-call]
            v_s, x_s, v_t, x_t = leaves
            assert v_t.grad is None and x_t.grad is None, key
            apart = key.type in ("intra_ts", "intra_ss", "inter_ts")
            for side, mine in ((v_s, "image"), (x_s, "text")):
                moved = side.grad is not None and bool(side.grad.abs().sum() > 0)
                assert moved == (edges in ("both", mine) or not apart), (key, edges, mine)


def test_gradients_are_tangent_to_the_sphere() -> None:
    """T14, T19: length does not matter, so no gradient points along a raw vector."""
    for param in every_cell():
        key, spec = param.values
        sets = raw(6, 5, 7)
        leaves = [rows.clone().requires_grad_() for rows in sets]
        found = value(key, spec, EmbeddingSet.build(*leaves))
        found.backward()  # type: ignore[no-untyped-call]
        for side in leaves[:2]:
            assert side.grad is not None
            assert (side.grad * side).sum(1).abs().max().item() < 1e-10, key
        lengths = [torch.rand(5, 1, dtype=torch.float64) * 9 + 0.1 for _ in sets]
        stretched = [c * rows for c, rows in zip(lengths, sets, strict=True)]
        again = value(key, spec, EmbeddingSet.build(*stretched)).item()
        assert again == pytest.approx(found.item(), rel=1e-10, abs=1e-13), key


@pytest.mark.parametrize("stop", [False, True])
def test_gradcheck(stop: bool) -> None:
    """T15: derivatives agree with differences of the value (mutual targets only)."""
    for param in every_cell(tau=0.5):
        key, spec = param.values
        if stop and key.strategy not in SYMMETRIC:
            continue
        v, x, t, u = raw(7, 5, 6)
        chosen = dataclasses.replace(spec, stop_target=stop)

        def one(a: torch.Tensor, b: torch.Tensor, key: CellKey = key, spec: CellSpec = chosen, t: torch.Tensor = t, u: torch.Tensor = u) -> torch.Tensor:  # noqa: E501  # fmt: skip
            return value(key, spec, EmbeddingSet.build(a, b, t, u))

        leaves = (v.requires_grad_(), x.requires_grad_())
        if not stop:
            assert torch.autograd.gradcheck(one, leaves, fast_mode=True), key
            continue
        # A constant target changes the gradient and never the value.
        free = value(key, spec, EmbeddingSet.build(v, x, t, u))
        assert one(*leaves).item() == pytest.approx(free.item(), rel=1e-12)
        halves = torch.autograd.grad(one(*leaves), leaves)
        wholes = torch.autograd.grad(free, leaves)
        assert any(not torch.allclose(a, b) for a, b in zip(halves, wholes, strict=True))


def test_order_of_pairs_names_of_modalities_and_rotation() -> None:
    """T16, T17, T18."""
    sets = raw(8, 9, 6)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    turn, other = (torch.linalg.qr(rows)[0] for rows in raw(9, 6, 6)[:2])
    v, x, t, u = sets
    e = EmbeddingSet.build(v, x, t, u)
    for param in every_cell(tau=0.2):
        key, spec = param.values
        plain = value(key, spec, e).item()

        def same(a: list[torch.Tensor], key: CellKey = key, spec: CellSpec = spec, plain: float = plain) -> bool:  # noqa: E501  # fmt: skip
            found = value(key, spec, EmbeddingSet.build(*a)).item()
            return found == pytest.approx(plain, rel=1e-9, abs=1e-12)

        assert same([rows[order] for rows in sets]), key
        assert same([x, v, u, t]), key
        assert same([rows @ turn for rows in sets]), key
        assert same([v @ turn, x @ turn, t, u]) == key.type.endswith("ss"), key
        assert same([v @ turn, x @ other, t, u]) == (key.type == "intra_ss"), key


def test_captions_against_photos_is_the_loss_of_clip() -> None:
    """T20."""
    e = EmbeddingSet.build(*raw(10, 8, 5))
    logits = e.v_s @ e.x_s.T / 0.1
    own = torch.arange(8)
    entropy = torch.nn.functional.cross_entropy
    wanted = (entropy(logits, own) + entropy(logits.T, own)) / 2
    found = value(CellKey("inter_ss", "infonce"), CellSpec(tau=0.1), e)
    torch.testing.assert_close(found, wanted)


def test_pairs_of_one_photo_are_no_negatives() -> None:
    """T22."""
    sets = raw(11, 6, 5)
    key, spec = CellKey("inter_ss", "infonce"), CellSpec(tau=0.2)
    plain = value(key, spec, EmbeddingSet.build(*sets)).item()
    alone = EmbeddingSet.build(*sets, pair_id=torch.arange(6))
    assert value(key, spec, alone).item() == pytest.approx(plain, rel=1e-10)
    # Rows 0 and 5 are captions of one photo, and its vector lies nearer to the second.
    v, x, t, u = sets
    v[5] = v[0]
    x[5] = v[0] + 0.01 * x[5]
    e = EmbeddingSet.build(v, x, t, u, pair_id=torch.tensor([0, 1, 2, 3, 4, 0]))
    total = 0.0
    for m in (e.v_s @ e.x_s.T, e.x_s @ e.v_s.T):
        p = (m / 0.2).softmax(1)
        for row in range(6):
            own = [0, 5] if row in (0, 5) else [row]
            total -= math.log(sum(p[row, j].item() for j in own) / len(own)) / 12
    assert value(key, spec, e).item() == pytest.approx(total, rel=1e-10)
    as_negative = value(key, spec, EmbeddingSet.build(v, x, t, u)).item()
    assert total < as_negative


@pytest.mark.parametrize(("key", "spec"), every_cell(tau=0.01))
def test_half_precision_and_sharp_temperatures_stay_finite(key: CellKey, spec: CellSpec) -> None:
    """T23: bfloat16 embeddings of a large batch, and a row of zeros."""
    made = torch.Generator().manual_seed(0)
    leaves = [torch.randn(1024, 8, generator=made).bfloat16() for _ in range(4)]
    leaves[0][0] = 0.0
    for side in leaves[:2]:
        side.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value(key, spec, EmbeddingSet.build(*leaves))
    assert found.dtype == torch.float32
    found.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(found)
    for side in leaves[:2]:
        assert side.grad is not None and bool(torch.isfinite(side.grad).all())
    exact = value(key, spec, EmbeddingSet.build(*(side.detach().double() for side in leaves)))
    assert found.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-5)


def test_matrices_are_computed_once() -> None:
    cells = {key: CellSpec() for key in GRID}
    e = EmbeddingSet.build(*raw(12, 5, 4))
    products = Products(e)
    KnowledgeGraph(cells).values(e, products=products)
    # intra: student-teacher, student, teacher, each twice; inter: two crossed, two own
    assert products.count == 10


def test_several_cells_are_a_weighted_sum_with_ramps() -> None:
    e = EmbeddingSet.build(*raw(13, 6, 5))
    fd, kl = CellKey("intra_ts", "fd"), CellKey("inter_ss", "kl")
    cells = {fd: CellSpec(weight=2.0), kl: CellSpec(weight=3.0, ramp=(0.5, 1.0))}
    graph = KnowledgeGraph(cells)
    at = {progress: graph(e, progress=progress) for progress in (0.0, 0.75, 1.0)}
    parts = at[0.0].cells
    assert at[0.0].total.item() == pytest.approx(2 * parts[fd], rel=1e-10)
    assert at[0.75].total.item() == pytest.approx(2 * parts[fd] + 1.5 * parts[kl], rel=1e-10)
    assert at[1.0].weighted[kl] == pytest.approx(3 * parts[kl], rel=1e-10)
    stats = graph(e, with_stats=True).stats
    assert stats["intra_ts.positive"] == pytest.approx(
        ((e.v_s * e.v_t).sum(1).mean() + (e.x_s * e.x_t).sum(1).mean()).item() / 2, rel=1e-6
    )


def test_both_ways_of_finding_frozen_keys() -> None:
    e = EmbeddingSet.build(*raw(14, 6, 5))
    key = CellKey("intra_ts", "infonce")
    found = value(key, CellSpec(symmetric_nce=True), e).item()
    parts = [(e.v_s @ e.v_t.T), (e.x_s @ e.x_t.T)]
    both = [infonce_rows(m, 0.07).mean() + infonce_rows(m.T, 0.07).mean() for m in parts]
    assert found == pytest.approx(float(sum(both)) / 4, rel=1e-10)


def test_a_learned_temperature_moves_and_is_bounded() -> None:
    e = EmbeddingSet.build(*raw(15, 6, 5))
    key = CellKey("inter_ss", "infonce")
    graph = KnowledgeGraph({key: CellSpec()}, learn_tau=True)
    (scale,) = graph.parameters()
    graph(e).total.backward()
    assert scale.grad is not None and scale.grad.abs() > 0
    with torch.no_grad():
        scale.fill_(9.0)
    assert float(graph.tau(key).detach()) == pytest.approx(0.01)


@pytest.mark.parametrize("key", GRID, ids=str)
def test_every_cell_builds_and_steps(key: CellKey) -> None:
    """T36."""
    graph = KnowledgeGraph(cell(key.type, key.strategy).cells)
    tower = torch.nn.Linear(6, 4)
    _, _, t, u = (rows.float() for rows in raw(16, 5, 4))
    made = torch.Generator().manual_seed(0)
    seen = [torch.randn(5, 6, generator=made) for _ in range(2)]
    before = tower.weight.detach().clone()
    graph(EmbeddingSet.build(tower(seen[0]), tower(seen[1]), t, u)).total.backward()
    torch.optim.SGD(tower.parameters(), 0.1).step()
    assert not torch.equal(before, tower.weight)


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"intra_ss.infonce": {}}, "intra_ss.infonce is not defined"),
        ({"intra_ss.fd": {}}, "intra_ss.fd is not defined"),
        ({"inter_ss.sym_kl": {"align": "transpose"}, "intra_ts.fd": {}}, "always 0"),
        ({"inter_ss.sym_sd": {"align": "transpose"}, "intra_ts.fd": {}}, "always 0"),
        ({"inter_ts.sym_kl": {}, "intra_ts.sym_sd": {}}, "add an anchored cell"),
        ({"intra_ts.fd": {"weight": 0.0}}, "no active cell"),
        ({"intra_ts.kl": {"tau": 0.0}}, "tau is 0.0; it must be above 0"),
        ({"intra_ts.kl": {"tau_t": -1.0}}, "tau_t is -1.0"),
        ({"intra_ts.fd": {"weight": -1.0}}, "weight is -1.0"),
        ({"intra_ts.fd": {"ramp": [0.9, 0.1]}}, "ramp is"),
        ({"intra_ts.fd": {"align": "transpose"}}, "align is for sym_sd and sym_kl"),
        ({"inter_ss.kl": {"drop_diag": True}}, "drop_diag is for"),
        ({"inter_ss.infonce": {"symmetric_nce": True}}, "symmetric_nce is for"),
        ({"intra_ts.sym_sd": {"edges": "image"}, "intra_ts.fd": {}}, "edges must be both"),
        ({"intra_ts.kll": {}}, "no such cell; did you mean intra_ts.kl?"),
        ({"intra_ts.fd": {"wieght": 1.0}}, "did you mean weight"),
        ({"intra_ts.fd": {"weight": "much"}}, "weight is a number"),
        ({"intra_ts.fd": {"edges": "none"}}, "edges is one of both, image, text"),
        ({"intra_ts.fd": {"ramp": 1}}, "ramp is two shares"),
        ({"intra_ts.kl": {"scale_T2": 1}}, "true or false"),
        ({"intra_ts.fd": 1.0}, "write its options in braces"),
        ({}, "no cells"),
    ],
)
def test_cells_that_cannot_be_trained_are_refused(cells: Mapping[str, Any], says: str) -> None:
    """T36, T37: with a reason."""
    with pytest.raises(BadCells, match=says.replace("?", r"\?")):
        parse_cells({"cells": cells})


def test_cells_come_from_a_file(tmp_path: Any) -> None:
    file = tmp_path / "cells.toml"
    file.write_text('[cells]\n"intra_ts.kl" = { weight = 3, tau = 0.3, ramp = [0, 0.5] }\n')
    (spec,) = read_cells(file).values()
    assert spec == CellSpec(weight=3.0, tau=0.3, ramp=(0.0, 0.5))
    file.write_text("[cells\n")
    with pytest.raises(BadCells, match=r"cells\.toml"):
        read_cells(file)
    assert parse_key("inter_ss.kl") == CellKey("inter_ss", "kl")


def test_every_preset_is_valid_and_trains() -> None:
    e = EmbeddingSet.build(*(rows.requires_grad_() for rows in raw(17, 6, 5)))
    for name, chosen in PRESETS.items():
        total = KnowledgeGraph(chosen.cells, learn_tau=chosen.learn_tau)(e).total
        assert torch.isfinite(total) and total.item() > 0, name
    assert preset("CELL:inter_ss.kl").cells.keys() == {BASE, CellKey("inter_ss", "kl")}
    for wrong in ("CONA3P", "CELL:intra_ss.fd"):
        with pytest.raises(BadCells, match=f"no preset {wrong}"):
            preset(wrong)


def test_presets_are_what_was_published() -> None:
    """Weights of the specification's table, spelt out once more."""

    def weights(name: str) -> dict[str, float]:
        return {str(key): spec.weight for key, spec in PRESETS[name].cells.items()}

    cona = {
        "intra_ts.infonce": 1.0,
        "intra_ts.sd": 1.0,
        "intra_ts.sym_sd": 1.0,
        "intra_ss.sd": 1.0,
        "inter_ts.infonce": 1.0,
        "inter_ts.sym_kl": 0.3,
        "inter_ss.infonce": 1.0,
        "inter_ss.sd": 1.0,
    }
    assert weights("CONA_3P") == cona == weights("CONA_T")
    turned = {key for key, spec in PRESETS["CONA_T"].cells.items() if spec.align != "row"}
    assert turned == {CellKey("inter_ts", "sym_kl")}
    assert weights("BASE") == weights("MOTIS_1") == {"intra_ts.infonce": 1.0}
    assert weights("STRONG") == {
        "intra_ts.infonce": 1.0,
        "intra_ts.fd": 8.0,
        "inter_ts.kl": 1.0,
        "inter_ss.kl": 1.0,
    }
    assert weights("CLIPKD")["intra_ts.fd"] == 3.9
    assert weights("MOBILECLIP") == {"inter_ss.kl": 1.0}
    tau = with_teacher_tau(PRESETS["STRONG"].cells, 0.02)
    taus = {str(key): spec.tau_t for key, spec in tau.items()}
    assert taus["inter_ts.kl"] == taus["inter_ss.kl"] == 0.02
    assert taus["intra_ts.fd"] is None


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (lambda s: [s[0], s[1][:4], s[2], s[3]], MismatchedShapes, r"student text .* \(4, 5\)"),
        (lambda s: [s[0], s[1], s[2][:, :3], s[3]], MismatchedShapes, r"teacher image .* \(6, 3\)"),
        (lambda s: [rows[:0] for rows in s], MismatchedShapes, "above 0"),
        (lambda s: [s[0], s[1], s[2], s[3] / 0], NotFinite, "teacher text"),
        (lambda s: [s[0] * float("nan"), *s[1:]], NotFinite, r"student image .* rows \[0, 1"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(damage: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        EmbeddingSet.build(*damage(raw(18, 6, 5)))
    with pytest.raises(MismatchedShapes, match="pair_id"):
        EmbeddingSet.build(*raw(18, 6, 5), pair_id=torch.arange(3))


def test_a_row_without_a_positive_is_refused() -> None:
    mask = torch.eye(4, dtype=torch.bool)
    mask[2, 2] = False
    with pytest.raises(NoPositives, match="row 2 of the batch has no positive"):
        infonce_rows(torch.rand(4, 4), 0.1, pos_mask=mask)
    assert np.isfinite(infonce_rows(torch.rand(4, 4), 0.1).numpy()).all()
