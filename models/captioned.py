"""What the heads learn from: features of photos, and sentence vectors of what is said of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from models.data import DataError, read_examples
from models.labels import LABEL_PROMPTS, label_numbers
from models.prepare import read_parallels
from models.recipes import Recipe
from models.students import DualEncoder
from models.teachers import photo_features, sentence_vectors
from models.vocabulary import read_words
from models.words import LEAST_PHOTOS, Words, read_photos_words
from photosearch.tokenizer import WordPieceTokenizer

MACHINE_CAPTIONS: Final = 2  # of each photo; its five human ones weigh more


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


@dataclass(frozen=True)
class Asked:
    """Sentence vectors of short queries, and the photos with captions that they are true of."""

    sentences: Tensor  # (T, W)
    owner: Tensor  # (T,) rows of `truth`
    truth: Tensor  # (Q, N) bool


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
    return Captioned(torch.stack(views), sentences_of(student, tokenizer, captions, cache))


def sentences_of(
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
    sentences = sentences_of(student, tokenizer, groups, Path(recipe.cache))
    return dataclasses.replace(captioned, chinese=sentences, chinese_share=recipe.chinese_share)


def read_asked(recipe: Recipe, student: DualEncoder, tokenizer: WordPieceTokenizer) -> Asked | None:
    """Words of the captions as queries; None where the recipe has none."""
    if not recipe.word_loss:
        return None
    words = read_recipe_words(recipe)
    sentences = sentence_vectors(student.text, words.texts, tokenizer, Path(recipe.cache))
    return Asked(sentences, words.owner, words.truth)


def read_recipe_words(recipe: Recipe) -> Words:
    """Short queries that the recipe's photos answer, in the languages it reads."""
    captions = [example.captions for example in read_examples(recipe.data)]
    words = read_photos_words(captions, read_words() if recipe.chinese else [])
    if not words.texts:
        raise DataError(
            f"{recipe.data}: no word is said of {LEAST_PHOTOS} photos or more, which word_loss and"
            " caption_words need; set both to 0"
        )
    return words


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
