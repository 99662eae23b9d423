"""Kinds of distillation on real photos: Flickr8k, one small student, one budget.

    python -m benchmarks.ablation run [--steps 260] [--only BASE ...] [--seeds 1 2 3]
    python -m benchmarks.ablation table
    python -m benchmarks.ablation views
    python -m benchmarks.ablation ensemble --other BUNDLE

Teacher: the shipped lantern, through its files. Student: a perceptron of 64 units on
EfficientNet-lite2's features at 96 px, and a bag of word pieces of 48 numbers each, learned
from nothing; 376,000 numbers. All features are cached, so a run of 260 steps takes
seconds. `run` appends one JSON line a run and skips those it finds. The best cell of each
type, with its weight, is read from the toy world's rows (benchmarks.distillation), not
chosen on the photos reported here. `views` measures a teacher that sees each photo mirrored, too,
and `ensemble` one of two bundles.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.distillation import read
from benchmarks.toy_plan import Cells, changed, preset_cells
from benchmarks.toy_student import graph_cells, set_rate
from models.data import cached, read_examples, read_photos
from models.distillation.dynamic import DCD_PRESETS, DcdConfig, apply_dcd
from models.distillation.embeddings import EmbeddingSet
from models.distillation.graph import KnowledgeGraph
from models.distillation.miner import HardNegativeMiner
from models.distillation.recall import both_directions
from models.distillation.similarity import l2_normalize
from models.layers import LITE2, EfficientNetLite, fuse, load_lite2, minilm_vocabulary
from models.teachers import encode_pixels
from photosearch.bundle import open_bundle
from photosearch.encoder import Encoder, open_encoder
from photosearch.preprocess import normalise
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Preprocess

ROWS = Path("benchmarks/results/ablation.jsonl")
TOY_ROWS = Path("benchmarks/results/distillation.jsonl")
TRAIN = "../shared/data/flickr8k-train-00[012].tar"  # 3 of 7 shards
VAL = "../shared/data/flickr8k-val-000.tar"
BUNDLE = Path("models/bundles/lantern")
WIDTH, BATCH, STEPS, RATE = 256, 128, 260, 3e-3
SIDE, PIECES, AT_ONCE = 96, 32, 64


@dataclasses.dataclass(frozen=True)
class Captions:
    """Photos and their captions, all of a photo's side by side."""

    small: Tensor  # (N, 1280) at 96 px, for the student
    tokens: Tensor  # (Q, PIECES) int64, 0 = nothing
    t_image: Tensor  # (N, WIDTH) the teacher's, unit
    t_text: Tensor  # (Q, WIDTH)
    owner: Tensor  # (Q,)
    first: Tensor  # (N,)
    counts: Tensor  # (N,)


def small_features(spec: str, cache: Path) -> Tensor:
    """EfficientNet-lite2's pooled features of photos of 96 px: (N, 1280)."""
    how = Preprocess(side_px=SIDE, mean=(127 / 255,) * 3, std=(128 / 255,) * 3, resize="squash")

    def make() -> Any:
        network = EfficientNetLite(LITE2, side_px=SIDE).eval()
        load_lite2(network)
        fuse(network)
        with torch.inference_mode():
            return encode_pixels(network.features, read_photos(spec, how).pixels, how)

    return torch.from_numpy(cached(cache, "ablation-small", [contents(spec), str(SIDE)], make))


def contents(spec: str) -> bytes:
    digest = hashlib.sha256()
    for example in read_examples(spec):
        digest.update(hashlib.sha256(example.image).digest())
    return digest.digest()


def teacher_vectors(
    spec: str, texts: list[str], cache: Path, folder: Path = BUNDLE
) -> tuple[Tensor, Tensor]:
    """Photos and captions by a bundle's own encoder: (N, WIDTH), (Q, WIDTH)."""
    bundle = open_bundle(folder)
    encoder = open_encoder(bundle)

    def photos() -> Any:
        return encode_photos(encoder, read_photos(spec, encoder.preprocess).pixels)

    def said() -> Any:
        return encode_texts_by_length(encoder, texts)

    image = cached(cache, "ablation-photos", [contents(spec), bundle.space], photos)
    text = cached(cache, "ablation-texts", ["\0".join(texts), bundle.space], said)
    return torch.from_numpy(image), torch.from_numpy(text)


def encode_photos(encoder: Encoder, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, S, S, 3) -> (N, WIDTH)."""
    parts = [
        encoder.images(normalise(pixels[at : at + AT_ONCE], encoder.preprocess))
        for at in range(0, len(pixels), AT_ONCE)
    ]
    return np.concatenate(parts)


def encode_texts_by_length(encoder: Encoder, texts: list[str]) -> Any:
    """Short ones together, so that little is padding; rows in the order of `texts`."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    rows = np.zeros((len(texts), WIDTH), np.float32)
    for at in range(0, len(order), AT_ONCE):
        some = order[at : at + AT_ONCE]
        rows[some] = encoder.texts([texts[number] for number in some])
    return rows


def read_set(spec: str, cache: Path) -> Captions:
    groups = [example.captions for example in read_examples(spec)]
    texts = [caption for group in groups for caption in group]
    counts = torch.tensor([len(group) for group in groups])
    tokenizer = WordPieceTokenizer(minilm_vocabulary(), context_length=PIECES)
    t_image, t_text = teacher_vectors(spec, texts, cache)
    return Captions(
        small=small_features(spec, cache),
        tokens=torch.from_numpy(tokenizer.batch(texts)).long(),
        t_image=l2_normalize(t_image),
        t_text=l2_normalize(t_text),
        owner=torch.repeat_interleave(torch.arange(len(groups)), counts),
        first=counts.cumsum(0) - counts,
        counts=counts,
    )


class SmallStudent(nn.Module):
    """64 units for photos; word pieces of 48 numbers for captions."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(1280, 64), nn.GELU(), nn.Linear(64, WIDTH))
        self.words = nn.EmbeddingBag(vocabulary, 48, mode="mean", padding_idx=0)
        self.text = nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, WIDTH))

    def forward(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.look(features), self.read(tokens)

    def look(self, features: Tensor) -> Tensor:
        found: Tensor = self.image(features)
        return found

    def read(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.text(self.words(tokens))
        return found


def choose(data: Captions, photos: Tensor) -> Tensor:
    """One caption of each photo, at random."""
    return data.first[photos] + (torch.rand(len(photos)) * data.counts[photos]).long()


class Bench:
    def __init__(self, cache: Path) -> None:
        torch.set_num_threads(1)
        train, val = read_set(TRAIN, cache), read_set(VAL, cache)
        # The student knows the pieces that its training captions hold; 0 is padding and the rest.
        pieces = torch.unique(train.tokens)
        mean, std = train.small.mean(0), train.small.std(0) + 1e-3
        self.train, self.val = (
            dataclasses.replace(
                one,
                small=(one.small - mean) / std,
                tokens=torch.where(
                    torch.isin(one.tokens, pieces), torch.searchsorted(pieces, one.tokens), 0
                ),
            )
            for one in (train, val)
        )
        self.vocabulary = len(pieces)

    def teacher_recall(self) -> dict[str, float]:
        return both_directions(self.val.t_image, self.val.t_text, self.val.owner)

    def run(
        self, cells: Cells, dcd: dict[str, Any] | None, seed: int, steps: int = STEPS
    ) -> dict[str, float]:
        data = self.train
        torch.manual_seed(seed)
        student = SmallStudent(self.vocabulary)
        graph = KnowledgeGraph(graph_cells(cells))
        optimizer = torch.optim.AdamW(
            student.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.05
        )
        for step in range(steps):
            set_rate(optimizer, RATE, step, steps)
            photos = torch.randperm(len(data.small))[:BATCH]
            captions = choose(data, photos)
            v, x = student(data.small[photos], data.tokens[captions])
            e = EmbeddingSet.build(v, x, data.t_image[photos], data.t_text[captions])
            loss = graph(e, progress=step / steps).total
            if dcd is not None:
                loss = loss + self.dcd(DcdConfig(**dcd), student, e, photos, captions)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        student.eval()
        with torch.no_grad():
            v, x = student(self.val.small, self.val.tokens)
        return both_directions(l2_normalize(v), l2_normalize(x), self.val.owner)

    def dcd(
        self,
        config: DcdConfig,
        student: SmallStudent,
        e: EmbeddingSet,
        photos: Tensor,
        captions: Tensor,
    ) -> Tensor:
        """Mined from random captions and photos of the whole training set."""
        miner = HardNegativeMiner(config.k, 0, fn_filter=config.fn_filter, margin=config.margin)
        data, parts = self.train, []
        own = (data.t_image[photos] * data.t_text[captions]).sum(dim=1)
        for direction in config.directions:
            texts = direction == "i2t"
            keys, ids, query = (
                (data.t_text, captions, data.t_image[photos])
                if texts
                else (data.t_image, photos, data.t_text[captions])
            )
            candidates = torch.randint(len(keys), (len(photos), config.pool))
            scores = torch.einsum("nd,ncd->nc", query, keys[candidates])
            true = (data.owner[candidates] == photos[:, None]) if texts else None
            found = miner.mine(scores, candidates, ids, own, duplicates=true, direction=direction)
            flat = found.key_ids.flatten()
            keyed = student.read(data.tokens[flat]) if texts else student.look(data.small[flat])
            encoded = l2_normalize(keyed).reshape(*found.key_ids.shape, -1)
            mine = e.v_s if texts else e.x_s
            parts.append(apply_dcd(config, torch.einsum("nd,nkd->nk", mine, encoded), found))
        return torch.stack(parts).mean()


def best_cells(file: Path) -> dict[str, Cells]:
    """The best cell of each type in the toy world, at its tuned weight: name -> cells."""
    rows = [row for row in read(file) if row["experiment"] == "E1" and row["name"] != "BASE"]
    best: dict[str, tuple[float, str, Cells]] = {}
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        mean = statistics.mean(row["rsum"] for row in mine)
        type_ = name.split(".")[0]
        if mean > best.get(type_, (0.0, "", {}))[0]:
            best[type_] = mean, name, mine[0]["config"]["cells"]
    return {f"best {type_}: {name}": cells for type_, (_, name, cells) in best.items()}


def plan(best: Path) -> dict[str, tuple[Cells, dict[str, Any] | None]]:
    """Name -> cells, and what DCD adds."""
    names = ("NO_KD", "BASE", "CONA_T", "CONA_3P", "STRONG", "CLIPKD")
    found: dict[str, tuple[Cells, dict[str, Any] | None]] = {
        name: (preset_cells(name), None) for name in names
    }
    found["DCD_FIXED"] = (preset_cells("DCD_FIXED"), changed(DCD_PRESETS["FIXED"], DcdConfig()))
    found |= {name: (cells, None) for name, cells in best_cells(best).items()}
    return found


def run(file: Path, seeds: list[int], best: Path, cache: Path, steps: int, only: list[str]) -> None:
    bench = Bench(cache)
    done = {(row["name"], row["seed"], row["steps"]) for row in read(file)}
    file.parent.mkdir(parents=True, exist_ok=True)
    entries: list[tuple[str, int, Cells, dict[str, Any] | None]] = [("teacher", 0, {}, None)]
    entries += [
        (name, seed, *both)
        for seed in seeds
        for name, both in plan(best).items()
        if not only or name in only
    ]
    for name, seed, cells, dcd in entries:
        taken = 0 if name == "teacher" else steps
        if (name, seed, taken) in done:
            continue
        started = time.process_time()
        found = bench.run(cells, dcd, seed, steps) if taken else bench.teacher_recall()
        row = {"name": name, "seed": seed, "steps": taken}
        row |= {key: round(value, 3) for key, value in found.items()}
        row |= {
            "cpu_s": round(time.process_time() - started, 2),
            "config": {"cells": cells, "dcd": dcd},
        }
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")


def table(file: Path) -> None:
    rows = read(file)
    columns = ("t2i_r1", "t2i_r10", "i2t_r1", "rsum")
    print("| method | steps | T2I R@1 | T2I R@10 | I2T R@1 | rsum | seeds |")
    print("|---|---|---|---|---|---|---|")
    for name, steps in dict.fromkeys((row["name"], row["steps"]) for row in rows):
        mine = [row for row in rows if (row["name"], row["steps"]) == (name, steps)]
        cells = []
        for column in columns:
            values = [row[column] for row in mine]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        print(f"| {name} | {steps} | {' | '.join(cells)} | {len(mine)} |")
    print(f"\nCPU: {sum(row['cpu_s'] for row in rows) / 60:.1f} minutes in {len(rows)} runs")


def views(cache: Path) -> None:
    """The teacher's recall with photos as they are, and with their mirror images as well."""
    val = read_set(VAL, cache)
    encoder = open_encoder(open_bundle(BUNDLE))
    pixels = np.ascontiguousarray(read_photos(VAL, encoder.preprocess).pixels[:, :, ::-1])
    both = l2_normalize(val.t_image + torch.from_numpy(encode_photos(encoder, pixels)))
    for name, image in (("as it is", val.t_image), ("and mirrored", both)):
        found = both_directions(image, val.t_text, val.owner)
        print(name, {key: round(value, 1) for key, value in found.items()})


def ensemble(other: Path, cache: Path) -> None:
    """The teacher's recall, another bundle's, and that of both: the mean of their cosines."""
    val = read_set(VAL, cache)
    texts = [caption for example in read_examples(VAL) for caption in example.captions]
    image, text = (l2_normalize(rows) for rows in teacher_vectors(VAL, texts, cache, other))
    both = (torch.cat((val.t_image, image), dim=1), torch.cat((val.t_text, text), dim=1))
    for name, rows in (
        ("one", (val.t_image, val.t_text)),
        ("other", (image, text)),
        ("both", both),
    ):
        found = both_directions(*rows, val.owner)
        print(name, {key: round(value, 1) for key, value in found.items()})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "table", "views", "ensemble"))
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--best", type=Path, default=TOY_ROWS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=STEPS, help="of 128 photos")
    parser.add_argument("--only", nargs="*", default=[], metavar="METHOD")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--other", type=Path, default=BUNDLE, help="a second bundle, for ensemble")
    args = parser.parse_args()
    if args.what == "run":
        run(args.rows, args.seeds, args.best, args.cache, args.steps, args.only)
    elif args.what == "views":
        views(args.cache)
    elif args.what == "ensemble":
        ensemble(args.other, args.cache)
    else:
        table(args.rows)


if __name__ == "__main__":
    main()
