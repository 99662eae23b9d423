"""Train a student from a recipe.

    python -m models.train models/recipes/NAME.py [--set key=value ...] [--resume DIR]

Both networks are frozen; their features are computed once and cached, and the
heads learn from those. The run's folder holds `last.pt` while it runs and
`final.pt` when it is done; `log.jsonl` has one line an epoch.

A DistillRecipe is run by models.distillation.stages, and `torchrun -m models.train ...`
spreads it over processes. For the other kind torchrun gives the same result: heads take
two minutes on one process, so the first one does the work and the others leave.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from models.data import DataError, read_examples, split_patterns
from models.evaluate import retrieval_metrics
from models.layers import load_lite2, load_minilm, minilm_vocabulary
from models.losses import info_nce, soft_cross_entropy
from models.prepare import (
    LABEL_PROMPTS,
    label_numbers,
    make_vocabulary,
    prepare_image,
    prepare_text,
    read_parallels,
    read_texts,
)
from models.recipes import Recipe, override, require_recipe
from models.students import STUDENTS, DualEncoder, inherit, kept_pieces, set_classes, tiny
from models.teachers import (
    ClassPrompts,
    SyntheticFeatures,
    class_names,
    class_prompts,
    photo_features,
    sentence_vectors,
)
from photosearch.errors import PhotosearchError
from photosearch.tokenizer import WordPieceTokenizer

log = logging.getLogger(__name__)

BETAS: Final = (0.9, 0.98)
MAX_LOG_SCALE: Final = math.log(100.0)  # as CLIP: sharper makes training unstable
MACHINE_CAPTIONS: Final = 2  # of each photo; its five human ones weigh more
LABEL_BATCH: Final = 384
LABEL_SMOOTHING: Final = 0.1
MIN_DEVIATION: Final = 1e-3  # of a feature: some are almost never on

# Fields that say where and how fast, not what: a resumed run may change them.
PLACES: Final = frozenset(
    [
        "data",
        "val",
        "unlabelled",
        "labelled",
        "sentences",
        "chinese",
        "background",
        "out",
        "cache",
        "threads",
    ]
)


@dataclass(frozen=True)
class Sentences:
    """Sentence vectors of captions; those of one photo lie side by side."""

    vectors: Tensor  # (Q, W)
    first: Tensor  # (N,) where each photo's captions start
    counts: Tensor  # (N,) how many it has

    def sample(self, photos: Tensor) -> Tensor:
        """(B,) photos -> (B, W), a random caption of each."""
        caption = (torch.rand(len(photos)) * self.counts[photos]).long()
        return self.vectors[self.first[photos] + caption]


@dataclass(frozen=True)
class Captioned:
    """Features of photos, in one or more views, and the sentence vectors of their captions."""

    features: Tensor  # (V, N, F)
    sentences: Sentences
    chinese: Sentences | None = None
    chinese_share: float = 0.0  # of the captions drawn

    def sample(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) photos -> features (B, F) of a random view, sentence (B, W) of a random caption."""
        view = torch.randint(len(self.features), (len(photos),))
        sentences = self.sentences.sample(photos)
        if self.chinese is not None:
            # A photo without Chinese captions keeps its English one.
            drawn = torch.rand(len(photos)) < self.chinese_share
            swap = drawn & (self.chinese.counts[photos] > 0)
            sentences[swap] = self.chinese.sample(photos[swap])
        return self.features[view, photos], sentences


@dataclass(frozen=True)
class Labelled:
    """Features of photos whose label is learned, and sentence vectors of all labels."""

    features: Tensor  # (M, F)
    labels: Tensor  # (M,)
    sentences: Tensor  # (P, K, W) in several prompts


class Heads(nn.Module):
    """What is trained: both heads and the two temperatures."""

    def __init__(self, student: DualEncoder, scale: float) -> None:
        super().__init__()
        self.image = student.image.head
        self.text = student.text.head
        self.caption_log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.class_log_scale = nn.Parameter(torch.tensor(math.log(scale)))


def train(recipe: Recipe, resume: Path | None) -> Path:
    """Run a recipe to its end; the finished checkpoint's path."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    before = _resumed(recipe, resume)
    student, vocabulary = make_student(recipe)
    if recipe.image_epochs:
        # The tail learns beside heads that fit the network as it was.
        first = dataclasses.replace(recipe, epochs=recipe.image_head_epochs, save_epochs=10**6)
        fit_heads(first, student, vocabulary, None)
        prepare_image(recipe, student, vocabulary)
    metrics, step = fit_heads(recipe, student, vocabulary, before)
    background = background_vectors(recipe, student)
    file = Path(recipe.out) / "final.pt"
    save(file, recipe, student, vocabulary, step, {}, background, metrics)
    (Path(recipe.out) / "last.pt").unlink(missing_ok=True)
    return file


def fit_heads(
    recipe: Recipe, student: DualEncoder, vocabulary: tuple[str, ...], before: Checkpoint | None
) -> tuple[dict[str, float], int]:
    """Train both heads on cached features: the last measurement, and the steps taken."""
    tokenizer = WordPieceTokenizer(vocabulary, context_length=student.config.text.positions)
    cache, how = Path(recipe.cache), recipe.preprocess()
    captioned = read_captioned(recipe, student, tokenizer, recipe.data, flips=recipe.flips)
    captioned = with_chinese(recipe, student, tokenizer, captioned)
    held_out = None
    if recipe.val:
        held_out = read_captioned(recipe, student, tokenizer, recipe.val, flips=False)
    labelled = read_labelled(recipe, student, tokenizer)
    pool = captioned.features.flatten(0, 1)
    if recipe.unlabelled:
        extra = photo_features(student.image, recipe.unlabelled, how, cache)
        pool = torch.cat((pool, extra))
    prompts = _prompts(student, tokenizer, cache)
    classifier = student.image.backbone.classifier
    weight, bias = classifier.weight.detach(), classifier.bias.detach()
    torch.manual_seed(recipe.seed)  # so that a warm cache and a cold one draw the same numbers
    synthetic = SyntheticFeatures(pool, weight, bias)
    set_statistics(student, captioned, prompts)

    heads = Heads(student, recipe.scale)
    optimizer = torch.optim.AdamW(
        heads.parameters(), recipe.learning_rate, betas=BETAS, weight_decay=recipe.weight_decay
    )
    photos = captioned.features.shape[1]
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
            features, sentences = captioned.sample(rows)
            logits = features @ weight.T + bias
            image, text = heads.image(features, logits), heads.text(sentences)
            scale = heads.caption_log_scale.clamp(max=MAX_LOG_SCALE).exp()
            loss = info_nce(image, text, scale=scale)
            if recipe.class_loss:
                naming = naming_loss(heads, synthetic, prompts, recipe.class_batch)
                loss = loss + recipe.class_loss * naming
            if labelled is not None:
                loss = loss + recipe.label_loss * label_loss(heads, labelled, weight, bias)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
            step += 1
        if not math.isfinite(total):
            raise PhotosearchError(f"the loss is {total} in epoch {epoch + 1}; lower learning_rate")
        metrics = measure(heads, held_out, weight, bias) if held_out is not None else {}
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


def schedule(step: int, steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then half a cosine to zero."""
    return min(1.0, step / max(1, warmup_steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def make_student(recipe: Recipe) -> tuple[DualEncoder, tuple[str, ...]]:
    """The student a recipe asks for: pretrained where its size has weights, else random."""
    dropouts = {"image_dropout": recipe.image_dropout, "text_dropout": recipe.text_dropout}
    whole = minilm_vocabulary()
    keep = kept_pieces(whole)
    vocabulary = tuple(whole[number] for number in keep)
    if STUDENTS[recipe.student] is tiny:
        small = tiny(vocabulary=len(vocabulary), side_px=recipe.side_px)
        return DualEncoder(small, **dropouts).eval(), vocabulary
    texts = read_texts(recipe) if recipe.text_tokens else None
    if texts is not None:
        vocabulary, texts = make_vocabulary(texts, recipe.frequent)
    config = dataclasses.replace(
        STUDENTS[recipe.student](vocabulary=len(vocabulary), side_px=recipe.side_px),
        caption_dim=recipe.caption_dim,
        class_dim=recipe.class_dim,
        class_share=recipe.class_share,
        class_temperature=recipe.class_temperature,
        gate_start=recipe.gate_start,
    )
    student = DualEncoder(config, **dropouts).eval()
    if texts is None:
        load_lite2(student.image.backbone)
        load_minilm(student.text.encoder, torch.tensor(keep))
    else:
        inherit(student, vocabulary, texts.classes)
        prepare_text(recipe, student, vocabulary, texts)
    for frozen in (student.image.backbone, student.text.encoder):
        frozen.requires_grad_(False)
    return student, vocabulary


def read_captioned(
    recipe: Recipe, student: DualEncoder, tokenizer: WordPieceTokenizer, spec: str, *, flips: bool
) -> Captioned:
    """Features and sentence vectors of photos with captions; every photo needs one."""
    cache, how = Path(recipe.cache), recipe.preprocess()
    captions: list[tuple[str, ...]] = []
    for example in read_examples(spec):
        if not example.captions:
            raise DataError(f"{spec}: photo {example.key} has no caption, which training needs")
        captions.append(example.captions)
    if not captions:
        raise DataError(f"{spec}: holds no photos")
    views = [photo_features(student.image, spec, how, cache)]
    if flips:
        views.append(photo_features(student.image, spec, how, cache, mirrored=True))
    if flips and recipe.crops:
        views.append(photo_features(student.image, spec, how, cache, crop=recipe.seed))
    return Captioned(torch.stack(views), _sentences(student, tokenizer, captions, cache))


def _sentences(
    student: DualEncoder,
    tokenizer: WordPieceTokenizer,
    captions: Sequence[Sequence[str]],
    cache: Path,
) -> Sentences:
    """Sentence vectors of each photo's captions; a photo may have none."""
    texts = [caption for group in captions for caption in group]
    counts = torch.tensor([len(group) for group in captions])
    vectors = sentence_vectors(student.text, texts, tokenizer, cache)
    return Sentences(vectors, counts.cumsum(0) - counts, counts)


def with_chinese(
    recipe: Recipe, student: DualEncoder, tokenizer: WordPieceTokenizer, captioned: Captioned
) -> Captioned:
    """`captioned` with the Chinese captions of the same photos, where the recipe names some."""
    if not recipe.chinese:
        return captioned
    known = {
        row.key: (*row.human, *row.machine[:MACHINE_CAPTIONS])
        for row in read_parallels(Path(recipe.chinese))
    }
    groups = [known.get(example.key, ()) for example in read_examples(recipe.data)]
    sentences = _sentences(student, tokenizer, groups, Path(recipe.cache))
    return dataclasses.replace(captioned, chinese=sentences, chinese_share=recipe.chinese_share)


def read_labelled(
    recipe: Recipe, student: DualEncoder, tokenizer: WordPieceTokenizer
) -> Labelled | None:
    """Photos with labels to learn, without the held-out ones; None where the recipe has none."""
    if not recipe.labelled or not recipe.label_loss:
        return None
    cache = Path(recipe.cache)
    names, numbers = label_numbers([one.label for one in read_examples(recipe.labelled)])
    labels = torch.tensor(numbers)
    features = photo_features(student.image, recipe.labelled, recipe.preprocess(), cache)
    texts = [prompt.format(name) for prompt in LABEL_PROMPTS for name in names]
    sentences = sentence_vectors(student.text, texts, tokenizer, cache)
    learned = labels >= 0
    return Labelled(
        features[learned], labels[learned], sentences.reshape(len(LABEL_PROMPTS), len(names), -1)
    )


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
def measure(heads: Heads, held_out: Captioned, weight: Tensor, bias: Tensor) -> dict[str, float]:
    """Retrieval on the held-out photos, from cached features."""
    heads.eval()
    features = held_out.features[0]
    images = heads.image(features, features @ weight.T + bias).numpy()
    texts = heads.text(held_out.sentences.vectors).numpy()
    owner = torch.repeat_interleave(torch.arange(len(images)), held_out.sentences.counts).numpy()
    found = retrieval_metrics(images, texts, owner)["text_to_image"]
    assert isinstance(found, dict)
    return {key: found[key] for key in ("r1", "r5", "r10")}


@torch.inference_mode()
def background_vectors(recipe: Recipe, student: DualEncoder) -> Tensor | None:
    """Embeddings of an even choice from every background pattern: background_photos rows."""
    if not recipe.background:
        return None
    how, cache = recipe.preprocess(), Path(recipe.cache)
    patterns = split_patterns(recipe.background)
    rows: list[Tensor] = []
    for pattern in patterns:
        features = photo_features(student.image, pattern, how, cache)
        count = min(len(features), recipe.background_photos // len(patterns))
        chosen = torch.from_numpy(np.linspace(0, len(features) - 1, count).astype(np.int64))
        picked = features[chosen]
        rows.append(student.image.head(picked, student.image.backbone.classifier(picked)))
    return torch.cat(rows)


# --- saving and resuming ----------------------------------------------------------------


def save(
    file: Path,
    recipe: Recipe,
    student: DualEncoder,
    vocabulary: tuple[str, ...],
    step: int,
    training: dict[str, Any],
    background: Tensor | None,
    metrics: dict[str, float],
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
        ),
    )


def _state(heads: Heads, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "scales": [heads.caption_log_scale.detach(), heads.class_log_scale.detach()],
    }


def _restore(heads: Heads, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    with torch.no_grad():
        heads.caption_log_scale.copy_(state["scales"][0])
        heads.class_log_scale.copy_(state["scales"][1])


def _resumed(recipe: Recipe, folder: Path | None) -> Checkpoint | None:
    """The state to go on from; refuses one of another recipe, naming the fields that differ."""
    if folder is None:
        return None
    found = [folder / name for name in ("last.pt", "final.pt") if (folder / name).is_file()]
    if not found:
        raise CheckpointError(f"{folder}: holds no last.pt to resume from")
    checkpoint = load_checkpoint(found[0])
    if not checkpoint.training:
        raise CheckpointError(f"{found[0]}: this run is finished")
    old, new = dataclasses.asdict(checkpoint.recipe), dataclasses.asdict(recipe)
    differ = [key for key in new if key not in PLACES and old[key] != new[key]]
    if differ:
        changes = ", ".join(f"{key} was {old[key]}, is {new[key]}" for key in differ)
        raise CheckpointError(f"{found[0]}: saved by another recipe ({changes})")
    return checkpoint


# --- command line -----------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.train", description="Train a student from a recipe."
    )
    parser.add_argument("recipe", type=Path, help="a file of models/recipes/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="a run's folder to go on with")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    from models.distillation.recipe import DistillRecipe

    first = int(os.environ.get("RANK", "0")) == 0
    try:
        kinds: tuple[type[Recipe | DistillRecipe], ...] = (Recipe, DistillRecipe)
        recipe = override(require_recipe(args.recipe, *kinds), args.settings)
        if args.resume is not None:
            recipe = dataclasses.replace(recipe, out=str(args.resume))
        if isinstance(recipe, DistillRecipe):
            from models.distillation.stages import run  # imports this module

            file = run(recipe, args.resume)
        elif first:
            file = train(recipe, args.resume)
        else:
            return 0
    except PhotosearchError as error:
        print(f"train: {error}", file=sys.stderr)
        return error.exit_code
    if first:
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
