"""Mined negatives and row weights in any cell, from items that a run has seen before."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from models.distillation.candidates import Candidates, row_weights, student_scores  # noqa: E402
from models.distillation.cells import CellKey, CellSpec  # noqa: E402
from models.distillation.dynamic import DcdConfig  # noqa: E402
from models.distillation.errors import BadCells, TeacherMissing  # noqa: E402
from models.distillation.graph import KnowledgeGraph  # noqa: E402
from models.distillation.similarity import l2_normalize  # noqa: E402
from models.distillation.stages import run  # noqa: E402
from models.distillation.targets import Targets, graph_loss  # noqa: E402
from tests.models.distillation import reference  # noqa: E402
from tests.models.distillation.runs import tiny_recipe, tiny_teacher  # noqa: E402

PAIRS, WIDTH, SEEN, K = 5, 6, 14, 3
CONFIG = DcdConfig(k=K, pool=0, fn_filter="none", tau_w=0.5, tau_s=0.5)


class Follower(torch.nn.Module):
    """A student of one matrix a side."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.image = torch.nn.Parameter(scale * torch.eye(WIDTH, dtype=torch.float64))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows @ self.image


def drawn(count: int, made: torch.Generator) -> torch.Tensor:
    return l2_normalize(torch.randn(count, WIDTH, generator=made, dtype=torch.float64))


class World:
    """Items seen before, and a batch of others, in float64."""

    def __init__(self, *, followed: bool) -> None:
        made = torch.Generator().manual_seed(0)
        self.student, follower = Follower(1.0), Follower(3.0)
        self.candidates = Candidates(
            CONFIG, WIDTH, follower=follower if followed else None, momentum=0.75
        )
        self.t_image, self.t_text = drawn(SEEN, made), drawn(SEEN, made)
        raw = [torch.randn(SEEN, WIDTH, generator=made, dtype=torch.float64) for _ in range(2)]
        ids = torch.arange(SEEN) * 7
        # In two steps, the first of which shows six items as they no longer are.
        old = Targets(drawn(6, made), drawn(6, made), 1.0)
        self.push(ids[:6], old, [rows[:6] * 0 + 1 for rows in raw])
        self.push(ids, Targets(self.t_image, self.t_text, 1.0), raw)
        self.s_image, self.s_text = (l2_normalize(follower(rows)).detach() for rows in raw)
        self.v, self.x, v_t, x_t = (drawn(PAIRS, made) for _ in range(4))
        self.target = Targets(v_t, x_t, 1.0)
        self.ids = torch.arange(PAIRS) * 7 + 1000

    def push(self, ids: torch.Tensor, target: Targets, raw: list[torch.Tensor]) -> None:
        def embed(student: Any) -> tuple[torch.Tensor, torch.Tensor]:
            return student(raw[0]), student(raw[1])

        self.candidates.push(ids, target, self.student, embed)

    def loss(
        self, cell: CellKey, weight: str, v: torch.Tensor, x: torch.Tensor, *, columns: bool
    ) -> torch.Tensor:
        mined = self.candidates.mine(self.target, self.ids, torch.Generator())
        graph = KnowledgeGraph({cell: CellSpec(tau=0.5)})
        return graph_loss(
            graph,
            v,
            x,
            [self.target],
            self.target,
            pair_id=self.ids,
            progress=0.0,
            row_weight=row_weights(weight, CONFIG, mined, v, x),  # type: ignore[arg-type]
            negatives=mined if columns else (),
        ).total

    def by_hand(self, cell: CellKey, weight: str, v: Any, x: Any, *, columns: bool) -> float:
        """The same from loops over numbers."""
        sets = {"vs": v, "xs": x, "vt": self.target.image, "xt": self.target.text}
        seen = {"vs": self.s_image, "xs": self.s_text, "vt": self.t_image, "xt": self.t_text}
        if self.candidates.follower is None:
            del seen["vs"], seen["xs"]
        as_numbers = [
            {name: rows.detach().numpy() for name, rows in some.items()} for some in (sets, seen)
        ]
        return reference.mined_cell(
            *as_numbers, *cell, 0.5, k=K, weight=weight, tau_w=0.5, columns=columns
        )


@pytest.mark.parametrize("weight", ["", "difficulty", "wsl"])
@pytest.mark.parametrize("followed", [False, True])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize(
    "cell",
    [
        *(CellKey(t, s) for t in ("intra_ts", "inter_ts") for s in ("infonce", "kl", "sd", "fd")),
        *(CellKey("inter_ss", s) for s in ("infonce", "kl", "sd")),
        CellKey("intra_ss", "kl"),
    ],
    ids=str,
)
def test_any_cell_with_what_was_mined(
    cell: CellKey, columns: bool, followed: bool, weight: str
) -> None:
    """Values and gradients, against the formulas as loops over float64 numbers."""
    world = World(followed=followed)
    v, x = world.v.clone().requires_grad_(), world.x.clone().requires_grad_()
    found = world.loss(cell, weight, v, x, columns=columns)
    wanted = world.by_hand(cell, weight, v, x, columns=columns)
    # WSL guards its quotient with 1e-7.
    assert found.item() == pytest.approx(wanted, rel=1e-6 if weight == "wsl" else 1e-9)
    if weight == "wsl":
        return  # its weights are constants, which differences would not know
    grads = torch.autograd.grad(found, (v, x))
    made = torch.Generator().manual_seed(1)
    for side, grad in enumerate(grads):
        # Along the sphere, because the loss takes unit rows.
        way = torch.randn(PAIRS, WIDTH, generator=made, dtype=torch.float64)
        step, values = 1e-6, []
        for sign in (1, -1):
            moved = [rows.detach().clone() for rows in (v, x)]
            moved[side] = l2_normalize(moved[side] + sign * step * way)
            values.append(world.by_hand(cell, weight, *moved, columns=columns))
        slope = (values[0] - values[1]) / (2 * step)
        assert (grad * way).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_what_is_mined_is_of_one_item_though_it_was_seen_twice() -> None:
    """T26, of a run: scores, teacher's vectors and follower's are the newest of each item."""
    world = World(followed=True)
    for mined in world.candidates.mine(world.target, world.ids, torch.Generator()):
        assert mined.t_keys is not None and mined.s_keys is not None and mined.s_own is not None
        query = world.target.image if mined.direction == "i2t" else world.target.text
        again = torch.einsum("nd,nkd->nk", query, mined.t_keys)
        torch.testing.assert_close(mined.t_scores, again)
        place = mined.key_ids[:, 1:] // 7
        text, image = world.s_text[place], world.s_image[place]
        keys, own = (text, image) if mined.direction == "i2t" else (image, text)
        torch.testing.assert_close(mined.s_keys[:, 1:], keys)
        torch.testing.assert_close(mined.s_own[:, 1:], own)
        own_score = student_scores(mined, world.v, world.x)[:, 0]
        positive = mined.t_keys[:, 0]
        side = world.v if mined.direction == "i2t" else world.x
        torch.testing.assert_close(own_score, (side * positive).sum(1))
    # An item of the batch is a column already, whatever it looked like before.
    again = world.candidates.mine(world.target, torch.arange(PAIRS) * 7, torch.Generator())
    assert (again[0].key_ids[:, 1:] >= PAIRS * 7).all()
    # Too little seen: nothing yet.
    assert Candidates(CONFIG, WIDTH).mine(world.target, world.ids, torch.Generator()) == []


def test_the_follower_follows() -> None:
    world = World(followed=True)
    follower = world.candidates.follower
    assert isinstance(follower, Follower)
    wanted = 1 + (3 - 1) * 0.75**2  # two steps from 3 towards 1
    torch.testing.assert_close(follower.image, wanted * torch.eye(WIDTH, dtype=torch.float64))
    state = world.candidates.state()
    other = Candidates(CONFIG, WIDTH, follower=Follower(0.0))
    other.restore(state)
    assert torch.equal(other.bank.rows("text"), world.candidates.bank.rows("text"))
    assert other.followed is not None and torch.equal(other.followed.rows("text"), world.s_text)
    assert isinstance(other.follower, Follower)
    assert torch.equal(other.follower.image, follower.image)


def losses(folder: Path) -> list[float]:
    with (folder / "metrics-0.csv").open() as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


def test_a_run_uses_what_its_recipe_asks_for(tmp_path: Path) -> None:
    """From the third step on, when eight of twelve photos have been seen."""
    found = {}
    for name, changes in {
        "plain": {},
        "weighted": {"row_weight": "difficulty"},
        "mined": {"negatives": "mined"},
        "momentum": {"negatives": "momentum"},
    }.items():
        recipe = tiny_recipe(tmp_path, epochs=1, out=str(tmp_path / name), **changes)
        run(recipe, None)
        found[name] = losses(tmp_path / name)
    for name in ("weighted", "mined", "momentum"):
        assert found[name][:2] == found["plain"][:2]
        assert found[name][2] != found["plain"][2]
    assert found["momentum"][2] != found["mined"][2]  # STRONG has a cell within the student


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"row_weight": "hard"}, "row_weight is 'hard'; known: difficulty, wsl"),
        ({"negatives": "more"}, "negatives is 'more'; known: mined, momentum"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"negatives": "mined", "preset": "NO_KD"}, "none of inter_ss.infonce looks at"),
        ({"negatives": "momentum", "preset": "CELL:intra_ts.fd"}, None),
        (
            {"stage": "sequential_finetune", "preset": "MOTIS_2", "row_weight": "wsl"},
            "has hard negatives of its own",
        ),
    ],
)
def test_recipes_that_cannot_mine(
    tmp_path: Path, changes: dict[str, Any], says: str | None
) -> None:
    if says is None:
        tiny_recipe(tmp_path, **changes)
        return
    with pytest.raises(ValueError, match=says):
        tiny_recipe(tmp_path, **changes)


def test_momentum_is_for_one_teacher(tmp_path: Path) -> None:
    one, other = (tiny_teacher(tmp_path / f"{n}.pt", seed=n) for n in (1, 2))
    both = f"0.5 surrogate:{one} + 0.5 surrogate:{other}"
    recipe = tiny_recipe(tmp_path, teacher=both, negatives="momentum", preset="STRONG")
    recipe = dataclasses.replace(recipe, cache=str(tmp_path / "cache"))
    with pytest.raises(TeacherMissing, match="momentum needs one teacher"):
        run(recipe, None)
    with pytest.raises(BadCells, match="looks at negatives"):
        dataclasses.replace(recipe, negatives="mined", preset="NO_KD")


def test_the_reference_agrees_with_itself() -> None:
    """Without weights or columns it is the plain reference."""
    made = np.random.default_rng(0)
    sets = {}
    for name in ("vs", "xs", "vt", "xt"):
        rows = made.standard_normal((4, 5))
        sets[name] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for strategy in ("infonce", "kl", "sd", "fd"):
        plain = reference.cell(sets, "inter_ts", strategy, 0.3)
        again = reference.mined_cell(
            sets, sets, "inter_ts", strategy, 0.3, k=2, weight="", tau_w=1.0, columns=False
        )
        assert again == pytest.approx(plain, rel=1e-12)
