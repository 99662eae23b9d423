"""The image stage: its loss, its constancy, and that a tail really learns."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.finetune import (  # noqa: E402
    NO_LABEL,
    CaptionedMaps,
    CaptionHead,
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
    captioned = CaptionedMaps(
        Maps((maps, maps)), torch.stack((was, was)), features, sentences, torch.arange(12)
    )
    return tail, fused.classifier.requires_grad_(False), head, text, captioned


def test_the_tail_learns_captions_and_keeps_its_classes(network: EfficientNetLite) -> None:
    tail, classifier, head, text, captioned = stage_of(network)
    maps, was, sentences = captioned.maps.views[0], captioned.logits[0], captioned.sentences
    labels = torch.tensor([0, 1, 0, 1, NO_LABEL, NO_LABEL])
    others = OtherMaps(Maps((maps[:6],)), was[:6], labels, unit(torch.randn(2, 2, 32)))

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
    maps, was, sentences = captioned.maps.views[0], captioned.logits[0], captioned.sentences
    others = OtherMaps(Maps((maps[:6],)), was[:6], torch.full((6,), NO_LABEL), None)
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


def test_mixed_weights_lie_between(network: EfficientNetLite) -> None:
    _, tail = split(fuse(network), 1)
    before = {name: torch.zeros_like(value) for name, value in tail.state_dict().items()}
    now = {name: value.clone() for name, value in tail.state_dict().items()}
    mix_weights(tail, before, 0.25)
    for name, value in tail.state_dict().items():
        torch.testing.assert_close(value, 0.25 * now[name])
