"""DCD: the miner, difficulty and weights, candidates, banks (T25 to T30, T32)."""

from __future__ import annotations

import dataclasses
import math

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.distillation.bank import MomentumBank, TeacherBank  # noqa: E402
from models.distillation.cells import CellKey, CellSpec  # noqa: E402
from models.distillation.dynamic import (  # noqa: E402
    DCD_PRESETS,
    Difficulty,
    RowWeights,
    apply_dcd,
    candidate_kd_rows,
    dcd_loss,
    dcd_weights,
    wsl_weights,
)
from models.distillation.embeddings import EmbeddingSet  # noqa: E402
from models.distillation.errors import MismatchedShapes  # noqa: E402
from models.distillation.graph import KnowledgeGraph  # noqa: E402
from models.distillation.losses import infonce_rows, kl_rows  # noqa: E402
from models.distillation.miner import HardNegativeMiner, MinedBatch  # noqa: E402
from models.distillation.similarity import l2_normalize  # noqa: E402

ITEMS, WIDTH = 40, 6


def bank_of(count: int = ITEMS, seed: int = 0) -> TeacherBank:
    made = torch.Generator().manual_seed(seed)
    bank = TeacherBank(WIDTH, count)
    sides = (torch.randn(count, WIDTH, generator=made) for _ in range(2))
    bank.push(torch.arange(count) * 3, *sides)  # ids are not positions
    return bank


def mined(
    miner: HardNegativeMiner, *, rows: int = 9, seed: int = 1
) -> tuple[MinedBatch, TeacherBank]:
    bank = bank_of()
    query = bank.rows("image")[:rows]
    scores, ids = bank.scores(query, "text")
    made = torch.Generator().manual_seed(seed)
    batch = miner.mine(
        scores,
        ids.expand(rows, -1),
        ids[:rows],
        scores[torch.arange(rows), torch.arange(rows)],
        bank,
        generator=made,
    )
    return batch, bank


@pytest.mark.parametrize("mode", ["topk", "sample_topk", "band"])
@pytest.mark.parametrize("fn_filter", ["none", "teacher_margin"])
@pytest.mark.parametrize("pool", [0, 16])
def test_what_the_miner_promises(mode: str, fn_filter: str, pool: int) -> None:
    """T25, T26: columns, scores and vectors speak of the same items, wherever it ranks."""
    miner = HardNegativeMiner(5, pool, mode, fn_filter)  # type: ignore[arg-type]
    batch, bank = mined(miner)
    again, _ = mined(miner)
    assert torch.equal(batch.key_ids, again.key_ids)
    assert torch.equal(batch.key_ids[:, 0], torch.arange(9) * 3)
    assert batch.t_keys is not None and batch.t_own is not None
    for row in range(9):
        kept = batch.key_ids[row][batch.valid[row]].tolist()
        assert len(set(kept)) == len(kept)
        assert kept[1:].count(3 * row) == 0  # the positive is no negative
        if (mode, pool) == ("topk", 0):
            every = bank.rows("image")[row] @ bank.rows("text").T
            own = every[row]
            allowed = (
                every <= own - 0.05 * own.abs() if fn_filter == "teacher_margin" else every < 9
            )
            left = [int(i) for i in bank.ids[allowed] if int(i) not in kept and int(i) != 3 * row]
            worst_kept = min(every[i // 3] for i in kept[1:]) if kept[1:] else -9.0
            assert all(every[i // 3] <= worst_kept + 1e-6 for i in left)
            assert len(kept) == 6 or not left
        for column in range(6):
            if not batch.valid[row, column]:
                continue
            place = int((bank.ids == batch.key_ids[row, column]).nonzero())
            assert torch.equal(batch.t_keys[row, column], bank.rows("text")[place])
            assert torch.equal(batch.t_own[row, column], bank.rows("image")[place])
            again_score = bank.rows("image")[row] @ bank.rows("text")[place]
            assert batch.t_scores[row, column].item() == pytest.approx(again_score.item(), abs=1e-6)
            if fn_filter == "teacher_margin" and column:
                own = batch.t_scores[row, 0]
                assert batch.t_scores[row, column] <= own - 0.05 * own.abs() + 1e-6


def test_the_hardest_are_kept_ties_by_id_and_gaps_are_padded() -> None:
    scores = torch.tensor([[0.9, 0.5, 0.5, 0.1, 0.7, 0.7]])
    ids = torch.tensor([[10, 7, 3, 8, 10, 5]])
    miner = HardNegativeMiner(3, 0, fn_filter="none")
    positive = torch.tensor([99]), torch.tensor([0.2])
    found = miner.mine(scores, ids, *positive)
    assert found.key_ids.tolist() == [[99, 10, 5, 3]]  # 10 once, at its first score
    assert found.t_scores[0].tolist() == pytest.approx([0.2, 0.9, 0.7, 0.5])
    few = HardNegativeMiner(7, 0, fn_filter="none").mine(scores, ids, *positive)
    assert few.valid.sum().item() == 6  # the positive and five different others
    assert few.key_ids.shape == (1, 8)
    flagged = torch.tensor([[False, False, False, True, False, True]])
    known = HardNegativeMiner(7, 0, fn_filter="pair_id").mine(
        scores, ids, *positive, duplicates=flagged
    )
    kept = known.key_ids[known.valid].tolist()
    assert 8 not in kept and 5 not in kept
    own = HardNegativeMiner(5, 0, fn_filter="none").mine(
        scores, ids, torch.tensor([10]), torch.tensor([0.9])
    )
    assert own.key_ids[own.valid].tolist().count(10) == 1
    with pytest.raises(MismatchedShapes, match="do not belong together"):
        miner.mine(scores, ids[:, :3], *positive)
    with pytest.raises(MismatchedShapes, match="k 0"):
        HardNegativeMiner(0)


def test_difficulty_in_closed_form() -> None:
    """T27."""
    flat, sure = torch.zeros(4, 6), torch.zeros(4, 6)
    sure[:, 0] = 2000.0
    hard = Difficulty()
    torch.testing.assert_close(hard(flat), torch.ones(4))
    torch.testing.assert_close(hard(sure), torch.zeros(4))
    batch_sum = Difficulty(norm="batch_sum")
    torch.testing.assert_close(batch_sum(flat), torch.full((4,), 0.25))
    made = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 6, generator=made)
    plain = hard(scores)
    assert ((plain >= 0) & (plain <= 1)).all()
    torch.testing.assert_close(hard(scores[:, [3, 1, 0, 5, 2, 4]]), plain)
    torch.testing.assert_close(hard(scores + torch.arange(4.0)[:, None]), plain)
    # Half the columns missing: the entropy is told against those that are there.
    valid = torch.ones(4, 6, dtype=torch.bool)
    valid[:, 3:] = False
    torch.testing.assert_close(hard(flat, valid=valid), torch.ones(4))
    torch.testing.assert_close(hard(scores, valid=valid), hard(scores[:, :3]))
    standard = Difficulty(zscore=True)
    torch.testing.assert_close(standard(scores * 7 + 2), standard(scores))
    margin = Difficulty("teacher_margin")
    torch.testing.assert_close(margin(flat), torch.ones(4))
    torch.testing.assert_close(margin(sure), torch.zeros(4))
    with pytest.raises(ValueError, match="pass s_scores"):
        Difficulty("student_teacher_ratio")(scores)
    assert Difficulty("student_teacher_ratio")(scores, scores)[0].item() == pytest.approx(
        1 - math.exp(-1), abs=1e-5
    )
    torch.testing.assert_close(Difficulty("uniform")(scores), torch.ones(4))


def test_row_weights_follow_difficulty() -> None:
    """T28."""
    h = torch.tensor([0.0, 0.2, 0.7, 1.0])
    w = dcd_weights(h)
    for part in (w.w_label, w.w_kd):
        assert part.sum().item() == pytest.approx(1.0)
    assert (w.w_label.diff() > 0).all() and (w.w_kd.diff() < 0).all()
    assert (w.w_kd.max() / w.w_kd.min()).item() <= math.e + 1e-5
    even = dcd_weights(torch.full((5,), 0.3))
    torch.testing.assert_close(even.w_label, torch.full((5,), 0.2))
    torch.testing.assert_close(even.w_kd, torch.full((5,), 0.2))
    torch.testing.assert_close(dcd_weights(torch.zeros(4)).w_label, torch.full((4,), 0.25))
    # The published normalisation loses its effect as the batch grows.
    spans = []
    for count in (8, 64, 512):
        made = torch.rand(count, generator=torch.Generator().manual_seed(0))
        weights = dcd_weights(made / made.sum()).w_kd
        spans.append((weights.max() / weights.min()).item())
    assert spans[0] > spans[1] > spans[2]
    assert spans[2] < 1.02


def candidates(seed: int = 0, rows: int = 6) -> tuple[torch.Tensor, MinedBatch]:
    made = torch.Generator().manual_seed(seed)
    s, t = (torch.randn(rows, 8, generator=made, dtype=torch.float64) for _ in range(2))
    ids = torch.arange(8).expand(rows, -1)
    return s, MinedBatch(ids, t, torch.ones(rows, 8, dtype=torch.bool))


def test_published_weights_do_nothing() -> None:
    """T29: a scalar times weights that sum to 1 is the scalar."""
    s, batch = candidates()
    hard = Difficulty(norm="batch_sum")(batch.t_scores)
    w = dcd_weights(hard)
    label = RowWeights(w.w_label, torch.full((6,), 1 / 6, dtype=torch.float64))
    options = {"alpha": 1.0, "label_loss": "bce", "kd_kind": "mse"}
    released = dcd_loss(s, batch, w, scalar_kd=True, **options)  # type: ignore[arg-type]
    plain = (s - batch.t_scores).square().mean()
    assert released.item() == pytest.approx(plain.item(), abs=1e-12)
    assert dcd_loss(s, batch, label, **options).item() == pytest.approx(plain.item(), abs=1e-12)  # type: ignore[arg-type]
    log_w = dcd_weights(Difficulty()(batch.t_scores))
    paper = dcd_loss(s, batch, log_w, **options)  # type: ignore[arg-type]
    assert abs(paper.item() - plain.item()) > 1e-6
    # And its columns are those of other captions wherever the positive does not rank first.
    assert apply_dcd(DCD_PRESETS["RELEASED"], s, batch).item() != pytest.approx(
        apply_dcd(dataclasses.replace(DCD_PRESETS["RELEASED"], aligned=True), s, batch).item()
    )
    ranked = dataclasses.replace(batch, t_scores=batch.t_scores.sort(1, descending=True).values)
    assert apply_dcd(DCD_PRESETS["RELEASED"], s, ranked).item() == pytest.approx(
        apply_dcd(dataclasses.replace(DCD_PRESETS["RELEASED"], aligned=True), s, ranked).item()
    )


def test_weighted_soft_labels() -> None:
    """T30."""
    ones = torch.ones(3)
    torch.testing.assert_close(wsl_weights(ones, ones), torch.full((3,), 1 - math.exp(-1)))
    assert wsl_weights(torch.zeros(2), torch.ones(2)).tolist() == [0.0, 0.0]
    assert (wsl_weights(torch.arange(5.0), torch.ones(5)).diff() > 0).all()
    assert not wsl_weights(ones.requires_grad_(), ones).requires_grad


@pytest.mark.parametrize("kind", ["mse", "listwise_kl", "zscore_kl", "partial_rank"])
def test_distilling_candidates(kind: str) -> None:
    s, batch = candidates(3)
    s.requires_grad_()
    rows = candidate_kd_rows(s, batch.t_scores, batch.valid, kind, 0.5)  # type: ignore[arg-type]
    assert (rows >= 0).all() and rows.shape == (6,)
    assert torch.autograd.gradcheck(
        lambda a: candidate_kd_rows(a, batch.t_scores, batch.valid, kind, 0.5),  # type: ignore[arg-type]
        (s,),
        fast_mode=True,
    )
    # Columns that are not there change nothing, whatever stands in them.
    padded = torch.nn.functional.pad(s, (0, 2), value=5.0)
    teacher = torch.nn.functional.pad(batch.t_scores, (0, 2), value=-9.0)
    valid = torch.nn.functional.pad(batch.valid, (0, 2), value=False)
    torch.testing.assert_close(candidate_kd_rows(padded, teacher, valid, kind, 0.5), rows)  # type: ignore[arg-type]


def test_standardised_and_ranked_targets_ignore_the_teachers_scale() -> None:
    s, batch = candidates(4)
    for kind in ("zscore_kl", "partial_rank"):
        one = candidate_kd_rows(s, batch.t_scores, batch.valid, kind, 0.5)  # type: ignore[arg-type]
        other = candidate_kd_rows(s, 9 * batch.t_scores + 4, batch.valid, kind, 0.5)  # type: ignore[arg-type]
        torch.testing.assert_close(one, other)
    good = candidate_kd_rows(9 * batch.t_scores, batch.t_scores, batch.valid, "partial_rank", 0.1)
    bad = candidate_kd_rows(-9 * batch.t_scores, batch.t_scores, batch.valid, "partial_rank", 0.1)
    assert good.mean() < 0.1 < bad.mean()


@pytest.mark.parametrize("name", sorted(DCD_PRESETS))
def test_presets_train_towards_the_positive(name: str) -> None:
    """A few steps on free scores put column 0 first where the teacher agrees."""
    _, batch = candidates(5)
    agreeing = batch.t_scores.clone()
    agreeing[:, 0] = agreeing.max() + 1
    batch = dataclasses.replace(batch, t_scores=agreeing)
    s = torch.zeros(6, 8, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([s], 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss = apply_dcd(DCD_PRESETS[name], s, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert (s.argmax(dim=1) == 0).all()


def test_the_bank_is_a_queue() -> None:
    """T32."""
    bank = TeacherBank(2, 5)
    rows = torch.arange(14.0).reshape(7, 2) + 1
    for start in (0, 3):
        part = rows[start : start + (3 if start == 0 else 4)]
        ids = torch.arange(start, start + len(part))
        bank.push(ids, part.clone().requires_grad_(), -part)
    assert bank.ids.tolist() == [2, 3, 4, 5, 6]
    assert not bank.rows("image").requires_grad
    assert torch.equal(bank.rows("image"), l2_normalize(rows)[2:])
    assert torch.equal(bank.rows("text"), l2_normalize(-rows)[2:])
    scores, ids = bank.scores(l2_normalize(rows)[:2], "text")
    assert scores.shape == (2, 5) and ids is bank.ids
    none = TeacherBank(2, 0)
    none.push(torch.arange(3), rows[:3], rows[:3])
    assert len(none) == 0
    again = TeacherBank(2, 5)
    again.restore(bank.state())
    assert torch.equal(again.rows("text"), bank.rows("text"))
    with pytest.raises(MismatchedShapes, match="do not fit"):
        bank.push(torch.arange(2), rows[:3], rows[:3])
    with pytest.raises(MismatchedShapes, match="does not hold"):
        HardNegativeMiner(1, 0).mine(
            torch.zeros(1, 2), torch.tensor([[77, 78]]), torch.tensor([3]), torch.ones(1), bank
        )


def test_a_momentum_bank_follows_the_student_slowly() -> None:
    bank = MomentumBank(2, 4, momentum=0.75)
    follower, student = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    before = follower.weight.detach().clone()
    bank.follow(follower, student)
    torch.testing.assert_close(follower.weight, 0.75 * before + 0.25 * student.weight)
    with pytest.raises(MismatchedShapes, match="momentum"):
        MomentumBank(2, 4, momentum=1.0)


@pytest.mark.parametrize("type_", ["intra_ts", "inter_ts", "inter_ss", "intra_ss"])
def test_mined_negatives_join_any_cell(type_: str) -> None:
    """As further columns; of student-student types only with the student's own vectors."""
    made = torch.Generator().manual_seed(2)
    v, x, t, u = (l2_normalize(torch.randn(4, WIDTH, generator=made)) for _ in range(4))
    keys, own, s_keys, s_own = (
        l2_normalize(torch.randn(4, 3, WIDTH, generator=made)) for _ in range(4)
    )
    valid = torch.ones(4, 3, dtype=torch.bool)
    valid[1, 2] = False
    batch = MinedBatch(torch.zeros(4, 3, dtype=torch.long), torch.zeros(4, 3), valid, "i2t",
                       t_keys=keys, t_own=own)  # fmt: skip
    e = EmbeddingSet.build(v, x, t, u)
    for strategy in ("infonce", "kl", "sd"):
        if (type_, strategy) == ("intra_ss", "infonce"):
            continue
        key = CellKey(type_, strategy)  # type: ignore[arg-type]
        graph = KnowledgeGraph({key: CellSpec(edges="image")})
        plain = graph.values(e)[key].item()
        found = graph.values(e, negatives=[batch])[key].item()
        full = dataclasses.replace(batch, s_keys=s_keys, s_own=s_own)
        assert (found != plain) == type_.endswith("ts")
        assert graph.values(e, negatives=[full])[key].item() != plain
        other = KnowledgeGraph({key: CellSpec(edges="text")})
        assert other.values(e, negatives=[full])[key] == other.values(e)[key]
    if type_ == "inter_ts":
        m = torch.cat((v @ u.T, torch.einsum("nd,nkd->nk", v, keys[:, 1:])), dim=1)
        target = torch.cat((t @ u.T, torch.einsum("nd,nkd->nk", t, keys[:, 1:])), dim=1)
        hidden = torch.zeros_like(m, dtype=torch.bool)
        hidden[1, 5] = True
        key = CellKey("inter_ts", "infonce")
        graph = KnowledgeGraph({key: CellSpec(edges="image")})
        torch.testing.assert_close(
            graph.values(e, negatives=[batch])[key],
            infonce_rows(m, 0.07, ignore_mask=hidden).mean(),
        )
        key = CellKey("inter_ts", "kl")
        graph = KnowledgeGraph({key: CellSpec(edges="image")})
        wanted = kl_rows(m, target, 0.07, 0.07, mask=~hidden).mean()
        torch.testing.assert_close(graph.values(e, negatives=[batch])[key], wanted)


def test_row_weights_reach_cells_by_kind() -> None:
    made = torch.Generator().manual_seed(3)
    e = EmbeddingSet.build(*(torch.randn(5, WIDTH, generator=made) for _ in range(4)))
    label, kd = torch.eye(5)[1], torch.eye(5)[2]
    weights = RowWeights(w_label=label, w_kd=kd)
    nce, fd = CellKey("inter_ss", "infonce"), CellKey("intra_ts", "fd")
    found = KnowledgeGraph({nce: CellSpec(), fd: CellSpec()}).values(e, row_weight=weights)
    rows = [infonce_rows(m, 0.07)[1] for m in (e.v_s @ e.x_s.T, e.x_s @ e.v_s.T)]
    torch.testing.assert_close(found[nce], (rows[0] + rows[1]) / 2)
    gaps = [(e.v_s - e.v_t).square().sum(1)[2], (e.x_s - e.x_t).square().sum(1)[2]]
    torch.testing.assert_close(found[fd], (gaps[0] + gaps[1]) / 2)
