"""A bundle beside the blend: frozen networks, two heads trained for a minute, and ConSE.

    python -m benchmarks.blend [--data DIR] [--bundle DIR] [--alpha 0.6] [--seeds 3]

The blend is what takes no more than an afternoon to build of published parts: EfficientNet-lite2
and MiniLM-L6 as they are, a linear head on each trained to match Flickr8k's captions, and beside
each embedding a part of weight alpha that names things: for a photo the sentence vectors of its ten
likeliest ImageNet classes by their probability (ConSE, arXiv:1312.5650), for a text its own. It is
several times a bundle's size.

Printed for both, in percent: captions of Flickr8k's validation photos -> photos; photos of the
labelled sets by "a photo of a LABEL"; and *named*: photos of all sets of which the classifier is
sure (p > 0.7, at most five of a class), by which of a thousand such names is nearest. No set shows
photos of a thousand kinds: *named* says how much of the classifier is left, not how often it is
right.
Results: docs/experiments.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.captioned import Captioned, read_captioned
from models.data import PhotoSet, read_photos
from models.evaluate import (
    PROMPT,
    Model,
    embed_photos,
    embed_texts,
    evaluate_captions,
    evaluate_labels,
    open_model,
)
from models.layers import LITE2, MINILM, fuse, load_lite2, load_minilm, minilm_vocabulary, unit
from models.recipes import Recipe
from models.students import DualEncoder, first_light
from models.teachers import class_names, sentence_vectors
from photosearch.bundle import shipped_bundles
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Matrix, Preprocess

LABELLED: Final = ("groceries", "clothes", "flowers", "scenes", "places")
CAPTIONED: Final = "flickr8k-val"
LIKELIEST: Final = 10  # classes of a photo
SURE: Final = 0.7
OF_A_CLASS: Final = 5
DIM: Final = 256
EPOCHS: Final = 20
BATCH: Final = 1024
RATE: Final = 1e-3
SCALE: Final = 1 / 0.07


class Blend:
    """The frozen networks, their heads and the classes' names: a Model of models.evaluate."""

    def __init__(self, networks: DualEncoder, recipe: Recipe, cache: Path, alpha: float) -> None:
        self.preprocess: Preprocess = recipe.preprocess()
        self.alpha = alpha
        self._recipe, self._cache, self._networks = recipe, cache, networks
        length = networks.config.text.positions
        self.tokenizer = WordPieceTokenizer(minilm_vocabulary(), context_length=length)
        self._names = self._sentences([PROMPT.format(group[0]) for group in class_names()])

    def train(self, captioned: Captioned, seed: int) -> None:
        """A linear head on each side, by InfoNCE over random captions."""
        torch.manual_seed(seed)
        features = captioned.features[0]
        self._mean, self._std = features.mean(dim=0), features.std(dim=0) + 1e-6
        heads = nn.ModuleList([nn.Linear(features.shape[1], DIM), nn.Linear(MINILM.width, DIM)])
        optimizer = torch.optim.AdamW(heads.parameters(), RATE, weight_decay=0.05)
        for _ in range(EPOCHS):
            for rows in torch.split(torch.randperm(features.shape[1]), BATCH):
                photos, sentences = captioned.sample(rows)
                image = unit(heads[0]((photos - self._mean) / self._std))
                text = unit(heads[1](sentences))
                scores, own = SCALE * image @ text.T, torch.arange(len(rows))
                loss = functional.cross_entropy(scores, own) + functional.cross_entropy(
                    scores.T, own
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        self._image_head, self._text_head = heads.eval()

    @torch.inference_mode()
    def images(self, images: NDArray[np.float32]) -> Matrix:
        """(B, 3, S, S) normalised -> (B, D) unit rows."""
        features, logits = self._networks.image.backbone(torch.from_numpy(images))
        likely, classes = logits.softmax(dim=1).topk(LIKELIEST)
        named = unit((likely[:, :, None] * self._names[classes]).sum(dim=1))
        return self._joined(unit(self._image_head((features - self._mean) / self._std)), named)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Matrix:
        sentences = self._sentences(texts)
        return self._joined(unit(self._text_head(sentences)), sentences)

    def _sentences(self, texts: Sequence[str]) -> Tensor:
        return sentence_vectors(self._networks.text, texts, self.tokenizer, self._cache)

    def _joined(self, caption: Tensor, named: Tensor) -> Matrix:
        rows: Matrix = unit(torch.cat((caption, self.alpha * named), dim=1)).numpy()
        return rows

    @torch.inference_mode()
    def classes(self, pixels: NDArray[np.float32]) -> Tensor:
        """(B, 3, S, S) -> (B, 1000) the classifier's probabilities."""
        logits: Tensor = self._networks.image.backbone(torch.from_numpy(pixels))[1]
        return logits.softmax(dim=1)


def published(recipe: Recipe) -> DualEncoder:
    """EfficientNet-lite2 and MiniLM-L6 with the weights of their packages."""
    networks = DualEncoder(first_light(side_px=recipe.side_px)).eval()
    assert networks.config.image == LITE2
    load_lite2(networks.image.backbone)
    load_minilm(networks.text.encoder)
    return networks


class _Classes:
    """The classifier as a Model, so that photos are read as for any other."""

    def __init__(self, blend: Blend) -> None:
        self.preprocess, self._blend = blend.preprocess, blend

    def images(self, images: NDArray[np.float32]) -> Matrix:
        return self._blend.classes(images).numpy()

    def texts(self, texts: Sequence[str]) -> Matrix:
        raise NotImplementedError


def sure(blend: Blend, sets: dict[str, PhotoSet]) -> dict[str, list[tuple[int, int]]]:
    """(photo, class) of each set's photos that the classifier is sure of, the surest first."""
    found: list[tuple[float, str, int, int]] = []
    for name, photos in sets.items():
        shares = embed_photos(_Classes(blend), photos)
        for number, row in enumerate(shares):
            if row.max() > SURE:
                found.append((float(row.max()), name, number, int(row.argmax())))
    taken: dict[int, int] = {}
    kept: dict[str, list[tuple[int, int]]] = {name: [] for name in sets}
    for _, name, number, of in sorted(found, reverse=True):
        if taken.setdefault(of, 0) < OF_A_CLASS:
            taken[of] += 1
            kept[name].append((number, of))
    return kept


def named(
    model: Model, sets: dict[str, PhotoSet], chosen: dict[str, list[tuple[int, int]]]
) -> float:
    """Percent of the chosen photos that come nearest to their class's name among all."""
    names = embed_texts(model, [PROMPT.format(group[0]) for group in class_names()])
    right = total = 0
    for name, photos in sets.items():
        rows = np.asarray([number for number, _ in chosen[name]], np.int64)
        if not len(rows):
            continue
        some = PhotoSet(tuple(photos.keys[row] for row in rows), photos.pixels[rows], (), ())
        nearest = (embed_photos(model, some) @ names.T).argmax(axis=1)
        right += int((nearest == [of for _, of in chosen[name]]).sum())
        total += len(rows)
    return round(100 * right / max(1, total), 1)


def measure(
    model: Model, sets: dict[str, PhotoSet], chosen: dict[str, list[tuple[int, int]]]
) -> dict[str, Any]:
    captions = evaluate_captions(model, sets[CAPTIONED])["text_to_image"]
    labels = {name: evaluate_labels(model, sets[name])["top1"] for name in LABELLED}
    return {"captions": captions, **labels, "named": named(model, sets, chosen)}


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
    networks = published(recipe)
    blend = Blend(networks, recipe, args.cache, args.alpha)
    captioned = read_captioned(recipe, networks, blend.tokenizer, recipe.data, flips=False)
    fuse(networks.image.backbone)  # after the cache's name was made of its weights
    sets = {
        name: read_photos(f"{args.data}/{name}-000.tar", recipe.preprocess())
        for name in (*LABELLED, CAPTIONED, "ade20k")
    }
    chosen = sure(blend, sets)
    print(json.dumps({"sure_photos": sum(map(len, chosen.values()))}), flush=True)
    for seed in range(args.seeds):
        blend.train(captioned, seed)
        row = {"model": "blend", "alpha": args.alpha, "seed": seed}
        print(json.dumps({**row, **measure(blend, sets, chosen)}), flush=True)
    bundle = open_model(args.bundle, None)
    assert bundle.preprocess == blend.preprocess, "photos are read once for both"
    print(json.dumps({"model": args.bundle.name, **measure(bundle, sets, chosen)}), flush=True)


if __name__ == "__main__":
    main()
