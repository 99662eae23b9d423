"""The text stage: a small encoder learns given vectors, and its loss is what it says."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.distil_text import Pairs, TextStage, distil_text, imitation_loss  # noqa: E402
from models.layers import BertConfig, BertEncoder, unit  # noqa: E402
from photosearch.tokenizer import WordPieceTokenizer  # noqa: E402

WORDS = [*"abcdefghij"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "狗", "猫"]
SMALL = BertConfig(
    vocabulary=len(VOCABULARY), width=16, layers=1, heads=2, hidden=24, positions=12, factor=8
)


def test_the_loss_is_zero_for_perfect_imitation_and_only_then() -> None:
    torch.manual_seed(0)
    target = unit(torch.randn(6, 16))
    stage = TextStage()
    assert imitation_loss(target, target, stage).item() == pytest.approx(0.0, abs=1e-6)
    assert imitation_loss(unit(target + 0.3), target, stage) > 0.01


def test_the_loss_equals_its_formula() -> None:
    torch.manual_seed(1)
    student, target = unit(torch.randn(3, 4)), unit(torch.randn(3, 4))
    stage = TextStage(relation=0.5, scale=2.0)
    expected = 0.0
    for row in range(3):
        expected += (1 - float(student[row] @ target[row])) / 3
        theirs = (2.0 * target @ target[row]).softmax(0)
        ours = (2.0 * target @ student[row]).softmax(0)
        expected += 0.5 * float((theirs * (theirs / ours).log()).sum()) / 3
    assert imitation_loss(student, target, stage).item() == pytest.approx(expected, abs=1e-6)


def test_both_languages_are_learned() -> None:
    torch.manual_seed(0)
    tokenizer = WordPieceTokenizer(VOCABULARY, context_length=12)
    targets = unit(torch.randn(len(WORDS), 16))
    english = Pairs(WORDS, targets)
    sources = {
        "captions": english,
        "names": english,
        "human": Pairs(["狗", "猫"], targets[:2]),
    }
    encoder = BertEncoder(SMALL)
    seen: list[int] = []

    def worst() -> float:
        with torch.inference_mode():
            found = unit(encoder(torch.from_numpy(tokenizer.batch([*WORDS, "狗", "猫"]))))
        return float((found * torch.cat((targets, targets[:2]))).sum(dim=1).min())

    before = worst()
    stage = TextStage(tokens=40_000, batch_tokens=120, learning_rate=5e-3)
    distil_text(encoder, sources, tokenizer, stage, seen.append)
    assert before < 0.5
    assert worst() > 0.95
    assert not encoder.training


def test_the_same_seed_gives_the_same_encoder() -> None:
    tokenizer = WordPieceTokenizer(VOCABULARY, context_length=12)
    pairs = {"captions": Pairs(WORDS, unit(torch.eye(16)[: len(WORDS)]))}
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        encoder = BertEncoder(SMALL)
        distil_text(encoder, pairs, tokenizer, TextStage(tokens=2_000, batch_tokens=100))
        found.append(encoder.words.weight.detach().clone())
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_texts_without_vectors_are_refused() -> None:
    with pytest.raises(AssertionError):
        Pairs(WORDS, torch.zeros(3, 16))
