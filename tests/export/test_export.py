"""A random student survives export; what does not agree does not ship."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("onnx", reason="onnx is in the [export] extra")
pytest.importorskip("onnxscript", reason="onnxscript is in the [export] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from export.__main__ import main  # noqa: E402
from export.bundle import ExportError, export_bundle, space_of, staging  # noqa: E402
from export.parity import ParityError, require_parity  # noqa: E402
from export.quantize import quantise  # noqa: E402
from models.checkpoint import Checkpoint, EagerEncoder, build, save_checkpoint  # noqa: E402
from models.layers import minilm_vocabulary, unit  # noqa: E402
from models.recipes import Recipe  # noqa: E402
from models.students import DualEncoder, kept_pieces, tiny  # noqa: E402
from photosearch.bundle import load_background, open_bundle, verify_files  # noqa: E402
from photosearch.encoder import open_encoder  # noqa: E402
from photosearch.verify import verify_bundle  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
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


@pytest.fixture(scope="module", params=["int8", "fp32"])
def bundle(
    request: pytest.FixtureRequest,
    checkpoint: Checkpoint,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("bundles") / request.param
    return export_bundle(checkpoint, out, precision=request.param, val="")


def test_the_bundle_opens_and_verifies(bundle: Path, checkpoint: Checkpoint) -> None:
    opened = open_bundle(bundle)
    assert verify_files(opened) == []
    assert verify_bundle(opened) == []
    assert opened.dim == checkpoint.student.dim
    assert opened.preprocess == checkpoint.recipe.preprocess()
    background = load_background(opened)
    assert background is not None
    assert checkpoint.background is not None
    cosines = (background.vectors * checkpoint.background.numpy()).sum(axis=1)
    assert cosines.min() > 0.999
    assert background.cutoff_z == checkpoint.recipe.cutoff_z


def test_the_shipped_files_embed_as_eager_pytorch_does(
    bundle: Path, checkpoint: Checkpoint
) -> None:
    eager, shipped = EagerEncoder(checkpoint), open_encoder(open_bundle(bundle))
    pixels = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)
    texts = ["a dog", "a long text about many things, one after another", ""]
    least = 0.9999 if bundle.name == "fp32" else 0.99
    assert (eager.images(pixels) * shipped.images(pixels)).sum(axis=1).min() > least
    assert (eager.texts(texts) * shipped.texts(texts)).sum(axis=1).min() > least
    np.testing.assert_allclose(np.linalg.norm(shipped.texts(texts), axis=1), 1, atol=1e-5)


def test_a_text_embeds_the_same_alone_and_in_company(bundle: Path) -> None:
    shipped = open_encoder(open_bundle(bundle))
    company = shipped.texts(["a dog", "a long text about many things, one after another"])
    assert float(company[0] @ shipped.texts(["a dog"])[0]) > 0.99999


def test_the_manifest_names_its_makings(bundle: Path, checkpoint: Checkpoint) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    target = manifest["targets"]["onnx"]
    assert target["verified"] is True
    assert target["precision"] == bundle.name
    assert target["runtime"].startswith("onnxruntime ")
    assert set(target["parity"]) == {"image", "text"}
    assert manifest["description"]["recipe"]["name"] == "toy"
    assert manifest["description"]["licences"]
    # One space for every precision: their vectors may be compared.
    space = space_of(build(checkpoint), checkpoint.recipe, checkpoint.vocabulary)
    assert manifest["space"] == space


def test_another_weight_or_resize_is_another_space(checkpoint: Checkpoint) -> None:
    student, recipe = build(checkpoint), checkpoint.recipe
    space = space_of(student, recipe, checkpoint.vocabulary)
    assert space_of(build(checkpoint), recipe, checkpoint.vocabulary) == space
    other = Recipe(**{**vars(recipe), "resize": "crop"})
    assert space_of(student, other, checkpoint.vocabulary) != space
    assert space_of(student, recipe, (*checkpoint.vocabulary, "x")) != space
    with torch.no_grad():
        student.text.head.gate.bias += 1e-3
    assert space_of(student, recipe, checkpoint.vocabulary) != space


def test_parity_refuses_what_disagrees() -> None:
    rows = np.eye(3, dtype=np.float32)
    assert require_parity("image", "fp32", rows, lambda: rows).cosine_min == 1.0
    with pytest.raises(ParityError, match="image encoder, probe 0"):
        require_parity("image", "fp32", rows, lambda: rows[::-1])
    with pytest.raises(ParityError, match="probe 1"):
        require_parity("image", "fp32", rows, lambda: np.where(rows[:, [1]] > 0, np.nan, rows))
    with pytest.raises(ParityError, match="lengths"):
        require_parity("image", "fp32", rows, lambda: 2 * rows)


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staging(tmp_path / "out") as folder:
        (folder / "half").write_text("")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(ExportError, match="exists already"), staging(tmp_path):
        pass
    assert (tmp_path / "keep.txt").read_text() == "mine"


def test_quantised_weights_are_within_half_a_step() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    levels, scale = quantise(weight, 1)
    assert scale.shape == (1, 3, 1)
    assert np.abs(levels * scale - weight).max() <= scale.max() / 2 + 1e-6


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--checkpoint", "gone.pt", "--out", "x"], 3, "no such checkpoint"),
        (["--checkpoint", "x", "--out", "x", "--targets", "executorch"], 3, "not implemented yet"),
        (["--checkpoint", "x", "--out", "x", "--targets", "onnx,coreml"], 3, "not implemented"),
        (["--checkpoint", "x", "--out", "x", "--targets", "tensorrt"], 2, "known targets are"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1


def test_the_command_writes_a_bundle(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "toy.pt", checkpoint)
    out = tmp_path / "toy"
    arguments = ["--checkpoint", str(tmp_path / "toy.pt"), "--out", str(out)]
    assert main([*arguments, "--precision", "fp32"]) == 0
    assert verify_files(open_bundle(out)) == []
    assert main([*arguments, "--precision", "fp32"]) == 3  # it is there now
