"""Damaged, foreign, newer and escaping bundles are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from photosearch.bundle import (
    FORMAT,
    Tail,
    find_bundles,
    load_background,
    open_bundle,
    require_bundle,
    sha256_of,
    shipped_bundles,
    verify_files,
)
from photosearch.errors import BundleError
from photosearch.runtimes.onnx import OnnxEncoder


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A bundle that is well-formed to the last hash, though its encoders are no ONNX."""
    folder = tmp_path / "bundles" / "toy"
    folder.mkdir(parents=True)
    (folder / "image.onnx").write_bytes(b"image tower")
    (folder / "text.onnx").write_bytes(b"text tower")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", encoding="utf-8")
    (folder / "golden.json").write_text('{"texts": [], "images": []}', encoding="utf-8")
    np.save(folder / "background.npy", np.eye(4, dtype=np.int8) * 127)
    files = {
        file.name: {"sha256": sha256_of(file), "bytes": file.stat().st_size}
        for file in folder.iterdir()
    }
    manifest = {
        "format": FORMAT,
        "name": "toy",
        "version": "1.0",
        "space": "toy-0000",
        "dim": 4,
        "image": {"side_px": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "resize": "squash"},
        "text": {"tokenizer": "wordpiece", "vocabulary": "vocab.txt", "context_length": 16},
        "files": files,
        "golden": "golden.json",
        "background": {
            "file": "background.npy",
            "text": {"floor": 0.05, "start": 0.5, "slope": 0.25},
            "words": {"people": [-0.04, 0.06]},
            "parts": {"floor": 0.05, "start": 0.6, "slope": 0.2, "widths": [3, 1]},
        },
        "targets": {"onnx": {"image": "image.onnx", "text": "text.onnx"}},
        "description": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_a_sound_bundle_opens_and_verifies(made: Path) -> None:
    bundle = open_bundle(made)
    assert (bundle.name, bundle.dim, bundle.preprocess.side_px) == ("toy", 4, 32)
    assert verify_files(bundle) == []
    background = load_background(bundle)
    assert background is not None
    assert background.words == {"people": (-0.04, 0.06)}
    assert background.parts == (3, 1)
    assert background.by_parts == Tail(0.05, 0.6, 0.2)
    np.testing.assert_allclose(background.vectors, np.eye(4), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=FORMAT + 1), "newer than this program"),
        (lambda m: m.pop("format"), "not a bundle of ours"),
        (lambda m: m.pop("dim"), "lacks a field"),
        (lambda m: m["image"].update(std=[1, 1]), "wrong value"),
        (lambda m: m["image"].update(side_px=5), "wrong value"),
        (lambda m: m["text"].update(tokenizer="runes"), "runes"),
        (lambda m: m["text"].update(vocabulary="other.txt"), "does not list it"),
        (lambda m: m["files"].update({"../out": {"sha256": "", "bytes": 0}}), "outside"),
        (lambda m: m["files"].update({"/etc/passwd": {"sha256": "", "bytes": 0}}), "outside"),
        (lambda m: m["files"].update({"c:\\x": {"sha256": "", "bytes": 0}}), "outside"),
        (lambda m: m.update(files=[]), "wrong value"),
        (lambda m: m["background"]["text"].update(slope=-1), "wrong value"),
        (lambda m: m["background"]["words"].update(dog=[0.1]), "wrong value"),
        (lambda m: m["background"]["words"].update(dog=[0.1, -0.1]), "wrong value"),
        (lambda m: m["background"].update(words=["dog"]), "wrong value"),
        (lambda m: m["background"]["parts"].update(widths=[3, 2]), "wrong value"),
        (lambda m: m["background"]["parts"].update(widths=[4, 0]), "wrong value"),
        (lambda m: m["background"]["parts"].update(widths=[]), "wrong value"),
        (lambda m: m["background"]["parts"].pop("widths"), "lacks a field"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(
    made: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(made, change)
    with pytest.raises(BundleError, match=message):
        open_bundle(made)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), value=JSON)
def test_any_value_anywhere_in_a_manifest_opens_or_is_refused(
    made: Path, data: st.DataObject, value: object
) -> None:
    original = (made / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(original)
    node, key = manifest, data.draw(st.sampled_from(sorted(manifest)))
    while isinstance(node[key], dict) and node[key] and data.draw(st.booleans()):
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node)))
    node[key] = value
    (made / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    try:
        open_bundle(made)
    except BundleError as error:
        assert str(made) in str(error)
    finally:
        (made / "manifest.json").write_text(original, encoding="utf-8")


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '"x"', "[" * 5000])
def test_a_damaged_manifest_is_refused(made: Path, text: str) -> None:
    (made / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError):
        open_bundle(made)


def test_folders_that_are_no_bundles_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BundleError, match=r"holds no manifest\.json"):
            open_bundle(path)


def test_every_kind_of_damage_to_a_file_is_named(made: Path, tmp_path: Path) -> None:
    bundle = open_bundle(made)
    (made / "image.onnx").write_bytes(b"IMAGE tower")
    (made / "text.onnx").write_bytes(b"text")
    (made / "vocab.txt").unlink()
    outside = tmp_path / "golden.json"
    (made / "golden.json").rename(outside)
    (made / "golden.json").symlink_to(outside)
    problems = "\n".join(verify_files(bundle))
    assert "image.onnx: its SHA-256 differs" in problems
    assert "text.onnx: 4 bytes, the manifest says 10" in problems
    assert "vocab.txt: cannot be read" in problems
    assert "golden.json: leads outside the bundle" in problems


def test_encoders_that_do_not_load_are_named(made: Path) -> None:
    encoder = OnnxEncoder(open_bundle(made))
    with pytest.raises(BundleError, match=r"text\.onnx: ONNX Runtime cannot load it"):
        encoder.texts(["a"])


def test_photos_are_shared_out_among_threads_and_come_back_in_order() -> None:
    bundle = open_bundle(shipped_bundles() / "lantern")
    side = bundle.preprocess.side_px
    rng = np.random.default_rng(0)
    photos = rng.standard_normal((11, 3, side, side), dtype=np.float32)
    alone = OnnxEncoder(bundle, threads=1)
    one_by_one = np.concatenate([alone.images(photo[None]) for photo in photos])
    for threads in (1, 3, 100):
        together = OnnxEncoder(bundle, threads=threads).images(photos)
        np.testing.assert_allclose(together, one_by_one, atol=1e-5)
    assert alone.images(photos[:0]).shape == (0, bundle.dim)


def test_a_background_of_another_width_is_refused(made: Path) -> None:
    np.save(made / "background.npy", np.zeros((3, 5), np.int8))
    with pytest.raises(BundleError, match=r"has shape \(3, 5\)"):
        load_background(open_bundle(made))


def test_bundles_are_found_by_name_and_by_folder(made: Path) -> None:
    folder = made.parent
    assert [bundle.name for bundle in find_bundles([folder, folder / "none"])] == ["toy"]
    assert require_bundle("toy", [folder]).directory == made
    assert require_bundle(str(made), []).directory == made
    assert require_bundle(None, [folder]).name == "toy"
    with pytest.raises(BundleError, match=r"no bundle named tyo.*found: toy"):
        require_bundle("tyo", [folder])
    with pytest.raises(BundleError, match="no bundle is installed"):
        require_bundle(None, [])
