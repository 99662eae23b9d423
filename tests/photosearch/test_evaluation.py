"""evaluate: questions from what owners say, an honest comparison, and a refusal."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from toy import COLOURS, _text_tower, make_toy_bundle, painted

from photosearch.bundle import sha256_of
from photosearch.cli import main
from photosearch.evaluation import (
    MAX_CAPTION_PHOTOS,
    Question,
    difference,
    found_by,
    interval,
    questions,
    sample,
)
from photosearch.store.connection import open_writer, transaction
from photosearch.store.truth import Said


def said(photo_id: int, folder: str = "", caption: str = "", **more: object) -> Said:
    fields = {"keywords": (), "kind": "photo", "group": None, "why": ""} | more
    return Said(photo_id, tuple(folder.split("/")) if folder else (), caption, **fields)  # type: ignore[arg-type]


# --- questions ----------------------------------------------------------------------------------


def test_every_saying_is_a_question_with_its_photos() -> None:
    strangers = [said(number) for number in range(100, 200)]
    told = [
        said(1, "2019/Summer at the lake 2019", "Grandma on her boat"),
        said(2, "2019/Summer at the lake 2019", keywords=("sailing", "Lake")),
        said(3, "2019/Summer at the lake 2019", keywords=("sailing",)),
        said(4, kind="screenshot"),
        said(5, group=5, why="first"),
        said(6, group=5, why="burst"),
        said(7, group=7, why="first"),
        said(8, group=7, why="raw"),
    ]
    found = {(q.kind, q.text, q.photo_id): q.photos for q in questions([*told, *strangers])}
    assert found == {
        ("caption", "Grandma on her boat", None): {1},
        ("keyword", "sailing", None): {2, 3},
        ("keyword", "Lake", None): {2},
        ("folder", "summer at the lake", None): {1, 2, 3},
        ("screenshot", "a screenshot", None): {4},
        ("alike", "", 5): {6},
    }


@pytest.mark.parametrize(
    "name",
    ["DCIM", "100APPLE", "2019", "2019-07-14", "IMG", "Camera Roll", "new folder", "20190714_x"],
)
def test_names_that_machines_give_ask_for_nothing(name: str) -> None:
    strangers = [said(number) for number in range(100, 200)]
    assert questions([said(1, name), said(2, name), said(3, name), *strangers]) == []


def test_what_a_camera_writes_on_every_photo_and_what_is_on_much_of_them_is_left_out() -> None:
    many = [
        said(number, "our garden", "OLYMPUS DIGITAL CAMERA", keywords=("home",))
        for number in range(MAX_CAPTION_PHOTOS + 20)
    ]
    assert questions(many) == []
    assert questions([said(1, caption="x"), *many]) == []


def test_a_sample_keeps_the_questions_photos_and_adds_strangers() -> None:
    told = [said(number, f"walks {'abc'[number % 3]}bc") for number in range(30)]
    every = [*told, *(said(number) for number in range(100, 1100))]
    asked = questions(every)
    chosen = sample(every, asked, 120)
    assert len(chosen) == len(set(chosen)) == 120
    assert set(range(30)) <= set(chosen)
    assert chosen == sample(every, asked, 120)
    assert len(sample(every, asked, 5000)) == len(every)
    assert len(sample(every, asked, 15)) == 15


# --- figures ------------------------------------------------------------------------------------


def test_found_is_the_share_among_the_first_ten_or_as_many_as_there_are() -> None:
    rows = np.eye(20, dtype=np.float32)
    ids = np.arange(100, 120)
    query = np.linspace(1, 0, 20, dtype=np.float32)[None]  # 100 is best, then 101, ...
    asked = [
        Question("caption", "q", None, frozenset({100})),
        Question("caption", "q", None, frozenset({109, 110})),
        Question("keyword", "q", None, frozenset(range(105, 117))),
        Question("alike", "", 103, frozenset({100, 119})),
    ]
    found = found_by(asked, {"q": 0}, query, ids, rows)
    assert found == pytest.approx([1.0, 0.5, 7 / 12, 0.5])


def test_a_difference_is_sure_where_the_questions_say_so_and_not_otherwise() -> None:
    draw = random.Random(0)
    before = [draw.random() for _ in range(200)]
    assert difference(before, before).more == 0
    assert not difference(before, before).sure
    better = difference(before, [min(1.0, share + 0.1) for share in before])
    assert better.sure
    assert 0 < better.low < better.more < better.high
    noise = difference(before, [draw.random() for _ in before])
    assert not noise.sure
    nothing = difference([0.0] * 30, [0.0] * 30)
    assert (nothing.more, nothing.low, nothing.high, nothing.sure) == (0, 0, 0, False)
    low, high = interval(before)
    assert low < np.mean(before) < high


def test_ninety_five_of_a_hundred_intervals_hold_the_truth() -> None:
    """Of bundles that are equally good, about one comparison in twenty seems sure."""
    rng = np.random.default_rng(7)
    wrong = sum(
        difference(rng.integers(0, 2, 60).tolist(), rng.integers(0, 2, 60).tolist()).sure
        for _ in range(200)
    )
    assert 2 <= wrong <= 22


# --- the command --------------------------------------------------------------------------------


def worse_bundle(folder: Path) -> Path:
    """A toy that sees colours as the other does, and takes red for green."""
    directory = make_toy_bundle(folder, name="worse", space="toy-worse")
    (directory / "text.onnx").write_bytes(_text_tower((2, 0, 1)))
    file = directory / "manifest.json"
    manifest = json.loads(file.read_text())
    for name in manifest["files"]:
        path = directory / name
        manifest["files"][name] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    file.write_text(json.dumps(manifest))
    return directory


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Arguments of a home whose library of forty photos was indexed, and its bundles."""
    base = tmp_path_factory.mktemp("evaluate")
    disk = base / "photos"
    for number, colour in enumerate(list(COLOURS) * 10):
        folder = disk / f"a {colour} wall"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(painted(colour, seed=number))
    bundle = make_toy_bundle(base / "bundles")
    worse_bundle(base / "bundles")
    arguments = ["--home", str(base / "home"), "--bundle", str(bundle)]
    assert main([*arguments, "index", "--library", str(disk)]) == 0
    return arguments, base


def caption_all(base: Path) -> None:
    db = open_writer(base / "home" / "library.db")
    with transaction(db):
        rows = db.execute("SELECT photo_id, path FROM locations").fetchall()
        for number, (photo_id, path) in enumerate(rows):
            colour = path.decode().split()[1]
            words = f"{colour} wall {chr(97 + number % 26)}{chr(97 + number // 26)}"
            db.execute("UPDATE facts SET caption = ? WHERE photo_id = ?", (words, photo_id))
    db.close()


def test_too_little_said_is_refused(
    library: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, _ = library
    assert main([*arguments, "evaluate", "--json"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "4 questions" in captured.err
    assert "20 are needed" in captured.err


def test_bundles_are_compared_by_what_is_said(
    library: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, base = library
    caption_all(base)
    before = {f: (f.stat().st_mtime_ns, f.stat().st_size) for f in base.rglob("*.jpg")}
    assert main([*arguments, "evaluate", str(base / "bundles" / "worse"), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["photos"] == 40
    assert [each["name"] for each in told["bundles"]] == ["toy", "worse"]
    toy, worse = (each["found"]["in words"] for each in told["bundles"])
    assert toy["questions"] == 44
    assert toy["found"] == 1.0
    assert 0.3 < worse["found"] < 0.8
    assert told["bundles"][0]["found"]["folder"]["questions"] == 4
    (compared,) = told["compared"]
    gain = compared["more"]["in words"]
    assert gain["sure"]
    assert -1 < gain["low"] < gain["more"] < gain["high"] < 0
    assert before == {f: (f.stat().st_mtime_ns, f.stat().st_size) for f in base.rglob("*.jpg")}


def test_the_text_form_says_it_in_a_sentence(
    library: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, base = library
    caption_all(base)
    worse, toy = (str(base / "bundles" / name) for name in ("worse", "toy"))
    assert main([*arguments, "evaluate", worse]) == 0
    assert "worse finds" in (last := capsys.readouterr().out.splitlines()[-1])
    assert "% less in this library than toy (95 %: -" in last
    assert main([*arguments, "evaluate", toy]) == 0  # the same space once
    assert "toy finds" not in capsys.readouterr().out
    assert main([*arguments, "evaluate", "nosuch"]) == 3
    assert "no bundle named nosuch" in capsys.readouterr().err


def test_two_makes_of_one_bundle_are_told_apart(
    library: tuple[list[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, base = library
    caption_all(base)
    again = Path(shutil.copytree(base / "bundles" / "worse", tmp_path / "again"))
    manifest = json.loads((again / "manifest.json").read_text())
    (again / "manifest.json").write_text(json.dumps({**manifest, "name": "toy"}))
    assert main([*arguments, "evaluate", str(again)]) == 0
    said = capsys.readouterr().out
    assert f"toy ({again}) finds" in said
    assert "than toy (" in said.splitlines()[-1]


def test_the_runtime_that_is_set_is_the_one_that_is_judged(
    library: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, base = library
    caption_all(base)
    config = base / "home" / "config.toml"
    config.write_text('runtime = "executorch"\n')
    try:
        assert main([*arguments, "evaluate"]) == 3
    finally:
        config.unlink()
    assert "no encoders for executorch, only for: onnx" in capsys.readouterr().err


def test_without_a_library_there_is_nothing_to_judge_by(tmp_path: Path) -> None:
    bundle = make_toy_bundle(tmp_path / "bundles")
    assert main(["--home", str(tmp_path / "home"), "--bundle", str(bundle), "evaluate"]) == 3
