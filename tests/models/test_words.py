"""Short queries: which there are, what they are true of, and the loss that asks for that."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.losses import presence_loss  # noqa: E402
from models.vocabulary import Word  # noqa: E402
from models.words import (  # noqa: E402
    LEAST_OF_PAIRS,
    LEAST_PHOTOS,
    Presence,
    Words,
    read_photos_words,
    strangers,
)

DOGS, MEN, NONE = 24, 22, 4


def captions() -> list[tuple[str, ...]]:
    """Photos of dogs, the first of them several, then of men on the street, then of none."""
    dogs = [
        ("Two brown dogs run .", "the animals") if n < 2 else ("A brown dog runs",)
        for n in range(DOGS)
    ]
    men = [("A man on a street", "the road is empty") for _ in range(MEN)]
    return [*dogs, *men, *[("It is there",)] * NONE]


def true_of(query: str) -> list[int]:
    words = read_photos_words(captions(), [Word("dog", ("狗",), ("只",))])
    row = words.owner[words.texts.index(query)]
    return words.truth[row].nonzero()[:, 0].tolist()


def test_a_word_is_true_of_photos_whose_captions_have_it_in_either_number() -> None:
    dogs, men = list(range(DOGS)), list(range(DOGS, DOGS + MEN))
    for query in ("dog", "dogs", "a photo of a dog", "brown", "animal", "狗", "一只狗"):
        assert true_of(query) == dogs, query
    for query in ("man", "people", "a person", "street", "road"):
        assert true_of(query) == men, query


def test_two_words_side_by_side_are_a_query() -> None:
    assert LEAST_OF_PAIRS <= DOGS - 2 < DOGS
    assert true_of("brown dog") == list(range(2, DOGS))


def test_function_words_and_what_is_rare_are_none() -> None:
    texts = read_photos_words(captions(), []).texts
    for query in ("the", "there", "on", "a street", "animals the", "two brown"):
        assert query not in texts or query == "a street"
    assert LEAST_PHOTOS > 2  # the photos of "run"
    assert "run" not in texts
    assert "狗" not in texts


def test_the_presence_loss_equals_its_formula() -> None:
    text = torch.eye(3)[:2]
    image = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    truth = torch.tensor([[True, True, False], [False, True, False]])
    scale, boundary = torch.tensor(4.0), torch.tensor(0.25)

    def soft(value: float) -> float:
        return math.log1p(math.exp(value))

    rows = [
        ((soft(-3.0) + soft(-4 * 0.35)) / 2 + soft(-1.0)) / 2,
        (soft(-4 * 0.55) + (soft(-1.0) + soft(-1.0)) / 2) / 2,
    ]
    found = presence_loss(text, image, truth, scale=scale, boundary=boundary)
    assert found.item() == pytest.approx(sum(rows) / 2, abs=1e-6)
    # A query that is true of nothing is left out.
    more = torch.cat((text, text[:1]))
    none = torch.cat((truth, torch.zeros(1, 3, dtype=torch.bool)))
    again = presence_loss(more, image, none, scale=scale, boundary=boundary)
    assert again.item() == pytest.approx(found.item(), abs=1e-6)
    nobody = presence_loss(text, image, torch.zeros_like(truth), scale=scale, boundary=boundary)
    assert nobody.item() == 0.0


def test_presence_learns_where_queries_begin_to_be_true() -> None:
    torch.manual_seed(0)
    text = torch.eye(4)
    image = torch.nn.functional.normalize(torch.eye(4).repeat(8, 1) + 0.3 * torch.rand(32, 4))
    truth = torch.eye(4, dtype=torch.bool).repeat(1, 8)
    presence = Presence(10.0)
    optimizer = torch.optim.Adam(presence.parameters(), 0.05)
    first = presence(text, image, truth).item()
    for _ in range(100):
        loss = presence(text, image, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 3
    cosines = text @ image.T
    assert cosines[~truth].max() < presence.boundary < cosines[truth].min()


def test_everyday_words_are_told_by_the_photos_they_are_not_true_of() -> None:
    truth = torch.zeros(3, 100, dtype=torch.bool)
    truth[0, :40] = True  # everyday
    truth[1, :1] = True  # too rare
    truth[2] = True  # of all: nobody is left to tell it by
    words = Words(("dogs", "unicorns", "things", "a dog"), torch.tensor([0, 1, 2, 0]), truth)
    torch.manual_seed(0)
    photos = torch.nn.functional.normalize(torch.randn(100, 8))
    texts = torch.nn.functional.normalize(torch.randn(4, 8))
    found = strangers(words, texts, photos)
    assert list(found) == ["dogs", "a dog"]
    for text, row in (("dogs", 0), ("a dog", 3)):
        scores = (photos[40:] @ texts[row]).numpy()
        assert found[text] == pytest.approx((scores.mean(), scores.std()), abs=1e-5)
