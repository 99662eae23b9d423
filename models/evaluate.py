"""How well a bundle or a checkpoint finds photos.

    python -m models.evaluate (--bundle DIR | --checkpoint FILE) --data 'SHARDS.tar'
                              [--labels] [--captions FILE.jsonl --field NAME] [--json]

A bundle is measured through its shipped files, with the product's own
preprocessing and tokenizer: what is reported is what a user gets. (For that this
file alone in models/ imports photosearch.bundle and photosearch.encoder.)
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.data import DataError, PhotoSet, read_captions, read_photos
from photosearch.bundle import open_bundle
from photosearch.encoder import open_encoder
from photosearch.errors import PhotosearchError, UsageError
from photosearch.extras import require_packages
from photosearch.preprocess import normalise
from photosearch.types import Matrix, Preprocess

PROMPT: Final = "a photo of a {}"
BATCH: Final = 32

Metrics = dict[str, float | int | dict[str, float]]


class Model(Protocol):
    """What is measured: a bundle's Encoder, or a checkpoint's student."""

    @property
    def preprocess(self) -> Preprocess: ...

    def images(self, images: NDArray[np.float32]) -> Matrix: ...

    def texts(self, texts: Sequence[str]) -> Matrix: ...


# --- metrics: pure functions ----------------------------------------------------------


def ranks_of(scores: NDArray[np.float32], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank, from 1, of column own[n] in row n of `scores` (Q, N); a tie counts against it."""
    target = scores[np.arange(len(scores)), own][:, None]
    return np.asarray((scores >= target).sum(axis=1), dtype=np.int64)


def best_ranks(scores: NDArray[np.float32], owner: NDArray[np.int64]) -> NDArray[np.int64]:
    """Per column n of `scores` (Q, N): rank, from 1, of its best row among all rows.

    Row q belongs to column owner[q]. Columns without a row are left out.
    """
    ranks: list[int] = []
    for column in np.unique(owner):
        mine = owner == column
        best = scores[mine, column].max()
        ranks.append(1 + int((scores[~mine, column] >= best).sum()))
    return np.asarray(ranks, dtype=np.int64)


def recall(ranks: NDArray[np.int64], k: int) -> float:
    """Percentage of ranks that are at most k."""
    return round(100.0 * float((ranks <= k).mean()), 2)


def median_rank(ranks: NDArray[np.int64]) -> float:
    """The middle rank; the mean of the two middle ones where their number is even."""
    return float(np.median(ranks))


def retrieval_metrics(images: Matrix, texts: Matrix, owner: NDArray[np.int64]) -> Metrics:
    """Every caption against all photos, and every photo against all captions.

    images (N, D), texts (Q, D), owner (Q,): the photo each caption belongs to.
    """
    scores = texts @ images.T
    forward, backward = ranks_of(scores, owner), best_ranks(scores, owner)
    return {
        "images": len(images),
        "captions": len(texts),
        "text_to_image": {
            "r1": recall(forward, 1),
            "r5": recall(forward, 5),
            "r10": recall(forward, 10),
            "median_rank": median_rank(forward),
        },
        "image_to_text": {
            "r1": recall(backward, 1),
            "r5": recall(backward, 5),
            "r10": recall(backward, 10),
        },
    }


def label_metrics(images: Matrix, texts: Matrix, labels: NDArray[np.int64]) -> Metrics:
    """Photos named by their nearest label, and labels answered by their nearest photos.

    images (N, D), texts (C, D) one per label, labels (N,): the label of each photo.
    `label_to_image_p10` is the share of a label's ten nearest photos that bear it, so
    a label of three photos can reach 30 at most.
    """
    scores = images @ texts.T  # (N, C)
    ranks = ranks_of(scores, labels)
    first = 0
    precision: list[float] = []
    for label in range(len(texts)):
        order = np.argsort(-scores[:, label], kind="stable")
        right = labels[order] == label
        first += int(right[0])
        precision.append(float(right[:10].sum()) / min(10, len(right)))
    return {
        "images": len(images),
        "labels": len(texts),
        "top1": recall(ranks, 1),
        "top5": recall(ranks, 5),
        "label_to_image_r1": round(100.0 * first / len(texts), 2),
        "label_to_image_p10": round(100.0 * float(np.mean(precision)), 2),
    }


# --- models ---------------------------------------------------------------------------


def embed_photos(model: Model, photos: PhotoSet) -> Matrix:
    """(N, D): every photo of a set."""
    how = model.preprocess
    parts = [
        model.images(normalise(photos.pixels[start : start + BATCH], how))
        for start in range(0, len(photos), BATCH)
    ]
    return np.concatenate(parts)


def embed_texts(model: Model, texts: Sequence[str]) -> Matrix:
    """(Q, D): texts in batches of similar length."""
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    parts = [
        model.texts([texts[number] for number in order[start : start + BATCH]])
        for start in range(0, len(order), BATCH)
    ]
    found = np.concatenate(parts)
    result = np.empty_like(found)
    result[np.asarray(order)] = found
    return result


def evaluate_captions(model: Model, photos: PhotoSet) -> Metrics:
    texts = [caption for captions in photos.captions for caption in captions]
    if not texts:
        raise DataError("these photos have no captions; pass --labels to measure labels")
    owner = np.asarray([n for n, group in enumerate(photos.captions) for _ in group])
    return retrieval_metrics(embed_photos(model, photos), embed_texts(model, texts), owner)


def evaluate_labels(model: Model, photos: PhotoSet) -> Metrics:
    names, labels = _labels(photos)
    texts = embed_texts(model, [PROMPT.format(name) for name in names])
    return label_metrics(embed_photos(model, photos), texts, labels)


def _labels(photos: PhotoSet) -> tuple[list[str], NDArray[np.int64]]:
    if None in photos.labels:
        key = photos.keys[photos.labels.index(None)]
        raise DataError(f"photo {key} has no label, which --labels needs of every photo")
    names = sorted({str(label) for label in photos.labels})
    return names, np.asarray([names.index(str(label)) for label in photos.labels])


def replace_captions(photos: PhotoSet, captions: dict[str, tuple[str, ...]]) -> PhotoSet:
    """The same photos with other captions; those without any are searched among all the same."""
    known = tuple(captions.get(key, ()) for key in photos.keys)
    if not any(known):
        raise DataError("--captions: no key in it belongs to a photo of --data")
    return PhotoSet(photos.keys, photos.pixels, known, photos.labels)


def open_model(bundle: Path | None, checkpoint: Path | None) -> Model:
    """A bundle through its runtime, or a checkpoint through PyTorch."""
    if bundle is not None:
        return open_encoder(open_bundle(bundle))
    assert checkpoint is not None
    require_packages("a checkpoint", "train", "torch")
    from models.checkpoint import EagerEncoder, load_checkpoint  # torch: not needed for a bundle

    return EagerEncoder(load_checkpoint(checkpoint))


# --- command line -----------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    try:
        report = run(args)
    except PhotosearchError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return error.exit_code
    if args.json:
        print(json.dumps(report))
    else:
        print(json.dumps(report, indent=2))
    return 0


def run(args: argparse.Namespace) -> Metrics:
    if (args.captions is None) != (args.field is None):
        raise UsageError("--captions and --field go together")
    if args.labels and args.captions is not None:
        raise UsageError("--labels and --captions exclude each other")
    model = open_model(args.bundle, args.checkpoint)
    photos = read_photos(args.data, model.preprocess)
    if args.captions is not None:
        photos = replace_captions(photos, read_captions(args.captions, args.field))
    return evaluate_labels(model, photos) if args.labels else evaluate_captions(model, photos)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.evaluate", description="Measure how well photos are found."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--bundle", type=Path, metavar="DIR", help="measure the shipped files")
    what.add_argument("--checkpoint", type=Path, metavar="FILE", help="measure through PyTorch")
    parser.add_argument("--data", required=True, help="shards, JSON or CSV; patterns, with commas")
    parser.add_argument("--labels", action="store_true", help='labels as "a photo of a LABEL"')
    parser.add_argument("--captions", type=Path, metavar="FILE", help="other captions, by key")
    parser.add_argument("--field", help="the field of --captions that holds them")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
