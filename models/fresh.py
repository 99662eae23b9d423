"""The student a recipe starts from, with what its size can inherit."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import CheckpointError, at_side, build, load_checkpoint
from models.data import DataError, read_examples
from models.layers import load_lite2, load_minilm, minilm_vocabulary
from models.prepare import make_vocabulary, prepare_text, read_texts
from models.recipes import Recipe
from models.students import STUDENTS, DualEncoder, inherit, kept_pieces, tiny
from photosearch.errors import PhotoRejected
from photosearch.preprocess import load, normalise

SAMPLE_PHOTOS: Final = 64


def make_student(recipe: Recipe) -> tuple[DualEncoder, tuple[str, ...]]:
    """The student a recipe asks for: pretrained where its size has weights, else random."""
    dropouts = {"image_dropout": recipe.image_dropout, "text_dropout": recipe.text_dropout}
    if recipe.init:
        return _trained(recipe, dropouts)
    whole = minilm_vocabulary()
    keep = kept_pieces(whole)
    vocabulary = tuple(whole[number] for number in keep)
    if STUDENTS[recipe.student] is tiny:
        small = tiny(vocabulary=len(vocabulary), side_px=recipe.side_px)
        return DualEncoder(small, **dropouts).eval(), vocabulary
    # first-light has MiniLM whole; the others have fewer pieces, chosen by what is to be read.
    texts = read_texts(recipe) if recipe.text_tokens or recipe.student != "first-light" else None
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
        inherit(student, vocabulary, texts.classes, some_photos(recipe))
        if recipe.text_tokens:
            prepare_text(recipe, student, vocabulary, texts)
    for frozen in (student.image.backbone, student.text.encoder):
        frozen.requires_grad_(False)
    return student, vocabulary


def _trained(recipe: Recipe, dropouts: Mapping[str, float]) -> tuple[DualEncoder, tuple[str, ...]]:
    """The student of the checkpoint `init`, both networks as they are and frozen."""
    file = Path(recipe.init)
    loaded = at_side(load_checkpoint(file), recipe.side_px)
    if loaded.recipe.student != recipe.student:
        raise CheckpointError(
            f"{file}: holds {loaded.recipe.student}, the recipe asks for {recipe.student}"
        )
    student = DualEncoder(loaded.student, **dropouts).eval()
    student.load_state_dict(build(loaded).state_dict())
    for frozen in (student.image.backbone, student.text.encoder):
        frozen.requires_grad_(False)
    return student, loaded.vocabulary


def some_photos(recipe: Recipe) -> Tensor:
    """A few photos of the recipe's data, on which channels are chosen: (B, 3, S, S)."""
    how, found = recipe.preprocess(), []
    for example in read_examples(recipe.data):
        with contextlib.suppress(PhotoRejected):
            found.append(load(example.image, how))
        if len(found) == SAMPLE_PHOTOS:
            break
    if not found:
        raise DataError(f"{recipe.data}: holds no photo that can be read")
    return torch.from_numpy(normalise(np.stack(found), how))
