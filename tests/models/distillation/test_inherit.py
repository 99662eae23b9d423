"""Students made of their teacher's layers (T35)."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.distillation.errors import MismatchedShapes  # noqa: E402
from models.distillation.inherit import chosen_layers, inherit  # noqa: E402
from models.layers import BertConfig, BertEncoder  # noqa: E402

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
