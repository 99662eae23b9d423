"""The text tower of a recipe, before photos come into it: texts, vocabulary, text stage.

A recipe without `text_tokens` takes MiniLM as it is. The stage depends on files and settings
alone, and is kept by both.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from models.data import DataError, cached, read_examples
from models.distil_text import Pairs, TextStage, distil_text
from models.kept import kept
from models.layers import MINILM, BertEncoder, load_minilm, minilm_vocabulary, unit
from models.recipes import Recipe
from models.shrink import inherit_text, translate
from models.students import DualEncoder
from models.teachers import PROMPTS, class_names, encode_texts, weights_digest
from models.vocabulary import choose, is_chinese, read_words, same_rows, with_traditional
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Matrix

log = logging.getLogger(__name__)

TRANSLATION_ROUNDS: Final = 6
WORD_WEIGHT: Final = 8  # our word list counts as often when characters are translated
CHARACTER_COUNT: Final = 50.0  # of a Chinese character, where the table is factorised
# Function words explain every sentence a little; they would take the rare characters.
FUNCTION_WORDS: Final = ("a", "the", ".", ",", "of", "photo", "in", "on", "is", "and", "with")


@dataclass(frozen=True)
class Parallel:
    """One photo's captions in both languages."""

    key: str
    human: tuple[str, ...]  # Chinese, written for the photo
    english: tuple[str, ...]
    machine: tuple[str, ...]  # Chinese, of each English one


def read_parallels(file: Path) -> list[Parallel]:
    """JSON lines with `captions_zh`, `captions_en_parallel` and `captions_zh_machine`."""
    rows: list[Parallel] = []
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            english = [tidy(text) for text in row["captions_en_parallel"]]
            pairs = [
                (one, other)
                for one, other in zip(english, row["captions_zh_machine"], strict=True)
                if one and other.strip()
            ]
            human = tuple(text for text in row["captions_zh"] if text.strip())
            rows.append(
                Parallel(row["key"], human, tuple(a for a, _ in pairs), tuple(b for _, b in pairs))
            )
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: not JSON lines of captions in two languages") from error
    return rows


def tidy(text: str) -> str:
    """Single spaces: the same caption comes in several spacings."""
    return " ".join(text.split())


@dataclass(frozen=True)
class Texts:
    """All that the text stage learns from, before any vector is computed."""

    captions: list[str]
    names: list[str]
    classes: list[str]
    parallels: list[Parallel]
    words: list[tuple[str, str]]  # (Chinese, English)

    def chinese(self) -> list[str]:
        rows = [text for row in self.parallels for text in (*row.human, *row.machine)]
        return rows + [chinese for chinese, _ in self.words]

    def english(self) -> list[str]:
        """Every text that needs a vector of the teacher's, once, in order."""
        parallel = [text for row in self.parallels for text in row.english]
        words = [english for _, english in self.words]
        every = [*self.captions, *self.names, *self.classes, *parallel, *words]
        return list(dict.fromkeys(every))


def read_texts(recipe: Recipe) -> Texts:
    """Captions of the recipe's photos and of its `sentences`, names, parallels and words."""
    captions = [tidy(text) for one in read_examples(recipe.data) for text in one.captions]
    if recipe.sentences:
        captions += read_sentences(Path(recipe.sentences))
    captions = [text for text in dict.fromkeys(captions) if text]
    flat = [name for group in class_names() for name in group]
    parallels = read_parallels(Path(recipe.chinese)) if recipe.chinese else []
    words = read_words() if recipe.chinese else []
    return Texts(
        captions=captions,
        names=[prompt.format(word.english) for prompt in PROMPTS for word in read_words()],
        classes=[prompt.format(name) for prompt in PROMPTS for name in flat],
        parallels=parallels,
        words=[pair for word in words for pair in word.phrases()],
    )


def read_sentences(file: Path) -> list[str]:
    """Captions without photos, from JSON lines {"captions": [...]}."""
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return [tidy(text) for row in rows for text in row["captions"]]
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: not JSON lines with captions") from error


def texts_alone(recipe: Recipe) -> list[str]:
    """Captions that belong to no photo, each once, where a stage relates photos to them."""
    related = recipe.image_alone or (recipe.caption_epochs and recipe.caption_relations)
    if not (recipe.sentences and recipe.ensemble and related):
        return []
    return [text for text in dict.fromkeys(read_sentences(Path(recipe.sentences))) if text]


def make_vocabulary(texts: Texts, frequent: int) -> tuple[tuple[str, ...], Texts]:
    """The vocabulary, and `texts` with its own words among the names to learn."""
    whole = minilm_vocabulary()
    chosen = choose(whole, texts.english(), texts.chinese(), frequent=frequent)
    vocabulary = with_traditional(chosen)
    words = [piece for piece in vocabulary if piece.isascii() and piece.isalpha()]
    long = [word for word in words if len(word) >= 3]
    prompts = [PROMPTS[number % 2 * 2].format(word) for number, word in enumerate(long)]
    names = list(dict.fromkeys([*long, *prompts, *texts.names]))
    return tuple(vocabulary), dataclasses.replace(texts, names=names)


def prepare_text(
    recipe: Recipe, student: DualEncoder, vocabulary: Sequence[str], texts: Texts
) -> None:
    """Inherit from MiniLM, learn from it, or take both from the cache."""
    encoder = student.text.encoder
    stage = TextStage(tokens=recipe.text_tokens, learning_rate=recipe.text_rate, seed=recipe.seed)
    parts = [repr(encoder.config), repr(stage), *vocabulary, *texts.english(), *texts.chinese()]

    def train() -> None:
        log.info("prepare.text tokens=%d vocabulary=%d", stage.tokens, len(vocabulary))
        teacher = BertEncoder(MINILM).eval()
        load_minilm(teacher)
        tokenizer = WordPieceTokenizer(vocabulary, context_length=encoder.config.positions)
        english = texts.english()
        vectors = _teacher_vectors(teacher, english, Path(recipe.cache))
        _inherit(encoder, teacher, vocabulary, texts, tokenizer)
        distil_text(encoder, make_pairs(texts, english, vectors), tokenizer, stage)
        share_rows(encoder, vocabulary)

    kept(Path(recipe.cache), "text", parts, encoder, train)


@torch.no_grad()
def share_rows(encoder: BertEncoder, vocabulary: Sequence[str]) -> None:
    """Give pieces that are one word in two scripts the row of the one that is trained."""
    assert isinstance(encoder.words, nn.Embedding)
    old, new = same_rows(vocabulary)
    encoder.words.weight[old] = encoder.words.weight[new]


def _teacher_vectors(teacher: BertEncoder, english: Sequence[str], cache: Path) -> Tensor:
    def make() -> Matrix:
        whole = WordPieceTokenizer(minilm_vocabulary(), context_length=MINILM.positions)
        with torch.inference_mode():
            return encode_texts(lambda tokens: unit(teacher(tokens)), english, whole)

    parts = ["\0".join(english), weights_digest(teacher)]
    return torch.from_numpy(cached(cache, "teacher", parts, make))


def make_pairs(texts: Texts, english: Sequence[str], vectors: Tensor) -> dict[str, Pairs]:
    """Each source of the text stage with the vectors it should give; empty ones are left out."""
    row = {text: number for number, text in enumerate(english)}

    def of(some: Sequence[str]) -> Tensor:
        return vectors[[row[text] for text in some]]

    pairs = {
        name: Pairs(some, of(some))
        for name, some in (
            ("captions", texts.captions),
            ("names", texts.names),
            ("classes", texts.classes),
        )
    }
    spoken = [one for one in texts.parallels if one.english]
    if spoken:
        machine = [text for one in spoken for text in one.machine]
        pairs["parallels"] = Pairs(machine, of([text for one in spoken for text in one.english]))
        middles = unit(torch.stack([of(one.english).mean(dim=0) for one in spoken]))
        counts = torch.tensor([len(one.human) for one in spoken])
        human = [text for one in spoken for text in one.human]
        pairs["human"] = Pairs(human, torch.repeat_interleave(middles, counts, dim=0))
        pairs["words"] = Pairs(
            [chinese for chinese, _ in texts.words], of([word for _, word in texts.words])
        )
    return {name: one for name, one in pairs.items() if one.texts}


def _inherit(
    encoder: BertEncoder,
    teacher: BertEncoder,
    vocabulary: Sequence[str],
    texts: Texts,
    tokenizer: WordPieceTokenizer,
) -> None:
    seen = [*texts.captions[::2], *texts.names]
    every = torch.from_numpy(np.concatenate([tokenizer.encode(text) for text in seen]))
    counts = torch.bincount(every, minlength=len(vocabulary)).float()
    foreign = [number for number, piece in enumerate(vocabulary) if is_chinese(piece)]
    counts[foreign] = CHARACTER_COUNT
    few = [*texts.captions[:: max(1, len(texts.captions) // 600)], *texts.classes[::60]]
    tokens = torch.from_numpy(tokenizer.batch(few))[:, :32]
    meanings = _meanings(vocabulary, texts, tokenizer, foreign) if foreign else None
    whole, which = minilm_vocabulary(), torch.tensor(foreign, dtype=torch.long)
    inherit_text(encoder, teacher, whole, vocabulary, counts, tokens, which, meanings)


def _meanings(
    vocabulary: Sequence[str], texts: Texts, tokenizer: WordPieceTokenizer, foreign: list[int]
) -> Tensor:
    """(F, V): what each Chinese character means in English pieces, as probabilities."""
    compact = {number: row for row, number in enumerate(foreign)}
    skipped = {tokenizer.encode("").tolist()[n] for n in (0, 1)} | {
        number for number, piece in enumerate(vocabulary) if piece in FUNCTION_WORDS
    }

    def pieces(chinese: str, english: str) -> tuple[list[int], list[int]]:
        ours = [compact[n] for n in tokenizer.encode(chinese).tolist() if n in compact]
        theirs = [n for n in tokenizer.encode(english).tolist() if n not in skipped]
        return ours, theirs

    pairs = [
        pieces(chinese, english)
        for row in texts.parallels
        for english, chinese in zip(row.english, row.machine, strict=True)
    ]
    pairs += [pieces(chinese, english) for chinese, english in texts.words] * WORD_WEIGHT
    pairs = [pair for pair in pairs if pair[0] and pair[1]]
    return translate(pairs, len(foreign), len(vocabulary), TRANSLATION_ROUNDS)
