"""A bundle beside the blend: frozen networks, two heads trained for a minute, and ConSE.

    python -m benchmarks.blend [--data DIR] [--bundle DIR] [--alpha 0.6] [--seeds 3]

The blend is what takes no more than an afternoon to build of published parts: EfficientNet-lite2
and MiniLM-L6 as they are, a linear head on each trained to match Flickr8k's captions, and beside
each embedding a part of weight alpha that names things: for a photo the sentence vectors of its ten
likeliest ImageNet classes by their probability (ConSE, arXiv:1312.5650), for a text its own. In
float32 it has six times lantern's bytes.

Printed for both, in percent: captions of Flickr8k's validation photos -> photos; photos of the
labelled sets by "a photo of a LABEL"; and *named*: photos of all sets of which the classifier is
sure (p > 0.7, at most five of a class), by which of a thousand such names is nearest. No set shows
photos of a thousand kinds: *named* says how much of the classifier is left, not how often it is
right.
Results: docs/experiments.md. Features of photos are kept in --cache.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.captioned import Captioned, read_captioned
from models.data import read_examples, read_photos
from models.evaluate import (
    PROMPT,
    embed_photos,
    embed_texts,
    label_metrics,
    open_model,
    retrieval_metrics,
)
from models.layers import MINILM, load_lite2, load_minilm, minilm_vocabulary, unit
from models.recipes import Recipe
from models.students import DualEncoder, first_light
from models.teachers import class_names, encode_texts, photo_features
from photosearch.bundle import shipped_bundles
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Matrix

LABELLED: Final = ("groceries", "clothes", "flowers", "scenes", "places")
CAPTIONED: Final = "flickr8k-val"
SETS: Final = (*LABELLED, CAPTIONED, "ade20k")
LIKELIEST: Final = 10  # classes of a photo
SURE: Final = 0.7
OF_A_CLASS: Final = 5
DIM: Final = 256
EPOCHS: Final = 20
BATCH: Final = 1024
RATE: Final = 1e-3
SCALE: Final = 1 / 0.07
NAMES: Final = tuple(PROMPT.format(group[0]) for group in class_names())

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Questions:
    """What both are asked."""

    captions: tuple[str, ...]
    owner: Numbers  # of each caption, a photo of CAPTIONED
    labels: Mapping[str, tuple[str, ...]]  # by set
    labelled: Mapping[str, Numbers]  # the label of each photo
    sure: Mapping[str, tuple[Numbers, Numbers]]  # photos of a set, and what they surely show

    def score(
        self, photos: Mapping[str, Matrix], texts: Callable[[Sequence[str]], Matrix]
    ) -> dict[str, Any]:
        """photos: (N, D) unit rows of each set; texts: texts -> (Q, D) unit rows."""
        found = retrieval_metrics(photos[CAPTIONED], texts(self.captions), self.owner)
        told: dict[str, Any] = {"captions": found["text_to_image"]}
        for name in LABELLED:
            asked = texts([PROMPT.format(label) for label in self.labels[name]])
            told[name] = label_metrics(photos[name], asked, self.labelled[name])["top1"]
        names = texts(NAMES)
        right = [
            (photos[name][rows] @ names.T).argmax(axis=1) == of
            for name, (rows, of) in self.sure.items()
        ]
        told["named"] = round(100 * float(np.concatenate(right).mean()), 1)
        return told


class Blend:
    """The frozen networks, a head on each, and the names of classes."""

    def __init__(self, recipe: Recipe, alpha: float) -> None:
        self.networks = DualEncoder(first_light(side_px=recipe.side_px)).eval()
        load_lite2(self.networks.image.backbone)
        load_minilm(self.networks.text.encoder)
        length = self.networks.config.text.positions
        self.tokenizer = WordPieceTokenizer(minilm_vocabulary(), context_length=length)
        self._alpha = alpha
        self._names = self._sentences(NAMES)

    def train(self, captioned: Captioned, seed: int) -> None:
        """A linear head on each side, by InfoNCE over random captions."""
        torch.manual_seed(seed)
        features = captioned.features[0]
        self._mean, self._std = features.mean(dim=0), features.std(dim=0) + 1e-6
        self._heads = nn.ModuleList(
            [nn.Linear(features.shape[1], DIM), nn.Linear(MINILM.width, DIM)]
        )
        optimizer = torch.optim.AdamW(self._heads.parameters(), RATE, weight_decay=0.05)
        for _ in range(EPOCHS):
            for rows in torch.split(torch.randperm(len(features)), BATCH):
                photos, sentences = captioned.sample(rows)
                scores = SCALE * self._image(photos) @ self._text(sentences).T
                own = torch.arange(len(rows))
                loss = functional.cross_entropy(scores, own)
                loss = loss + functional.cross_entropy(scores.T, own)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    @torch.inference_mode()
    def photos(self, features: Tensor) -> Matrix:
        """Pooled features (N, F) -> unit rows (N, D)."""
        likely, classes = self.classes(features).topk(LIKELIEST)
        named = unit((likely[:, :, None] * self._names[classes]).sum(dim=1))
        return self._joined(self._image(features), named)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Matrix:
        sentences = self._sentences(texts)
        return self._joined(self._text(sentences), sentences)

    @torch.inference_mode()
    def classes(self, features: Tensor) -> Tensor:
        """Pooled features (N, F) -> the classifier's probabilities (N, C)."""
        logits: Tensor = self.networks.image.backbone.classifier(features)
        return logits.softmax(dim=1)

    def _image(self, features: Tensor) -> Tensor:
        return unit(self._heads[0]((features - self._mean) / self._std))

    def _text(self, sentences: Tensor) -> Tensor:
        return unit(self._heads[1](sentences))

    @torch.inference_mode()
    def _sentences(self, texts: Sequence[str]) -> Tensor:
        encoder = self.networks.text.encoder
        return torch.from_numpy(encode_texts(lambda t: unit(encoder(t)), texts, self.tokenizer))

    def _joined(self, caption: Tensor, named: Tensor) -> Matrix:
        rows: Matrix = unit(torch.cat((caption, self._alpha * named), dim=1)).numpy()
        return rows


def sure(shares: Mapping[str, Tensor]) -> dict[str, tuple[Numbers, Numbers]]:
    """Photos of each set that the classifier is sure of, and their classes; the surest first."""
    found = [
        (float(row.max()), name, number, int(row.argmax()))
        for name, rows in shares.items()
        for number, row in enumerate(rows)
        if row.max() > SURE
    ]
    taken: dict[int, int] = {}
    kept: dict[str, list[tuple[int, int]]] = {name: [] for name in shares}
    for _, name, number, of in sorted(found, reverse=True):
        if taken.setdefault(of, 0) < OF_A_CLASS:
            taken[of] += 1
            kept[name].append((number, of))
    return {
        name: (np.asarray(pairs)[:, 0], np.asarray(pairs)[:, 1])
        for name, pairs in kept.items()
        if pairs
    }


def questions(shards: Mapping[str, str], shares: Mapping[str, Tensor]) -> Questions:
    captions = [one.captions for one in read_examples(shards[CAPTIONED])]
    told = {name: [str(one.label) for one in read_examples(shards[name])] for name in LABELLED}
    labels = {name: tuple(sorted(set(each))) for name, each in told.items()}
    return Questions(
        captions=tuple(caption for group in captions for caption in group),
        owner=np.asarray([number for number, group in enumerate(captions) for _ in group]),
        labels=labels,
        labelled={
            name: np.asarray([labels[name].index(label) for label in each])
            for name, each in told.items()
        },
        sure=sure(shares),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--bundle", type=Path, default=shipped_bundles() / "lantern")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--alpha", type=float, default=0.6)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    recipe = Recipe(
        name="blend", version="1", title="", cache=str(args.cache),
        data=f"{args.data}/flickr8k-train-*.tar",
    )  # fmt: skip
    how, shards = recipe.preprocess(), {name: f"{args.data}/{name}-000.tar" for name in SETS}
    blend = Blend(recipe, args.alpha)
    captioned = read_captioned(recipe, blend.networks, blend.tokenizer, recipe.data, flips=False)
    features = {
        name: photo_features(blend.networks.image, shard, how, args.cache)
        for name, shard in shards.items()
    }
    asked = questions(shards, {name: blend.classes(rows) for name, rows in features.items()})
    print(json.dumps({"sure_photos": sum(len(rows) for rows, _ in asked.sure.values())}))
    for seed in range(args.seeds):
        blend.train(captioned, seed)
        told = asked.score(
            {name: blend.photos(rows) for name, rows in features.items()}, blend.texts
        )
        print(json.dumps({"model": "blend", "alpha": args.alpha, "seed": seed, **told}), flush=True)
    bundle = open_model(args.bundle, None)
    photos = {
        name: embed_photos(bundle, read_photos(shard, bundle.preprocess))
        for name, shard in shards.items()
    }
    told = asked.score(photos, lambda texts: embed_texts(bundle, texts))
    print(json.dumps({"model": args.bundle.name, **told}), flush=True)


if __name__ == "__main__":
    main()
