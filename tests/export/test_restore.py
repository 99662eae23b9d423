"""What a bundle holds can be exported again: a student restored from its ONNX files."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
onnx = pytest.importorskip("onnx", reason="onnx is in the [train] extra")
pytest.importorskip("onnxscript", reason="onnxscript is in the [export] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from onnx import numpy_helper  # noqa: E402

from export.__main__ import main  # noqa: E402
from export.quantize import quantise  # noqa: E402
from export.source import from_bundle  # noqa: E402
from models import restore as restoring  # noqa: E402
from models.checkpoint import Checkpoint, EagerEncoder, load_checkpoint  # noqa: E402
from models.layers import fuse  # noqa: E402
from models.restore import NotRestored, restore  # noqa: E402
from models.students import DualEncoder  # noqa: E402
from photosearch.bundle import load_background, open_bundle  # noqa: E402
from photosearch.bundles import write_manifest  # noqa: E402
from photosearch.encoder import open_encoder  # noqa: E402
from photosearch.errors import BundleError  # noqa: E402
from photosearch.verify import verify  # noqa: E402

TEXTS = ["a dog", "two children in red jackets run along the beach at sunset", "", "猫", "crème!"]


@pytest.fixture
def bundle(exported: Path) -> Path:
    return exported


def agree(checkpoint: Checkpoint, directory: Path) -> tuple[float, float]:
    """The least cosine of the checkpoint's student, eager, to ONNX Runtime with the files, of
    photos and of texts."""
    eager, shipped = EagerEncoder(checkpoint), open_encoder(open_bundle(directory), threads=1)
    side = eager.preprocess.side_px
    pixels = np.random.default_rng(7).normal(size=(3, 3, side, side)).astype(np.float32)
    images = (eager.images(pixels) * shipped.images(pixels)).sum(axis=1)
    texts = (eager.texts(TEXTS) * shipped.texts(TEXTS)).sum(axis=1)
    return float(images.min()), float(texts.min())


def test_the_shipped_student_comes_back(shipped: Path) -> None:
    """27 million parameters, so it takes seconds: nothing smaller proves the shipped files."""
    found = restore(open_bundle(shipped))
    images, texts = agree(found, shipped)
    assert images > 0.99999
    assert texts > restoring.MIN_COSINE_INT8  # its products of int8 round what comes
    assert found.background is not None
    assert (found.recipe.name, len(found.vocabulary)) == ("lantern", found.student.text.vocabulary)
    # What is int8 already is not rounded again: the same levels, whatever exports it.
    student = DualEncoder(found.student).eval()
    student.load_state_dict(found.weights)
    fuse(student)
    for tower, file in zip(
        (student.image, student.text), open_bundle(shipped).towers("onnx"), strict=True
    ):
        stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
        weights = tower.state_dict()
        same = {name: f"{name}_int8" for name in weights if f"{name}_int8" in stored}
        packed = {name: f"{name.removesuffix('.weight')}.levels" for name in weights}
        packed = {name: levels for name, levels in packed.items() if levels in stored}
        assert len(same) + len(packed) >= 4
        for name, held in same.items():
            scale = stored[f"{name}_scale"]
            (axis,) = (number for number, size in enumerate(scale.shape) if size > 1)
            levels, _ = quantise(weights[name].numpy(), axis)
            np.testing.assert_array_equal(levels, stored[held], err_msg=name)
        for name, held in packed.items():
            levels, _ = quantise(weights[name].numpy(), 0)
            rows = stored[held].reshape(len(levels), -1)[:, : levels.shape[1]]
            np.testing.assert_array_equal(levels, rows.astype(np.int16) - 128, err_msg=name)


def test_what_is_exported_again_stays_in_the_bundles_space(
    bundle: Path, checkpoint: Checkpoint
) -> None:
    opened = open_bundle(bundle)
    source = from_bundle(opened)
    assert (source.name, source.version, source.space) == ("toy", "1", opened.space)
    assert source.tokenizer_files == {"vocab.txt": (bundle / "vocab.txt").read_bytes()}
    assert source.description["restored_from"] == {
        "name": "toy", "version": "1", "precision": bundle.name,
    }  # fmt: skip
    assert source.description["made_with"][-1] == "python -m export --bundle toy --out DIR"
    encoder = open_encoder(opened, threads=1)
    assert (source.towers.texts(TEXTS) * encoder.texts(TEXTS)).sum(axis=1).min() > 0.99999


@pytest.mark.slow
def test_the_command_exports_a_bundle_again(bundle: Path, tmp_path: Path) -> None:
    """To the same vectors: int8 of int8 loses nothing more."""
    out = tmp_path / "again"
    assert main(["--bundle", str(bundle), "--out", str(out), "--calibrate", ""]) == 0
    before, after = open_bundle(bundle), open_bundle(out)
    assert after.space == before.space
    assert verify(after).problems == ()
    old, new = open_encoder(before, threads=1), open_encoder(after, threads=1)
    least = 0.999999 if bundle.name == "int8" else 0.99
    assert (old.texts(TEXTS) * new.texts(TEXTS)).sum(axis=1).min() > least
    pixels = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    assert (old.images(pixels) * new.images(pixels)).sum(axis=1).min() > least
    for name in ("vocab.txt", "background.npy"):
        assert (out / name).read_bytes() == (bundle / name).read_bytes()


def test_a_checkpoint_is_written_for_training(
    bundle: Path, checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "restored.pt"
    assert restoring.main(["--bundle", str(bundle), "--out", str(file)]) == 0
    found = load_checkpoint(file)
    assert min(agree(found, bundle)) > 0.99999
    assert found.student == checkpoint.student
    assert found.vocabulary == checkpoint.vocabulary
    assert dataclasses.replace(found.recipe, out="", cache="") == dataclasses.replace(
        checkpoint.recipe, out="", cache=""
    )
    # Every batch norm is there, and trains on as any other.
    assert found.weights.keys() == checkpoint.weights.keys()
    background = load_background(open_bundle(bundle))
    assert background is not None and found.background is not None
    np.testing.assert_array_equal(found.background.numpy(), background.vectors)
    assert found.words == background.words == {"a dog": (-0.25, 0.125)}
    assert restoring.main(["--bundle", str(bundle), "--out", str(file)]) == 3
    assert "nothing is written over" in capsys.readouterr().err


def altered(bundle: Path, folder: Path, change: Callable[[dict[str, Any], Path], None]) -> Path:
    """A copy with a changed manifest and files, its hashes right."""
    copy = folder / "altered"
    shutil.copytree(bundle, copy)
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    change(manifest, copy)
    write_manifest(copy, manifest)
    return copy


def foreign(manifest: dict[str, Any], copy: Path) -> None:
    del manifest["description"]["student"]


def newer_recipe(manifest: dict[str, Any], copy: Path) -> None:
    manifest["description"]["recipe"]["moonlight"] = 1


def other_pixels(manifest: dict[str, Any], copy: Path) -> None:
    manifest["image"]["resize"] = "crop"


def other_context(manifest: dict[str, Any], copy: Path) -> None:
    manifest["text"]["context_length"] = 12


def wider(manifest: dict[str, Any], copy: Path) -> None:
    manifest["description"]["student"]["text_hidden"] += 1


def no_model(manifest: dict[str, Any], copy: Path) -> None:
    (copy / "image.onnx").write_bytes(b"\xff" * 100)


def other_weights(manifest: dict[str, Any], copy: Path) -> None:
    model = onnx.load(copy / "image.onnx")
    (bias,) = (t for t in model.graph.initializer if t.name == "head.caption.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 9.0, bias.name))
    onnx.save_model(model, copy / "image.onnx")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (foreign, "describes no student of ours"),
        (newer_recipe, "describes no student of ours"),
        (other_pixels, "prepares photos otherwise"),
        (other_context, "16 tokens, its manifest says 16 and 12"),
        (wider, r"head\.up\.weight needs \(17, 32\), found \(16, 32\)"),
        (no_model, "not an ONNX model"),
        (other_weights, "restored image encoder has a cosine"),
    ],
)
def test_what_is_not_the_student_it_describes_is_refused(
    bundle: Path, tmp_path: Path, change: Callable[[dict[str, Any], Path], None], says: str
) -> None:
    with pytest.raises(NotRestored, match=says):
        from_bundle(open_bundle(altered(bundle, tmp_path, change)))


def test_damage_and_bundles_without_onnx_are_named(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def for_phones(manifest: dict[str, Any], copy: Path) -> None:
        manifest["targets"]["executorch"] = manifest["targets"].pop("onnx")

    with pytest.raises(BundleError, match="holds no encoders for onnx"):
        restore(open_bundle(altered(bundle, tmp_path / "a", for_phones)))
    copy = altered(bundle, tmp_path / "b", lambda manifest, copy: None)
    data = bytearray((copy / "text.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "text.onnx").write_bytes(data)
    assert main(["--bundle", str(copy), "--out", str(tmp_path / "out")]) == 3
    assert "damaged, text.onnx" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_of_checkpoint_and_bundle_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    for given in ([], ["--checkpoint", "a.pt", "--bundle", "b"]):
        with pytest.raises(SystemExit) as stopped:
            main([*given, "--out", "x"])
        assert stopped.value.code == 2
    assert "--bundle" in capsys.readouterr().err
