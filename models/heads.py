"""Both heads, trained on cached features of frozen networks."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.captioned import (
    Asked,
    Captioned,
    Labelled,
    read_asked,
    read_captioned,
    read_labelled,
    with_chinese,
)
from models.checkpoint import Checkpoint, save_checkpoint
from models.evaluate import retrieval_metrics
from models.losses import info_nce, soft_cross_entropy
from models.recipes import Recipe
from models.students import DualEncoder, set_classes
from models.teachers import (
    ClassPrompts,
    SyntheticFeatures,
    class_names,
    class_prompts,
    photo_features,
)
from models.words import Presence
from photosearch.errors import PhotosearchError
from photosearch.tokenizer import WordPieceTokenizer

log = logging.getLogger(__name__)

BETAS: Final = (0.9, 0.98)
MAX_LOG_SCALE: Final = math.log(100.0)  # as CLIP: sharper makes training unstable
LABEL_BATCH: Final = 384
WORD_PHOTOS: Final = 2048  # among which a query finds its photos
LABEL_SMOOTHING: Final = 0.1
MIN_DEVIATION: Final = 1e-3  # of a feature: some are almost never on


class Heads(nn.Module):
    """What is trained: both heads, the temperatures, and where words begin to be true."""

    def __init__(self, student: DualEncoder, scale: float) -> None:
        super().__init__()
        self.image = student.image.head
        self.text = student.text.head
        self.caption_log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.class_log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.words = Presence(scale)


@dataclass(frozen=True)
class Lessons:
    """What both heads learn from, all of it computed once."""

    captioned: Captioned
    held_out: Captioned | None
    labelled: Labelled | None
    asked: Asked | None
    synthetic: SyntheticFeatures
    prompts: ClassPrompts
    weight: Tensor  # (C, F) of the frozen classifier
    bias: Tensor  # (C,)


def read_lessons(recipe: Recipe, student: DualEncoder, vocabulary: tuple[str, ...]) -> Lessons:
    """Features and sentence vectors of everything the recipe names; seeds the random numbers."""
    tokenizer = WordPieceTokenizer(vocabulary, context_length=student.config.text.positions)
    cache = Path(recipe.cache)
    captioned = read_captioned(recipe, student, tokenizer, recipe.data, flips=recipe.flips)
    captioned = with_chinese(recipe, student, tokenizer, captioned)
    held_out = None
    if recipe.val:
        held_out = read_captioned(recipe, student, tokenizer, recipe.val, flips=False)
    labelled = read_labelled(recipe, student, tokenizer)
    asked = read_asked(recipe, student, tokenizer)
    pool = captioned.features.flatten(0, 1)
    if recipe.unlabelled:
        extra = photo_features(student.image, recipe.unlabelled, recipe.preprocess(), cache)
        pool = torch.cat((pool, extra))
    prompts = _prompts(student, tokenizer, cache)
    classifier = student.image.backbone.classifier
    weight, bias = classifier.weight.detach(), classifier.bias.detach()
    torch.manual_seed(recipe.seed)  # so that a warm cache and a cold one draw the same numbers
    synthetic = SyntheticFeatures(pool, weight, bias)
    return Lessons(captioned, held_out, labelled, asked, synthetic, prompts, weight, bias)


def fit_heads(
    recipe: Recipe, student: DualEncoder, vocabulary: tuple[str, ...], before: Checkpoint | None
) -> tuple[dict[str, float], int]:
    """Train both heads on cached features: the last measurement, and the steps taken."""
    lessons = read_lessons(recipe, student, vocabulary)
    set_statistics(student, lessons.captioned, lessons.prompts)
    heads = Heads(student, recipe.scale)
    optimizer = torch.optim.AdamW(
        heads.parameters(), recipe.learning_rate, betas=BETAS, weight_decay=recipe.weight_decay
    )
    photos = lessons.captioned.features.shape[1]
    batch = min(recipe.batch, photos)
    epoch_steps = photos // batch
    steps = recipe.epochs * epoch_steps
    step = 0
    if before is not None and before.training:
        student.load_state_dict(before.weights)
        step = before.step
        _restore(heads, optimizer, before.training)
    out = Path(recipe.out)
    out.mkdir(parents=True, exist_ok=True)

    metrics: dict[str, float] = {}
    for epoch in range(step // epoch_steps, recipe.epochs):
        heads.train()
        started = time.perf_counter()
        total = 0.0
        for rows in torch.randperm(photos)[: epoch_steps * batch].reshape(-1, batch):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * schedule(step, steps, recipe.warmup_steps)
            loss = batch_loss(recipe, heads, lessons, rows)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
            step += 1
        if not math.isfinite(total):
            raise PhotosearchError(f"the loss is {total} in epoch {epoch + 1}; lower learning_rate")
        metrics = measure(heads, lessons)
        line = {"epoch": epoch + 1, "step": step, "loss": round(total / epoch_steps, 4), **metrics}
        line["seconds"] = round(time.perf_counter() - started, 2)
        with (out / "log.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        log.info("train.epoch %s", " ".join(f"{key}={value}" for key, value in line.items()))
        if (epoch + 1) % recipe.save_epochs == 0 and epoch + 1 < recipe.epochs:
            state = _state(heads, optimizer)
            save(out / "last.pt", recipe, student, vocabulary, step, state, None, metrics)
    heads.eval()
    return metrics, step


def batch_loss(recipe: Recipe, heads: Heads, lessons: Lessons, rows: Tensor) -> Tensor:
    """Photos find their captions; synthetic photos their names, and labelled ones their labels."""
    features, sentences = lessons.captioned.sample(rows)
    logits = features @ lessons.weight.T + lessons.bias
    image, text = heads.image(features, logits), heads.text(sentences)
    scale = heads.caption_log_scale.clamp(max=MAX_LOG_SCALE).exp()
    loss = info_nce(image, text, scale=scale)
    if recipe.class_loss:
        naming = naming_loss(heads, lessons.synthetic, lessons.prompts, recipe.class_batch)
        loss = loss + recipe.class_loss * naming
    if lessons.labelled is not None:
        labels = label_loss(heads, lessons.labelled, lessons.weight, lessons.bias)
        loss = loss + recipe.label_loss * labels
    if lessons.asked is not None:
        loss = loss + recipe.word_loss * word_loss(heads, lessons, lessons.asked, recipe.word_batch)
    return loss


def naming_loss(
    heads: Heads, synthetic: SyntheticFeatures, prompts: ClassPrompts, count: int
) -> Tensor:
    """Find the name of synthetic photos among all class names, as sure as the classifier is."""
    kinds = torch.randint(int(prompts.owner[-1]) + 1, (count,))
    features, logits = synthetic.varied(kinds)
    names = heads.text(prompts.sample())  # (C, D)
    scale = heads.class_log_scale.clamp(max=MAX_LOG_SCALE).exp()
    return soft_cross_entropy(scale * heads.image(features, logits) @ names.T, logits.softmax(1))


def label_loss(heads: Heads, labelled: Labelled, weight: Tensor, bias: Tensor) -> Tensor:
    """Find a photo's label among all labels, in a random prompt; many labels are loose."""
    rows = torch.randint(len(labelled.labels), (LABEL_BATCH,))
    features = labelled.features[rows]
    image = heads.image(features, features @ weight.T + bias)
    names = heads.text(labelled.sentences[int(torch.randint(len(labelled.sentences), ()))])
    scale = heads.class_log_scale.clamp(max=MAX_LOG_SCALE).exp()
    found: Tensor = functional.cross_entropy(
        scale * image @ names.T, labelled.labels[rows], label_smoothing=LABEL_SMOOTHING
    )
    return found


def word_loss(heads: Heads, lessons: Lessons, asked: Asked, count: int) -> Tensor:
    """Find the photos that short queries are true of, among WORD_PHOTOS of those with captions."""
    rows = torch.randint(len(asked.sentences), (count,))
    features = lessons.captioned.features
    photos = torch.randperm(features.shape[1])[:WORD_PHOTOS]
    some = features[torch.randint(len(features), (len(photos),)), photos]
    image = heads.image(some, some @ lessons.weight.T + lessons.bias)
    truth = asked.truth[asked.owner[rows]][:, photos]
    found: Tensor = heads.words(heads.text(asked.sentences[rows]), image, truth)
    return found


def schedule(step: int, steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then half a cosine to zero."""
    return min(1.0, step / max(1, warmup_steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _prompts(student: DualEncoder, tokenizer: WordPieceTokenizer, cache: Path) -> ClassPrompts:
    names = class_names()[: student.config.image.classes]
    return class_prompts(student.text, names, tokenizer, cache)


@torch.no_grad()
def set_statistics(student: DualEncoder, captioned: Captioned, prompts: ClassPrompts) -> None:
    """Centre the heads on the training data, and lay the class axes."""
    seen = captioned.features[0]
    student.image.head.feature_mean.copy_(seen.mean(dim=0))
    student.image.head.feature_std.copy_(seen.std(dim=0) + MIN_DEVIATION)
    student.text.head.sentence_mean.copy_(captioned.sentences.vectors.mean(dim=0))
    set_classes(student, prompts.prototypes())


@torch.inference_mode()
def measure(heads: Heads, lessons: Lessons) -> dict[str, float]:
    """Retrieval on the held-out photos, from cached features; nothing where there are none."""
    held_out = lessons.held_out
    if held_out is None:
        return {}
    heads.eval()
    features = held_out.features[0]
    images = heads.image(features, features @ lessons.weight.T + lessons.bias).numpy()
    texts = heads.text(held_out.sentences.vectors).numpy()
    owner = torch.repeat_interleave(torch.arange(len(images)), held_out.sentences.counts).numpy()
    found = retrieval_metrics(images, texts, owner)["text_to_image"]
    assert isinstance(found, dict)
    return {key: found[key] for key in ("r1", "r5", "r10")}


# --- saving and going on ---------------------------------------------------------------


def save(
    file: Path,
    recipe: Recipe,
    student: DualEncoder,
    vocabulary: tuple[str, ...],
    step: int,
    training: dict[str, Any],
    background: Tensor | None,
    metrics: dict[str, float],
    words: dict[str, tuple[float, float]] | None = None,
) -> None:
    save_checkpoint(
        file,
        Checkpoint(
            recipe=recipe,
            student=student.config,
            vocabulary=vocabulary,
            step=step,
            weights={name: value.detach() for name, value in student.state_dict().items()},
            training=training,
            background=background,
            metrics=metrics,
            words=words or {},
        ),
    )


def _state(heads: Heads, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "scales": [one.detach() for one in _scales(heads)],
    }


def _restore(heads: Heads, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    with torch.no_grad():
        for one, kept in zip(_scales(heads), state["scales"], strict=True):
            one.copy_(kept)


def _scales(heads: Heads) -> list[nn.Parameter]:
    return [
        heads.caption_log_scale,
        heads.class_log_scale,
        *heads.words.parameters(),
    ]
