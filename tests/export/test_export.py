"""A random student survives export; what does not agree does not ship."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("onnx", reason="onnx is in the [export] extra")
pytest.importorskip("onnxscript", reason="onnxscript is in the [export] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from export.__main__ import captions_of, check_targets, main  # noqa: E402
from export.parity import (  # noqa: E402
    LEAST,
    LEAST_FP32,
    MAX_R1_LOST,
    HeldOut,
    ParityError,
    least_cosine,
    require_little_lost,
    require_parity,
    require_recall,
)
from export.quantize import quantise  # noqa: E402
from export.querybank import bank_texts  # noqa: E402
from export.source import from_checkpoint, space_of  # noqa: E402
from export.tails import image_tail, parts_tail, text_tail  # noqa: E402
from export.towers import Lowered  # noqa: E402
from models.checkpoint import Checkpoint, EagerEncoder, build  # noqa: E402
from models.recipes import Recipe  # noqa: E402
from photosearch.bundle import load_background, open_bundle, verify_files  # noqa: E402
from photosearch.bundles import list_files, staging  # noqa: E402
from photosearch.encoder import open_encoder  # noqa: E402
from photosearch.errors import BundleError, PhotosearchError, UsageError  # noqa: E402
from photosearch.verify import verify  # noqa: E402


@pytest.fixture
def bundle(exported: Path) -> Path:
    return exported


def test_the_bundle_opens_and_verifies(bundle: Path, checkpoint: Checkpoint) -> None:
    opened = open_bundle(bundle)
    assert verify_files(opened) == []
    found = verify(opened)
    assert (found.problems, found.ran, found.skipped) == ((), ("onnx",), ())
    assert opened.dim == checkpoint.student.dim
    assert opened.preprocess == checkpoint.recipe.preprocess()
    background = load_background(opened)
    assert background is not None
    assert checkpoint.background is not None
    cosines = (background.vectors * checkpoint.background.numpy()).sum(axis=1)
    assert cosines.min() > 0.999
    assert opened.tails == {
        "text": background.text, "image": background.image, "parts": background.by_parts,
    }  # fmt: skip
    assert background.parts == (checkpoint.student.caption_dim, checkpoint.student.class_dim)
    vectors = checkpoint.background.numpy()
    assert background.image == image_tail(vectors)
    texts = EagerEncoder(checkpoint).texts(bank_texts())
    measured = text_tail(texts, vectors)
    by_parts = parts_tail(texts, vectors, background.parts, measured.floor)
    for ours, eager in ((background.text, measured), (background.by_parts, by_parts)):
        for found, wanted in zip(astuple(ours), astuple(eager), strict=True):
            assert found == pytest.approx(wanted, abs=2e-3)  # batches of texts round otherwise


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


def test_the_int8_text_encoder_is_made_of_the_runtimes_own_operators(
    bundle: Path, checkpoint: Checkpoint
) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(bundle / "text.onnx").graph
    counts = Counter(node.op_type for node in graph.node)
    layers = checkpoint.student.text.layers
    found = [counts[name] for name in ("MatMulNBits", "MultiHeadAttention", "Gelu", "Softmax")]
    # Of the toy's products only those of the perceptrons are large enough to be stored small.
    assert found == (
        [2 * layers, layers, layers, 0] if bundle.name == "int8" else [0, 0, 0, layers]
    )
    if bundle.name == "int8":  # float32 nowhere: neither stored so, nor unfolded when it is loaded
        names = {t.name: t.data_type for t in graph.initializer}
        assert names["encoder.layers.0.up.levels"] == onnx.TensorProto.UINT8
        assert not [name for name in names if name.startswith("encoder.layers.0.up.weight")]


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


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_parity_refuses_what_disagrees() -> None:
    rows = np.eye(3, dtype=np.float32)
    assert require_parity("onnx", "image", "fp32", rows, lambda: rows).cosine_min == 1.0
    with pytest.raises(ParityError, match="onnx, image encoder, probe 0"):
        require_parity("onnx", "image", "fp32", rows, lambda: rows[::-1])
    with pytest.raises(ParityError, match="probe 1"):
        require_parity(
            "onnx", "image", "fp32", rows, lambda: np.where(rows[:, [1]] > 0, np.nan, rows)
        )
    # No probe far off, but all of them some: a deviation of 0.005 is within what one may have.
    off = unit_rows(rows + 0.08)
    with pytest.raises(ParityError, match=r"mean cosine 0\.99\d+ to eager PyTorch over 3 probes"):
        require_parity("onnx", "image", "int8", rows, lambda: off)
    with pytest.raises(ParityError, match="lengths"):
        require_parity("onnx", "image", "fp32", rows, lambda: 2 * rows)


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staging(tmp_path / "out") as folder:
        (folder / "half").write_text("")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(BundleError, match="exists already"), staging(tmp_path):
        pass
    assert (tmp_path / "keep.txt").read_text() == "mine"


def test_quantised_weights_are_within_half_a_step() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    levels, scale = quantise(weight, 1)
    assert scale.shape == (1, 3, 1)
    assert np.abs(levels * scale - weight).max() <= scale.max() / 2 + 1e-6


def test_int8_may_lose_a_point_and_no_more() -> None:
    require_little_lost("onnx", "captions", eager=30.0, lowered=30.0 - MAX_R1_LOST)
    require_little_lost("onnx", "captions", eager=30.0, lowered=35.0)
    for lowered in (28.99, float("nan")):
        with pytest.raises(ParityError, match=r"at most 1\.0 points"):
            require_little_lost("onnx", "captions", eager=30.0, lowered=lowered)


def test_a_target_that_finds_less_fails_the_export(checkpoint: Checkpoint) -> None:
    """The second gate: with the vectors as they are, mixed up, and all a little off."""
    towers = from_checkpoint(checkpoint).towers
    rng = np.random.default_rng(0)
    # Six photos so alike that any two have a cosine of 0.9999: cosines do not show a mix-up.
    vectors = unit_rows(1.0 + 0.01 * rng.normal(size=(6, 16)))
    assert (vectors @ vectors.T).min() > 0.999
    photos = np.zeros((6, 32, 32, 3), np.uint8)
    # Each caption's own vector is its photo's: eager PyTorch finds every one first.
    held = HeldOut(
        photos, {"captions": (tuple("abcdef"), np.arange(6))}, vectors, {"captions": vectors}
    )

    def lowered(images: np.ndarray, texts: np.ndarray = vectors) -> Lowered:
        return Lowered(
            "onnx", "image.onnx", "text.onnx", "test", "run",
            images=lambda given: images, texts=lambda rows: texts, details={},
        )  # fmt: skip

    found = require_recall(lowered(vectors), towers, held, "int8")
    assert found["captions"]["r1_lost"] == 0.0
    assert found["photos"] == 6
    with pytest.raises(ParityError, match=r"first in 66\.67 %, eager"):
        require_recall(lowered(vectors[[1, 0, 2, 3, 4, 5]]), towers, held, "int8")
    # A constant added to every vector finds the same photos, and is wrong all the same.
    off = unit_rows(vectors + np.eye(16)[0] / 2)
    for given, says in (
        (lowered(off, off), r"image encoder: mean cosine 0\.9\d+ .* over 6 held-out photos"),
        (lowered(vectors, off), r"text encoder: mean cosine 0\.9\d+ .* over 6 held-out captions"),
    ):
        with pytest.raises(ParityError, match=says):
            require_recall(given, towers, held, "int8")


def test_what_each_target_may_be_off_is_ordered() -> None:
    """A mean is never asked to be lower than any probe, nor int8 nearer than float32."""
    for (target, tower, precision), least in LEAST.items():
        assert least.probe <= least.mean <= LEAST_FP32.mean, (target, tower, precision)
        assert least_cosine(target, tower, precision) == least
    assert least_cosine("coreml", "image", "fp32") == LEAST_FP32


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--checkpoint", "gone.pt", "--out", "x"], 3, "no such checkpoint"),
        (["--checkpoint", "x", "--out", "x", "--targets", "tensorrt"], 2, "known targets are"),
        (
            ["--checkpoint", "x", "--out", "x", "--precision", "palette6"],
            2,
            "for --targets coreml alone",
        ),
        (["--checkpoint", "x", "--out", "x", "--captions", "zh.jsonl"], 3, "no such checkpoint"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1


def test_the_command_never_writes_over_a_bundle(bundle: Path) -> None:
    before = (bundle / "manifest.json").read_bytes()
    checkpoint = str(bundle.parent / "toy.pt")
    assert main(["--checkpoint", checkpoint, "--out", str(bundle), "--calibrate", ""]) == 3
    assert (bundle / "manifest.json").read_bytes() == before


def test_more_captions_are_named_by_file_and_field() -> None:
    assert captions_of("zh=a/b.jsonl:captions_zh") == ("zh", (Path("a/b.jsonl"), "captions_zh"))
    for text in ("zh", "zh=a.jsonl", "=a:b", "zh=:b", "zh=a:"):
        with pytest.raises(UsageError, match="write NAME=FILE"):
            captions_of(text)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for target, package in (("executorch", "executorch"), ("coreml", "coremltools")):
        with pytest.raises(PhotosearchError, match=f"{package} is not installed"):
            check_targets(f"onnx,{target}", "int8")


def test_the_manifest_lists_folders_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "Image.mlpackage" / "Data").mkdir(parents=True)
    (tmp_path / "Image.mlpackage" / "Data" / "model.mlmodel").write_bytes(b"spec")
    (tmp_path / "manifest.json").write_text("{}")
    assert list(list_files(tmp_path)) == ["Image.mlpackage/Data/model.mlmodel"]
