"""The bilingual text encoder: MiniLM's sentence vectors, in English and Chinese, from less.

The student starts as a smaller MiniLM (models/shrink.py) and learns to give MiniLM's vector
for an English text, and for a Chinese one the vector of the English text that means the same
(Reimers and Gurevych 2020, arXiv:2004.09813). Sources of pairs:

    captions    English captions of photos, and of other pictures known by text alone
    names       words of the vocabulary and class names, alone and in prompts: what people type
    parallels   machine translations of captions
    human       Chinese captions of a photo; the target is the mean of its English ones
    words       our own word list, in the prompts that Chinese uses
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.layers import BertEncoder, unit
from models.losses import row_kl
from photosearch.tokenizer import WordPieceTokenizer

log = logging.getLogger(__name__)

SHARES: Final = {
    "captions": 0.24,
    "names": 0.15,
    "classes": 0.12,
    "parallels": 0.22,
    "human": 0.18,
    "words": 0.09,
}
POOL_BATCHES: Final = 16  # sorted by length together, so that little is padding
TABLE_RATE: Final = 3.0  # the table learns this much faster: most of its rows are seen seldom
BETAS: Final = (0.9, 0.98)
REPORT_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Pairs:
    """Texts and the unit sentence vectors they should have."""

    texts: Sequence[str]
    vectors: Tensor  # (N, W)

    def __post_init__(self) -> None:
        assert len(self.texts) == len(self.vectors), (len(self.texts), len(self.vectors))


@dataclass(frozen=True)
class TextStage:
    """How long and how fast."""

    tokens: int = 2_200_000  # in all, padding not counted
    batch_tokens: int = 1_600
    learning_rate: float = 5e-4
    warmup: float = 0.05  # of the run
    relation: float = 0.2  # weight of the relational term
    scale: float = 20.0  # of its cosines
    seed: int = 0


def imitation_loss(student: Tensor, target: Tensor, stage: TextStage) -> Tensor:
    """Where each text should lie, and how it should lie to the batch's others.

        loss = mean(1 - s[n] . t[n]) + relation * KL(softmax(scale t t') || softmax(scale s t'))

    student, target: (B, W) unit rows; targets are constants.
    """
    distance = 1 - (student * target).sum(dim=1).mean()
    relation = row_kl(stage.scale * target @ target.T, stage.scale * student @ target.T)
    return distance + stage.relation * relation


def distil_text(
    encoder: BertEncoder,
    sources: dict[str, Pairs],
    tokenizer: WordPieceTokenizer,
    stage: TextStage,
    watch: Callable[[int], None] = lambda _: None,
) -> None:
    """Train `encoder` in place. `watch` is called about once a minute with the tokens so far."""
    generator = torch.Generator().manual_seed(stage.seed)
    rows = {name: [tokenizer.encode(text) for text in one.texts] for name, one in sources.items()}
    table = [encoder.words.weight] if isinstance(encoder.words, nn.Embedding) else []
    rest = [value for name, value in encoder.named_parameters() if name != "words.weight"]
    optimizer = torch.optim.AdamW(
        [
            {"params": table, "rate": TABLE_RATE, "weight_decay": 0.0},
            {"params": rest, "rate": 1.0, "weight_decay": 0.01},
        ],
        stage.learning_rate,
        betas=BETAS,
        fused=True,
    )
    seen, total, count, step, last = 0, 0.0, 0, 0, time.monotonic()
    encoder.train()
    while seen < stage.tokens:
        for texts, target in _batches(sources, rows, stage, generator):
            for group in optimizer.param_groups:
                group["lr"] = stage.learning_rate * group["rate"] * _pace(seen, stage)
            loss = imitation_loss(unit(encoder(texts)), target, stage)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
            optimizer.step()
            seen += int((texts != 0).sum())
            total, count, step = total + loss.item(), count + 1, step + 1
            if time.monotonic() - last > REPORT_SECONDS:
                log.info("text.step step=%d tokens=%d loss=%.4f", step, seen, total / count)
                total, count = 0.0, 0
                encoder.eval()
                watch(seen)
                encoder.train()
                last = time.monotonic()
            if seen >= stage.tokens:
                break
    encoder.eval()


def _pace(seen: int, stage: TextStage) -> float:
    """Linear warm-up, then half a cosine to zero."""
    done = seen / stage.tokens
    return min(1.0, (done + 1e-3) / stage.warmup) * 0.5 * (1 + math.cos(math.pi * done))


def _batches(
    sources: dict[str, Pairs],
    rows: dict[str, list[NDArray[np.int64]]],
    stage: TextStage,
    generator: torch.Generator,
) -> list[tuple[Tensor, Tensor]]:
    """A pool of texts by SHARES, cut into batches of like length, in random order."""
    wanted = stage.batch_tokens * POOL_BATCHES
    chosen: list[tuple[str, int]] = []
    for name, pairs in sources.items():
        mean = sum(len(row) for row in rows[name]) / len(rows[name])
        number = max(1, round(wanted * SHARES[name] / mean))
        picked = torch.randint(len(pairs.texts), (number,), generator=generator)
        chosen += [(name, int(n)) for n in picked]
    shuffled = [chosen[n] for n in torch.randperm(len(chosen), generator=generator)]
    shuffled.sort(key=lambda item: len(rows[item[0]][item[1]]))
    batches: list[tuple[Tensor, Tensor]] = []
    start = 0
    while start < len(shuffled):
        end, longest = start, 0
        while end < len(shuffled):
            longest = max(longest, len(rows[shuffled[end][0]][shuffled[end][1]]))
            if longest * (end - start + 1) > stage.batch_tokens and end > start:
                break
            end += 1
        part = shuffled[start:end]
        tokens = torch.zeros(len(part), longest, dtype=torch.long)
        for number, (name, row) in enumerate(part):
            ids = rows[name][row]
            tokens[number, : len(ids)] = torch.from_numpy(ids)
        target = torch.stack([sources[name].vectors[row] for name, row in part])
        batches.append((tokens, target))
        start = end
    return [batches[n] for n in torch.randperm(len(batches), generator=generator)]
