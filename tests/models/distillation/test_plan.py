"""The toy world's experiments: which trials are planned, and what is read from their rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from benchmarks import ablation, distillation, toy_student  # noqa: E402
from benchmarks.toy_plan import (  # noqa: E402
    COARSE,
    PLAN,
    TAUS,
    WEIGHTS,
    beside_base,
    grid,
    refining,
    tuned,
    tuning,
    variants,
)
from benchmarks.toy_student import Negatives, Trial  # noqa: E402
from models.distillation.cells import CellKey  # noqa: E402
from models.distillation.embeddings import EmbeddingSet  # noqa: E402
from models.distillation.miner import MinedBatch  # noqa: E402
from models.distillation.similarity import l2_normalize  # noqa: E402
from models.distillation.toy import ToyEncoder, World  # noqa: E402

KL, SD = CellKey("inter_ss", "kl"), CellKey("intra_ts", "sd")


def row(key: CellKey, weight: float, tau: float, rsum: float, **more: Any) -> dict[str, Any]:
    trial = Trial("tune", str(key), 0, beside_base(key, "row", weight, tau))
    return {
        "experiment": "tune",
        "name": trial.name,
        "seed": 0,
        "rsum": rsum,
        "config": dataclasses.asdict(trial),
        **more,
    }


ROWS = [
    row(KL, 0.1, 0.07, 100.0),
    row(KL, 1.0, 0.3, 300.0),
    row(KL, 10.0, 0.3, 200.0),
    row(SD, 0.1, 0.07, 5.0),
    row(SD, 10.0, 0.07, 9.0),
]


def test_every_cell_is_tuned_at_every_coarse_weight_and_temperature() -> None:
    found = list(tuning([]))
    with_tau = [key for key, _ in variants() if key.strategy in ("infonce", "kl", "sym_kl")]
    plain = len(list(variants())) - len(with_tau)
    assert len(found) == 1 + len(COARSE) * (len(TAUS) * len(with_tau) + plain)
    assert {trial.held_out for trial in found} == {"validation"}
    assert len({trial.key for trial in found}) == len(found)


def test_the_best_weights_neighbours_come_next_and_again_the_same() -> None:
    wanted = {("inter_ss.kl", 0.3, 0.3), ("inter_ss.kl", 3.0, 0.3)}
    wanted |= {("intra_ts.sd", 3.0, None), ("intra_ts.sd", 30.0, None)}

    def planned(rows: list[dict[str, Any]]) -> set[tuple[str, float, float | None]]:
        cells = [(trial.name, trial.cells[trial.name]) for trial in refining(rows)]
        return {(name, cell["weight"], cell.get("tau")) for name, cell in cells}

    assert planned(ROWS) == wanted
    # One of them done, and better: the plan is still what it was.
    assert planned([*ROWS, row(KL, 3.0, 0.3, 400.0)]) == wanted
    assert set(COARSE) < set(WEIGHTS)


def test_the_grid_trains_with_what_tuning_found() -> None:
    best = tuned([*ROWS, row(KL, 3.0, 0.3, 400.0)])
    assert best["inter_ss.kl"]["inter_ss.kl"] == {"weight": 3.0, "tau": 0.3}
    trials = list(grid(ROWS))
    assert {trial.name for trial in trials} == {"BASE", "inter_ss.kl", "intra_ts.sd"}
    assert {trial.held_out for trial in trials} == {"test"}
    assert all(trial.cells == tuned(ROWS)[trial.name] for trial in trials if trial.name != "BASE")


def test_rows_that_are_there_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    class Bench:
        def __init__(self, cache: Path) -> None:
            del cache

        def run(self, trial: Trial) -> dict[str, float]:
            ran.append(trial.key)
            return {"rsum": 1.0}

    monkeypatch.setattr(distillation, "Bench", Bench)
    file = tmp_path / "rows.jsonl"
    for _ in range(2):
        distillation.run(file, ["E9"], tmp_path)
    assert len(ran) == len(list(PLAN["E9"]([]))) == len(set(ran))
    for line in file.read_text().splitlines():
        found = json.loads(line)
        assert Trial(**found["config"]).key == found["key"]


def test_mined_and_random_negatives_pass_the_same_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the comparison of the two would be one of having a filter."""
    monkeypatch.setattr(toy_student, "PAIRS", 400)
    data = World().pairs(400, seed=4)
    torch.manual_seed(0)
    teacher, student = ToyEncoder(16, 1), ToyEncoder(16, 1)
    with torch.no_grad():
        image, text = (l2_normalize(side) for side in teacher(data.image, data.caption))
        rows = torch.arange(32)
        e = EmbeddingSet.build(
            *student(data.image[rows], data.caption[rows]), image[:32], text[:32]
        )
    chosen: list[MinedBatch] = []

    def keep(config: object, scores: torch.Tensor, found: MinedBatch) -> torch.Tensor:
        chosen.append(found)
        return scores.mean()

    monkeypatch.setattr(toy_student, "apply_dcd", keep)
    hardness = {}
    for mined in (True, False):
        chosen.clear()
        dcd = {"fn_filter": "teacher_margin", "margin": 0.95, "k": 7, "pool": 64}
        Negatives(Trial("E8", "", 0, {}, dcd=dcd, mined=mined), data, image, text).loss(
            student, e, rows
        )
        for found in chosen:
            own = found.t_scores[:, :1]
            fits = found.t_scores[:, 1:] <= own - 0.05 * own.abs() + 1e-6
            assert fits[found.valid[:, 1:]].all(), mined
        hardness[mined] = sum(float(found.t_scores[:, 1:].mean()) for found in chosen)
    assert hardness[True] > hardness[False]


def test_the_kept_rows_are_those_of_their_configurations() -> None:
    """A row whose trial has changed since would be told as what it is not."""
    rows = distillation.read(Path(__file__).parents[3] / distillation.ROWS)
    assert len(rows) > 300
    assert all(Trial(**found["config"]).key == found["key"] for found in rows)
    assert len({found["key"] for found in rows}) == len(rows)


def test_the_best_cell_of_each_type_goes_to_the_real_photos(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{**one, "experiment": "E1"} for one in (*ROWS, row(CellKey("inter_ss", "sd"), 1, 1, 1))]
    file.write_text("\n".join(map(json.dumps, rows)))
    best = ablation.best_cells(file)
    assert set(best) == {"best inter_ss: inter_ss.kl", "best intra_ts: intra_ts.sd"}
