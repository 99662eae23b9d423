"""Recall (T34), balance, collapse (T37), progress and CSV."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.distillation.balance import GradMatch, gradient_norm  # noqa: E402
from models.distillation.cells import CellKey, CellSpec  # noqa: E402
from models.distillation.embeddings import EmbeddingSet  # noqa: E402
from models.distillation.errors import BadCells, MismatchedShapes  # noqa: E402
from models.distillation.graph import KnowledgeGraph  # noqa: E402
from models.distillation.monitor import (  # noqa: E402
    CollapseWatch,
    CsvMetrics,
    Progress,
    duration,
    mean_off_diagonal,
)
from models.distillation.recall import (  # noqa: E402
    bootstrap_interval,
    both_directions,
    expected_ranks,
    recall_at_k,
)
from models.distillation.similarity import l2_normalize  # noqa: E402


def test_recall() -> None:
    """T34."""
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    perfect = recall_at_k(torch.eye(50)[order], torch.eye(50), order)
    assert perfect["r1"] == 100.0 and perfect["median_rank"] == 1.0
    same = torch.ones(50, 4)
    chance = recall_at_k(same, same, torch.arange(50))
    for k in (1, 5, 10):
        assert chance[f"r{k}"] == pytest.approx(100 * k / 50, abs=1e-4)
    made = torch.Generator().manual_seed(1)
    image, text = torch.randn(20, 6, generator=made), torch.randn(100, 6, generator=made)
    owner = torch.arange(20).repeat_interleave(5)
    whole = both_directions(image, text, owner)
    scores = text @ image.T
    hits = [int((scores[q] > scores[q, owner[q]]).sum()) < 5 for q in range(100)]
    assert whole["t2i_r5"] == pytest.approx(sum(hits))
    back = [int((scores[:, n] > scores[owner == n, n].max()).sum()) < 1 for n in range(20)]
    assert whole["i2t_r1"] == pytest.approx(5 * sum(back))
    assert whole["rsum"] == pytest.approx(sum(v for k, v in whole.items() if k != "rsum"))
    chunked = expected_ranks(text, image, owner, chunk=7)
    for one, other in zip(chunked, expected_ranks(text, image, owner), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(MismatchedShapes, match="query 1 has no true item"):
        recall_at_k(image[:2], text, [{0}, set()])
    with pytest.raises(MismatchedShapes, match="truth of 1"):
        recall_at_k(image[:2], text, [{0}])
    low, high = bootstrap_interval(torch.tensor(hits), generator=made)
    assert low < sum(hits) < high


def test_gradients_are_matched_and_symmetric_cells_kept_small() -> None:
    made = torch.Generator().manual_seed(0)
    tower = torch.nn.Linear(6, 5)
    seen, t = torch.randn(8, 6, generator=made), torch.randn(8, 5, generator=made)
    base = CellKey("intra_ts", "infonce")
    fd, sym = CellKey("intra_ts", "fd"), CellKey("inter_ts", "sym_kl")
    graph = KnowledgeGraph({base: CellSpec(), fd: CellSpec(weight=4.0), sym: CellSpec()})
    parameters = list(tower.parameters())

    def values() -> dict[CellKey, torch.Tensor]:
        return graph.values(EmbeddingSet.build(tower(seen), tower(seen.roll(1, 0)), t, t.flip(0)))

    balance = GradMatch(1.0)
    assert balance.due(0) and balance.due(100) and not balance.due(1)
    found = balance.update(graph, values(), parameters, 0)
    norms = {key: gradient_norm(value, parameters) for key, value in values().items()}
    assert found[base] == 1.0
    assert found[fd] * 4.0 * norms[fd] == pytest.approx(norms[base], rel=1e-5)
    assert found[sym] * norms[sym] == pytest.approx(0.1 * norms[base], rel=1e-5)
    assert tower.weight.grad is None
    before = dict(found)
    tower.weight.data *= 3
    later = balance.update(graph, values(), parameters, 100)
    wanted = gradient_norm(values()[base], parameters) / gradient_norm(values()[fd], parameters) / 4
    assert later[fd] == pytest.approx(0.9 * before[fd] + 0.1 * wanted, rel=1e-4)
    with pytest.raises(BadCells, match="above 0"):
        GradMatch(0.0)
    with pytest.raises(BadCells, match="no gradient"):
        GradMatch(base=CellKey("inter_ss", "kl")).update(graph, values(), parameters, 0)


def test_collapse_is_noticed_early_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """T37."""
    made = torch.Generator().manual_seed(0)
    apart = l2_normalize(torch.randn(16, 8, generator=made))
    one_point = l2_normalize(torch.ones(16, 8) + 0.01 * torch.randn(16, 8, generator=made))
    cosines = one_point @ one_point.T
    wanted = (cosines.sum() - cosines.trace()) / (16 * 15)
    assert mean_off_diagonal(one_point) == pytest.approx(wanted.item(), abs=1e-5)
    assert mean_off_diagonal(apart[:1]) == 0.0
    watch = CollapseWatch()
    with caplog.at_level(logging.WARNING):
        assert not any(watch.see(one_point, step) for step in range(99))
        assert not watch.see(apart, 99)  # a good step starts the count again
        said = [step for step in range(300) if watch.see(one_point, step)]
    assert said == [99]
    assert "train.collapse step=99" in caplog.text


def test_progress_tells_the_time_left_at_this_process_rate() -> None:
    now = [0.0]
    progress = Progress(100, 32, lambda: now[0], done=40)  # a resumed run
    now[0] = 4.0
    assert progress.line(42, 0.5) == "step 42/100 loss 0.5000 16 photos/s, 1 min 56 s left"
    first = Progress(100, 32, lambda: now[0])
    now[0] = 14.0  # the first line of a run that says one every ten steps
    assert first.line(10, 1.0) == "step 10/100 loss 1.0000 32 photos/s, 1 min 30 s left"
    assert [duration(s) for s in (5, 65, 3725)] == ["5 s", "1 min 5 s", "1 h 2 min"]


def test_metrics_go_on_where_a_resumed_run_does(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    metrics = CsvMetrics(file)
    for step in (10, 20, 30):
        metrics.write(step, {"loss": 1.0 / step})
    resumed = CsvMetrics(file, resume_step=20)
    resumed.write(30, {"loss": 0.5})
    assert file.read_text().splitlines() == ["step,loss", "10,0.1", "20,0.05", "30,0.5"]
    with pytest.raises(ValueError, match="columns changed"):
        resumed.write(40, {"other": 1.0})
    fresh = CsvMetrics(file)
    fresh.write(1, {"loss": 2.0})
    assert file.read_text().splitlines() == ["step,loss", "1,2"]
