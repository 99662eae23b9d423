"""Metrics against brute force, and the JSON that other programs read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data import DataError, PhotoSet
from models.evaluate import (
    best_ranks,
    label_metrics,
    main,
    median_rank,
    ranks_of,
    recall,
    replace_captions,
    retrieval_metrics,
)
from tests.models.samples import captioned_shard, jpeg, write_shard


def unit_rows(seed: int, count: int, width: int = 6) -> Any:
    rows = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_retrieval_equals_brute_force() -> None:
    images, texts = unit_rows(0, 20), unit_rows(1, 60)
    owner = np.repeat(np.arange(20), 3)
    found: Any = retrieval_metrics(images, texts, owner)
    for k, name in ((1, "r1"), (5, "r5"), (10, "r10")):
        hits = sum(
            owner[q] in sorted(range(20), key=lambda n, q=q: -texts[q] @ images[n])[:k]
            for q in range(60)
        )
        assert found["text_to_image"][name] == pytest.approx(100 * hits / 60, abs=0.01)
        hits = sum(
            n in [owner[q] for q in sorted(range(60), key=lambda q, n=n: -texts[q] @ images[n])[:k]]
            for n in range(20)
        )
        assert found["image_to_text"][name] == pytest.approx(100 * hits / 20, abs=0.01)
    assert (found["images"], found["captions"]) == (20, 60)


def test_a_tie_counts_against_the_answer() -> None:
    assert ranks_of(np.ones((1, 4), np.float32), np.array([2])).tolist() == [4]


def test_best_ranks_leave_out_photos_without_captions() -> None:
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.1]], np.float32)
    assert best_ranks(scores, np.array([0, 1])).tolist() == [1, 1]


@pytest.mark.parametrize(("ranks", "middle"), [([3], 3.0), ([1, 2, 9], 2.0), ([1, 2, 3, 9], 2.5)])
def test_median_rank(ranks: list[int], middle: float) -> None:
    assert median_rank(np.array(ranks)) == middle


def test_recall_is_a_percentage() -> None:
    assert recall(np.array([1, 2, 3]), 2) == 66.67


def test_labels_equal_brute_force() -> None:
    images, texts = unit_rows(2, 40), unit_rows(3, 4)
    labels = np.arange(40) % 4
    found = label_metrics(images, texts, labels)
    named = [max(range(4), key=lambda c, n=n: images[n] @ texts[c]) for n in range(40)]
    assert found["top1"] == pytest.approx(100 * np.mean(np.array(named) == labels), abs=0.01)
    assert found["top5"] == 100.0
    nearest = [sorted(range(40), key=lambda n, c=c: -images[n] @ texts[c])[:10] for c in range(4)]
    first = [labels[near[0]] == c for c, near in enumerate(nearest)]
    assert found["label_to_image_r1"] == pytest.approx(100 * np.mean(first))
    share = [np.mean(labels[near] == c) for c, near in enumerate(nearest)]
    assert found["label_to_image_p10"] == pytest.approx(100 * np.mean(share), abs=0.01)


def test_captions_are_replaced_by_key() -> None:
    photos = PhotoSet(("a", "b"), np.zeros((2, 4, 4, 3), np.uint8), (("x",), ("y",)), (None, None))
    assert replace_captions(photos, {"b": ("z", "w")}).captions == ((), ("z", "w"))
    with pytest.raises(DataError, match="no key"):
        replace_captions(photos, {"c": ("z",)})


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--bundle", "nowhere", "--data", "x.tar"], 3, "not a bundle"),
        (["--checkpoint", "nowhere.pt", "--data", "x.tar"], 3, "no such checkpoint"),
        (["--bundle", "nowhere", "--data", "x.tar", "--field", "zh"], 2, "go together"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--checkpoint" in arguments:
        pytest.importorskip("torch", reason="torch is in the [train] extra")
    assert main(arguments) == code
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1


def test_usage_errors_exit_2() -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--data", "x.tar"])
    assert stop.value.code == 2


def test_json_is_one_line_of_the_contract(
    tmp_path: Path, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = captioned_shard(tmp_path / "photos.tar", 3)
    assert main(["--bundle", str(shipped), "--data", str(shard), "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    report = json.loads(out)
    assert set(report) == {"images", "captions", "text_to_image", "image_to_text"}
    assert (report["images"], report["captions"]) == (3, 6)
    assert set(report["text_to_image"]) == {"r1", "r5", "r10", "median_rank"}
    assert set(report["image_to_text"]) == {"r1", "r5", "r10"}

    members = [(f"{n}.jpg", jpeg(n)) for n in range(2)]
    labels = [(f"{n}.json", json.dumps({"label": "rose"}).encode()) for n in range(2)]
    labelled = write_shard(
        tmp_path / "labels.tar", [m for pair in zip(members, labels, strict=True) for m in pair]
    )
    assert main(["--bundle", str(shipped), "--data", str(labelled), "--labels", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {
        "images", "labels", "top1", "top5", "label_to_image_r1", "label_to_image_p10",
    }  # fmt: skip

    lines = tmp_path / "zh.jsonl"
    lines.write_text(json.dumps({"key": "photo1", "captions_zh": ["一", "二"]}), encoding="utf-8")
    arguments = ["--bundle", str(shipped), "--data", str(shard), "--json"]
    assert main([*arguments, "--captions", str(lines), "--field", "captions_zh"]) == 0
    assert json.loads(capsys.readouterr().out)["captions"] == 2
