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
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from photosearch.extras import stop_without

if __name__ == "__main__":  # before torch is imported: who has not installed it is told so
    stop_without("train", "train", "torch", "onnx")

import numpy as np
import torch
from torch import Tensor

from models.captioned import read_recipe_words
from models.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from models.data import split_patterns
from models.distillation.loop import keep_memory
from models.distillation.recipe import DistillRecipe
from models.distillation.stages import run
from models.ensemble import make_teacher
from models.finetune import Relations
from models.fresh import make_student
from models.heads import fit_heads, save
from models.layers import unit
from models.prepare_captions import prepare_captions
from models.prepare_image import prepare_image
from models.recipes import Recipe, override, require_recipe
from models.students import DualEncoder
from models.teachers import photo_features, sentence_vectors
from models.words import strangers
from photosearch.errors import PhotosearchError
from photosearch.tokenizer import WordPieceTokenizer

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


def train(recipe: Recipe, resume: Path | None) -> Path:
    """Run a recipe to its end; the finished checkpoint's path."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    before = _resumed(recipe, resume)
    student, vocabulary = make_student(recipe)
    # Each network learns beside heads that fit both as they are.
    first = dataclasses.replace(recipe, epochs=recipe.image_head_epochs, save_epochs=10**6)
    teacher = _teacher(recipe, student, vocabulary) if recipe.ensemble else None
    if recipe.image_epochs:
        fit_heads(first, student, vocabulary, None)
        prepare_image(recipe, student, vocabulary, teacher)
    if recipe.caption_epochs:
        fit_heads(first, student, vocabulary, None)
        prepare_captions(recipe, student, vocabulary, teacher)
    metrics, step = fit_heads(recipe, student, vocabulary, before)
    background = background_vectors(recipe, student)
    file = Path(recipe.out) / "final.pt"
    words = everyday_words(recipe, student, vocabulary)
    save(file, recipe, student, vocabulary, step, {}, background, metrics, words)
    (Path(recipe.out) / "last.pt").unlink(missing_ok=True)
    return file


def _teacher(
    recipe: Recipe, student: DualEncoder, vocabulary: tuple[str, ...]
) -> Callable[[], Relations]:
    """The ensemble, made when it is first asked for: one for both stages, since the text encoder
    whose sentences it knows stays until the second."""
    return cache(lambda: make_teacher(recipe, student, vocabulary).relations)


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


@torch.inference_mode()
def everyday_words(
    recipe: Recipe, student: DualEncoder, vocabulary: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """How queries that many photos answer score with those that do not answer them."""
    if not recipe.word_loss:
        return {}
    words = read_recipe_words(recipe)
    tokenizer = WordPieceTokenizer(vocabulary, context_length=student.config.text.positions)
    features = photo_features(student.image, recipe.data, recipe.preprocess(), Path(recipe.cache))
    photos = student.image.head(features, student.image.backbone.classifier(features))
    texts = sentence_vectors(student.text, words.texts, tokenizer, Path(recipe.cache))
    return strangers(words, unit(student.text.head(texts)), unit(photos))


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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.train", description="Train a student from a recipe."
    )
    parser.add_argument("recipe", type=Path, help="a file of models/recipes/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="a run's folder to go on with")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    first = int(os.environ.get("RANK", "0")) == 0
    try:
        kinds: tuple[type[Recipe | DistillRecipe], ...] = (Recipe, DistillRecipe)
        recipe = override(require_recipe(args.recipe, *kinds), args.settings)
        if args.resume is not None:
            recipe = dataclasses.replace(recipe, out=str(args.resume))
        if isinstance(recipe, DistillRecipe):
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
    keep_memory()
    sys.exit(main())
