"""Every target, every runtime: the same students, the same answers, or a refusal by name.

Lowering takes the better part of a minute of processor time for even a tiny
student, so what lowers is marked slow; the fast tests run on parts of it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("onnx", reason="onnx is in the [export] extra")
pytest.importorskip("executorch", reason="executorch is in the [export] extra")
pytest.importorskip("coremltools", reason="coremltools is in the [export] extra")

from phone import Phone, split_words  # noqa: E402
from torch import nn  # noqa: E402

from export import to_coreml, to_executorch  # noqa: E402
from export.bundle import Progress, Wanted, export_bundle  # noqa: E402
from export.chatter import quiet  # noqa: E402
from export.mil import OPERATIONS, Package, UnknownOperation  # noqa: E402
from export.source import from_checkpoint  # noqa: E402
from export.towers import Towers, tables_as  # noqa: E402
from models.checkpoint import Checkpoint  # noqa: E402
from photosearch.bundle import open_bundle  # noqa: E402
from photosearch.encoder import RUNTIMES, Encoder, open_encoder  # noqa: E402
from photosearch.errors import BundleError, PhotosearchError  # noqa: E402
from photosearch.flat import open_flat, write_flat  # noqa: E402
from photosearch.runtimes.coreml import CoremlEncoder  # noqa: E402
from photosearch.tokenizer import WordPieceTokenizer  # noqa: E402
from photosearch.types import Preprocess  # noqa: E402
from photosearch.verify import verify, why_not  # noqa: E402

SILENT = Progress(silent=True)
TEXTS = ["a dog", "a long text about many things, one after another, and then some more", "", "猫"]


# --- the interpreter ------------------------------------------------------------------------------


class Small(nn.Module):
    """A convolution with odd padding, a norm, a mean: what an axis mixed up would show in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, bias=True)
        self.linear = nn.Linear(4, 5)

    def forward(self, x: Any) -> Any:
        x = nn.functional.relu6(self.conv(nn.functional.pad(x, (0, 1, 0, 1))))
        y = self.linear(x.mean(dim=(2, 3))).softmax(dim=1)
        return y / y.norm(dim=-1, keepdim=True)


def small_package(folder: Path, how: Preprocess, precision: str = "fp32") -> tuple[Towers, Package]:
    torch.manual_seed(0)
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], context_length=4)
    towers = Towers(Small().eval(), nn.Identity(), how, tokenizer, 5)
    with quiet():
        to_coreml._write_image(towers, folder / "Image.mlpackage", precision)
        return towers, Package(folder / "Image.mlpackage")


STDS = {"one": (0.5, 0.5, 0.5), "three": (0.2, 0.4, 0.8)}  # a deviation for all, or for each


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Towers, Package]]:
    """Two conversions for all the tests: each takes seconds."""
    return {
        name: small_package(
            tmp_path_factory.mktemp(name), Preprocess(16, (0.4, 0.5, 0.6), std, "squash")
        )
        for name, std in STDS.items()
    }


@pytest.mark.parametrize("name", list(STDS))
def test_a_package_takes_the_photo_itself(
    packages: dict[str, tuple[Towers, Package]], name: str
) -> None:
    """Mean and deviation are in the program: it is given values 0..255."""
    towers, package = packages[name]
    to_coreml.require_image_input(package, towers.preprocess)
    photo = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    found = package.run(photo.transpose(2, 0, 1)[None])
    assert np.abs(found - towers.images(photo[None])).max() < 1e-5
    with pytest.raises(PhotosearchError, match="needs RGB, 32"):
        to_coreml.require_image_input(package, replace(towers.preprocess, side_px=32))


def test_the_interpreter_sees_a_weight_that_differs(
    packages: dict[str, tuple[Towers, Package]],
) -> None:
    towers, package = packages["one"]
    photo = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    assert isinstance(towers.image, Small)
    before = towers.image.conv.weight.detach().clone()
    with torch.no_grad():
        towers.image.conv.weight[0, 0, 0, 0] += 1.0
        found = package.run(photo.transpose(2, 0, 1)[None])
        difference = np.abs(found - towers.images(photo[None])).max()
        towers.image.conv.weight.copy_(before)
    assert difference > 1e-3


class Bottleneck(nn.Module):
    """Widen, each channel alone, narrow: large enough for each to be made smaller."""

    def __init__(self) -> None:
        super().__init__()
        self.widen = nn.Conv2d(32, 96, 1)
        self.alone = nn.Conv2d(96, 96, 5, groups=96)
        self.narrow = nn.Conv2d(96, 32, 1)
        self.linear = nn.Linear(32, 128)
        with torch.no_grad():  # channels of very different size, as training leaves them
            self.alone.weight.mul_(10.0 ** torch.linspace(-2, 0, 96)[:, None, None, None])

    def forward(self, x: Any) -> Any:
        x = torch.cat([x] * 11, dim=1)[:, :32]
        y = self.linear(self.narrow(self.alone(self.widen(x))).mean(dim=(2, 3)))
        return y / y.norm(dim=-1, keepdim=True)


def test_a_palette_is_for_the_weights_that_it_serves(tmp_path: Path) -> None:
    """Seconds, for two compressions of one program."""
    torch.manual_seed(0)
    how = Preprocess(16, (0.4, 0.5, 0.6), STDS["one"], "squash")
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], context_length=4)
    towers = Towers(Bottleneck().eval(), nn.Identity(), how, tokenizer, 128)
    with quiet():
        to_coreml._write_image(towers, tmp_path / "Image.mlpackage", "palette6")
        package = Package(tmp_path / "Image.mlpackage")
    kinds = {
        operation.name: operation.op_type
        for operation in package._function.operations
        if operation.op_type.startswith("constexpr")
    }
    for part, kind in (
        ("widen", "constexpr_lut_to_dense"),
        ("linear", "constexpr_lut_to_dense"),
        ("alone", "constexpr_affine_dequantize"),
        ("narrow", "constexpr_affine_dequantize"),
    ):
        assert [kinds[name] for name in kinds if part in name] == [kind], (part, kinds)
    photo = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    found = package.run(photo.transpose(2, 0, 1)[None])
    assert float((found * towers.images(photo[None])).sum()) > 0.99


def test_an_operation_that_is_not_known_is_named(
    packages: dict[str, tuple[Towers, Package]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, package = packages["one"]
    monkeypatch.delitem(OPERATIONS, "softmax")
    with pytest.raises(UnknownOperation, match="softmax"):
        package.run(np.zeros((1, 3, 16, 16), np.uint8))


@pytest.fixture(scope="module")
def delegated(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A small network whole in Core ML's delegate: seconds, and nothing less shows that what
    ExecuTorch packs can be read back."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("delegated") / "image-coreml.pte"
    network, pixels = Small().eval(), np.zeros((1, 3, 16, 16), np.float32)
    file.write_bytes(
        to_executorch.image_program(network, pixels, precision="int8", delegate="coreml")
    )
    return network, file


def test_what_core_mls_delegate_is_given_is_read_back(delegated: tuple[nn.Module, Path]) -> None:
    network, file = delegated
    package = to_executorch.package_of(file)
    assert package is not None
    pixels = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(pixels)).numpy()
    assert np.abs(package.run(pixels) - wanted).max() < 2e-2  # 8-bit weights
    assert to_executorch.require_delegates(file, file, "coreml") == 2
    with pytest.raises(PhotosearchError, match=r"calls .'CoreMLBackend'., needs XnnpackBackend"):
        to_executorch.require_delegates(file, file, "xnnpack")


@pytest.mark.slow
def test_a_tower_lowers_to_vulkan_and_cannot_be_read_back(tmp_path: Path) -> None:
    file = tmp_path / "image-vulkan.pte"
    pixels = np.zeros((1, 3, 16, 16), np.float32)
    file.write_bytes(
        to_executorch.image_program(Small().eval(), pixels, precision="int8", delegate="vulkan")
    )
    assert to_executorch.require_delegates(file, file, "vulkan") >= 2
    assert to_executorch.package_of(file) is None


def test_a_delegate_that_cannot_be_read_back_is_refused(
    delegated: tuple[nn.Module, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from executorch.backends.apple.coreml import executorchcoreml

    _, file = delegated
    ((name, data),) = to_executorch.delegates(file)
    (tmp_path / "metadata.json").write_text("{}")
    empty = executorchcoreml.flatten_directory_contents(str(tmp_path))
    for given, says in (
        (data[: len(data) // 2], "cannot be unpacked"),
        (b"", "cannot be unpacked"),
        (empty, "holds 0 packages, needs one"),
    ):
        monkeypatch.setattr(to_executorch, "delegates", lambda _, given=given: [(name, given)])
        with pytest.raises(PhotosearchError, match=says):
            to_executorch.package_of(file)
    for found in ([("XnnpackBackend", data)], [(name, data), (name, data)]):
        monkeypatch.setattr(to_executorch, "delegates", lambda _, found=found: found)
        assert to_executorch.package_of(file) is None


# --- runtimes that are not there ------------------------------------------------------------------


def test_a_bundle_without_a_target_says_which_it_has(toy_bundle: Path) -> None:
    bundle = open_bundle(toy_bundle)
    for runtime in ("executorch", "coreml"):
        with pytest.raises(BundleError, match=f"no encoders for {runtime}, only for: onnx"):
            open_encoder(bundle, runtime=runtime)
    with pytest.raises(BundleError, match="no runtime named tensorrt; known: onnx, executorch"):
        open_encoder(bundle, runtime="tensorrt")


def test_a_runtime_that_cannot_run_here_is_skipped_by_name() -> None:
    assert why_not("onnx") is None
    assert why_not("executorch-vulkan") == "only phones run it"
    assert why_not("coreml") in (None, "only Macs and phones run it")


def test_word_tables_come_back_after_export(checkpoint: Checkpoint) -> None:
    towers = from_checkpoint(checkpoint).towers
    before = towers.texts(["a dog"])
    for precision in ("int8", "fp32"):
        with tables_as(towers.text, precision):
            assert float((towers.texts(["a dog"]) * before).sum()) > 0.999
        np.testing.assert_array_equal(towers.texts(["a dog"]), before)


def test_a_phone_splits_words_as_the_tokenizer_does() -> None:
    from photosearch.tokenizer import words_of

    for text in (
        *TEXTS,
        "Café crème & croissants!",
        "don't—stop",
        "a\tb\u00a0c\0d",
        "ＡＢ１２。",
        "e\u0301",
    ):
        assert split_words(text) == list(words_of(text)), text


def test_a_phone_answers_with_the_shipped_bundle(shipped: Path, tmp_path: Path) -> None:
    """The whole of docs/mobile.md on the files people get: tokenise, encode, search, show."""
    import base64
    import io
    import sqlite3

    from PIL import Image

    for file in open_bundle(shipped).files:
        (tmp_path / file.name).symlink_to(shipped / file.name)
    (tmp_path / "manifest.json").symlink_to(shipped / "manifest.json")
    golden = json.loads((shipped / "golden.json").read_text(encoding="utf-8"))
    phone = Phone(tmp_path)
    wanted = golden["targets"]["executorch"]
    for entry, vector in zip(golden["texts"], wanted["texts"], strict=True):
        assert phone.tokenise(entry["text"]) == entry["tokens"]
        assert float(phone.encode_text(entry["text"]) @ np.asarray(vector)) > 0.99
    photos = []
    for entry, vector in zip(golden["images"], wanted["images"], strict=True):
        png = io.BytesIO(base64.b64decode(entry["png"]))
        photos.append(phone.encode_image(np.asarray(Image.open(png))))
        assert float(photos[-1] @ np.asarray(vector)) > 0.99
    # As `bundle export --with-index` writes them: astronaut, cat, coffee, rocket.
    (tmp_path / "index").mkdir()
    ids = np.asarray([2, 3, 5, 8], np.int64)
    space = open_bundle(shipped).space
    write_flat(tmp_path / "index" / "vectors.bin", space, ids, np.stack(photos))
    db = sqlite3.connect(tmp_path / "index" / "photos.db")
    db.execute("CREATE TABLE photos (id INTEGER, name TEXT, taken TEXT, thumbnail BLOB)")
    db.executemany(
        "INSERT INTO photos VALUES (?, ?, NULL, NULL)", [(n, f"{n}.jpg") for n in (2, 3, 5, 8)]
    )
    db.commit()
    db.close()
    for query, found in (
        ("a person in an orange suit", 2),
        ("a cat", 3),
        ("一只猫", 3),
        ("a cup of coffee", 5),
        ("a rocket launch", 8),
    ):
        (_, photo_id), *_ = phone.search(phone.encode_text(query), 1)
        assert photo_id == found, query
        assert phone.photo(photo_id) == (f"{found}.jpg", None, None)


# --- everything at once ---------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["int8", "fp32"])
def whole(
    request: pytest.FixtureRequest, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """One bundle for every target."""
    out = tmp_path_factory.mktemp("whole") / request.param
    wanted = Wanted(
        targets=("onnx", "executorch", "coreml", "executorch-coreml"), precision=request.param
    )
    return export_bundle(from_checkpoint(checkpoint), out, wanted, progress=SILENT)


def open_here(bundle: Path, runtime: str) -> Encoder:
    """A runtime of the product; for Core ML, its encoder over the interpreter."""
    opened = open_bundle(bundle)
    if runtime != "coreml":
        return open_encoder(opened, runtime=runtime, threads=1)

    def load(file: Path) -> Any:
        package = Package(file)

        def predict(given: dict[str, Any]) -> dict[str, Any]:
            ((name, value),) = given.items()
            assert name == package.input
            if name == "image":
                value = np.asarray(value).transpose(2, 0, 1)[None]
            return {"embedding": package.run(value)}

        return predict

    return CoremlEncoder(opened, load=load)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_passes_the_same_grid(
    whole: Path, checkpoint: Checkpoint, runtime: str
) -> None:
    encoder, towers = open_here(whole, runtime), from_checkpoint(checkpoint).towers
    assert (encoder.space, encoder.dim) == (open_bundle(whole).space, towers.dim)
    assert encoder.preprocess == towers.preprocess
    least = 0.9999 if whole.name == "fp32" else 0.9
    photos = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    from photosearch.preprocess import normalise

    images = encoder.images(normalise(photos, encoder.preprocess))
    texts = encoder.texts(TEXTS)
    assert (images * towers.images(photos)).sum(axis=1).min() > least
    assert (texts * towers.texts(TEXTS)).sum(axis=1).min() > least
    for rows in (images, texts):
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=2e-3)
    alone = encoder.texts(["a dog"])
    assert float(alone[0] @ texts[0]) > 0.9999  # a text embeds the same alone and in company
    assert encoder.images(np.empty((0, 3, 32, 32), np.float32)).shape == (0, encoder.dim)
    assert encoder.texts([]).shape == (0, encoder.dim)


@pytest.mark.slow
def test_the_whole_bundle_verifies_and_says_what_it_could_not_run(whole: Path) -> None:
    found = verify(open_bundle(whole))
    assert found.problems == ()
    assert {"onnx", "executorch"} <= set(found.ran)
    assert any(reason.startswith("executorch-coreml: only phones") for reason in found.skipped)
    manifest = json.loads((whole / "manifest.json").read_text(encoding="utf-8"))
    verified = {name: entry["verified"] for name, entry in manifest["targets"].items()}
    assert verified == {
        "onnx": True,
        "executorch": True,
        "coreml": False,
        "executorch-coreml": False,
    }
    assert manifest["targets"]["coreml"]["checked"] == "interpreted"
    assert manifest["targets"]["executorch"]["delegate"] == "xnnpack"


@pytest.mark.slow
def test_damage_to_any_file_of_any_target_is_found(whole: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for file in open_bundle(whole).files:
        shutil.copytree(whole, copy)
        data = bytearray((copy / file.name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / file.name).write_bytes(data)
        problems = verify(open_bundle(copy)).problems
        assert len(problems) == 1, file.name
        assert file.name in problems[0]
        shutil.rmtree(copy)


@pytest.mark.slow
def test_golden_vectors_of_another_model_are_found(whole: Path, tmp_path: Path) -> None:
    """Right hashes, wrong vectors: for each target that runs here, by name."""
    from photosearch.bundles import write_manifest

    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    golden = json.loads((copy / "golden.json").read_text(encoding="utf-8"))
    for target in golden["targets"].values():
        target["texts"][0] = target["texts"][1]
    (copy / "golden.json").write_text(json.dumps(golden), encoding="utf-8")
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    write_manifest(copy, manifest)
    problems = verify(open_bundle(copy)).problems
    assert [problem.split(",")[0] for problem in problems] == ["onnx", "executorch"]


@pytest.mark.slow
def test_the_phones_steps_give_the_golden_vectors(whole: Path, tmp_path: Path) -> None:
    """Tokenise, encode and search with the phone's own code and ExecuTorch's runtime."""
    import base64
    import io

    from PIL import Image

    copy = tmp_path / "phone"
    shutil.copytree(whole, copy)
    golden = json.loads((copy / "golden.json").read_text(encoding="utf-8"))
    phone = Phone(copy)
    vectors = golden["targets"]["executorch"]
    for entry, wanted in zip(golden["texts"], vectors["texts"], strict=True):
        assert phone.tokenise(entry["text"]) == entry["tokens"]
        assert float(phone.encode_text(entry["text"]) @ np.asarray(wanted)) > 0.999
    photos = []
    for entry, wanted in zip(golden["images"], vectors["images"], strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["png"]))))
        photos.append(phone.encode_image(pixels))
        assert float(photos[-1] @ np.asarray(wanted)) > 0.999
    (copy / "index").mkdir()
    ids = np.asarray([3, 5, 8, 13], np.int64)
    rows = np.stack(photos).astype(np.float32)
    write_flat(copy / "index" / "vectors.bin", open_bundle(copy).space, ids, rows)
    # To a random student all photos look alike, so which is first is the rounding's to say: the
    # phone must say what our own reader of the file does, and score each as itself.
    desktop = open_flat(copy / "index" / "vectors.bin")
    for number, photo in enumerate(photos):
        hits = phone.search(photo, 4)
        assert {photo_id: score for score, photo_id in hits}[int(ids[number])] > 0.99
        scores = dict(zip(ids.tolist(), desktop.scores(photo).tolist(), strict=True))
        for score, photo_id in hits:
            assert score == pytest.approx(scores[photo_id], abs=1e-5)
        assert [score for score, _ in hits] == sorted((score for score, _ in hits), reverse=True)
