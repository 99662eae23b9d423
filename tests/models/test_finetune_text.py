"""The caption stage: that the text encoder learns what shows, and keeps its names."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.finetune import CaptionHead, TextCaption  # noqa: E402
from models.finetune_text import (  # noqa: E402
    Captions,
    Seen,
    TextTuning,
    encode,
    finetune_text,
    mask,
    pad,
)
from models.layers import BertEncoder, unit  # noqa: E402
from models.students import ImageHead, TextHead, tiny  # noqa: E402

CONFIG = tiny(vocabulary=60)
PHOTOS = 12
MASK = 1
STAGE = TextTuning(
    epochs=30, batch=6, learning_rate=3e-3, head_rate=3e-3, warmup_steps=2, masked=0.0,
    constancy=0.0, names=4, photos=8, others=4, alone=3, chinese_share=0.5,
)  # fmt: skip


def row(*tokens: int) -> np.ndarray:
    return np.array([2, *tokens, 3], np.int64)


def captions(offset: int, each: int) -> Captions:
    """`each` captions of every photo; the first piece names the photo, the second the wording."""
    rows = [row(10 + photo, offset + number) for photo in range(PHOTOS) for number in range(each)]
    counts = np.full(PHOTOS, each)
    return Captions(rows, counts.cumsum() - counts, counts)


@pytest.fixture
def seen() -> Seen:
    generator = torch.Generator().manual_seed(3)
    width = CONFIG.image.head_width
    features = torch.randn(1, PHOTOS, width, generator=generator)
    views = torch.cat((features, features + 0.1 * torch.randn(features.shape, generator=generator)))
    names = [row(30 + number) for number in range(8)]
    alone = [row(40, 30 + number) for number in range(5)]
    others = torch.randn(6, width, generator=generator)
    return Seen(views, others, captions(4, 2), captions(7, 1), names, alone)


def towers() -> tuple[BertEncoder, CaptionHead, TextCaption]:
    torch.manual_seed(0)
    encoder = BertEncoder(CONFIG.text).eval()
    image = ImageHead(CONFIG)
    head = CaptionHead(image.feature_mean, image.feature_std, image.caption, 0.0)
    return encoder, head, TextCaption(TextHead(CONFIG))


@torch.no_grad()
def found_first(
    encoder: BertEncoder, head: CaptionHead, text: TextCaption, seen: Seen, of: Captions
) -> float:
    """The share of captions that find their photo first."""
    images = head(seen.features[0])
    best = (text(encode(encoder, of.rows)) @ images.T).argmax(dim=1)
    own = torch.from_numpy(np.repeat(np.arange(PHOTOS), of.counts))
    return float((best == own).float().mean())


def test_texts_are_encoded_as_one_by_one() -> None:
    encoder, _, _ = towers()
    rows = [row(5, 6, 7), row(5), row(8, 9), row(10, 11, 12, 13)]
    with torch.no_grad():
        together = encode(encoder, rows)
        alone = torch.cat([unit(encoder(pad([one]))) for one in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert pad(rows)[1].tolist() == [2, 5, 3, 0, 0, 0]


def test_what_frames_a_text_is_never_hidden() -> None:
    random = np.random.default_rng(0)
    before = row(*range(10, 50))
    hidden = mask(before, 0.5, MASK, random)
    assert (hidden[[0, -1]] == before[[0, -1]]).all()
    share = (hidden == MASK).mean()
    assert 0.3 < share < 0.7
    assert (hidden[hidden != MASK] == before[hidden != MASK]).all()
    assert (mask(before, 0.0, MASK, random) == before).all()


def test_captions_of_both_languages_find_their_photos(seen: Seen) -> None:
    encoder, head, text = towers()
    for of in (seen.english, seen.chinese):
        assert found_first(encoder, head, text, seen, of) < 0.5
    steps: list[int] = []
    finetune_text(encoder, head, text, seen, STAGE, mask_id=MASK, watch=steps.append)
    assert steps[-1] == STAGE.epochs * PHOTOS // STAGE.batch
    for of in (seen.english, seen.chinese):
        assert found_first(encoder, head, text, seen, of) > 0.9
    assert not encoder.training


def test_names_keep_their_vectors_where_they_are_asked_to(seen: Seen) -> None:
    moved: list[float] = []
    for constancy in (0.0, 20.0):
        encoder, head, text = towers()
        with torch.no_grad():
            before = encode(encoder, seen.names)
        stage = dataclasses.replace(STAGE, constancy=constancy, names=8)
        finetune_text(encoder, head, text, seen, stage, mask_id=MASK)
        with torch.no_grad():
            moved.append(float(1 - (encode(encoder, seen.names) * before).sum(dim=1).mean()))
    assert moved[1] < 0.2 * moved[0]


def test_a_photo_without_chinese_captions_is_learned_by_its_english_ones(seen: Seen) -> None:
    none = Captions([], np.zeros(PHOTOS, np.int64), np.zeros(PHOTOS, np.int64))
    seen = dataclasses.replace(seen, chinese=none)
    encoder, head, text = towers()
    stage = dataclasses.replace(STAGE, chinese_share=1.0)
    finetune_text(encoder, head, text, seen, stage, mask_id=MASK)
    assert found_first(encoder, head, text, seen, seen.english) > 0.9


def test_a_teacher_alone_is_learned_from_and_asked_for_what_it_knows(seen: Seen) -> None:
    """It swaps the captions of photos 0 and 1; sentences of no photo come behind all captions."""
    swapped = [1, 0, *range(2, PHOTOS)]
    english = len(seen.english.rows)
    asked_of_none: set[int] = set()

    def teacher(rows: torch.Tensor, others: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        asked_of_none.update(number for number in asked.tolist() if number >= english)
        logits = torch.zeros(len(rows) + len(others), len(asked))
        for place, number in enumerate(asked.tolist()):
            if number < english:
                logits[: len(rows), place] = 8.0 * (rows == swapped[number // 2])
        return logits

    encoder, head, text = towers()
    stage = dataclasses.replace(STAGE, captions=0.0, relations=1.0, chinese_share=0.0, epochs=60)
    finetune_text(encoder, head, text, seen, stage, mask_id=MASK, teacher=teacher)
    images = head(seen.features[0])
    first = [seen.english.rows[2 * photo] for photo in range(PHOTOS)]
    with torch.no_grad():
        best = (text(encode(encoder, first)) @ images.T).argmax(dim=1).tolist()
    assert sum(a == b for a, b in zip(best, swapped, strict=True)) >= 10
    assert best[:2] == [1, 0]
    assert asked_of_none == {english + number for number in range(len(seen.alone))}


def test_a_run_repeats_to_the_bit(seen: Seen) -> None:
    weights = []
    for _ in range(2):
        encoder, head, text = towers()
        stage = dataclasses.replace(STAGE, epochs=2, masked=0.2)
        finetune_text(encoder, head, text, copy.deepcopy(seen), stage, mask_id=MASK)
        weights.append(torch.cat([value.detach().flatten() for value in encoder.parameters()]))
    assert torch.equal(*weights)
