"""A bundle that is not what its maker shipped neither answers nor writes vectors."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from test_bundles import Capture, damaged, escaping_link, run, truncated
from toy import make_toy_bundle, painted

from photosearch import bundles
from photosearch.bundle import open_bundle
from photosearch.errors import BundleError


def longer(folder: Path) -> None:
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("word\n")


@pytest.fixture
def home(tmp_path: Path, capsys: Capture) -> Path:
    """A library that was indexed while its bundle was sound; the bundle is known as that."""
    made = make_toy_bundle(tmp_path / "store")
    disk = tmp_path / "photos"
    disk.mkdir()
    (disk / "red.jpg").write_bytes(painted("red"))
    os.utime(disk / "red.jpg", (1, 1))
    home = tmp_path / "home"
    code, _, said = run(home, capsys, "--bundle", str(made), "index", "--library", str(disk))
    assert code == 0, said
    assert run(home, capsys, "--bundle", str(made), "search", "red")[0] == 0
    return home


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damaged, "image.onnx: its SHA-256 differs"),
        (truncated, "text.onnx: "),
        (longer, "vocab.txt: "),
        (escaping_link, "leads outside the bundle"),
    ],
)
@pytest.mark.parametrize("command", ["search", "index", "doctor", "serve"])
def test_what_asks_or_writes_refuses_a_damaged_bundle(
    home: Path, capsys: Capture, damage: Callable[[Path], None], says: str, command: str
) -> None:
    made = home.parent / "store" / "toy"
    damage(made)
    arguments = {"search": ["search", "red"], "serve": ["serve", "--no-open"]}.get(
        command, [command]
    )
    code, out, said = run(home, capsys, "--bundle", str(made), *arguments)
    assert (code, out) == (3, ""), said
    assert says in said
    assert "damaged" in said and "Get it again" in said
    assert run(home, capsys, "--bundle", str(made), "status")[0] == 0  # it computes nothing


def test_a_sound_bundle_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = open_bundle(make_toy_bundle(tmp_path / "store"))
    hashed: list[Path] = []
    real = bundles.require_sound

    def counted(found: object) -> None:
        hashed.append(bundle.directory)
        real(bundle)

    monkeypatch.setattr(bundles, "require_sound", counted)
    bundles.require_sound_once(bundle, tmp_path / "no home" / "kept.json")
    kept = tmp_path / "kept.json"
    for _ in range(3):
        bundles.require_sound_once(bundle, kept)
    assert len(hashed) == 2
    file = bundle.directory / "text.onnx"
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nothing had happened
    with pytest.raises(BundleError, match=r"text\.onnx"):
        bundles.require_sound_once(bundle, kept)
    kept.write_text("[1, {", encoding="utf-8")  # damaged itself: nothing is known
    with pytest.raises(BundleError, match=r"text\.onnx"):
        bundles.require_sound_once(bundle, kept)
