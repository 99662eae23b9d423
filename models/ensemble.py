"""A teacher of several frozen image networks, to be distilled into one.

Three EfficientNet-lites, each with heads of its own, find more photos by their mean than any of
them alone, and more than a network whose last blocks were trained on the same captions. Six
thousand photos are few enough to be known by heart, and what a head says of a photo it was
trained on teaches nothing but the caption. So the teacher is cross-fitted: the photos are
dealt into folds, and what is said of a photo comes from heads that were trained on the others.

A photo's vector is the members' vectors side by side; a caption's too, divided by their number,
so that a product of both is the mean of the members' cosines. What is distilled are a photo's
relations to captions, softly: what the grid of docs/training.md calls `inter_ss.kl`, one of
ConaCLIP's cells (arXiv:2305.17652).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.captioned import Captioned, sentences_of, with_chinese
from models.data import cached, read_photos
from models.heads import BETAS, MAX_LOG_SCALE, schedule
from models.layers import (
    LITE0,
    LITE1,
    LITE2,
    EfficientNetConfig,
    EfficientNetLite,
    fuse,
    load_lite0,
    load_lite1,
    load_lite2,
    unit,
)
from models.losses import info_nce
from models.prepare import texts_alone
from models.recipes import Recipe, RecipeError
from models.students import DualEncoder
from models.teachers import PHOTO_BATCH, sentence_vectors, weights_digest
from photosearch.preprocess import normalise
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Preprocess

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One frozen network, and the side of the photos it was trained on."""

    config: EfficientNetConfig
    load: Callable[[EfficientNetLite], None]
    side_px: int


MEMBERS: Final = {
    "lite0": Member(LITE0, load_lite0, 224),
    "lite1": Member(LITE1, load_lite1, 240),
    "lite2": Member(LITE2, load_lite2, 224),
}
FOLDS: Final = 4
DIM: Final = 256  # of each member's vectors
HIDDEN: Final = 768
EPOCHS: Final = 100
BATCH: Final = 1024
RATE: Final = 1e-3
WARMUP_STEPS: Final = 50
WEIGHT_DECAY: Final = 0.1
IMAGE_DROPOUT: Final = 0.6
TEXT_DROPOUT: Final = 0.3
SCALE: Final = 20.0  # of the cosines, where training starts


@dataclass(frozen=True)
class Teacher:
    """What the ensemble says of photos and captions; M members, K folds."""

    fold: Tensor  # (N,) of each photo with captions
    photos: Tensor  # (N, M * DIM)
    other_fold: Tensor  # (O,)
    others: Tensor  # (O, M * DIM) photos without captions
    captions: Tensor  # (K, Q + S, M * DIM) float16, by each fold's heads; S belong to no photo
    scale: float

    def relations(self, rows: Tensor, others: Tensor, captions: Tensor) -> Tensor:
        """Logits of photos `rows` (B,) and `others` (O',) over `captions` (C,): (B + O', C)."""
        photos = torch.cat((self.photos[rows], self.others[others]))
        folds = torch.cat((self.fold[rows], self.other_fold[others]))
        found = torch.empty(len(photos), len(captions))
        for fold, texts in enumerate(self.captions):
            here = folds == fold
            if here.any():
                found[here] = self.scale * photos[here] @ texts[captions].float().T
        return found


class Heads(nn.Module):
    """A linear head for features, a perceptron beside a linear one for sentence vectors."""

    def __init__(self, features: Tensor, sentences: Tensor) -> None:
        super().__init__()
        self.mean, self.std = nn.Buffer(features.mean(dim=0)), nn.Buffer(features.std(dim=0) + 1e-3)
        self.middle = nn.Buffer(sentences.mean(dim=0))
        wide, width = features.shape[1], sentences.shape[1]
        self.photo = nn.Sequential(nn.Dropout(IMAGE_DROPOUT), nn.Linear(wide, DIM))
        self.text = nn.Sequential(nn.Dropout(TEXT_DROPOUT), nn.Linear(width, DIM))
        down = nn.Linear(HIDDEN, DIM)
        nn.init.zeros_(down.weight)
        self.more = nn.Sequential(
            nn.Dropout(TEXT_DROPOUT), nn.Linear(width, HIDDEN), nn.GELU(),
            nn.Dropout(TEXT_DROPOUT), down,
        )  # fmt: skip
        self.log_scale = nn.Parameter(torch.tensor(math.log(SCALE)))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.clamp(max=MAX_LOG_SCALE).exp()

    def photos(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, DIM) unit rows."""
        return unit(self.photo((features - self.mean) / self.std))

    def texts(self, sentences: Tensor) -> Tensor:
        """(B, W) unit rows -> (B, DIM) unit rows."""
        scaled = (sentences - self.middle) * math.sqrt(sentences.shape[1])
        return unit(self.text(scaled) + self.more(scaled))


def fit_heads(captioned: Captioned, rows: Tensor, *, seed: int) -> Heads:
    """Heads for the photos `rows`: each finds its caption among those of a batch."""
    torch.manual_seed(seed)
    heads = Heads(captioned.features[0, rows], captioned.sentences.vectors)
    optimizer = torch.optim.AdamW(
        heads.parameters(), RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
    )
    batch = min(BATCH, len(rows))
    epoch_steps = len(rows) // batch
    steps = EPOCHS * epoch_steps
    heads.train()
    for step in range(steps):
        if step % epoch_steps == 0:
            order = rows[torch.randperm(len(rows))][: epoch_steps * batch].reshape(-1, batch)
        for group in optimizer.param_groups:
            group["lr"] = RATE * schedule(step, steps, WARMUP_STEPS)
        features, sentences = captioned.sample(order[step % epoch_steps])
        loss = info_nce(heads.photos(features), heads.texts(sentences), scale=heads.scale)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return heads.eval()


@torch.no_grad()
def cross_fit(
    members: Sequence[tuple[Captioned, Tensor]], alone: Tensor | None = None, *, seed: int = 0
) -> Teacher:
    """members: each network's photos with captions, and its features (O, F) of others;
    alone: (S, W) sentence vectors of texts that belong to no photo."""
    photos, others = members[0][0].features.shape[1], len(members[0][1])
    generator = torch.Generator().manual_seed(seed)
    fold = torch.randint(FOLDS, (photos,), generator=generator)
    other_fold = torch.randint(FOLDS, (others,), generator=generator)
    told = torch.empty(photos, len(members) * DIM)
    more = torch.empty(others, len(members) * DIM)
    captions: list[Tensor] = []
    scales: list[float] = []
    for number in range(FOLDS):
        here, there = fold == number, other_fold == number
        texts: list[Tensor] = []
        for place, (captioned, features) in enumerate(members):
            with torch.enable_grad():
                heads = fit_heads(captioned, torch.nonzero(~here)[:, 0], seed=seed + number)
            part = slice(place * DIM, (place + 1) * DIM)
            views = torch.stack([heads.photos(view[here]) for view in captioned.features])
            told[here, part] = unit(views.sum(dim=0))
            more[there, part] = heads.photos(features[there])
            vectors = captioned.sentences.vectors
            texts.append(heads.texts(vectors if alone is None else torch.cat((vectors, alone))))
            scales.append(float(heads.scale))
        captions.append((torch.cat(texts, dim=1) / len(members)).half())
        log.info("ensemble.fold fold=%d/%d", number + 1, FOLDS)
    scale = sum(scales) / len(scales)
    return Teacher(fold, told, other_fold, more, torch.stack(captions), scale)


def make_teacher(recipe: Recipe, student: DualEncoder, vocabulary: Sequence[str]) -> Teacher:
    """The recipe's `ensemble` for its photos; others are the labelled ones, then those without.

    The sentence vectors are the student's own: its text encoder stays while the image network
    learns. After the photos' captions come the texts of texts_alone(). Raises RecipeError for a
    network that is not one of MEMBERS.
    """
    names = [name.strip() for name in recipe.ensemble.split(",")]
    for name in names:
        if name not in MEMBERS:
            raise RecipeError(f"ensemble names {name!r}; known: {', '.join(MEMBERS)}")
    cache, how = Path(recipe.cache), recipe.preprocess()
    tokenizer = WordPieceTokenizer(vocabulary, context_length=student.config.text.positions)
    photos = read_photos(recipe.data, how)
    sentences = sentences_of(student, tokenizer, photos.captions, cache)
    others = [
        read_photos(spec, how).pixels for spec in (recipe.labelled, recipe.unlabelled) if spec
    ]
    members: list[tuple[Captioned, Tensor]] = []
    for name in names:
        views = [photos.pixels, photos.pixels[:, :, ::-1]]
        captioned = Captioned(
            torch.stack([member_features(name, view, how, cache) for view in views]), sentences
        )
        captioned = with_chinese(recipe, student, tokenizer, captioned)
        features = [member_features(name, pixels, how, cache) for pixels in others]
        members.append((captioned, torch.cat(features) if features else torch.empty(0, 1)))
    texts = texts_alone(recipe)
    alone = sentence_vectors(student.text, texts, tokenizer, cache) if texts else None
    return cross_fit(members, alone, seed=recipe.seed)


@torch.inference_mode()
def member_features(name: str, pixels: NDArray[np.uint8], how: Preprocess, cache: Path) -> Tensor:
    """What a frozen network makes of photos (N, S, S, 3): (N, F), cached by photos and weights."""
    member = MEMBERS[name]
    network = EfficientNetLite(member.config, side_px=member.side_px).eval()
    member.load(network)
    parts: list[str | bytes] = [pixels.tobytes(), repr(how), weights_digest(network)]

    def make() -> NDArray[np.float32]:
        log.info("ensemble.features network=%s photos=%d", name, len(pixels))
        fuse(network)
        rows: list[NDArray[np.float32]] = []
        for start in range(0, len(pixels), PHOTO_BATCH):
            photos = torch.from_numpy(normalise(pixels[start : start + PHOTO_BATCH], how))
            if member.side_px != how.side_px:
                photos = functional.interpolate(
                    photos, size=member.side_px, mode="bicubic", align_corners=False
                )
            photos = photos.contiguous(memory_format=torch.channels_last)
            rows.append(network.features(photos).numpy())
        return np.concatenate(rows)

    return torch.from_numpy(cached(cache, f"photos-{name}", parts, make))
