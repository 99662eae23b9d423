"""The bundle that ships: whole, small enough, and as good as it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from models.data import read_photos
from models.evaluate import evaluate_captions, evaluate_labels
from photosearch.bundle import Bundle, load_background, open_bundle, verify_files
from photosearch.encoder import Encoder, open_encoder
from photosearch.preprocess import load, normalise
from photosearch.relevance import NEAREST, scale
from photosearch.verify import verify_bundle

MAX_BYTES = 40 << 20

# Below the measured values by about two standard errors of 500 photos.
LEAST_R1, LEAST_R10 = 33.3, 79.3
LEAST_CLOTHES = 40.0  # of 10 labels, 400 photos: a standard error of 2.5


@pytest.fixture(scope="module")
def bundle(shipped: Path) -> Bundle:
    return open_bundle(shipped)


@pytest.fixture(scope="module")
def encoder(bundle: Bundle) -> Encoder:
    return open_encoder(bundle, threads=2)


def test_it_is_whole(bundle: Bundle) -> None:
    assert verify_files(bundle) == []
    assert verify_bundle(bundle) == []


def test_it_holds_what_it_lists_and_nothing_else(bundle: Bundle) -> None:
    listed = {file.name for file in bundle.files} | {"manifest.json"}
    assert {path.name for path in bundle.directory.iterdir()} == listed


def test_it_is_small(bundle: Bundle) -> None:
    assert bundle.size_bytes <= MAX_BYTES
    assert bundle.dim <= 256


def test_it_says_what_it_is(bundle: Bundle) -> None:
    described = bundle.description
    assert described["training_data"]
    assert described["licences"]
    assert described["recipe"]["name"] == bundle.name
    assert described["metrics"]["text_to_image"]["r1"] >= LEAST_R1


def test_its_background_is_varied(bundle: Bundle) -> None:
    background = load_background(bundle)
    assert background is not None
    assert background.vectors.shape == (1024, bundle.dim)
    assert len(np.unique(background.vectors.round(3), axis=0)) > 1000
    for tail, most in ((background.text, 0.1), (background.by_parts, 0.1), (background.image, 0.4)):
        assert 0 < tail.floor < most
        assert 0 < tail.slope < 1


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("a cat", "chelsea.png"),
        ("a cup of coffee", "coffee.png"),
        ("a rocket launch", "rocket.jpg"),
        ("a flower", "flower.jpg"),
        ("a Chinese temple", "china.jpg"),
        ("a motorcycle", "motorcycle_right.png"),
    ],
)
def test_plain_queries_find_the_sample_photo(
    encoder: Encoder, samples: tuple[list[str], np.ndarray], query: str, name: str
) -> None:
    names, vectors = samples
    scores = vectors @ encoder.texts([query])[0]
    assert names[int(scores.argmax())] == name


@pytest.fixture(scope="module")
def samples(encoder: Encoder) -> tuple[list[str], np.ndarray]:
    """Every sample photo of scikit-image and scikit-learn, embedded."""
    skimage = pytest.importorskip("skimage", reason="scikit-image is in the [dev] extra")
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is in [dev]")
    folders = (Path(skimage.__file__).parent / "data", Path(datasets.__file__).parent / "images")
    files = [
        file
        for folder in folders
        for file in sorted(folder.iterdir())
        if file.suffix in (".png", ".jpg")
    ]
    pixels = np.stack([load(file, encoder.preprocess) for file in files])
    vectors = encoder.images(normalise(pixels, encoder.preprocess))
    return [file.name for file in files], vectors


def test_it_meets_the_bar_on_held_out_captions(encoder: Encoder, shared: Path) -> None:
    photos = read_photos(str(shared / "flickr8k-val-000.tar"), encoder.preprocess)
    found = evaluate_captions(encoder, photos)["text_to_image"]
    assert isinstance(found, dict)
    assert found["r1"] >= LEAST_R1
    assert found["r10"] >= LEAST_R10


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("people", r"man|men|woman|women|boys?|girls?|child|children|people|person"),
        ("a man", r"man|men|guys?"),
        ("children", r"child|children|boys?|girls?|kids?"),
        ("dogs", r"dogs?"),
        ("snow", r"snow\w*"),
        ("water", r"water|lake|river|ocean|sea|pool"),
        ("mountains", r"mountains?|hill|cliff"),
    ],
)
def test_everyday_words_find_photos_among_photos_like_those_of_the_background(
    bundle: Bundle, everyday: tuple[np.ndarray, list[str], Encoder], query: str, said: str
) -> None:
    """Half of the background are photos of people and dogs, too: docs/relevance.md."""
    vectors, captions, encoder = everyday
    background = load_background(bundle)
    assert background is not None
    vector = encoder.texts([query])[0]
    scores = vectors @ vector
    found = scale(vector, background, library=vectors, text=query)
    nearest = vectors[np.argsort(-scores)[:NEAREST]]
    shown = scores >= found.cutoff(len(vectors), float(scores.max()), nearest)
    right = np.asarray([bool(re.search(rf"\b({said})\b", caption)) for caption in captions])
    assert shown.any()
    assert right[shown].mean() > 1.5 * right.mean() or right[shown].mean() > 0.9


@pytest.fixture(scope="module")
def everyday(encoder: Encoder, shared: Path) -> tuple[np.ndarray, list[str], Encoder]:
    """Every other validation photo's vector, and its captions as one."""
    photos = read_photos(str(shared / "flickr8k-val-000.tar"), encoder.preprocess)
    pixels = normalise(photos.pixels[::2], encoder.preprocess)
    vectors = np.concatenate([encoder.images(pixels[n : n + 8]) for n in range(0, len(pixels), 8)])
    return vectors, [" ".join(group).lower() for group in photos.captions[::2]], encoder


def test_it_names_clothes_it_was_never_shown(encoder: Encoder, shared: Path) -> None:
    photos = read_photos(str(shared / "clothes-000.tar"), encoder.preprocess)
    top1 = evaluate_labels(encoder, photos)["top1"]
    assert isinstance(top1, float)
    assert top1 >= LEAST_CLOTHES
