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
    # As training leaves it: no norm is the identity, no mean is zero, no two are equal. Exporters
    # drop what changes nothing, and then nothing would show that it was folded or moved rightly.
    with torch.no_grad():
        for name, value in student.state_dict().items():
            if value.is_floating_point() and value.ndim == 1:
                noise = torch.randn_like(value) / 20
                value.add_(noise.abs() if name.endswith("_var") else noise)
    return Checkpoint(
        recipe=Recipe(name="toy", version="1", title="A toy", student="tiny", side_px=32, val=""),
        student=student.config,
        vocabulary=vocabulary,
        step=0,
        weights=student.state_dict(),
        training={},
        background=unit(torch.randn(9, student.config.dim)),
        metrics={},
        words={"a dog": (-0.25, 0.125)},
    )


@pytest.fixture(scope="session", params=["int8", pytest.param("fp32", marks=pytest.mark.slow)])
def exported(
    request: pytest.FixtureRequest, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """That student's bundle for ONNX, made by the command, as everyone does; its folder is named
    for the precision, and beside it lies toy.pt."""
    pytest.importorskip("onnxscript", reason="onnxscript is in the [export] extra")
    from export.__main__ import main
    from models.checkpoint import save_checkpoint

    folder = tmp_path_factory.mktemp("bundles")
    save_checkpoint(folder / "toy.pt", checkpoint)
    arguments = ["--checkpoint", str(folder / "toy.pt"), "--out", str(folder / request.param)]
    assert main([*arguments, "--precision", request.param, "--calibrate", ""]) == 0
    return folder / request.param


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a few hundred bytes, ONNX alone."""
    from tests.photosearch.toy import make_toy_bundle

    return make_toy_bundle(tmp_path_factory.mktemp("toys"))
