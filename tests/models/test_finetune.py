"""The image stage: its loss, its constancy, and that a tail really learns."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.finetune import (  # noqa: E402
    NO_LABEL,
    CaptionedMaps,
    CaptionHead,
    Fresh,
    ImageStage,
    Maps,
    OtherMaps,
    TextCaption,
    caption_loss,
    crops,
    finetune,
    mix_weights,
    split,
    tail_features,
)
from models.layers import EfficientNetLite, absorb, fuse, unit  # noqa: E402
from models.losses import row_kl  # noqa: E402
from models.students import TextHead, tiny  # noqa: E402
from photosearch.types import Preprocess  # noqa: E402

CONFIG = tiny(vocabulary=60)


@pytest.fixture
def network() -> EfficientNetLite:
    torch.manual_seed(0)
    made = EfficientNetLite(CONFIG.image, side_px=32).eval()
    with torch.no_grad():  # so that its maps differ between photos
        for value in made.parameters():
            value.mul_(1.5)
    return made


def test_the_caption_loss_equals_its_formula() -> None:
    torch.manual_seed(0)
    image, text, memory = (unit(torch.randn(n, 4)) for n in (2, 5, 4))
    rows, wrong, scale = torch.tensor([3, 1]), torch.tensor([3, 0, 1]), 2.0
    total = 0.0
    for place, row in enumerate(rows.tolist()):
        # Texts: the batch's two, then three others; those of the same photo are no negatives.
        scores = [scale * float(image[place] @ text[n]) for n in range(2)]
        scores += [
            scale * float(image[place] @ text[2 + n]) for n in range(3) if int(wrong[n]) != row
        ]
        total += math.log(sum(map(math.exp, scores))) - scale * float(image[place] @ text[place])
        # Photos: all four, those of the batch as they are now.
        now = {**dict(enumerate(memory)), 3: image[0], 1: image[1]}
        scores = [scale * float(text[place] @ now[n]) for n in range(4)]
        total += math.log(sum(map(math.exp, scores))) - scale * float(text[place] @ image[place])
    found = caption_loss(image, text, rows, wrong, memory, scale)
    assert found.item() == pytest.approx(total / 4, abs=1e-5)


def test_the_front_and_the_tail_are_the_network(network: EfficientNetLite) -> None:
    fused = fuse(copy.deepcopy(network))
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        for stages in (1, 2):
            front, tail = split(fused, stages)
            maps = front(pixels).numpy()
            torch.testing.assert_close(
                tail_features(tail, maps, batch=2), network.features(pixels), atol=1e-4, rtol=1e-3
            )


def test_a_network_absorbs_a_fused_copy(network: EfficientNetLite) -> None:
    fused = fuse(copy.deepcopy(network))
    with torch.no_grad():
        for value in fused.parameters():
            value.add_(0.01)
    before = network.features(torch.ones(1, 3, 32, 32))
    absorb(network, fused)
    network.classifier.load_state_dict(fused.classifier.state_dict())
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        again = fuse(copy.deepcopy(network))
        for one in (network, again):
            torch.testing.assert_close(one(pixels)[1], fused(pixels)[1], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(before, network.features(torch.ones(1, 3, 32, 32)))


def test_crops_are_parts_of_their_photo() -> None:
    photos = np.zeros((6, 32, 32, 3), np.uint8)
    photos += np.arange(6, dtype=np.uint8)[:, None, None, None] * 40
    found = crops(photos, np.random.default_rng(0))
    assert found.shape == photos.shape
    assert (np.abs(found.astype(int) - photos) <= 1).all()
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, None, :, None], (40, 32, 32, 3))
    views = crops(ramp.copy(), np.random.default_rng(0))[:, 16, :, 0].astype(int)
    mirrored = (views[:, 0] > views[:, -1]).sum()
    assert 10 < mirrored < 30
    assert (np.abs(views[:, 0] - views[:, -1]) > 12).all()


def stage_of(
    network: EfficientNetLite,
) -> tuple[torch.nn.Sequential, torch.nn.Linear, CaptionHead, TextCaption, CaptionedMaps]:
    """Tail, classifier, both heads, and twelve photos in two views with a caption each."""
    fused = fuse(network)
    front, tail = split(fused, 1)
    pixels = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        maps = front(pixels).half().numpy()
        features = tail_features(tail, maps)
        was = fused.classifier(features)
    text = TextCaption(TextHead(CONFIG))
    sentences = unit(torch.randn(12, 32, generator=torch.Generator().manual_seed(2)))
    head = CaptionHead(
        features.mean(0), features.std(0) + 1e-3, torch.nn.Linear(32, CONFIG.caption_dim), 0.0
    )
    views = Maps((maps, maps), torch.stack((was, was)))
    captioned = CaptionedMaps(views, features, sentences, torch.arange(12))
    return tail, fused.classifier.requires_grad_(False), head, text, captioned


def parts_of(captioned: CaptionedMaps) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Maps and logits of the first view, and the captions."""
    assert isinstance(captioned.maps, Maps)
    return captioned.maps.views[0], captioned.maps.logits[0], captioned.sentences


def test_views_come_with_what_was_said_of_them() -> None:
    maps = np.arange(2 * 3 * 4, dtype=np.float16).reshape(2, 3, 4, 1, 1)
    views = Maps((maps[0], maps[1]), torch.arange(6.0).reshape(2, 3, 1))
    rows, generator = torch.tensor([2, 0] * 20), torch.Generator().manual_seed(0)
    found, logits = views.draw(rows, generator)
    assert found.dtype == torch.float32
    assert set(logits[:, 0].tolist()) == {0.0, 2.0, 3.0, 5.0}
    torch.testing.assert_close(found[:, 0, 0, 0], 4 * logits[:, 0])


def test_photos_seen_afresh_are_cut_anew_each_time(network: EfficientNetLite) -> None:
    """And what was said of them is of just these parts."""
    fused = fuse(network)
    front, tail = split(fused, 1)

    def said(maps: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = fused.classifier(tail(maps).float().mean(dim=(2, 3)))
        return found

    ramp = np.broadcast_to(
        np.arange(0, 256, 8, dtype=np.uint8)[None, None, :, None], (40, 32, 32, 3)
    )
    how = Preprocess(side_px=32, mean=(0.5,) * 3, std=(0.5,) * 3, resize="squash")
    views = Fresh(ramp.copy(), how, front, said)
    assert len(views) == 40
    rows, generator = torch.arange(40), torch.Generator()
    maps, logits = views.draw(rows, generator)
    again, _ = views.draw(rows, generator)
    different = (maps - again).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert 20 < different.sum() < 40  # a fifth is drawn whole, mirrored or not
    with torch.inference_mode():
        torch.testing.assert_close(said(maps), logits, atol=0.05, rtol=0.05)
    assert not logits.requires_grad
    assert (views.pixels == ramp).all()


def test_a_tail_learns_from_photos_seen_afresh(network: EfficientNetLite) -> None:
    """Its first blocks at half the rate of the others."""
    tail, classifier, head, text, captioned = stage_of(network)
    pixels = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
    how = Preprocess(side_px=32, mean=(0.5,) * 3, std=(0.5,) * 3, resize="squash")
    front, _ = split(network, 1)
    was = copy.deepcopy(tail)
    photos = Fresh(pixels, how, front, lambda maps: classifier(was(maps).mean(dim=(2, 3))))
    others = OtherMaps(photos, torch.full((12,), NO_LABEL), None)
    before = copy.deepcopy(tail)
    seen = CaptionedMaps(photos, captioned.features, captioned.sentences, captioned.owner)
    stage = ImageStage(epochs=2, batch=6, others=4, negatives=8, slow=1, warmup_steps=1)
    finetune(tail, classifier, head, text, seen, others, stage)
    moved = [
        max(
            float((a - b).detach().abs().max())
            for a, b in zip(x.parameters(), y.parameters(), strict=True)
        )
        for x, y in zip(tail, before, strict=True)
    ]
    # Adam's steps are as long as the rate, whatever the gradient.
    assert 0.2 * moved[-1] < moved[0] < 0.8 * moved[-1]
    assert all(
        torch.equal(a, b) for a, b in zip(was.parameters(), before.parameters(), strict=True)
    )


def test_the_tail_learns_captions_and_keeps_its_classes(network: EfficientNetLite) -> None:
    tail, classifier, head, text, captioned = stage_of(network)
    maps, was, sentences = parts_of(captioned)
    labels = torch.tensor([0, 1, 0, 1, NO_LABEL, NO_LABEL])
    others = OtherMaps(Maps((maps[:6],), was[None, :6]), labels, unit(torch.randn(2, 2, 32)))

    def found() -> float:
        with torch.inference_mode():
            rows = head(tail_features(tail, maps))
            return float(((rows @ text(sentences).T).argmax(1) == torch.arange(12)).float().mean())

    before = copy.deepcopy(tail.state_dict())
    assert found() < 0.5
    steps: list[int] = []
    stage = ImageStage(
        epochs=60, batch=6, others=4, negatives=16, learning_rate=2e-3, head_rate=5e-3
    )
    finetune(tail, classifier, head, text, captioned, others, stage, steps.append)
    assert found() > 0.8
    assert steps == [2 * (epoch + 1) for epoch in range(60)]
    assert any(not torch.equal(before[name], value) for name, value in tail.state_dict().items())
    kept = row_kl(was, classifier(tail_features(tail, maps)))
    assert kept < 0.2


def test_the_tail_takes_over_a_teachers_relations(network: EfficientNetLite) -> None:
    """Of photos with captions and of others, where their own captions count for nothing."""
    tail, classifier, head, text, captioned = stage_of(network)
    maps, was, sentences = parts_of(captioned)
    others = OtherMaps(Maps((maps[:6],), was[None, :6]), torch.full((6,), NO_LABEL), None)
    said = 4 * torch.randn(12, 12, generator=torch.Generator().manual_seed(3))
    asked: list[tuple[int, int, int]] = []

    def teacher(rows: torch.Tensor, extra: torch.Tensor, captions: torch.Tensor) -> torch.Tensor:
        asked.append((len(rows), len(extra), len(captions)))
        return said[torch.cat((rows, extra))][:, captions]

    stage = ImageStage(
        epochs=60, batch=6, others=4, negatives=16, learning_rate=2e-3, head_rate=5e-3,
        captions=0.0, classes=0.0, relations=1.0,
    )  # fmt: skip

    def apart() -> float:
        with torch.inference_mode():
            found = stage.scale * head(tail_features(tail, maps)) @ text(sentences).T
            return float(row_kl(said, found))

    before = apart()
    finetune(tail, classifier, head, text, captioned, others, stage, teacher=teacher)
    assert set(asked) == {(6, 4, 6 + 16)}
    assert apart() < before / 2


def test_relations_to_sentences_of_no_photo_are_taken_over_too(network: EfficientNetLite) -> None:
    tail, classifier, head, text, captioned = stage_of(network)
    maps, was, _ = parts_of(captioned)
    alone = unit(torch.randn(9, 32, generator=torch.Generator().manual_seed(4)))
    captioned = dataclasses.replace(captioned, alone=alone)
    others = OtherMaps(Maps((maps[:6],), was[None, :6]), torch.full((6,), NO_LABEL), None)
    said = 4 * torch.randn(12, 12 + 9, generator=torch.Generator().manual_seed(3))
    asked: set[int] = set()

    def teacher(rows: torch.Tensor, extra: torch.Tensor, captions: torch.Tensor) -> torch.Tensor:
        asked.update(captions.tolist())
        assert len(captions) == 6 + 4 + 30
        return said[torch.cat((rows, extra))][:, captions]

    stage = ImageStage(
        epochs=60, batch=6, others=4, negatives=4, alone=30, learning_rate=2e-3, head_rate=5e-3,
        captions=0.0, classes=0.0, relations=1.0,
    )  # fmt: skip

    def apart() -> float:
        with torch.inference_mode():
            found = stage.scale * head(tail_features(tail, maps)) @ text(alone).T
            return float(row_kl(said[:, 12:], found))

    before = apart()
    finetune(tail, classifier, head, text, captioned, others, stage, teacher=teacher)
    assert asked == set(range(12 + 9))
    assert apart() < before / 2


def test_mixed_weights_lie_between(network: EfficientNetLite) -> None:
    _, tail = split(fuse(network), 1)
    before = {name: torch.zeros_like(value) for name, value in tail.state_dict().items()}
    now = {name: value.clone() for name, value in tail.state_dict().items()}
    mix_weights(tail, before, 0.25)
    for name, value in tail.state_dict().items():
        torch.testing.assert_close(value, 0.25 * now[name])
