"""What a bundle is made from: towers with a name, a space, and what people should know."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from export.towers import Towers
from models.checkpoint import Checkpoint, build
from models.layers import fuse
from models.recipes import Recipe
from models.restore import restore
from models.students import DualEncoder
from models.teachers import weights_digest
from photosearch.bundle import Bundle, Tail
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Matrix

VOCABULARY: Final = "vocab.txt"

LICENCES: Final = {
    "EfficientNet-lite2 weights": "Apache-2.0, Google; converted by ML Illustrated; lite0's and "
    "lite1's, which taught it, the same",
    "all-MiniLM-L6-v2 weights and vocabulary": (
        "Apache-2.0, Microsoft and the sentence-transformers authors"
    ),
    "ImageNet class names": (
        "MIT, the OpenCLIP authors; WordNet 3.0 licence, Princeton University. "
        "Used in training; the bundle holds vectors made from them"
    ),
    "Flickr8k": (
        "research use (Hodosh, Young and Hockenmaier 2013); no photo or caption is included"
    ),
    "Chinese captions of Flickr8k": (
        "research use (Li, Lan, Dong and Liu 2016); no caption is included"
    ),
    "COCO captions": "CC BY 4.0; text used in training, none is included",
    "ADE20K, Places": "research use; no photo is included, only vectors of some as the background",
    "golden photos": (
        "scikit-image's samples: chelsea, coffee, rocket CC0; astronaut public domain, NASA"
    ),
}


@dataclass(frozen=True)
class Source:
    """All that the export reads; the files it writes hold nothing else."""

    name: str
    version: str
    space: str
    towers: Towers
    text: dict[str, Any]  # the manifest's own: tokenizer, its files, context_length
    tokenizer_files: dict[str, bytes]
    background: Matrix | None
    cutoff_z: float  # for programs from before the tails
    description: dict[str, Any]  # for people: title, training data, licences, how it was made
    tails: Mapping[str, Tail] = field(default_factory=dict)  # tails.py, of the background
    words: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # as checkpoints do
    parts: tuple[int, ...] = ()  # widths of what its vectors are put together from


def from_checkpoint(checkpoint: Checkpoint) -> Source:
    """A student of ours, its batch norms folded."""
    recipe = checkpoint.recipe
    space = space_of(build(checkpoint), recipe, checkpoint.vocabulary)
    student = build(checkpoint)
    fuse(student)
    tokenizer = WordPieceTokenizer(
        checkpoint.vocabulary, context_length=checkpoint.student.text.positions
    )
    return Source(
        name=recipe.name,
        version=recipe.version,
        space=space,
        towers=Towers(
            student.image, student.text, recipe.preprocess(), tokenizer, checkpoint.student.dim
        ),
        text={
            "tokenizer": "wordpiece",
            "vocabulary": VOCABULARY,
            "context_length": tokenizer.context_length,
        },
        tokenizer_files={
            VOCABULARY: "".join(f"{piece}\n" for piece in checkpoint.vocabulary).encode()
        },
        background=None if checkpoint.background is None else checkpoint.background.numpy(),
        cutoff_z=recipe.cutoff_z,
        description=describe(checkpoint),
        words=checkpoint.words,
        parts=(checkpoint.student.caption_dim, checkpoint.student.class_dim),
    )


def from_bundle(bundle: Bundle) -> Source:
    """A bundle's own student, for targets or a precision that it was not exported for.

    Its space stays: the weights are those of its ONNX files, so the new files' vectors may
    be compared with those that a library already holds. Raises NotRestored or BundleError.
    """
    checkpoint = restore(bundle)
    return replace(
        from_checkpoint(checkpoint),
        name=bundle.name,
        version=bundle.version,
        space=bundle.space,
        description={
            **bundle.description,
            "metrics": {},
            "made_with": [
                *bundle.description.get("made_with", ()),
                f"python -m export --bundle {bundle.name} --out DIR",
            ],
            "restored_from": {
                "name": bundle.name,
                "version": bundle.version,
                "precision": bundle.targets["onnx"].get("precision", "unknown"),
            },
        },
    )


def space_of(student: DualEncoder, recipe: Recipe, vocabulary: tuple[str, ...]) -> str:
    """Identity of the Space: float32 weights, preprocessing and tokenizer.

    The same for every precision and target, whose vectors may be compared.
    """
    how = recipe.preprocess()
    parts = [
        weights_digest(student),
        json.dumps(how.as_json(), sort_keys=True),
        json.dumps(dataclasses.asdict(student.config), sort_keys=True),
        "wordpiece",
        "\n".join(vocabulary),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """For people: nothing here changes what the encoders do."""
    recipe = dataclasses.asdict(checkpoint.recipe)
    for place in ("out", "cache", "threads"):
        recipe.pop(place, None)
    file = recipe["name"].replace("-", "_")
    return {
        "title": checkpoint.recipe.title,
        "recipe": recipe,
        "student": dataclasses.asdict(checkpoint.student),
        "training_data": checkpoint.recipe.training_data,
        "metrics": {},
        "licences": LICENCES,
        "made_with": [
            f"python -m models.train models/recipes/{file}.py",
            f"python -m export --checkpoint runs/{recipe['name']}/final.pt --out DIR",
        ],
    }
