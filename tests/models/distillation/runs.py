"""A tiny teacher, its cache and a recipe, for tests of whole runs."""

from __future__ import annotations

import atexit
import functools
import importlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoint import Checkpoint, save_checkpoint
from models.distillation.recipe import DistillRecipe
from models.fresh import make_student
from models.recipes import Recipe
from tests.models.samples import captioned_shard

SIDE = 32


def tiny_teacher(file: Path, *, seed: int = 5) -> Path:
    """A random tiny student of ours, saved as a checkpoint: the surrogate of these tests."""
    torch.manual_seed(seed)
    recipe = Recipe(name="tiny", version="1", title="Tiny", student="tiny", side_px=SIDE)
    student, vocabulary = make_student(recipe)
    save_checkpoint(
        file,
        Checkpoint(
            recipe=recipe,
            student=student.config,
            vocabulary=vocabulary,
            step=0,
            weights=dict(student.state_dict()),
            training={},
            background=None,
            metrics={},
        ),
    )
    return file


@functools.cache
def prepared() -> Path:
    """Photos, a teacher and its cache, made once for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="photosearch-distillation-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    captioned_shard(folder / "train.tar", 12)
    tiny_teacher(folder / "teacher.pt")
    return folder


def tiny_recipe(folder: Path, **changes: Any) -> DistillRecipe:
    """Twelve photos, three steps an epoch."""
    made = prepared()
    fields: dict[str, Any] = {
        "name": "toy",
        "version": "1",
        "title": "A toy",
        "preset": "STRONG",
        "student": "tiny",
        "teacher": f"surrogate:{made / 'teacher.pt'}",
        "data": str(made / "train.tar"),
        "side_px": SIDE,
        "crops": 2,
        "batch": 4,
        "epochs": 2,
        "learning_rate": 0.5,  # at 1,024 photos a step; 0.002 here
        "threads": 1,
        "out": str(folder / "run"),
        "cache": str(made / "cache"),
        "log_steps": 1,
        "save_steps": 2,
        "training_data": "nothing real",
    }
    return DistillRecipe(**{**fields, **changes})


def require_transformers() -> Any:
    """The library. A torchvision built for another torch is hidden while it is imported, because
    transformers looks for it once, at its own import, and then believes it usable."""
    hidden = False
    if "torchvision" not in sys.modules:
        try:
            importlib.import_module("torchvision")
        except (ImportError, RuntimeError):
            sys.modules["torchvision"] = None  # type: ignore[assignment]
            hidden = True
    try:
        transformers = pytest.importorskip("transformers", reason="in requirements-dev.txt")
        _ = transformers.CLIPModel, transformers.SiglipModel, transformers.AutoTokenizer
        _ = transformers.ViltForImageAndTextRetrieval
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"transformers cannot be imported here: {str(error).splitlines()[0]}")
    finally:
        if hidden:
            del sys.modules["torchvision"]
    return transformers
