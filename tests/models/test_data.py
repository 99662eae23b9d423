"""Every layout reads the same, and damage is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.data import DataError, cached, expand, read_captions, read_examples, read_photos
from photosearch.types import Preprocess
from tests.models.samples import captioned_shard, jpeg, write_shard

HOW = Preprocess(side_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize="squash")


def test_a_shard_gives_its_photos_captions_and_labels(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "a.tar",
        [
            ("one.jpg", jpeg(1)),
            ("one.json", json.dumps({"captions": ["x", "y"]}).encode()),
            ("two.png", jpeg(2)),
            ("two.txt", b"a caption\n"),
            ("three.json", b'{"label": "rose"}'),
            ("three.jpg", jpeg(3)),
            ("only.json", b'{"label": "no photo"}'),
        ],
    )
    found = list(read_examples(str(tmp_path / "*.tar")))
    assert [example.key for example in found] == ["one", "two", "three"]
    assert [example.captions for example in found] == [("x", "y"), ("a caption",), ()]
    assert [example.label for example in found] == [None, None, "rose"]
    assert found[0].image == jpeg(1)


def test_patterns_are_joined_by_commas_and_spaces(tmp_path: Path) -> None:
    files = [captioned_shard(tmp_path / f"{name}.tar", 1) for name in "ab"]
    assert expand(f"{files[0]},{files[1]}") == expand(f"{files[0]} {files[1]}") == files


def test_a_pattern_that_matches_nothing_is_named() -> None:
    with pytest.raises(DataError, match=r"no file matches 'nowhere-\*\.tar'"):
        expand("nowhere-*.tar")


def test_coco_karpathy_and_csv_read_the_same(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "p.jpg").write_bytes(jpeg(1))
    coco = {
        "images": [{"id": 7, "file_name": "p.jpg"}],
        "annotations": [{"image_id": 7, "caption": "x"}, {"image_id": 7, "caption": "y"}],
    }
    karpathy = {"images": [{"filename": "p.jpg", "sentences": [{"raw": "x"}, {"raw": "y"}]}]}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    (tmp_path / "karpathy.json").write_text(json.dumps(karpathy))
    (tmp_path / "rows.csv").write_text("image,caption\np.jpg,x\np.jpg,y\n")
    for name in ("coco.json", "karpathy.json", "rows.csv"):
        (example,) = read_examples(str(tmp_path / name))
        assert (example.key, example.captions, example.image) == ("p", ("x", "y"), jpeg(1)), name


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.tar", b"not a tar at all, nothing like one", "damaged shard"),
        ("a.json", b'{"images": 5}', "not COCO or Karpathy"),
        ("a.json", b"{", "not COCO or Karpathy"),
        ("a.csv", b"foo,bar\n1,2\n", "needs a column"),
        ("a.csv", b"image,caption\ngone.jpg,x\n", "not beside it"),
        ("a.xyz", b"", "data files end in"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        list(read_examples(str(tmp_path / name)))


def test_a_shard_cut_short_is_named(tmp_path: Path) -> None:
    shard = captioned_shard(tmp_path / "a.tar", 4)
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2 - 100])
    with pytest.raises(DataError, match="damaged shard"):
        list(read_examples(str(shard)))


def test_damaged_captions_and_photos_name_their_key(tmp_path: Path) -> None:
    captions = write_shard(tmp_path / "a.tar", [("k.jpg", jpeg(1)), ("k.json", b"{nope")])
    with pytest.raises(DataError, match="k has damaged captions"):
        list(read_examples(str(captions)))
    photo = write_shard(tmp_path / "b.tar", [("k.jpg", b"\xff\xd8\xff but no photo")])
    with pytest.raises(DataError, match="photo k is"):
        read_photos(str(photo), HOW)


def test_captions_by_key_name_the_bad_line(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('{"key": "a", "zh": ["x"]}\n\n{"key": "b"}\n')
    with pytest.raises(DataError, match="line 3"):
        read_captions(file, "zh")


def test_features_are_made_once_and_remade_when_damaged(tmp_path: Path) -> None:
    calls: list[int] = []

    def make() -> np.ndarray:
        calls.append(1)
        return np.ones((2, 3), np.float32)

    for _ in range(2):
        assert cached(tmp_path, "x", ["a", b"b"], make).shape == (2, 3)
    assert len(calls) == 1
    cached(tmp_path, "x", ["ab", b""], make)  # other parts, though the same bytes in a row
    assert len(calls) == 2
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:20])
    cached(tmp_path, "x", ["a", b"b"], make)
    assert len(calls) == 3
