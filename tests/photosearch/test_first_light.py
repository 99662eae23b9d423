"""The whole product on real photos, with the bundle it ships.

The photos are the samples inside scikit-image and scikit-learn.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_program import FOLLOW_SECONDS, Program, Served, within

from photosearch.bundle import find_bundles, shipped_bundles
from photosearch.verify import verify_bundle

PLAIN_QUERIES = {
    "a cat": "chelsea.png",
    "a cup of coffee": "coffee.png",
    "a rocket launch": "rocket.jpg",
    "a flower": "flower.jpg",
    "a Chinese temple": "china.jpg",
    "一只猫": "chelsea.png",
    "一杯咖啡": "coffee.png",
    "火箭发射": "rocket.jpg",
}
SHIPPED_BYTES = 40_000_000


def sample_photos() -> list[Path]:
    """Every picture the two packages carry."""
    found: list[Path] = []
    for package, folder in (("skimage", "data"), ("sklearn", "datasets/images")):
        spec = importlib.util.find_spec(package)
        assert spec is not None, f"{package} is part of the development set-up"
        assert spec.origin is not None
        for file in sorted((Path(spec.origin).parent / folder).iterdir()):
            if file.suffix in (".png", ".jpg", ".jpeg", ".tif", ".gif"):
                found.append(file)
    return found


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Served]]:
    """A daemon on the sample photos, indexed."""
    base = tmp_path_factory.mktemp("samples")
    program = Program(base / "home", base / "photos", shipped_bundles() / "lantern")
    program.disk.mkdir()
    for file in sample_photos():
        shutil.copy(file, program.disk)
    served = program.serve("--library", str(program.disk))
    total = len(list(program.disk.iterdir()))
    within(60, lambda: served.status()["locations"] + served.status()["failed"] == total)
    yield program, served
    served.process.kill()
    served.process.communicate()


@pytest.mark.parametrize(("query", "photo"), PLAIN_QUERIES.items())
def test_plain_queries_rank_the_right_photo_first(
    samples: tuple[Program, Served], query: str, photo: str
) -> None:
    program, served = samples
    by_http = served.get(f"/api/v1/search?q={urllib.parse.quote(query)}")["hits"]
    assert Path(by_http[0]["path"]).name == photo
    assert by_http[0]["relevant"]
    assert program.find(query)[0] == photo


def test_results_end_where_relevance_does(samples: tuple[Program, Served]) -> None:
    _, served = samples
    for query in (*PLAIN_QUERIES, "a giraffe in the savanna", "people skiing"):
        found = served.get(f"/api/v1/search?q={urllib.parse.quote(query)}")
        assert len(found["hits"]) <= 15, query
        assert found["hidden"] >= 10, query
    for query in ("people skiing", "a train", "a swimming pool", "a wedding"):
        assert served.get(f"/api/v1/search?q={urllib.parse.quote(query)}")["hits"] == [], query


def test_a_photo_that_arrives_is_found_and_one_that_goes_is_not(
    samples: tuple[Program, Served],
) -> None:
    program, served = samples
    new = program.disk / "new" / "blossom.jpg"
    new.parent.mkdir()
    shutil.copy(program.disk / "flower.jpg", new)
    (program.disk / "flower.jpg").unlink()
    within(FOLLOW_SECONDS, lambda: served.find("a%20flower")[0] == "blossom.jpg")
    shutil.copy(new, program.disk / "flower.jpg")
    shutil.rmtree(new.parent)
    within(FOLLOW_SECONDS, lambda: served.find("a%20flower")[0] == "flower.jpg")


def test_the_shipped_bundle_is_whole_and_small() -> None:
    (bundle,) = (b for b in find_bundles([shipped_bundles()]) if b.name == "lantern")
    assert verify_bundle(bundle) == []
    on_disk = sum(file.stat().st_size for file in bundle.directory.iterdir())
    assert on_disk <= SHIPPED_BYTES
    listed = {file.name for file in bundle.files} | {"manifest.json"}
    assert {file.name for file in bundle.directory.iterdir()} == listed
    manifest = json.loads((bundle.directory / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["targets"]["onnx"]["verified"] is True
