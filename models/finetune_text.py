"""The text encoder's last lessons: captions of photos, as the image network sees them.

distil_text.py makes it imitate a larger encoder, which knows sentences and has never seen a photo.
Here the image network stays as it is, its features are computed once, and the text encoder learns
what of a sentence shows in a photo.

    captions    a caption finds its photo among all, and a photo its caption among a batch's
    relations   where there is a teacher: how captions, those of no photo too, relate to thousands
                of photos, and those to the captions, is to be what the teacher says it is
    words       a short query finds the photos it is true of, as models/words.py has them
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
from models.words import Presence

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
    alone: int = 128  # sentences of no photo, a step
    words: float = 0.0
    queries: int = 128  # short ones, a step
    constancy: float = 5.0  # weight of names
    names: int = 192  # a step
    bf16: bool = True  # products of the encoder; half the time where a processor has them
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
    queries: Rows = field(default_factory=list)
    owner: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))  # (T,)
    truth: Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.bool))  # (W, N)
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
    return unit(torch.cat(parts).float())[back]


def mask(
    row: NDArray[np.int64], share: float, mask_id: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """`row` with a share of its pieces, the first and last aside, hidden."""
    hidden = random.random(len(row)) < share
    hidden[[0, -1]] = False
    return np.where(hidden, mask_id, row)


class Drawn:
    """The texts of one step: captions of the batch's photos, names, queries, sentences of none."""

    def __init__(
        self,
        seen: Seen,
        photos: Sequence[int],
        stage: TextTuning,
        random: np.random.Generator,
        *,
        mask_id: int,
        related: bool,
    ) -> None:
        self.rows: list[NDArray[np.int64]] = []
        self.known: list[int] = []  # places in `rows` of what a teacher knows
        self.asked: list[int] = []  # and its numbers there
        for place, photo in enumerate(photos):
            row = self._caption(seen, photo, place, stage, random)
            self.rows.append(mask(row, stage.masked, mask_id, random))
        count = min(stage.names, len(seen.names))
        self.names = random.choice(len(seen.names), count, replace=False)
        self.named = self._more(seen.names, self.names)
        count = stage.queries if seen.queries and stage.words else 0
        self.queries = random.integers(max(1, len(seen.queries)), size=count)
        self.queried = self._more(seen.queries, self.queries)
        if related and seen.alone:
            alone = random.integers(len(seen.alone), size=stage.alone)
            self.known += range(len(self.rows), len(self.rows) + len(alone))
            self.asked += (len(seen.english.rows) + alone).tolist()
            self._more(seen.alone, alone)

    def _caption(
        self, seen: Seen, photo: int, place: int, stage: TextTuning, random: np.random.Generator
    ) -> NDArray[np.int64]:
        if seen.chinese.counts[photo] and random.random() < stage.chinese_share:
            return seen.chinese.rows[seen.chinese.draw(photo, random)]
        number = seen.english.draw(photo, random)
        self.known.append(place)
        self.asked.append(number)
        return seen.english.rows[number]

    def _more(self, rows: Rows, numbers: NDArray[np.int64]) -> slice:
        """Add these; where they lie."""
        start = len(self.rows)
        self.rows += [rows[number] for number in numbers]
        return slice(start, len(self.rows))


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
    learning = nn.ModuleList([encoder, image_head, text_head])
    presence = Presence(stage.scale)
    heads = [*image_head.parameters(), *text_head.parameters(), *presence.parameters()]
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
    weights = torch.tensor([stage.captions, stage.relations, stage.words, stage.constancy])
    photos = seen.features.shape[1]
    batch = min(stage.batch, photos)
    epoch_steps = photos // batch
    steps, step, last = stage.epochs * epoch_steps, 0, time.monotonic()
    totals = torch.zeros(5)
    for _ in range(stage.epochs):
        learning.train()
        for rows in torch.randperm(photos)[: epoch_steps * batch].reshape(-1, batch):
            done = step / steps
            pace = min(1.0, (step + 1) / stage.warmup_steps) * 0.5 * (1 + math.cos(math.pi * done))
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * pace
            related = teacher is not None and stage.relations > 0
            drawn = Drawn(seen, rows.tolist(), stage, random, mask_id=mask_id, related=related)
            with torch.autocast("cpu", torch.bfloat16, enabled=stage.bf16):
                sentences = encode(encoder, drawn.rows)
            names = (1 - (sentences[drawn.named] * before[drawn.names]).sum(dim=1)).mean()
            parts = _seen_losses(
                image_head, text_head(sentences), seen, drawn, rows, stage, presence,
                teacher if related else None,
            )  # fmt: skip
            losses = torch.stack([*parts, names])
            optimizer.zero_grad()
            (weights @ losses).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(encoder.parameters(), MAX_NORM)
            optimizer.step()
            totals += torch.cat((losses.detach(), torch.ones(1)))
            step += 1
            if time.monotonic() - last > REPORT_SECONDS:
                mean = (totals[:4] / totals[4]).tolist()
                log.info(
                    "captions.step step=%d/%d captions=%.4f relations=%.4f words=%.4f names=%.5f",
                    step,
                    steps,
                    *mean,
                )
                totals.zero_()
                last = time.monotonic()
        learning.eval()
        watch(step)


def _seen_losses(
    image_head: nn.Module,
    texts: Tensor,
    seen: Seen,
    drawn: Drawn,
    rows: Tensor,
    stage: TextTuning,
    presence: Presence,
    teacher: Relations | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Captions, relations and words, for embeddings `texts` of what was drawn for photos `rows`."""
    count = seen.features.shape[1]
    view = torch.randint(len(seen.features), (count,))
    images = image_head(seen.features[view, torch.arange(count)])
    own = texts[: len(rows)]
    forward = functional.cross_entropy(stage.scale * own @ images.T, rows)
    backward = functional.cross_entropy(stage.scale * images[rows] @ own.T, torch.arange(len(rows)))
    relations = words = torch.zeros(())
    if teacher is not None:
        near = torch.randperm(count)[: stage.photos]
        far = torch.randperm(len(seen.others))[: stage.others]
        theirs = teacher(near, far, torch.tensor(drawn.asked))
        shown = torch.cat((images[near], image_head(seen.others[far])))
        ours = stage.scale * shown @ texts[drawn.known].T
        relations = (row_kl(theirs, ours) + row_kl(theirs.T, ours.T)) / 2
    if len(drawn.queries):
        truth = seen.truth[seen.owner[drawn.queries]]
        words = presence(texts[drawn.queried], images, truth)
    return (forward + backward) / 2, relations, words


@torch.no_grad()
def _vectors(encoder: BertEncoder, rows: Rows) -> Tensor:
    """(B, W) unit sentence vectors of texts, in batches."""
    encoder.eval()
    return torch.cat([encode(encoder, rows[at : at + 512]) for at in range(0, len(rows), 512)])
