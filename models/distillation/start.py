"""What a run starts from, and how its student is measured."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import at_side, build, load_checkpoint
from models.data import read_examples, read_photos
from models.distillation.cache import WHOLE, EmbeddingCache, build_cache, crop, usable_captions
from models.distillation.cross import Rescored, load_rescored
from models.distillation.distributed import World
from models.distillation.errors import TeacherMissing
from models.distillation.inherit import inherit_networks
from models.distillation.presets import Preset
from models.distillation.recall import both_directions
from models.distillation.recipe import DistillRecipe
from models.distillation.similarity import l2_normalize
from models.distillation.targets import Reducer, needs_one_space
from models.distillation.teachers import Teacher, open_teacher
from models.fresh import make_student, some_photos
from models.recipes import Recipe
from models.students import DualEncoder
from photosearch.preprocess import normalise
from photosearch.tokenizer import WordPieceTokenizer

log = logging.getLogger(__name__)

SAMPLE: Final = 4096  # cached rows from which a teacher's axes are found
EMBED_BATCH: Final = 64


@dataclass(frozen=True)
class Given:
    """What a run starts from; the same in every process."""

    recipe: DistillRecipe
    base: Recipe  # for the checkpoint
    student: DualEncoder
    vocabulary: tuple[str, ...]
    preset: Preset
    cache: EmbeddingCache | None
    teacher: Teacher | None  # of a live run
    rescored: Rescored | None
    reducer: Reducer
    world: World
    digest: str  # of all that decides the result

    @property
    def context_length(self) -> int:
        return self.student.config.text.positions


def start(recipe: DistillRecipe, world: World) -> Given:
    """Student, teacher or its cache, preset. The first process makes the cache."""
    torch.manual_seed(recipe.seed)
    if recipe.init:
        loaded = at_side(load_checkpoint(Path(recipe.init)), recipe.side_px)
        student, vocabulary = build(loaded), loaded.vocabulary
        base = dataclasses.replace(loaded.recipe, name=recipe.name, version=recipe.version)
    else:
        base = recipe.base()
        student, vocabulary = make_student(base)
        inherit_space(student, recipe.teacher)
        layers = recipe.inherited()
        if layers is not None:
            kind, _, where = recipe.teacher.partition(":")
            if kind != "surrogate":
                raise TeacherMissing(
                    f"{recipe.preset} starts from its teacher's layers, which only surrogate:FILE "
                    "lends to students of ours; with layers = own they start from their own"
                )
            pixels = some_photos(base)
            inherit_networks(student, vocabulary, load_checkpoint(Path(where)), layers, pixels)
    student.requires_grad_(True).to(world.device)
    # Convolutions of few channels are a third faster so; docs/training.md has what is measured.
    student.image.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not recipe.teacher:
        raise TeacherMissing(
            "a recipe needs teacher: cache:DIR, surrogate:FILE, open_clip:..., hf:DIR"
        )
    cache, teacher = None, None
    if recipe.live:
        teacher = open_teacher(recipe.teacher)
        parts = teacher.parts
        sample: list[Tensor] = []
        chosen = recipe.chosen()
        mines = recipe.dcd() is not None
        if len(parts) > 1 and (mines or needs_one_space(chosen.cells)):
            raise TeacherMissing(
                f"{recipe.preset} compares with the teacher in one space, which several live ones "
                "do not have; live must be false, for a cache of theirs can be turned into one"
            )
        if any(part.width != student.config.dim for part in parts):
            raise TeacherMissing(
                f"a live teacher must be as wide as the student ({student.config.dim}); "
                "with a cache a wider one is reduced"
            )
    else:
        cache = open_cache(recipe, world)
        parts, sample = cache.parts, cache.sample(SAMPLE)
        if len(parts) > 1 and recipe.negatives == "momentum":
            raise TeacherMissing(
                "negatives = momentum needs one teacher: an ensemble's are asked apart for the "
                "cells within the student, and what is mined is mined in one space"
            )
    return Given(
        recipe=recipe,
        base=base,
        student=student,
        vocabulary=vocabulary,
        preset=recipe.chosen(),
        cache=cache,
        teacher=teacher,
        rescored=load_rescored(Path(recipe.rescored), cache)
        if recipe.rescored and cache is not None
        else None,
        reducer=Reducer(parts, sample, student.config.dim),
        world=world,
        digest=whole_digest(recipe),
    )


def whole_digest(recipe: DistillRecipe) -> str:
    """The recipe's, and of the scores it is to read: a resumed run must find the same."""
    if not recipe.rescored:
        return recipe.digest()
    with Path(recipe.rescored).open("rb") as stream:
        scores = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashlib.sha256(f"{recipe.digest()}|{scores}".encode()).hexdigest()


@torch.no_grad()
def inherit_space(student: DualEncoder, spec: str) -> None:
    """Of a teacher of ours with the same two parts, take what lays out the class part, and the
    text head where it fits: the student starts with the teacher's axes, not with its own."""
    kind, _, where = spec.partition(":")
    if kind != "surrogate" or not Path(where).is_file():
        return
    loaded = load_checkpoint(Path(where))
    mine, theirs = student.config, loaded.student
    if any(
        getattr(mine, name) != getattr(theirs, name) for name in ("caption_dim", "class_dim")
    ) or (mine.text.width, mine.image.classes) != (theirs.text.width, theirs.image.classes):
        return
    shared = {f"image.head.{name}" for name in ("class_vectors",)} | {
        f"text.head.{name}"
        for name in ("sentence_mean", "class_mean", "class_axes", "linear", "gate")
    }
    kept = {
        name: value
        for name, value in loaded.weights.items()
        if name in shared or name.rpartition(".")[0] in shared
    }
    student.load_state_dict(kept, strict=False)


def open_cache(recipe: DistillRecipe, world: World) -> EmbeddingCache:
    """The cache a recipe names, or the one of its teacher, made by the first process."""
    kind, _, where = recipe.teacher.partition(":")
    if kind == "cache":
        return EmbeddingCache(Path(where))
    named = f"{recipe.teacher}|{recipe.data}|{recipe.crops}|{recipe.smallest_crop}|{recipe.seed}"
    folder = Path(recipe.cache) / f"teacher-{hashlib.sha256(named.encode()).hexdigest()[:16]}"
    if world.first:
        # Opened even where a cache is there: the file named may hold other weights by now.
        teacher = open_teacher(recipe.teacher)
        if not folder.is_dir() or EmbeddingCache(folder).teacher != teacher.name:
            built = build_cache(
                teacher,
                recipe.data,
                folder,
                crops=recipe.crops,
                seed=recipe.seed,
                smallest=recipe.smallest_crop,
            )
            log.info("train.cached folder=%s %s", folder, dataclasses.asdict(built))
    if world.size > 1:
        torch.distributed.barrier()
    return EmbeddingCache(folder)


@torch.inference_mode()
def embed_corpus(given: Given) -> Tensor:
    """Vectors of every cached photo by the image student as it is: (photos, D), unit."""
    assert given.cache is not None
    how = given.base.preprocess()
    rows = torch.zeros(len(given.cache.keys), given.student.config.dim)
    given.student.eval()
    waiting: list[tuple[int, Any]] = []

    def flush() -> None:
        if waiting:
            pixels = np.stack([view for _, view in waiting])
            made = given.student.image(
                torch.from_numpy(normalise(pixels, how)).to(given.world.device)
            )
            rows[[row for row, _ in waiting]] = l2_normalize(made).cpu()
            waiting.clear()

    for example in read_examples(given.recipe.data):
        row = given.cache.rows.get(example.key)
        if row is None or not usable_captions(example):
            continue
        waiting.append((row, crop(example.image, WHOLE, how.side_px)))
        if len(waiting) == EMBED_BATCH:
            flush()
    flush()
    return rows


@torch.inference_mode()
def measure(given: Given) -> dict[str, float]:
    """Recall on the held-out photos, through the student as it is."""
    student, how = given.student, given.base.preprocess()
    student.eval()
    photos = read_photos(given.recipe.val, how)
    tokenizer = WordPieceTokenizer(given.vocabulary, context_length=given.context_length)
    texts = [caption for group in photos.captions for caption in group]
    owner = torch.tensor([n for n, group in enumerate(photos.captions) for _ in group])
    images = [
        student.image(
            torch.from_numpy(normalise(photos.pixels[at : at + EMBED_BATCH], how)).to(
                given.world.device
            )
        )
        for at in range(0, len(photos), EMBED_BATCH)
    ]
    vectors = [
        student.text(
            torch.from_numpy(tokenizer.batch(texts[at : at + EMBED_BATCH])).to(given.world.device)
        )
        for at in range(0, len(texts), EMBED_BATCH)
    ]
    found = both_directions(torch.cat(images).cpu(), torch.cat(vectors).cpu(), owner)
    return {name: round(value, 2) for name, value in found.items()}
