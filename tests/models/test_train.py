"""A tiny run from recipe to checkpoint: resumed equals uninterrupted, and mistakes are named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from models.checkpoint import (  # noqa: E402
    CheckpointError,
    build,
    load_checkpoint,
    save_checkpoint,
)
from models.data import DataError  # noqa: E402
from models.distillation.recipe import DistillRecipe  # noqa: E402
from models.heads import schedule  # noqa: E402
from models.recipes import Recipe, override, require_recipe  # noqa: E402
from models.teachers import SyntheticFeatures, class_names  # noqa: E402
from models.train import main, train  # noqa: E402
from photosearch.errors import UsageError  # noqa: E402
from tests.models.samples import captioned_shard  # noqa: E402

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Random weights, eight photos, two steps an epoch."""
    return Recipe(
        name="toy",
        version="1",
        title="A toy",
        student="tiny",
        data=str(captioned_shard(tmp_path / "train.tar", 8)),
        val=str(captioned_shard(tmp_path / "val.tar", 4, first=8)),
        unlabelled="",
        background=str(tmp_path / "val.tar"),
        background_photos=3,
        side_px=32,
        epochs=4,
        batch=4,
        warmup_steps=1,
        class_batch=6,
        out=str(tmp_path / "run"),
        cache=str(tmp_path / "cache"),
        save_epochs=2,
        threads=1,
    )


def test_a_resumed_run_equals_one_that_was_not_stopped(recipe: Recipe, tmp_path: Path) -> None:
    # Random weights stand in for pretrained ones; the seed makes them the same each time.
    whole = load_checkpoint(train(recipe, None))
    stopped = dataclasses.replace(recipe, out=str(tmp_path / "stopped"))
    with pytest.MonkeyPatch.context() as patch:

        def crash(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("models.train.background_vectors", crash)
        with pytest.raises(KeyboardInterrupt):
            train(stopped, None)
    assert load_checkpoint(tmp_path / "stopped" / "last.pt").step == 4
    resumed = load_checkpoint(train(stopped, tmp_path / "stopped"))
    assert (resumed.step, whole.step) == (8, 8)
    for name, value in whole.weights.items():
        torch.testing.assert_close(resumed.weights[name], value, msg=name)
    assert whole.background is not None
    assert whole.background.shape == (3, 16)
    assert set(whole.metrics) == {"r1", "r5", "r10"}


def test_all_stages_in_one_run(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.words.LEAST_PHOTOS", 2)
    monkeypatch.setattr("models.prepare_captions.class_names", lambda: [("cat",)])
    monkeypatch.setattr("models.prepare_captions.read_words", list)
    plain = load_checkpoint(train(recipe, None))
    with pytest.raises(DataError, match="name some: unlabelled"):
        train(dataclasses.replace(recipe, image_epochs=1), None)
    stages = dataclasses.replace(
        recipe, image_epochs=1, caption_epochs=1, caption_words=1.0, word_loss=1.0,
        image_head_epochs=1, word_batch=4, unlabelled=recipe.val, out=f"{recipe.out}-stages",
    )  # fmt: skip
    whole = load_checkpoint(train(stages, None))
    for network in ("image.backbone.blocks", "text.encoder.layers", "text.head.linear"):
        moved = [
            not torch.equal(value, plain.weights[name])
            for name, value in whole.weights.items()
            if name.startswith(network)
        ]
        assert any(moved), network
    with pytest.raises(DataError, match="no word is said of 200 photos or more"):
        monkeypatch.setattr("models.words.LEAST_PHOTOS", 200)
        monkeypatch.setattr("models.captioned.LEAST_PHOTOS", 200)
        monkeypatch.setattr("models.words.LEAST_OF_PAIRS", 200)
        train(dataclasses.replace(recipe, word_loss=1.0), None)


def test_a_finished_or_foreign_run_is_not_resumed(recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(CheckpointError, match=r"holds no last\.pt"):
        train(recipe, folder)
    train(recipe, None)
    with pytest.raises(CheckpointError, match="finished"):
        train(recipe, folder)
    done = load_checkpoint(folder / "final.pt")
    save_checkpoint(folder / "last.pt", dataclasses.replace(done, training={"optimizer": {}}))
    with pytest.raises(CheckpointError, match=r"learning_rate was 0\.002, is 1\.0"):
        train(dataclasses.replace(recipe, learning_rate=1.0), folder)


def test_a_checkpoint_comes_back_whole_or_not_at_all(recipe: Recipe, tmp_path: Path) -> None:
    file = train(recipe, None)
    checkpoint = load_checkpoint(file)
    assert checkpoint.recipe == recipe
    build(checkpoint)
    whole = file.read_bytes()
    damaged = tmp_path / "damaged.pt"
    for bad in (b"", b"nonsense", whole[: len(whole) // 2], whole[:-1000]):
        damaged.write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"damaged\.pt"):
            load_checkpoint(damaged)
    torch.save({"weights": {}}, damaged)
    with pytest.raises(CheckpointError, match="not a checkpoint of ours"):
        load_checkpoint(damaged)
    missing = dict(checkpoint.weights)
    del missing["text.head.gate.bias"]
    with pytest.raises(CheckpointError, match="do not fit"):
        build(dataclasses.replace(checkpoint, weights=missing))


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"format": 1, "recipe": Path("/")}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "code.pt")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("epoch=3", "did you mean epochs"),
        ("epochs", "write key=value"),
        ("epochs=many", "epochs is a whole number"),
        ("epochs=0", "at least 1"),
        ("learning_rate=fast", "learning_rate is a number"),
        ("flips=1", "true or false"),
        ("resize=stretch", "squash or crop"),
        ("student=huge", "known: first-light, lantern, candle, spark, tiny"),
    ],
)
def test_bad_settings_are_explained(recipe: Recipe, setting: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        override(recipe, [setting])


def test_settings_have_their_fields_types(recipe: Recipe) -> None:
    changed = override(recipe, ["epochs=3", "learning_rate=1e-4", "flips=false", "resize=crop"])
    assert (changed.epochs, changed.learning_rate) == (3, 1e-4)
    assert (changed.flips, changed.resize) == (False, "crop")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.py"], 3, "no such recipe"),
        (["{recipe}", "--set", "epoch=1"], 2, "did you mean epochs"),
        (["{recipe}", "--set", "student=tiny", "--set", "data=gone-*.tar"], 3, "no file matches"),
        (["{recipe}", "--resume", "gone"], 3, "holds no last.pt"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(REPOSITORY / "models" / "recipes" / "first_light.py")
    assert main([argument.format(recipe=recipe) for argument in arguments]) == code
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1


def test_published_recipes_load() -> None:
    for file in (REPOSITORY / "models" / "recipes").glob("[!_]*.py"):
        recipe = require_recipe(file, Recipe, DistillRecipe)
        assert recipe.name == file.stem.replace("_", "-")
        assert f"python -m models.train models/recipes/{file.name}" in (
            file.read_text(encoding="utf-8")
        )
        assert recipe.training_data, file


def test_the_schedule_warms_up_and_ends_at_zero() -> None:
    assert schedule(0, 100, 10) == 0.0
    assert schedule(10, 100, 10) > schedule(5, 100, 10)
    assert schedule(100, 100, 10) == pytest.approx(0.0)


def test_every_class_has_names() -> None:
    names = class_names()
    assert len(names) == 1000
    assert all(group and all(group) for group in names)
    assert names[281][0] == "tabby cat"  # the order is the classifier's
    assert names[967][0] == "espresso"


def test_synthetic_features_are_what_they_claim() -> None:
    """With classes that are really apart, the classifier names them as calibrated."""
    torch.manual_seed(0)
    pool = torch.rand(400, 16)
    weight, bias = 2 * torch.randn(5, 16), torch.zeros(5)
    synthetic = SyntheticFeatures(pool, weight, bias)
    kinds = torch.arange(5).repeat(200)
    features, logits = synthetic.sample(kinds)
    assert features.min() >= 0
    assert features.max() <= SyntheticFeatures.MOST
    torch.testing.assert_close(logits, features @ weight.T + bias)
    sure = logits.softmax(1)[torch.arange(len(kinds)), kinds].mean().item()
    assert sure == pytest.approx(SyntheticFeatures.CERTAINTY, abs=0.05)


def test_heads_are_trained_again_on_the_networks_of_a_checkpoint(
    recipe: Recipe, tmp_path: Path
) -> None:
    first = train(recipe, None)
    again = dataclasses.replace(recipe, init=str(first), seed=3, out=str(tmp_path / "again"))
    before, after = load_checkpoint(first), load_checkpoint(train(again, None))
    assert after.vocabulary == before.vocabulary
    for name, value in before.weights.items():
        if not name.startswith(("image.head.", "text.head.")):
            assert torch.equal(after.weights[name], value), name
    larger = dataclasses.replace(again, side_px=48, out=str(tmp_path / "larger"))
    assert load_checkpoint(train(larger, None)).student.side_px == 48
    with pytest.raises(CheckpointError, match="holds tiny, the recipe asks for spark"):
        train(dataclasses.replace(again, student="spark"), None)
