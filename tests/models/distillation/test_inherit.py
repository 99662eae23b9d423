"""Students made of their teacher's layers (T35)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from models.checkpoint import Checkpoint, build, load_checkpoint, save_checkpoint  # noqa: E402
from models.distillation.distributed import open_world  # noqa: E402
from models.distillation.errors import MismatchedShapes, TeacherMissing  # noqa: E402
from models.distillation.inherit import chosen_layers, inherit  # noqa: E402
from models.distillation.start import start  # noqa: E402
from models.fresh import make_student  # noqa: E402
from models.layers import BertConfig, BertEncoder  # noqa: E402
from models.recipes import Recipe  # noqa: E402
from models.students import DualEncoder  # noqa: E402
from tests.models.distillation.runs import tiny_recipe, tiny_teacher  # noqa: E402

SIX = BertConfig(vocabulary=40, width=16, layers=6, heads=4, hidden=24, positions=8)


def encoder(config: BertConfig, seed: int) -> BertEncoder:
    torch.manual_seed(seed)
    return BertEncoder(config).eval()


def test_all_layers_make_the_teacher_again() -> None:
    """T35."""
    teacher, student = encoder(SIX, 0), encoder(SIX, 1)
    tokens = torch.tensor([[3, 5, 7, 0], [9, 2, 0, 0]])
    assert not torch.allclose(student(tokens), teacher(tokens))
    student.load_state_dict(inherit(student.state_dict(), teacher.state_dict()))
    assert torch.equal(student(tokens), teacher(tokens))


@pytest.mark.parametrize(
    ("layers", "picked"),
    [([0, 3, 5], [0, 3, 5]), ("uniform", [0, 2, 4]), ("first", [0, 1, 2]), ("last", [3, 4, 5])],
)
def test_fewer_layers_are_copies(layers: object, picked: list[int]) -> None:
    """T35: [0, 3, 5] copies those tensors."""
    assert chosen_layers(layers, 3, 6) == picked  # type: ignore[arg-type]
    teacher, student = encoder(SIX, 0), encoder(dataclasses.replace(SIX, layers=3), 1)
    filled = inherit(student.state_dict(), teacher.state_dict(), layers=layers)  # type: ignore[arg-type]
    for mine, theirs in enumerate(picked):
        for name, value in teacher.layers[theirs].state_dict().items():
            assert torch.equal(filled[f"layers.{mine}.{name}"], value)
    assert torch.equal(filled["words.weight"], teacher.words.weight)
    student.load_state_dict(filled)


def test_narrower_students_take_what_comes_first() -> None:
    teacher = encoder(SIX, 0)
    small = dataclasses.replace(SIX, width=8, hidden=12, heads=2, vocabulary=30, layers=2)
    student = encoder(small, 1)
    filled = inherit(student.state_dict(), teacher.state_dict())
    assert torch.equal(filled["layers.1.up.weight"], teacher.layers[3].up.weight[:12, :8])
    student.load_state_dict(filled)


def test_what_does_not_fit_is_named() -> None:
    teacher = encoder(SIX, 0).state_dict()
    wide = encoder(dataclasses.replace(SIX, width=20), 1).state_dict()
    with pytest.raises(MismatchedShapes, match=r"positions is \(8, 20\)"):
        inherit(wide, teacher)
    deep = encoder(dataclasses.replace(SIX, layers=7), 1).state_dict()
    with pytest.raises(MismatchedShapes, match="7 layers cannot be taken from 6"):
        inherit(deep, teacher)
    with pytest.raises(MismatchedShapes, match=r"the teacher has no extra"):
        inherit({**teacher, "extra": torch.zeros(1)}, teacher)
    for wrong in ([0, 1], [0, 1, 6]):
        with pytest.raises(MismatchedShapes, match=r"are not 3 of 0\.\.5"):
            chosen_layers(wrong, 3, 6)


def surrogate(file: Path, layers: int) -> Checkpoint:
    """A tiny teacher of so many text layers, saved."""
    torch.manual_seed(7)
    recipe = Recipe(name="deep", version="1", title="Deep", student="tiny", side_px=32)
    shallow, vocabulary = make_student(recipe)
    text = dataclasses.replace(shallow.config.text, layers=layers)
    whole = DualEncoder(dataclasses.replace(shallow.config, text=text))
    kept = (vocabulary[0], *reversed(vocabulary[1:-1]))  # one piece less, in another order
    weights = dict(whole.state_dict())
    weights["text.encoder.words.weight"] = weights["text.encoder.words.weight"][: len(kept)]
    text = dataclasses.replace(text, vocabulary=len(kept))
    config = dataclasses.replace(whole.config, text=text)
    saved = Checkpoint(recipe, config, kept, 0, weights, {}, None, {})
    save_checkpoint(file, saved)
    return saved


@pytest.mark.parametrize(
    ("layers", "picked"), [("", [0, 2]), ("first", [0, 1]), ("1,3", [1, 3]), ("own", None)]
)
def test_a_run_starts_from_its_teachers_layers(
    tmp_path: Path, layers: str, picked: list[int] | None
) -> None:
    """T35, of a recipe: as its preset says, or as it says itself."""
    teacher = surrogate(tmp_path / "deep.pt", 4)
    recipe = tiny_recipe(
        tmp_path,
        preset="TINYCLIP",
        layers=layers,
        teacher=f"surrogate:{tmp_path / 'deep.pt'}",
        cache=str(tmp_path / "cache"),
    )
    with open_world() as world:
        given = start(recipe, world)
    mine, theirs = given.student.text.encoder, build(teacher).text.encoder
    own = make_student(recipe.base())[0]
    if picked is None:
        assert not torch.equal(mine.layers[0].up.weight, theirs.layers[0].up.weight)
        return
    for number, source in enumerate(picked):
        for name, value in theirs.layers[source].state_dict().items():
            assert torch.equal(mine.layers[number].state_dict()[name], value), name
    for row, piece in enumerate(given.vocabulary):
        if piece in teacher.vocabulary:
            wanted = theirs.words.weight[teacher.vocabulary.index(piece)]
            assert torch.equal(mine.words.weight[row], wanted)
            if row > 50:
                break
    pixels = torch.randn(2, 3, 32, 32)
    whole = build(teacher).image.backbone
    # To rounding: the student's convolutions have their channels last.
    torch.testing.assert_close(given.student.image.backbone.eval()(pixels), whole(pixels))
    assert not torch.equal(own.text.encoder.layers[0].up.weight, mine.layers[0].up.weight)


def test_a_student_with_all_layers_is_its_teacher(tmp_path: Path) -> None:
    """T35, of a recipe."""
    file = tiny_teacher(tmp_path / "same.pt")
    recipe = tiny_recipe(
        tmp_path, preset="TINYCLIP", teacher=f"surrogate:{file}", cache=str(tmp_path / "cache")
    )
    with open_world() as world:
        given = start(recipe, world)
    whole = build(load_checkpoint(file))
    tokens = torch.tensor([[3, 5, 7, 0], [9, 2, 0, 0]])
    assert torch.equal(given.student.text.encoder(tokens), whole.text.encoder(tokens))


def test_only_a_surrogate_lends_its_layers(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, preset="TINYCLIP")
    with open_world() as world, pytest.raises(TeacherMissing, match="starts from its teacher's"):
        start(dataclasses.replace(recipe, teacher=f"cache:{tmp_path}"), world)
    with pytest.raises(MismatchedShapes, match="layers is 'some'; known"):
        dataclasses.replace(recipe, layers="some")
    deep = dataclasses.replace(recipe, layers="0,1,2")
    with open_world() as world, pytest.raises(MismatchedShapes, match=r"are not 2 of 0\.\.1"):
        start(deep, world)
