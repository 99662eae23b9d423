"""The text encoder's last lessons: captions of photos, as the image network sees them.

distil_text.py makes it imitate a larger encoder, which knows sentences and has never seen a photo.
Here the image network stays as it is, its features are computed once, and the text encoder learns
what of a sentence shows in a photo.

    captions    a caption finds its photo among all, and a photo its caption among a batch's
    relations   where there is a teacher: how captions, those of no photo too, relate to thousands
                of photos, and those to the captions, is to be what the teacher says it is
    names       names of classes, labels and words keep the vectors they had: the class part of
                an embedding is read from sentence vectors, and knows more than captions do
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.finetune import Relations
from models.layers import BertEncoder, unit
from models.losses import row_kl

log = logging.getLogger(__name__)

BETAS: Final = (0.9, 0.98)
REPORT_SECONDS: Final = 60.0
CHUNKS: Final = 4  # of a batch, by length, so that little is padding
MAX_NORM: Final = 1.0  # of the encoder's gradient

Rows = Sequence[NDArray[np.int64]]  # tokens of one text each, not padded


@dataclass(frozen=True)
class TextTuning:
    """How long and how fast."""

    epochs: int = 24  # over the photos, each with one of its captions
    batch: int = 384
    learning_rate: float = 5e-5
    head_rate: float = 5e-4
    weight_decay: float = 0.05
    warmup_steps: int = 30
    scale: float = 25.0  # of the cosines
    masked: float = 0.1  # of the pieces of a caption, so that it is not known by heart
    chinese_share: float = 0.4  # of the captions drawn
    captions: float = 1.0
    relations: float = 0.0  # to a teacher's; 0 where there is none
    photos: int = 2048  # a step that the teacher relates texts to
    others: int = 1024  # and photos without captions
    alone: int = 256  # sentences of no photo, a step
    constancy: float = 5.0  # weight of names
    names: int = 256  # a step
    seed: int = 0


@dataclass(frozen=True)
class Captions:
    """Tokens of captions; those of one photo lie side by side."""

    rows: Rows
    first: NDArray[np.int64]  # (N,) where each photo's captions start
    counts: NDArray[np.int64]  # (N,) how many it has; 0 for none

    def draw(self, photo: int, random: np.random.Generator) -> int:
        """The number of a random caption of a photo that has some."""
        return int(self.first[photo] + random.integers(self.counts[photo]))


@dataclass(frozen=True)
class Seen:
    """Photos as the image network sees them, and all texts that are learned from."""

    features: Tensor  # (V, N, F) of photos with captions, in V views
    others: Tensor  # (O, F) of photos without
    english: Captions
    chinese: Captions
    names: Rows
    alone: Rows = field(default_factory=list)  # sentences of no photo, which a teacher knows too


def pad(rows: Rows) -> Tensor:
    """Texts -> (B, L), padded with 0 to the longest."""
    found = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        found[number, : len(row)] = torch.from_numpy(row)
    return found


def encode(encoder: BertEncoder, rows: Rows) -> Tensor:
    """Texts -> unit sentence vectors (B, W), with gradients, texts of like length together."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    parts = [
        encoder(pad([rows[n] for n in part])) for part in np.array_split(order, CHUNKS) if len(part)
    ]
    back = torch.from_numpy(np.argsort(order, kind="stable"))
    return unit(torch.cat(parts))[back]


def mask(
    row: NDArray[np.int64], share: float, mask_id: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """`row` with a share of its pieces, the first and last aside, hidden."""
    hidden = random.random(len(row)) < share
    hidden[[0, -1]] = False
    return np.where(hidden, mask_id, row)


def finetune_text(
    encoder: BertEncoder,
    image_head: nn.Module,
    text_head: nn.Module,
    seen: Seen,
    stage: TextTuning,
    *,
    mask_id: int,
    watch: Callable[[int], None] = lambda _: None,
    teacher: Relations | None = None,
) -> None:
    """Train encoder, image_head and text_head in place.

    image_head: features (B, F) -> (B, D); text_head: sentences (B, W) -> (B, D), unit rows.
    `watch` is called after every epoch with the steps so far.
    """
    torch.manual_seed(stage.seed)
    random = np.random.default_rng(stage.seed)
    heads = [*image_head.parameters(), *text_head.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [*encoder.parameters()], "rate": stage.learning_rate},
            {"params": heads, "rate": stage.head_rate},
        ],
        stage.learning_rate,
        betas=BETAS,
        weight_decay=stage.weight_decay,
        fused=True,
    )
    before = _vectors(encoder, seen.names)
    photos = seen.features.shape[1]
    batch = min(stage.batch, photos)
    epoch_steps = photos // batch
    steps, step, last = stage.epochs * epoch_steps, 0, time.monotonic()
    totals = torch.zeros(4)
    for _ in range(stage.epochs):
        encoder.train(), image_head.train(), text_head.train()
        order = torch.randperm(photos)[: epoch_steps * batch].reshape(-1, batch)
        for rows in order:
            done = step / steps
            pace = min(1.0, (step + 1) / stage.warmup_steps) * 0.5 * (1 + math.cos(math.pi * done))
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * pace
            parts = _losses(
                encoder, image_head, text_head, seen, before, rows, stage, mask_id, random, teacher
            )
            captions, relations, names = parts
            loss = stage.captions * captions + stage.relations * relations + stage.constancy * names
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(encoder.parameters(), MAX_NORM)
            optimizer.step()
            totals += torch.stack([*(part.detach() for part in parts), torch.ones(())])
            step += 1
            if time.monotonic() - last > REPORT_SECONDS:
                mean = (totals[:3] / totals[3]).tolist()
                log.info(
                    "captions.step step=%d/%d captions=%.4f relations=%.4f names=%.5f",
                    step,
                    steps,
                    *mean,
                )
                totals.zero_()
                last = time.monotonic()
        encoder.eval(), image_head.eval(), text_head.eval()
        watch(step)


def _losses(
    encoder: BertEncoder,
    image_head: nn.Module,
    text_head: nn.Module,
    seen: Seen,
    before: Tensor,
    rows: Tensor,
    stage: TextTuning,
    mask_id: int,
    random: np.random.Generator,
    teacher: Relations | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of one step over the photos `rows` (B,): captions, relations, names."""
    texts: list[NDArray[np.int64]] = []
    known: list[int] = []  # places in the batch of captions that a teacher knows
    asked: list[int] = []  # and their numbers
    for place, photo in enumerate(rows.tolist()):
        if seen.chinese.counts[photo] and random.random() < stage.chinese_share:
            row = seen.chinese.rows[seen.chinese.draw(photo, random)]
        else:
            number = seen.english.draw(photo, random)
            row = seen.english.rows[number]
            known.append(place)
            asked.append(number)
        texts.append(mask(row, stage.masked, mask_id, random))
    some = random.choice(len(seen.names), min(stage.names, len(seen.names)), replace=False)
    texts += [seen.names[n] for n in some]
    related = teacher is not None and stage.relations > 0
    if related and seen.alone:
        lonely = random.integers(len(seen.alone), size=stage.alone).tolist()
        texts += [seen.alone[n] for n in lonely]
        known += range(len(texts) - len(lonely), len(texts))
        asked += [len(seen.english.rows) + n for n in lonely]
    sentences = encode(encoder, texts)
    names = (1 - (sentences[len(rows) :][: len(some)] * before[some]).sum(dim=1)).mean()

    count = seen.features.shape[1]
    view = torch.randint(len(seen.features), (count,))
    images = image_head(seen.features[view, torch.arange(count)])
    found = text_head(sentences)
    own = found[: len(rows)]
    forward = functional.cross_entropy(stage.scale * own @ images.T, rows)
    backward = functional.cross_entropy(stage.scale * images[rows] @ own.T, torch.arange(len(rows)))
    captions = (forward + backward) / 2
    if not related:
        return captions, torch.zeros(()), names

    assert teacher is not None
    near = torch.randperm(count)[: stage.photos]
    far = torch.randperm(len(seen.others))[: stage.others]
    theirs = teacher(near, far, torch.tensor(asked))
    shown = torch.cat((images[near], image_head(seen.others[far])))
    ours = stage.scale * shown @ found[known].T
    return captions, (row_kl(theirs, ours) + row_kl(theirs.T, ours.T)) / 2, names


@torch.no_grad()
def _vectors(encoder: BertEncoder, rows: Rows) -> Tensor:
    """(B, W) unit sentence vectors of texts, in batches."""
    encoder.eval()
    return torch.cat([encode(encoder, rows[at : at + 512]) for at in range(0, len(rows), 512)])
