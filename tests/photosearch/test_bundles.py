"""bundle list, verify, use, export, import: what is sound goes through, the rest is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy import make_toy_bundle, painted

from photosearch import bundles, pocket, sealed
from photosearch.bundle import FORMAT, MANIFEST, open_bundle, verify_files
from photosearch.cli import main
from photosearch.errors import BundleError, SettingsError
from photosearch.settings import load_settings
from photosearch.verify import verify

Capture = pytest.CaptureFixture[str]


def run(home: Path, capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["--home", str(home), *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


# --- what is not sound ----------------------------------------------------------------------------


def damaged(folder: Path) -> None:
    data = bytearray((folder / "image.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "image.onnx").write_bytes(data)


def truncated(folder: Path) -> None:
    data = (folder / "text.onnx").read_bytes()
    (folder / "text.onnx").write_bytes(data[: len(data) // 2])


def foreign(folder: Path) -> None:
    edit(folder, lambda manifest: manifest.pop("format"))


def newer(folder: Path) -> None:
    edit(folder, lambda manifest: manifest.update(format=FORMAT + 1))


def escaping(folder: Path) -> None:
    outside = {"sha256": "0" * 64, "bytes": 1}
    edit(folder, lambda manifest: manifest["files"].update({"../../outside": outside}))


def escaping_name(folder: Path) -> None:
    edit(folder, lambda manifest: manifest.update(name="../outside"))


def escaping_link(folder: Path) -> None:
    target = folder.parent.parent / "elsewhere"
    shutil.move(folder / "vocab.txt", target)
    (folder / "vocab.txt").symlink_to(target)


def half_a_manifest(folder: Path) -> None:
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    (folder / MANIFEST).write_text(text[: len(text) // 2], encoding="utf-8")


DAMAGE = [
    pytest.param(damaged, "image.onnx: its SHA-256 differs", id="damaged"),
    pytest.param(truncated, "text.onnx: ", id="truncated"),
    pytest.param(foreign, "not a bundle of ours", id="foreign"),
    pytest.param(newer, "newer than this program", id="newer"),
    pytest.param(escaping, "outside the bundle", id="escaping"),
    pytest.param(escaping_name, "gives the name '../outside'", id="escaping name"),
    pytest.param(escaping_link, "leads outside the bundle", id="escaping link"),
    pytest.param(half_a_manifest, "damaged, not JSON", id="half a manifest"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGE)
@pytest.mark.parametrize("command", ["verify", "use", "export", "import"])
def test_every_command_refuses_it_by_name(
    tmp_path: Path, capsys: Capture, damage: Callable[[Path], None], says: str, command: str
) -> None:
    home = tmp_path / "home"
    made = make_toy_bundle(tmp_path / "store" if command == "import" else home / "bundles")
    damage(made)
    out = tmp_path / "out"
    arguments = {
        "verify": ["bundle", "verify", str(made)],
        "use": ["bundle", "use", "toy"],
        "export": ["--bundle", str(made), "bundle", "export", "--out", str(out)],
        "import": ["bundle", "import", str(made)],
    }[command]
    code, _, said = run(home, capsys, *arguments)
    assert code == 3, said
    assert says in said
    assert "Traceback" not in said
    assert not out.exists()
    assert not (home / "chosen-bundle").exists()
    if command == "import":
        assert not (home / "bundles").exists() or list((home / "bundles").iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_verify_takes_a_name_as_list_tells_it(tmp_path: Path, capsys: Capture) -> None:
    home = tmp_path / "home"
    made = make_toy_bundle(home / "bundles")
    code, out, said = run(home, capsys, "bundle", "verify", "toy")
    assert code == 0 and out.startswith("toy "), said
    half_a_manifest(made)
    assert run(home, capsys, "bundle", "verify", "toy")[0] == 3
    assert "holds no manifest.json" in run(home, capsys, "bundle", "verify", "tor")[2]


@pytest.mark.parametrize(("damage", "says"), DAMAGE)
def test_list_names_it_and_still_lists_the_others(
    tmp_path: Path, capsys: Capture, damage: Callable[[Path], None], says: str
) -> None:
    home = tmp_path / "home"
    make_toy_bundle(home / "bundles", name="sound")
    damage(make_toy_bundle(home / "bundles", name="toy"))
    code, out, said = run(home, capsys, "bundle", "list", "--json")
    assert code == 0
    names = [json.loads(line)["name"] for line in out.splitlines()]
    assert "sound" in names
    if "SHA-256" not in says and "text.onnx" not in says and "leads" not in says:
        assert says in said  # what only hashing tells is verify's to find
        assert "toy" not in names


def test_a_damaged_bundle_beside_others_stops_nothing(tmp_path: Path) -> None:
    from photosearch.bundle import find_bundles, require_bundle

    make_toy_bundle(tmp_path, name="sound")
    newer(make_toy_bundle(tmp_path, name="toy"))
    (tmp_path / "stray.txt").write_text("no folder")
    (tmp_path / ".part").mkdir()
    assert [bundle.name for bundle in find_bundles([tmp_path])] == ["sound"]
    assert require_bundle("sound", [tmp_path]).name == "sound"
    with pytest.raises(BundleError, match="newer than this program"):
        require_bundle("toy", [tmp_path])


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "C:", "x" * 65, "a b", 7]
)
def test_names_that_are_no_folders_are_refused(tmp_path: Path, name: object) -> None:
    made = make_toy_bundle(tmp_path)
    edit(made, lambda manifest: manifest.update(name=name))
    with pytest.raises(BundleError, match="gives the name"):
        open_bundle(made)


# --- what is --------------------------------------------------------------------------------------


def test_a_bundle_is_taken_in_and_used(tmp_path: Path, capsys: Capture) -> None:
    home = tmp_path / "home"
    made = make_toy_bundle(tmp_path / "store")
    (made / "stray.txt").write_text("not listed, so not copied")
    assert run(home, capsys, "bundle", "import", str(made))[0] == 0
    taken = home / "bundles" / "toy"
    assert verify(open_bundle(taken)).problems == ()
    assert not (taken / "stray.txt").exists()
    assert run(home, capsys, "bundle", "import", str(made))[0] == 0  # the same one again
    assert bundles.chosen(home / "chosen-bundle") is None  # there, but not yet used
    assert run(home, capsys, "bundle", "use", "toy")[0] == 0
    assert bundles.chosen(home / "chosen-bundle") == "toy"
    (other := make_toy_bundle(tmp_path / "other")).joinpath("vocab.txt").write_text("[PAD]\n")
    edit(other, lambda manifest: manifest.update(version="2"))
    bundles.write_manifest(other, json.loads((other / MANIFEST).read_text(encoding="utf-8")))
    code, _, said = run(home, capsys, "bundle", "import", str(other))
    assert (code, "exists already" in said) == (3, True)
    assert verify_files(open_bundle(taken)) == []


def test_an_import_that_is_cut_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_toy_bundle(tmp_path / "store")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundles.shutil, "copyfile", full)
    with pytest.raises(BundleError, match="No space left"):
        bundles.install(made, tmp_path / "bundles")
    assert list((tmp_path / "bundles").iterdir()) == []


def two_targets(folder: Path) -> Path:
    """A bundle with a second target, a package of two files."""
    made = make_toy_bundle(folder)
    (made / "Image.mlpackage" / "Data").mkdir(parents=True)
    (made / "Image.mlpackage" / "Data" / "w.bin").write_bytes(b"weights")
    (made / "Text.mlpackage").mkdir()
    (made / "Text.mlpackage" / "Manifest.json").write_bytes(b"{}")
    entry = {"image": "Image.mlpackage", "text": "Text.mlpackage", "precision": "int8"}
    manifest = json.loads((made / MANIFEST).read_text(encoding="utf-8"))
    manifest["targets"]["coreml"] = entry
    bundles.write_manifest(made, manifest)
    return made


def test_an_export_holds_the_targets_asked_for(tmp_path: Path, capsys: Capture) -> None:
    made = two_targets(tmp_path / "store")
    for target, has, lacks in (
        ("onnx", "image.onnx", "Image.mlpackage"),
        ("coreml", "Image.mlpackage", "image.onnx"),
    ):
        out = tmp_path / target
        arguments = ["bundle", "export", "--out", str(out), "--target", target]
        assert run(tmp_path / "home", capsys, "--bundle", str(made), *arguments)[0] == 0
        written = open_bundle(out)
        assert verify_files(written) == []
        assert set(written.targets) == {target}
        assert (out / has).exists()
        assert not (out / lacks).exists()
        assert (out / "vocab.txt").exists()
        assert written.space == open_bundle(made).space
    code, _, said = run(
        tmp_path / "home", capsys, "--bundle", str(made), "bundle", "export", "--out",
        str(tmp_path / "x"), "--target", "executorch",
    )  # fmt: skip
    assert (code, "holds no encoders for executorch" in said) == (3, True)
    assert not (tmp_path / "x").exists()


def test_an_export_never_writes_over_anything(tmp_path: Path, capsys: Capture) -> None:
    made = make_toy_bundle(tmp_path / "store")
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("keep")
    code, _, said = run(
        tmp_path / "home", capsys, "--bundle", str(made), "bundle", "export", "--out", str(out)
    )
    assert (code, "exists already" in said) == (3, True)
    assert (out / "mine").read_text() == "keep"


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A home with three photos indexed, and its bundle."""
    base = tmp_path_factory.mktemp("indexed")
    (base / "photos").mkdir()
    for colour in ("red", "green", "blue"):
        (base / "photos" / f"{colour}.jpg").write_bytes(painted(colour))
    made = make_toy_bundle(base / "store")
    arguments = ["--home", str(base / "home"), "--bundle", str(made)]
    assert main([*arguments, "index", "--library", str(base / "photos")]) == 0
    return base / "home", made


def test_a_library_goes_along_with_its_bundle(
    indexed: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    home, made = indexed
    out = tmp_path / "phone"
    shared = ["--bundle", str(made), "bundle", "export", "--out", str(out), "--with-index"]
    code, _, said = run(home, capsys, *shared)
    assert code == 0
    assert "3 photos, 3 written" in said
    written = open_bundle(out)
    assert verify_files(written) == []
    assert {"index/vectors.bin", "index/photos.db"} <= {file.name for file in written.files}
    index = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["index"]
    assert (index["photos"], index["sealed"]) == (3, False)
    assert index["recall_at_10"]["texts"] == 100.0
    data = bytearray((out / "index" / "vectors.bin").read_bytes())
    data[-1] ^= 1
    (out / "index" / "vectors.bin").write_bytes(data)
    assert "index/vectors.bin" in verify_files(open_bundle(out))[0]


def test_a_delta_and_a_sealed_index(
    indexed: tuple[Path, Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography", reason="cryptography is in the [encrypt] extra")
    home, made = indexed
    monkeypatch.setattr(sealed, "ROUNDS", 10)
    monkeypatch.setattr(sealed.seal, "__kwdefaults__", {"rounds": 10})
    monkeypatch.setenv("PHOTOSEARCH_PASSPHRASE", "correct horse")
    shared = ["--bundle", str(made), "bundle", "export", "--out"]
    assert run(home, capsys, *shared, str(tmp_path / "whole"), "--with-index")[0] == 0
    assert run(home, capsys, *shared, str(tmp_path / "sealed"), "--with-index", "--encrypt")[0] == 0
    names = sorted(file.name for file in (tmp_path / "sealed" / "index").iterdir())
    assert names == ["photos.db.sealed", "vectors.bin.sealed"]
    sealed.unseal(
        tmp_path / "sealed" / "index" / names[1], tmp_path / "vectors.bin", "correct horse"
    )
    whole = tmp_path / "whole" / pocket.FOLDER / pocket.VECTORS
    assert (tmp_path / "vectors.bin").read_bytes() == whole.read_bytes()
    since = ["--since", str(tmp_path / "whole")]
    assert run(home, capsys, *shared, str(tmp_path / "delta"), *since)[0] == 0
    delta = json.loads((tmp_path / "delta" / "delta.json").read_text(encoding="utf-8"))
    assert (delta["index"]["new"], delta["index"]["removed"]) == (0, 0)
    assert not (tmp_path / "delta" / "text.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--encrypt"], "--encrypt is for the index"),
        (["--since", "x", "--target", "onnx"], "--target has no meaning"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    tmp_path: Path, capsys: Capture, arguments: list[str], says: str
) -> None:
    made = make_toy_bundle(tmp_path / "store")
    out = ["bundle", "export", "--out", str(tmp_path / "x"), *arguments]
    code, _, said = run(tmp_path / "home", capsys, "--bundle", str(made), *out)
    assert (code, says in said) == (2, True)


def test_a_passphrase_is_never_guessed(
    indexed: tuple[Path, Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, made = indexed
    monkeypatch.delenv("PHOTOSEARCH_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin", open(os.devnull, encoding="utf-8"))  # noqa: SIM115
    arguments = ["bundle", "export", "--out", str(tmp_path / "x"), "--with-index", "--encrypt"]
    code, _, said = run(home, capsys, "--bundle", str(made), *arguments)
    assert (code, "PHOTOSEARCH_PASSPHRASE" in said) == (2, True)
    assert not (tmp_path / "x").exists()


def test_weights_are_for_open_clip_alone(tmp_path: Path, capsys: Capture) -> None:
    code, _, said = run(tmp_path, capsys, "bundle", "import", "x", "--weights", "w.pt")
    assert (code, "are for open_clip" in said) == (2, True)


def test_an_installed_copy_says_where_open_clip_is_converted(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import photosearch

    monkeypatch.setattr(photosearch, "__file__", str(tmp_path / "photosearch" / "__init__.py"))
    code, _, said = run(tmp_path, capsys, "bundle", "import", "open_clip:ViT-B-32")
    assert (code, "in a checkout of photosearch" in said) == (3, True)


def test_the_runtime_is_a_setting(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    assert load_settings(file).runtime == "onnx"
    file.write_text('runtime = "executorch"\n', encoding="utf-8")
    assert load_settings(file).runtime == "executorch"
    for text, says in (
        ('runtime = "execu-torch"', "did you mean executorch"),
        ('runtime = "zzz"', "known: onnx, executorch, coreml"),
        ("runtime = 3", "must be a word in quotes"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError, match=says):
            load_settings(file)


def test_every_command_runs_the_encoders_that_the_settings_say(
    indexed: tuple[Path, Path], capsys: Capture
) -> None:
    """Previously `search` and `doctor` without a daemon asked ONNX Runtime whatever was set."""
    home, made = indexed
    (home / "config.toml").write_text('runtime = "executorch"\n', encoding="utf-8")
    try:
        for arguments in (["search", "red"], ["doctor"], ["index"]):
            code, _, said = run(home, capsys, "--bundle", str(made), *arguments)
            assert (code, "no encoders for executorch, only for: onnx" in said) == (3, True), said
    finally:
        (home / "config.toml").unlink()
    assert run(home, capsys, "--bundle", str(made), "search", "red")[0] == 0
