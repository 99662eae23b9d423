"""The student a recipe starts from, with what its size can inherit."""

from __future__ import annotations

import dataclasses

import torch

from models.layers import load_lite2, load_minilm, minilm_vocabulary
from models.prepare import make_vocabulary, prepare_text, read_texts
from models.recipes import Recipe
from models.students import STUDENTS, DualEncoder, inherit, kept_pieces, tiny


def make_student(recipe: Recipe) -> tuple[DualEncoder, tuple[str, ...]]:
    """The student a recipe asks for: pretrained where its size has weights, else random."""
    dropouts = {"image_dropout": recipe.image_dropout, "text_dropout": recipe.text_dropout}
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
        inherit(student, vocabulary, texts.classes)
        if recipe.text_tokens:
            prepare_text(recipe, student, vocabulary, texts)
    for frozen in (student.image.backbone, student.text.encoder):
        frozen.requires_grad_(False)
    return student, vocabulary
