"""The text tower of a recipe, after its image tower: the caption stage.

A recipe without `caption_epochs` leaves the text encoder as it is. The stage depends on files and
settings alone, and is kept by both.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from models.captioned import MACHINE_CAPTIONS, read_captioned, read_recipe_words
from models.data import read_examples
from models.finetune import Relations
from models.finetune_text import Captions, Seen, TextTuning, finetune_text
from models.kept import kept
from models.labels import LABEL_PROMPTS, label_numbers
from models.prepare import read_parallels, share_rows, texts_alone
from models.prepare_image import caption_heads
from models.recipes import Recipe
from models.students import DualEncoder
from models.teachers import PROMPTS, class_names, photo_features, weights_digest
from models.vocabulary import read_words
from models.words import NO_WORDS
from photosearch.tokenizer import WordPieceTokenizer

log = logging.getLogger(__name__)

IMAGE_DROPOUT: Final = 0.6
TEXT_DROPOUT: Final = 0.3
MASK: Final = "[UNK]"  # stands for a hidden piece; the vocabulary has no [MASK]


def prepare_captions(
    recipe: Recipe,
    student: DualEncoder,
    vocabulary: Sequence[str],
    make_teacher: Callable[[], Relations] | None = None,
) -> None:
    """Train the text encoder on captions of photos as the image network sees them, or take it
    from the cache, with the caption parts of both heads, which learn beside it. These fit the
    networks as they are: where the stage starts."""
    stage = TextTuning(
        epochs=recipe.caption_epochs,
        learning_rate=recipe.caption_rate,
        captions=recipe.caption_own,
        relations=recipe.caption_relations,
        words=recipe.caption_words,
        chinese_share=recipe.chinese_share if recipe.chinese else 0.0,
        seed=recipe.seed,
    )
    seen = read_seen(recipe, student, vocabulary)
    tokens = hashlib.sha256()
    for rows in (seen.english.rows, seen.chinese.rows, seen.names, seen.queries, seen.alone):
        for row in rows:
            tokens.update(row.tobytes())
    parts: list[str | bytes] = [
        repr(stage),
        recipe.ensemble if make_teacher else "",
        weights_digest(student),
        seen.features.numpy().tobytes(),
        seen.others.numpy().tobytes(),
        seen.truth.numpy().tobytes(),
        tokens.digest(),
    ]
    encoder = student.text.encoder

    def train() -> None:
        log.info("prepare.captions photos=%d epochs=%d", seen.features.shape[1], stage.epochs)
        head, text = caption_heads(student, image_dropout=IMAGE_DROPOUT, text_dropout=TEXT_DROPOUT)
        teacher = make_teacher() if make_teacher else None
        encoder.requires_grad_(True)
        mask_id = list(vocabulary).index(MASK)
        finetune_text(encoder, head, text, seen, stage, mask_id=mask_id, teacher=teacher)
        encoder.requires_grad_(False)
        share_rows(encoder, vocabulary)
        student.image.head.caption.load_state_dict(head.caption.state_dict())
        student.text.head.load_state_dict(text.head.state_dict())

    kept(Path(recipe.cache), "captions", parts, student, train)


def read_seen(recipe: Recipe, student: DualEncoder, vocabulary: Sequence[str]) -> Seen:
    """Features of the recipe's photos, and the tokens of all that is said of them or of none."""
    tokenizer = WordPieceTokenizer(vocabulary, context_length=student.config.text.positions)
    how, cache = recipe.preprocess(), Path(recipe.cache)
    photos = read_captioned(recipe, student, tokenizer, recipe.data, flips=recipe.flips)
    specs = [spec for spec in (recipe.labelled, recipe.unlabelled) if spec]
    others = [photo_features(student.image, spec, how, cache) for spec in specs]
    examples = [(one.key, one.captions) for one in read_examples(recipe.data)]
    parallels = read_parallels(Path(recipe.chinese)) if recipe.chinese else []
    known = {row.key: (*row.human, *row.machine[:MACHINE_CAPTIONS]) for row in parallels}

    def captions(groups: Sequence[Sequence[str]]) -> Captions:
        counts = np.array([len(group) for group in groups])
        rows = [tokenizer.encode(text) for group in groups for text in group]
        return Captions(rows, counts.cumsum() - counts, counts)

    words = read_recipe_words(recipe) if recipe.caption_words else NO_WORDS
    return Seen(
        features=photos.features,
        others=torch.cat(others) if others else torch.empty(0, photos.features.shape[2]),
        english=captions([group for _, group in examples]),
        chinese=captions([known.get(key, ()) for key, _ in examples]),
        names=[tokenizer.encode(text) for text in names(recipe)],
        queries=[tokenizer.encode(text) for text in words.texts],
        owner=words.owner,
        truth=words.truth,
        alone=[tokenizer.encode(text) for text in texts_alone(recipe)],
    )


def names(recipe: Recipe) -> list[str]:
    """What people type that is no sentence: classes, labels and words, in their prompts."""
    found = [prompt.format(name) for prompt in PROMPTS for group in class_names() for name in group]
    if recipe.labelled:
        labels, _ = label_numbers([one.label for one in read_examples(recipe.labelled)])
        found += [prompt.format(name) for prompt in LABEL_PROMPTS for name in labels]
    for word in read_words():
        found += [prompt.format(word.english) for prompt in PROMPTS]
        if recipe.chinese:
            found += [text for pair in word.phrases() for text in pair]
    return list(dict.fromkeys(found))
