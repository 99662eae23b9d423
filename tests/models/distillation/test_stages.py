"""Whole runs: stages, resuming to the bit (T33), parts of a batch, input that is skipped."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from models import fresh  # noqa: E402
from models.checkpoint import (  # noqa: E402
    Checkpoint,
    CheckpointError,
    build,
    load_checkpoint,
    save_checkpoint,
)
from models.distillation import stages  # noqa: E402
from models.distillation.distributed import open_world  # noqa: E402
from models.distillation.errors import BadCells, NotFinite, TeacherMissing  # noqa: E402
from models.distillation.loop import compute, parameter_groups, rate  # noqa: E402
from models.distillation.losses import infonce_rows  # noqa: E402
from models.distillation.similarity import l2_normalize  # noqa: E402
from models.distillation.stages import run  # noqa: E402
from models.distillation.start import start  # noqa: E402
from models.fresh import make_student  # noqa: E402
from models.recipes import Recipe  # noqa: E402
from models.students import DualEncoder, inherit  # noqa: E402
from models.train import main  # noqa: E402
from tests.models.distillation.runs import prepared, tiny_recipe  # noqa: E402
from tests.models.samples import captioned_shard, jpeg, write_shard  # noqa: E402


def weights(file: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(file).weights


def interrupted(recipe: Any, after: int, patch: pytest.MonkeyPatch) -> None:
    """Run until `after` steps are done, then as if the power failed."""
    real, steps = stages._step, 0

    def step(*arguments: Any) -> Any:
        nonlocal steps
        if steps == after:
            raise KeyboardInterrupt
        steps += 1
        return real(*arguments)

    patch.setattr(stages, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, None)
    patch.setattr(stages, "_step", real)


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        pytest.param({}, 5, id="in the middle of an epoch"),
        pytest.param({"preset": "DCD_FIXED", "save_steps": 3}, 5, id="with a bank, at an epoch"),
        pytest.param({"stage": "sequential_finetune", "preset": "MOTIS_2"}, 9, id="second phase"),
        pytest.param({"balance": "gradmatch", "learn_tau": True}, 3, id="balanced"),
        pytest.param({"negatives": "mined", "row_weight": "difficulty"}, 5, id="mined"),
        pytest.param(
            {"negatives": "momentum", "momentum": 0.5, "row_weight": "wsl", "save_steps": 3},
            5,
            id="with a follower",
        ),
    ],
)
def test_a_resumed_run_equals_one_that_was_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], after: int
) -> None:
    """T33, to the bit."""
    whole = weights(run(tiny_recipe(tmp_path, out=str(tmp_path / "whole"), **changes), None))
    recipe = tiny_recipe(tmp_path, out=str(tmp_path / "stopped"), **changes)
    interrupted(recipe, after, monkeypatch)
    file = tmp_path / "stopped" / "state.pt"
    assert file.is_file()
    torch.rand(7)  # another process has drawn other numbers
    resumed = weights(run(recipe, tmp_path / "stopped"))
    assert not file.exists()
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name
    for one in (tmp_path / "whole").glob("metrics-*.csv"):
        assert (tmp_path / "stopped" / one.name).read_text() == one.read_text()


def test_a_state_of_another_recipe_or_a_damaged_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(tmp_path)
    with pytest.raises(CheckpointError, match="nothing to resume"):
        run(recipe, tmp_path / "run")
    interrupted(recipe, 3, monkeypatch)
    with pytest.raises(CheckpointError, match="another recipe"):
        run(dataclasses.replace(recipe, learning_rate=1.0), tmp_path / "run")
    file = tmp_path / "run" / "state.pt"
    whole = file.read_bytes()
    for bad in (b"", b"nonsense", whole[: len(whole) // 2]):
        file.write_bytes(bad)
        with pytest.raises(CheckpointError, match="not a whole state"):
            run(recipe, tmp_path / "run")
    torch.save({"format": 1}, file)
    with pytest.raises(CheckpointError, match="not a state of a run"):
        run(recipe, tmp_path / "run")


@pytest.mark.parametrize("stage", ["pretrain_distill", "joint_finetune", "sequential_finetune"])
def test_every_stage_trains_and_leaves_a_checkpoint(tmp_path: Path, stage: str) -> None:
    preset = "MOTIS_2" if stage == "sequential_finetune" else "CONA_T"
    recipe = tiny_recipe(tmp_path, stage=stage, preset=preset, val=str(prepared() / "train.tar"))
    before = {n: v.clone() for n, v in stages.start(recipe, World1()).student.state_dict().items()}
    file = run(recipe, None)
    checkpoint = load_checkpoint(file)
    build(checkpoint)
    assert checkpoint.recipe.name == "toy"
    assert 0 <= checkpoint.metrics["t2i_r10"] <= 100
    moved = {
        name for name, value in checkpoint.weights.items() if not torch.equal(value, before[name])
    }
    assert any(name.startswith("image") for name in moved)
    assert any(name.startswith("text") for name in moved)
    assert not [name for name in moved if "running_mean" in name]  # freeze_norm
    with (tmp_path / "run" / "metrics-0.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert ("hard" in rows[0]) == (stage == "sequential_finetune")


def World1() -> Any:
    from models.distillation.distributed import World

    return World(0, 1, torch.device("cpu"))


def test_sequential_phases_move_one_side_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(tmp_path, stage="sequential_finetune", preset="MOTIS_2")
    seen: list[set[str]] = []
    real = stages._train

    def watched(given: Any, phase: Any, state: Any) -> Any:
        before = {n: v.clone() for n, v in given.student.state_dict().items()}
        found = real(given, phase, state)
        after = given.student.state_dict()
        seen.append({n.split(".")[0] for n in after if not torch.equal(after[n], before[n])})
        return found

    monkeypatch.setattr(stages, "_train", watched)
    run(recipe, None)
    assert seen == [{"image"}, {"text"}]


@pytest.mark.parametrize("parts", [2, 4])
def test_a_step_in_parts_is_the_step_of_the_whole(parts: int) -> None:
    """Gradients to rounding, dropout included: its masks are drawn again."""
    torch.manual_seed(0)
    tower = torch.nn.Sequential(
        torch.nn.Linear(6, 16), torch.nn.Dropout(0.0), torch.nn.Linear(16, 5)
    )
    seen, said = torch.randn(8, 6), torch.randn(8, 6)

    def forward(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        return tower(seen[rows]), tower(said[rows])

    def loss_of(image: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, None]:
        m = l2_normalize(image) @ l2_normalize(text).T
        return infonce_rows(m, 0.1).mean(), None

    def gradients(parts: int) -> list[torch.Tensor]:
        tower.zero_grad()
        torch.manual_seed(1)
        compute(forward, 8, parts, loss_of)
        return [p.grad.clone() for p in tower.parameters() if p.grad is not None]

    for one, other in zip(gradients(1), gradients(parts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)
    # Where units drop out, both passes of a part must drop the same ones: then the loss that
    # was computed is the one whose gradient is taken, which a difference shows.
    tower[1].p = 0.5
    torch.manual_seed(1)
    tower.zero_grad()
    first = compute(forward, 8, parts, loss_of)
    grad = tower[2].bias.grad.clone()
    for number in range(2):
        with torch.no_grad():
            tower[2].bias[number] += 1e-3
        torch.manual_seed(1)
        moved = compute(forward, 8, parts, loss_of)
        with torch.no_grad():
            tower[2].bias[number] -= 1e-3
        assert (moved.loss - first.loss) / 1e-3 == pytest.approx(grad[number].item(), abs=5e-3)


def test_half_precision_and_parts_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Masks are drawn per part, so with units dropping out the three would not be one run.
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: x)
    losses = {}
    for name, changes in {"whole": {}, "parts": {"accumulate": 2}, "half": {"bf16": True}}.items():
        recipe = tiny_recipe(tmp_path, epochs=1, out=str(tmp_path / name), **changes)
        found = weights(run(recipe, None))
        assert all(torch.isfinite(v).all() for v in found.values() if v.is_floating_point())
        with (tmp_path / name / "metrics-0.csv").open() as stream:
            losses[name] = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert losses["parts"] == pytest.approx(losses["whole"], rel=1e-3)
    assert losses["half"] == pytest.approx(losses["whole"], rel=0.1)
    assert losses["half"] != losses["whole"]


def test_what_cannot_be_used_is_skipped_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged photo, one without words, one with blanks only."""
    members = [
        ("bad.jpg", b"not a photo"),
        ("bad.json", json.dumps({"captions": ["a cat"]}).encode()),
        ("mute.jpg", jpeg(70)),
        ("blank.jpg", jpeg(71)),
        ("blank.json", json.dumps({"captions": ["  ", ""]}).encode()),
    ]
    write_shard(tmp_path / "odd.tar", members)
    captioned_shard(tmp_path / "fine.tar", 7)
    data = f"{tmp_path / 'fine.tar'},{tmp_path / 'odd.tar'}"
    with caplog.at_level(logging.INFO):
        file = run(tiny_recipe(tmp_path, data=data, batch=5, epochs=1), None)
    assert load_checkpoint(file).metrics["skipped"] == 3
    assert "'unreadable': 1, 'without_caption': 2" in caplog.text
    assert "train.skipped total=3" in caplog.text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stage": "pretrain"}, "stage is 'pretrain'; known"),
        ({"student": "huge"}, "student is 'huge'"),
        ({"batch": 5, "accumulate": 2}, "does not divide into 2 parts"),
        ({"epochs": 0}, "at least 1"),
        ({"smallest_crop": 0.0}, "lies in 0..1"),
        ({"balance": "free"}, "balance is 'free'"),
        ({"stage": "sequential_finetune", "live": True}, "live must be false"),
    ],
)
def test_recipes_that_make_no_sense(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        tiny_recipe(tmp_path, **changes)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadCells, match="no preset CONA; did you mean"):
        tiny_recipe(tmp_path, preset="CONA")
    with pytest.raises(TeacherMissing, match="needs teacher"):
        run(tiny_recipe(tmp_path, teacher=""), None)
    with pytest.raises(TeacherMissing, match="starts with open_clip:"):
        run(tiny_recipe(tmp_path, teacher="clip:x"), None)
    from models.distillation.errors import DistillationError

    with pytest.raises(DistillationError, match="12 photos do not fill one batch of 64"):
        run(tiny_recipe(tmp_path, batch=64), None)
    with pytest.raises(NotFinite):
        run(tiny_recipe(tmp_path, learning_rate=1e30, epochs=3), None)


def test_the_same_command_runs_a_distillation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe(tmp_path)
    fields = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}
    file = tmp_path / "recipe.py"
    file.write_text(
        "from models.distillation.recipe import DistillRecipe\n"
        f"RECIPE = DistillRecipe(**{fields!r})\n"
    )
    assert main([str(file), "--set", "epochs=1", "--set", "bf16=true"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run" / "final.pt")
    assert main([str(file), "--set", "stage=never"]) == 2
    assert "stage is pretrain_distill or joint_finetune" in capsys.readouterr().err
    assert main([str(file), "--resume", str(tmp_path)]) == 3
    assert "nothing to resume" in capsys.readouterr().err


def test_schedule_and_decay() -> None:
    assert rate(0, 100, 0.1) == 0.1
    assert rate(9, 100, 0.1) == 1.0
    assert rate(10, 100, 0.1) == 1.0
    assert rate(99, 100, 0.1) < 0.001
    tower = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    decayed, kept = parameter_groups([tower], 0.05)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)]
    assert kept["weight_decay"] == 0.0 and len(kept["params"]) == 3
    with pytest.raises(ValueError, match="every parameter is frozen"):
        parameter_groups([tower.requires_grad_(False)], 0.05)


def test_a_small_student_learns_from_a_larger_one_in_a_space_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`spark` has an image network of no published shape, and as many pieces as it needs."""
    # What it inherits is chosen on a thousand texts; fewer choose worse, and as validly.
    monkeypatch.setattr(
        fresh,
        "inherit",
        lambda student, pieces, texts, photos: inherit(student, pieces, texts[:40], photos),
    )
    torch.manual_seed(1)
    large = Recipe(name="large", version="1", title="Large", student="tiny", side_px=32)
    student, vocabulary = make_student(large)
    config = dataclasses.replace(student.config, caption_dim=140, class_dim=140)
    wide = DualEncoder(config).eval()
    saved = Checkpoint(large, config, vocabulary, 0, dict(wide.state_dict()), {}, None, {})
    save_checkpoint(tmp_path / "large.pt", saved)
    teacher = f"surrogate:{tmp_path / 'large.pt'}"
    made = tiny_recipe(tmp_path, student="spark", teacher=teacher, side_px=64, epochs=1, crops=1)
    file = run(dataclasses.replace(made, cache=str(tmp_path / "cache")), None)
    learned = load_checkpoint(file)
    assert learned.student.dim == 256
    assert 4_000 <= learned.student.text.vocabulary == len(learned.vocabulary) < 9_000


def test_image_towers_learn_with_channels_last(tmp_path: Path) -> None:
    with open_world() as world:
        student = start(tiny_recipe(tmp_path), world).student
    kernel = student.image.backbone.blocks[0].project.conv.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    saved = weights(run(tiny_recipe(tmp_path, epochs=1), None))
    assert all(value.is_contiguous() for value in saved.values())


def test_a_student_starts_with_the_axes_of_a_teacher_of_ours(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    theirs = load_checkpoint(Path(recipe.teacher.partition(":")[2])).weights
    with open_world() as world:
        mine = start(recipe, world).student.state_dict()
    for name in ("image.head.class_vectors", "text.head.class_axes", "text.head.linear.weight"):
        assert torch.equal(mine[name], theirs[name]), name
    assert not torch.equal(mine["text.head.up.weight"], theirs["text.head.up.weight"])


def test_a_run_goes_on_from_a_checkpoint_at_another_side(tmp_path: Path) -> None:
    """Small photos first, as they cost less; the network is the same."""
    small = run(tiny_recipe(tmp_path, side_px=24, epochs=1, out=str(tmp_path / "small")), None)
    large = tiny_recipe(tmp_path, init=str(small), epochs=1, out=str(tmp_path / "large"))
    with open_world() as world:
        given = start(large, world)
    assert (given.base.side_px, given.student.config.side_px) == (32, 32)
    for name, value in weights(small).items():
        assert torch.equal(given.student.state_dict()[name], value), name
    assert load_checkpoint(run(large, None)).student.side_px == 32


FAULTS = """
import resource, sys
from models.distillation.loop import keep_memory
if not keep_memory():
    sys.exit(77)
import torch
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for number in range(24):
    if number == 16:
        before = faults()
    several = [torch.ones(count * 4_000_000) for count in (3, 5, 4, 6)]
    del several
print(faults() - before)
"""


def test_memory_is_kept_for_the_next_step() -> None:
    """Eight rounds of 288 MB: 70,000 pages each when the C library does as it likes."""
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode == 77:
        pytest.skip("not glibc")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 8 * 7_000
