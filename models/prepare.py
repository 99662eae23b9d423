"""The towers of a recipe before its heads are trained: vocabulary, text stage, image stage.

A recipe without `text_tokens` takes MiniLM as it is, one without `image_epochs` the image
network as it is. Each stage depends on files and settings alone, and is cached by both.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.data import DataError, cached, read_examples, read_photos
from models.distil_text import Pairs, TextStage, distil_text
from models.finetune import (
    NO_LABEL,
    CaptionedMaps,
    CaptionHead,
    Fresh,
    ImageStage,
    Maps,
    OtherMaps,
    Relations,
    TextCaption,
    Views,
    crops,
    finetune,
    mix_weights,
    split,
    tail_features,
)
from models.layers import (
    MINILM,
    BertEncoder,
    EfficientNetLite,
    absorb,
    fuse,
    load_minilm,
    minilm_vocabulary,
    unit,
)
from models.recipes import Recipe
from models.rounding import round_convolutions
from models.shrink import inherit_text, translate
from models.students import DualEncoder, as_published
from models.teachers import PROMPTS, class_names, encode_pixels, encode_texts, weights_digest
from models.vocabulary import choose, is_chinese, read_words, same_rows, with_traditional
from photosearch.preprocess import normalise
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Matrix, Preprocess

log = logging.getLogger(__name__)

MAP_STAGES: Final = 5  # of the image network: behind as many, maps of a few views are cached
LABEL_PROMPTS: Final = ("a photo of a {}", "{}", "a {}", "a photo of the {}")
TAIL_DROPOUT: Final = 0.5
HELD_OUT: Final = 5  # every fifth photo with a label is not trained on
ROUNDING_PHOTOS: Final = 128  # on which the rounded network's biases are corrected
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
    """Captions that belong to no photo, each once, where the image stage relates photos to them."""
    if not (recipe.sentences and recipe.ensemble and recipe.image_alone):
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
    file = _file(Path(recipe.cache), "text", parts)
    if file.is_file():
        encoder.load_state_dict(torch.load(file, weights_only=True))
        return
    log.info("prepare.text tokens=%d vocabulary=%d", stage.tokens, len(vocabulary))
    teacher = BertEncoder(MINILM).eval()
    load_minilm(teacher)
    tokenizer = WordPieceTokenizer(vocabulary, context_length=encoder.config.positions)
    english = texts.english()
    vectors = _teacher_vectors(teacher, english, Path(recipe.cache))
    _inherit(encoder, teacher, vocabulary, texts, tokenizer)
    distil_text(encoder, make_pairs(texts, english, vectors), tokenizer, stage)
    assert isinstance(encoder.words, nn.Embedding)
    old, new = same_rows(vocabulary)
    with torch.no_grad():
        encoder.words.weight[old] = encoder.words.weight[new]
    _save(encoder, file)


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


def prepare_image(
    recipe: Recipe,
    student: DualEncoder,
    vocabulary: Sequence[str],
    make_teacher: Callable[[], Relations] | None = None,
) -> None:
    """Train the image network's tail, or take it from the cache.

    The student's heads are trained on the network as it is: where the caption part starts.
    A teacher is made only where the tail is trained. What the classifier is to go on saying is what
    the network of this shape says as it was published, though `init` may have trained it before.
    """
    cache, network = Path(recipe.cache), student.image.backbone
    stage = ImageStage(
        epochs=recipe.image_epochs,
        learning_rate=recipe.image_rate,
        slow=slow_blocks(network, recipe.image_stages),
        captions=recipe.image_captions,
        relations=recipe.image_relations,
        alone=recipe.image_alone,
        mix=recipe.image_mix,
        seed=recipe.seed,
    )
    photos = [one.image for one in read_examples(",".join(_photo_specs(recipe)))]
    parts: list[str | bytes] = [
        repr(stage),
        repr(recipe.preprocess()),
        repr(recipe.labelled),
        repr((recipe.image_stages, recipe.image_crops)),
        recipe.ensemble,
        weights_digest(student),
        *[hashlib.sha256(photo).digest() for photo in photos],
    ]
    file = _file(cache, "image", parts)
    if file.is_file():
        network.load_state_dict(torch.load(file, weights_only=True))
        return
    log.info("prepare.image photos=%d epochs=%d", len(photos), stage.epochs)
    tokenizer = WordPieceTokenizer(vocabulary, context_length=student.config.text.positions)

    def sentences(texts: Sequence[str]) -> Tensor:
        with torch.inference_mode():
            encode = student.text.encoder
            return torch.from_numpy(encode_texts(lambda t: unit(encode(t)), texts, tokenizer))

    fused = fuse(copy.deepcopy(network).eval())
    assert isinstance(fused, EfficientNetLite)
    front, tail = split(fused, recipe.image_stages)
    said = Classes(as_published(network), recipe.image_stages)
    captioned = captioned_maps(recipe, front, tail, said, sentences)
    others = other_maps(recipe, front, said, sentences)
    head, text = caption_heads(student)
    before = {name: value.clone() for name, value in tail.state_dict().items()}
    teacher = make_teacher() if make_teacher else None
    classifier = fused.classifier.requires_grad_(False)
    finetune(tail, classifier, head, text, captioned, others, stage, teacher=teacher)
    mix_weights(tail, before, stage.mix)
    round_convolutions(fused, _some_pixels(recipe))
    absorb(network, fused)
    _save(network, file)


def _some_pixels(recipe: Recipe) -> Tensor:
    """As many photos of each set, spread over it, normalised: (B, 3, S, S)."""
    how, specs = recipe.preprocess(), _photo_specs(recipe)
    some: list[NDArray[np.uint8]] = []
    for spec in specs:
        pixels = read_photos(spec, how).pixels
        some.append(pixels[:: max(1, len(pixels) * len(specs) // ROUNDING_PHOTOS)])
    return torch.from_numpy(normalise(np.concatenate(some), how))


def _photo_specs(recipe: Recipe) -> list[str]:
    return [spec for spec in (recipe.data, recipe.unlabelled, recipe.labelled) if spec]


class Classes:
    """What a network says of the maps behind some of its stages: their logits."""

    def __init__(self, network: EfficientNetLite, stages: int) -> None:
        fuse(network.eval()).requires_grad_(False)
        self._tail = split(network, stages)[1]
        self._classifier = network.classifier

    @torch.no_grad()
    def __call__(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        found: Tensor = self._classifier(self._tail(maps).float().mean(dim=(2, 3)))
        return found

    def of(self, views: Sequence[NDArray[np.float16]]) -> Tensor:
        """V of (N, C, H, W) -> (V, N, K)."""
        with torch.inference_mode():
            found = [self._classifier(tail_features(self._tail, view)) for view in views]
            return torch.stack(found)


def captioned_maps(
    recipe: Recipe,
    front: nn.Module,
    tail: nn.Module,
    said: Classes,
    sentences: Callable[[Sequence[str]], Tensor],
) -> CaptionedMaps:
    """Every photo with captions: whole, mirrored, and at random crops."""
    how, cache = recipe.preprocess(), Path(recipe.cache)
    photos = read_photos(recipe.data, how)
    whole = middle_maps(front, photos.pixels, how, cache)
    random = np.random.default_rng(recipe.seed)
    if recipe.image_stages < MAP_STAGES:
        maps: Views = Fresh(photos.pixels, how, front, said, random)
    else:
        more = [photos.pixels[:, :, ::-1]]
        more += [crops(photos.pixels, random) for _ in range(recipe.image_crops)]
        views = (whole, *(middle_maps(front, view, how, cache) for view in more))
        maps = Maps(views, said.of(views))
    texts = [text for group in photos.captions for text in group]
    counts = torch.tensor([len(group) for group in photos.captions])
    owner = torch.repeat_interleave(torch.arange(len(photos)), counts)
    alone = texts_alone(recipe)
    return CaptionedMaps(
        maps,
        tail_features(tail, whole),
        sentences(texts),
        owner,
        sentences(alone) if alone else None,
    )


def other_maps(
    recipe: Recipe,
    front: nn.Module,
    said: Classes,
    sentences: Callable[[Sequence[str]], Tensor],
) -> OtherMaps:
    """Photos without captions, some with a label that we may learn from."""
    how, cache = recipe.preprocess(), Path(recipe.cache)
    specs = [spec for spec in (recipe.labelled, recipe.unlabelled) if spec]
    sets = [read_photos(spec, how) for spec in specs]
    names: list[str] = []
    labels: list[int] = []
    for spec, photos in zip(specs, sets, strict=True):
        if spec == recipe.labelled:
            names, known = label_numbers(photos.labels)
            labels += known
        else:
            labels += [NO_LABEL] * len(photos)
    if recipe.image_stages < MAP_STAGES:
        pixels = np.concatenate([one.pixels for one in sets])
        random = np.random.default_rng(recipe.seed + 1)
        maps: Views = Fresh(pixels, how, front, said, random)
    else:
        views = (np.concatenate([middle_maps(front, one.pixels, how, cache) for one in sets]),)
        maps = Maps(views, said.of(views))
    asked = None
    if names:
        groups = [[prompt.format(name) for name in names] for prompt in LABEL_PROMPTS]
        asked = torch.stack([sentences(group) for group in groups])
    return OtherMaps(maps, torch.tensor(labels), asked)


def label_numbers(labels: Sequence[str | None]) -> tuple[list[str], list[int]]:
    """The names in order, and each photo's number; NO_LABEL for every HELD_OUT-th photo."""
    names = sorted({label for label in labels if label is not None})
    return names, [
        NO_LABEL if label is None or number % HELD_OUT == 0 else names.index(label)
        for number, label in enumerate(labels)
    ]


def slow_blocks(network: EfficientNetLite, stages: int) -> int:
    """How many blocks of a tail behind `stages` lie before what it is behind MAP_STAGES."""
    return sum(stage.repeats for stage in network.config.stages[stages:MAP_STAGES])


def middle_maps(
    front: nn.Module, pixels: NDArray[np.uint8], how: Preprocess, cache: Path
) -> NDArray[np.float16]:
    """(N, S, S, 3) -> maps (N, C, H, W), cached by photos and weights."""
    parts: list[str | bytes] = [
        hashlib.sha256(pixels.tobytes()).digest(),
        repr(how),
        weights_digest(front),
    ]

    def make() -> NDArray[np.float16]:
        log.info("prepare.maps photos=%d", len(pixels))
        with torch.inference_mode():
            return np.asarray(encode_pixels(front, pixels, how), dtype=np.float16)

    return cached(cache, "maps", parts, make)


def caption_heads(student: DualEncoder) -> tuple[CaptionHead, nn.Module]:
    """Copies of both caption parts, to be trained beside the tail."""
    image, text = copy.deepcopy(student.image.head), copy.deepcopy(student.text.head)
    text.gate.requires_grad_(False)
    head = CaptionHead(image.feature_mean, image.feature_std, image.caption, TAIL_DROPOUT)
    return head, TextCaption(text)


def _file(cache: Path, name: str, parts: Sequence[str | bytes]) -> Path:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return cache / f"{name}-{digest.hexdigest()[:20]}.pt"


def _save(module: nn.Module, file: Path) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_name(f"{file.name}.{os.getpid()}.part")
    torch.save(module.state_dict(), staged)
    staged.replace(file)
