"""The image tower of a recipe before its heads are trained: the image stage.

A recipe without `image_epochs` takes the image network as it is. The stage depends on files and
settings alone, and is kept by both.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.data import DataError, cached, read_examples, read_photos
from models.finetune import (
    NO_LABEL,
    CaptionedMaps,
    CaptionHead,
    Fresh,
    ImageStage,
    Maps,
    OtherMaps,
    Relations,
    TextCaption,
    Views,
    crops,
    finetune,
    mix_weights,
    split,
    tail_features,
)
from models.kept import kept
from models.labels import LABEL_PROMPTS, label_numbers
from models.layers import EfficientNetLite, absorb, fuse, unit
from models.prepare import texts_alone
from models.recipes import Recipe
from models.rounding import round_convolutions
from models.students import DualEncoder, as_published
from models.teachers import encode_pixels, encode_texts, weights_digest
from photosearch.preprocess import normalise
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Preprocess

log = logging.getLogger(__name__)

MAP_STAGES: Final = 5  # of the image network: behind as many, maps of a few views are cached
TAIL_DROPOUT: Final = 0.5
ROUNDING_PHOTOS: Final = 128  # on which the rounded network's biases are corrected


def prepare_image(
    recipe: Recipe,
    student: DualEncoder,
    vocabulary: Sequence[str],
    make_teacher: Callable[[], Relations] | None = None,
) -> None:
    """Train the image network's tail, or take it from the cache.

    The student's heads are trained on the network as it is: where the caption part starts.
    A teacher is made only where the tail is trained. What the classifier is to go on saying is what
    the network of this shape says as it was published, though `init` may have trained it before.
    """
    cache, network = Path(recipe.cache), student.image.backbone
    stage = ImageStage(
        epochs=recipe.image_epochs,
        learning_rate=recipe.image_rate,
        slow=slow_blocks(network, recipe.image_stages),
        captions=recipe.image_captions,
        relations=recipe.image_relations,
        alone=recipe.image_alone,
        mix=recipe.image_mix,
        seed=recipe.seed,
    )
    photos = [one.image for one in read_examples(",".join(_photo_specs(recipe)))]
    parts: list[str | bytes] = [
        repr(stage),
        repr(recipe.preprocess()),
        repr(recipe.labelled),
        repr((recipe.image_stages, recipe.image_crops)),
        recipe.ensemble,
        weights_digest(student),
        *[hashlib.sha256(photo).digest() for photo in photos],
    ]

    def train() -> None:
        log.info("prepare.image photos=%d epochs=%d", len(photos), stage.epochs)
        _train_tail(recipe, student, vocabulary, stage, make_teacher() if make_teacher else None)

    kept(cache, "image", parts, network, train)


def _train_tail(
    recipe: Recipe,
    student: DualEncoder,
    vocabulary: Sequence[str],
    stage: ImageStage,
    teacher: Relations | None,
) -> None:
    network = student.image.backbone
    tokenizer = WordPieceTokenizer(vocabulary, context_length=student.config.text.positions)

    def sentences(texts: Sequence[str]) -> Tensor:
        with torch.inference_mode():
            encode = student.text.encoder
            return torch.from_numpy(encode_texts(lambda t: unit(encode(t)), texts, tokenizer))

    fused = fuse(copy.deepcopy(network).eval())
    assert isinstance(fused, EfficientNetLite)
    front, tail = split(fused, recipe.image_stages)
    said = Classes(as_published(network), recipe.image_stages)
    captioned = captioned_maps(recipe, front, tail, said, sentences)
    others = other_maps(recipe, front, said, sentences)
    head, text = caption_heads(student, image_dropout=TAIL_DROPOUT)
    before = {name: value.clone() for name, value in tail.state_dict().items()}
    classifier = fused.classifier.requires_grad_(False)
    finetune(tail, classifier, head, text, captioned, others, stage, teacher=teacher)
    mix_weights(tail, before, stage.mix)
    round_convolutions(fused, _some_pixels(recipe))
    absorb(network, fused)


def _some_pixels(recipe: Recipe) -> Tensor:
    """As many photos of each set, spread over it, normalised: (B, 3, S, S)."""
    how, specs = recipe.preprocess(), _photo_specs(recipe)
    some: list[NDArray[np.uint8]] = []
    for spec in specs:
        pixels = read_photos(spec, how).pixels
        some.append(pixels[:: max(1, len(pixels) * len(specs) // ROUNDING_PHOTOS)])
    return torch.from_numpy(normalise(np.concatenate(some), how))


def _photo_specs(recipe: Recipe) -> list[str]:
    return [spec for spec in (recipe.data, recipe.unlabelled, recipe.labelled) if spec]


class Classes:
    """What a network says of the maps behind some of its stages: their logits."""

    def __init__(self, network: EfficientNetLite, stages: int) -> None:
        fuse(network.eval()).requires_grad_(False)
        self._tail = split(network, stages)[1]
        self._classifier = network.classifier

    @torch.no_grad()
    def __call__(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        found: Tensor = self._classifier(self._tail(maps).float().mean(dim=(2, 3)))
        return found

    def of(self, views: Sequence[NDArray[np.float16]]) -> Tensor:
        """V of (N, C, H, W) -> (V, N, K)."""
        with torch.inference_mode():
            found = [self._classifier(tail_features(self._tail, view)) for view in views]
            return torch.stack(found)


def captioned_maps(
    recipe: Recipe,
    front: nn.Module,
    tail: nn.Module,
    said: Classes,
    sentences: Callable[[Sequence[str]], Tensor],
) -> CaptionedMaps:
    """Every photo with captions: whole, mirrored, and at random crops."""
    how, cache = recipe.preprocess(), Path(recipe.cache)
    photos = read_photos(recipe.data, how)
    whole = middle_maps(front, photos.pixels, how, cache)
    random = np.random.default_rng(recipe.seed)
    if recipe.image_stages < MAP_STAGES:
        maps: Views = Fresh(photos.pixels, how, front, said, random)
    else:
        more = [photos.pixels[:, :, ::-1]]
        more += [crops(photos.pixels, random) for _ in range(recipe.image_crops)]
        views = (whole, *(middle_maps(front, view, how, cache) for view in more))
        maps = Maps(views, said.of(views))
    texts = [text for group in photos.captions for text in group]
    counts = torch.tensor([len(group) for group in photos.captions])
    owner = torch.repeat_interleave(torch.arange(len(photos)), counts)
    alone = texts_alone(recipe)
    return CaptionedMaps(
        maps,
        tail_features(tail, whole),
        sentences(texts),
        owner,
        sentences(alone) if alone else None,
    )


def other_maps(
    recipe: Recipe,
    front: nn.Module,
    said: Classes,
    sentences: Callable[[Sequence[str]], Tensor],
) -> OtherMaps:
    """Photos without captions, some with a label that we may learn from."""
    how, cache = recipe.preprocess(), Path(recipe.cache)
    specs = [spec for spec in (recipe.labelled, recipe.unlabelled) if spec]
    if not specs:
        raise DataError("the image stage needs photos without captions too; name some: unlabelled")
    sets = [read_photos(spec, how) for spec in specs]
    names: list[str] = []
    labels: list[int] = []
    for spec, photos in zip(specs, sets, strict=True):
        if spec == recipe.labelled:
            names, known = label_numbers(photos.labels)
            labels += known
        else:
            labels += [NO_LABEL] * len(photos)
    if recipe.image_stages < MAP_STAGES:
        pixels = np.concatenate([one.pixels for one in sets])
        random = np.random.default_rng(recipe.seed + 1)
        maps: Views = Fresh(pixels, how, front, said, random)
    else:
        views = (np.concatenate([middle_maps(front, one.pixels, how, cache) for one in sets]),)
        maps = Maps(views, said.of(views))
    asked = None
    if names:
        groups = [[prompt.format(name) for name in names] for prompt in LABEL_PROMPTS]
        asked = torch.stack([sentences(group) for group in groups])
    return OtherMaps(maps, torch.tensor(labels), asked)


def slow_blocks(network: EfficientNetLite, stages: int) -> int:
    """How many blocks of a tail behind `stages` lie before what it is behind MAP_STAGES."""
    return sum(stage.repeats for stage in network.config.stages[stages:MAP_STAGES])


def middle_maps(
    front: nn.Module, pixels: NDArray[np.uint8], how: Preprocess, cache: Path
) -> NDArray[np.float16]:
    """(N, S, S, 3) -> maps (N, C, H, W), cached by photos and weights."""
    parts: list[str | bytes] = [
        hashlib.sha256(pixels.tobytes()).digest(),
        repr(how),
        weights_digest(front),
    ]

    def make() -> NDArray[np.float16]:
        log.info("prepare.maps photos=%d", len(pixels))
        with torch.inference_mode():
            return np.asarray(encode_pixels(front, pixels, how), dtype=np.float16)

    return cached(cache, "maps", parts, make)


def caption_heads(
    student: DualEncoder, *, image_dropout: float, text_dropout: float | None = None
) -> tuple[CaptionHead, TextCaption]:
    """Copies of both caption parts, to be trained beside a network."""
    image, text = copy.deepcopy(student.image.head), copy.deepcopy(student.text.head)
    text.gate.requires_grad_(False)
    if text_dropout is not None:
        text.dropout.p = text_dropout
    head = CaptionHead(image.feature_mean, image.feature_std, image.caption, image_dropout)
    return head, TextCaption(text)
