"""The image network's last blocks, trained on photos with captions without forgetting its classes.

The first stages, the *front*, stay as they are; what comes after them, the *tail*, learns.
Behind five stages it has three quarters of the weights before the classifier and a third of the
arithmetic, and the maps between the two are computed once for a few views of each photo and kept
(`Maps`); behind fewer it is nearly all of the network, and every step sees other parts of its
photos (`Fresh`). Batch norms are folded in and so frozen.

    captions    find a photo's caption among thousands, and the photo among all others; the
                others' embeddings are remembered from their last turn (cross-batch memory,
                Wang et al. 2020, arXiv:1912.06798), so that batches can be small
    classes     on every photo, with or without caption, the classifier must say what it said
                before: its thousand classes are what the space knows beyond the captions
    labels      scenes named by people: the photo finds its label among all labels
    relations   where there is a teacher: the photo's likeness to thousands of captions, of photos
                and of none, is to be what the teacher says it is, of photos with captions and of
                those without
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from models.layers import EfficientNetLite, unit
from models.losses import row_kl
from models.students import TextHead
from photosearch.preprocess import normalise
from photosearch.types import Preprocess

log = logging.getLogger(__name__)

NO_LABEL: Final = -1
CROP_AREA: Final = (0.5, 1.0)  # of the photo
CROP_ASPECT: Final = (3 / 4, 4 / 3)
CROPPED: Final = 0.6  # of the photos that are seen afresh
BETAS: Final = (0.9, 0.98)
REPORT_SECONDS: Final = 60.0


@dataclass(frozen=True)
class ImageStage:
    """How long and how fast."""

    epochs: int = 5
    batch: int = 96  # photos with captions
    others: int = 32  # and without
    learning_rate: float = 2e-4
    slow: int = 0  # so many of the tail's first blocks learn at half that rate
    head_rate: float = 5e-4
    weight_decay: float = 0.05
    warmup_steps: int = 20
    negatives: int = 4096  # captions of other photos
    alone: int = 0  # sentences of no photo that a teacher relates photos to, a step
    scale: float = 25.0
    captions: float = 1.0
    relations: float = 0.0  # to a teacher's; 0 where there is none
    classes: float = 5.0  # weight of the classifier's constancy
    labels: float = 0.3
    mix: float = 0.6  # of the new weights in the end; the rest is the network as it was
    seed: int = 0


class Views(Protocol):
    """Photos as the tail sees them, and what the network as it was said of them."""

    def __len__(self) -> int: ...

    def draw(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A view of each of these photos (B,): maps (B, C, H, W) float32, channels last, and the
        classifier's logits (B, K)."""
        ...


@dataclass(frozen=True)
class Maps:
    """A few views of each photo as middle maps (float16, perhaps a memory map), an array each."""

    views: tuple[NDArray[np.float16], ...]  # V of (N, C, H, W)
    logits: Tensor  # (V, N, K)

    def __len__(self) -> int:
        return len(self.views[0])

    def draw(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        view = torch.randint(len(self.views), (len(rows),), generator=generator)
        maps = np.stack(
            [self.views[int(v)][int(r)] for r, v in zip(rows.tolist(), view.tolist(), strict=True)]
        )
        return _channels_last(torch.from_numpy(maps.astype(np.float32))), self.logits[view, rows]


@dataclass(frozen=True)
class Fresh:
    """Photos as pixels: most are cut anew each time they are drawn, of the rest half mirrored."""

    pixels: NDArray[np.uint8]  # (N, S, S, 3)
    how: Preprocess
    front: nn.Module  # pixels -> maps
    said: Callable[[Tensor], Tensor]  # maps -> logits of the network as it was
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __len__(self) -> int:
        return len(self.pixels)

    @torch.no_grad()
    def draw(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        some = self.pixels[rows.numpy()]
        cut = self.random.random(len(some)) < CROPPED
        flipped = ~cut & (self.random.random(len(some)) < 0.5)
        some[cut] = crops(some[cut], self.random)
        some[flipped] = some[flipped][:, :, ::-1]
        x = _channels_last(torch.from_numpy(normalise(some, self.how)))
        # What has no gradient may be half as exact: twice as quick.
        with torch.autocast("cpu", torch.bfloat16):
            maps = self.front(x)
            logits = self.said(maps)
        return _channels_last(maps.float()), logits.float()


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class CaptionedMaps:
    """Photos with captions."""

    maps: Views
    features: Tensor  # (N, F) of each photo whole, from the network as it was
    sentences: Tensor  # (Q, W) captions; those of one photo lie side by side
    owner: Tensor  # (Q,) the photo of each, ascending
    alone: Tensor | None = None  # (S, W) sentences of no photo, which a teacher knows too


@dataclass(frozen=True)
class OtherMaps:
    """Photos without captions, some with a label."""

    maps: Views
    labels: Tensor  # (M,) NO_LABEL for none
    sentences: Tensor | None  # (P, K, W): each label in several prompts


# A teacher: (B,) photos with captions, (O,) others, (C,) captions -> (B + O, C) logits. Behind the
# photos' captions, Q and on, are the sentences of no photo.
Relations = Callable[[Tensor, Tensor, Tensor], Tensor]


def split(network: EfficientNetLite, stages: int) -> tuple[nn.Sequential, nn.Sequential]:
    """(front, tail): pixels -> maps, maps -> last maps."""
    blocks = sum(stage.repeats for stage in network.config.stages[:stages])
    front = nn.Sequential(network.stem, *list(network.blocks)[:blocks])
    return front, nn.Sequential(*list(network.blocks)[blocks:], network.head)


@torch.no_grad()
def mix_weights(tail: nn.Module, before: Mapping[str, Tensor], share: float) -> None:
    """Weights between those before and those of now (Wortsman et al. 2022, arXiv:2109.01903).

    Half way keeps nearly all that was learned and gives back most of what was forgotten.
    """
    now = tail.state_dict()
    tail.load_state_dict({name: before[name].lerp(now[name], share) for name in now})


@torch.inference_mode()
def tail_features(tail: nn.Module, maps: NDArray[np.float16], batch: int = 64) -> Tensor:
    """(N, C, H, W) -> pooled features (N, F)."""
    rows: list[Tensor] = []
    for start in range(0, len(maps), batch):
        x = torch.from_numpy(np.asarray(maps[start : start + batch], dtype=np.float32))
        rows.append(tail(x.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3)))
    return torch.cat(rows)


def finetune(
    tail: nn.Sequential,
    classifier: nn.Linear,
    image_head: nn.Module,
    text_head: nn.Module,
    captioned: CaptionedMaps,
    others: OtherMaps,
    stage: ImageStage,
    watch: Callable[[int], None] = lambda _: None,
    teacher: Relations | None = None,
) -> None:
    """Train tail, image_head and text_head in place; `classifier` is a constant.

    image_head: features (B, F) -> (B, D); text_head: sentences (B, W) -> (B, D), unit rows.
    `watch` is called after every epoch with the steps so far.
    """
    generator = torch.Generator().manual_seed(stage.seed)
    torch.manual_seed(stage.seed)
    optimizer = torch.optim.AdamW(
        [
            {"params": [*tail[: stage.slow].parameters()], "rate": stage.learning_rate / 2},
            {"params": [*tail[stage.slow :].parameters()], "rate": stage.learning_rate},
            {
                "params": [*image_head.parameters(), *text_head.parameters()],
                "rate": stage.head_rate,
            },
        ],
        stage.learning_rate,
        betas=BETAS,
        weight_decay=stage.weight_decay,
        fused=True,
    )
    sentences, owner, photos = captioned.sentences, captioned.owner, len(captioned.maps)
    batch = min(stage.batch, photos)
    epoch_steps = photos // batch
    steps, step, last = stage.epochs * epoch_steps, 0, time.monotonic()
    counts = torch.bincount(owner, minlength=photos)
    first = counts.cumsum(0) - counts
    with torch.no_grad():
        image_head.eval()
        memory = image_head(captioned.features)
    totals = torch.zeros(5)
    for _ in range(stage.epochs):
        for head in (image_head, text_head):
            head.train()
        order = torch.randperm(photos, generator=generator)
        for rows in order[: epoch_steps * batch].reshape(-1, batch):
            done = step / steps
            pace = min(1.0, (step + 1) / stage.warmup_steps) * 0.5 * (1 + math.cos(math.pi * done))
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * pace
            extra = torch.randint(len(others.maps), (stage.others,), generator=generator)
            x, said = captioned.maps.draw(rows, generator)
            y, also = others.maps.draw(extra, generator)
            found = tail(_channels_last(torch.cat((x, y)))).mean(dim=(2, 3))
            image = image_head(found)
            own, rest = image[: len(rows)], image[len(rows) :]

            caption = (
                first[rows] + (torch.rand(len(rows), generator=generator) * counts[rows]).long()
            )
            wrong = torch.randint(len(sentences), (stage.negatives,), generator=generator)
            text = text_head(torch.cat((sentences[caption], sentences[wrong])))
            captions = caption_loss(own, text, rows, owner[wrong], memory, stage.scale)
            classes = row_kl(torch.cat((said, also)), classifier(found))
            labels = label_loss(rest, others, extra, text_head, stage.scale)
            loss = stage.captions * captions + stage.classes * classes + stage.labels * labels
            relations = torch.zeros(())
            if teacher is not None:
                asked = torch.cat((caption, wrong))
                if captioned.alone is not None:
                    some = torch.randint(len(captioned.alone), (stage.alone,), generator=generator)
                    text = torch.cat((text, text_head(captioned.alone[some])))
                    asked = torch.cat((asked, len(sentences) + some))
                theirs = teacher(rows, extra, asked)
                relations = row_kl(theirs, stage.scale * image @ text.T)
                loss = loss + stage.relations * relations
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(tail.parameters(), 1.0)
            optimizer.step()
            memory[rows] = own.detach()
            parts = (captions, classes, labels, relations, torch.ones(()))
            totals += torch.stack([part.detach() for part in parts])
            step += 1
            if time.monotonic() - last > REPORT_SECONDS:
                mean = (totals[:4] / totals[4]).tolist()
                log.info(
                    "image.step step=%d/%d captions=%.4f classes=%.4f labels=%.4f relations=%.4f",
                    step,
                    steps,
                    *mean,
                )
                totals.zero_()
                last = time.monotonic()
        for head in (image_head, text_head):
            head.eval()
        watch(step)


def caption_loss(
    image: Tensor, text: Tensor, rows: Tensor, wrong: Tensor, memory: Tensor, scale: float
) -> Tensor:
    """Cross-entropy both ways; other captions of the same photo are no negatives.

    image (B, D); text (B + Q, D): own captions, then those of photos wrong (Q,);
    rows (B,): which photos these are; memory (N, D): embeddings of all photos.
    """
    own = torch.arange(len(image))
    forward = scale * image @ text.T  # (B, B + Q)
    same = torch.cat(
        (torch.zeros(len(rows), len(rows), dtype=torch.bool), rows[:, None] == wrong), 1
    )
    forward = forward.masked_fill(same, -math.inf)
    others = memory.clone()
    others[rows] = image.detach()
    backward = scale * text[: len(image)] @ others.T  # (B, N)
    exact = scale * (text[: len(image)] * image).sum(dim=1)  # with gradient to the photo
    backward = backward.scatter(1, rows[:, None], exact[:, None])
    return (functional.cross_entropy(forward, own) + functional.cross_entropy(backward, rows)) / 2


def label_loss(
    image: Tensor, others: OtherMaps, rows: Tensor, text_head: nn.Module, scale: float
) -> Tensor:
    """Cross-entropy of the labelled among photos `rows` (B,) to their label, in a random prompt."""
    named = others.labels[rows] >= 0
    if others.sentences is None or not named.any():
        return torch.zeros(())
    prompt = int(torch.randint(len(others.sentences), ()))
    names = text_head(others.sentences[prompt])
    return functional.cross_entropy(scale * image[named] @ names.T, others.labels[rows][named])


def crops(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """A random part of each photo, half of them mirrored, at the photo's size: (N, S, S, 3)."""
    side = pixels.shape[1]
    found = np.empty_like(pixels)
    for number, photo in enumerate(pixels):
        area = random.uniform(*CROP_AREA) * side * side
        aspect = math.exp(random.uniform(math.log(CROP_ASPECT[0]), math.log(CROP_ASPECT[1])))
        width = min(side, math.sqrt(area * aspect))
        height = min(side, math.sqrt(area / aspect))
        left, top = random.uniform(0, side - width), random.uniform(0, side - height)
        part = Image.fromarray(photo).resize(
            (side, side),
            Image.Resampling.BICUBIC,
            box=(left, top, left + width, top + height),
        )
        view = np.asarray(part)
        found[number] = view[:, ::-1] if random.random() < 0.5 else view
    return found


class TextCaption(nn.Module):
    """The caption part of a text head alone, while the tail is trained."""

    def __init__(self, head: TextHead) -> None:
        super().__init__()
        self.head = head
        self.width = head.linear.out_features

    def forward(self, sentence: Tensor) -> Tensor:
        """(B, W) -> (B, D) unit rows."""
        return unit(self.head(sentence)[:, : self.width])


class CaptionHead(nn.Module):
    """Features -> unit caption part, while the tail is trained."""

    def __init__(self, mean: Tensor, std: Tensor, caption: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.mean, self.std = nn.Buffer(mean), nn.Buffer(std)
        self.caption = caption
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, D) unit rows."""
        return unit(self.caption(self.dropout((features - self.mean) / self.std)))
