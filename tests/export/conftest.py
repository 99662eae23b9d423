"""What the workbench's tests share. torch is in the [train] extra: without it they skip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from models.checkpoint import Checkpoint


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    """A random student with every kind of block, whose export takes seconds."""
    torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
    pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")
    from models.checkpoint import Checkpoint
    from models.layers import minilm_vocabulary, unit
    from models.recipes import Recipe
    from models.students import DualEncoder, kept_pieces, tiny

    torch.manual_seed(0)
    whole = minilm_vocabulary()
    vocabulary = tuple(whole[number] for number in kept_pieces(whole))
    student = DualEncoder(tiny(vocabulary=len(vocabulary))).eval()
    return Checkpoint(
        recipe=Recipe(name="toy", version="1", title="A toy", student="tiny", side_px=32, val=""),
        student=student.config,
        vocabulary=vocabulary,
        step=0,
        weights=student.state_dict(),
        training={},
        background=unit(torch.randn(9, student.config.dim)),
        metrics={},
    )


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a few hundred bytes, ONNX alone."""
    from tests.photosearch.toy import make_toy_bundle

    return make_toy_bundle(tmp_path_factory.mktemp("toys"))
