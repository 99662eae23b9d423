"""Kinds of distillation on real photos: Flickr8k, one small student, one budget.

    python -m benchmarks.ablation run [--rows FILE] [--seeds 1 2 3] [--best FILE]
    python -m benchmarks.ablation table

Teacher: the surrogate (frozen EfficientNet-lite2 at 224 px and MiniLM, with heads trained
here on captions). Student: a perceptron of 64 units on EfficientNet-lite2's features at 96
px, and a bag of word pieces of 48 numbers each, learned from nothing; 3 million numbers.
All features are cached, so a run of 520 steps takes seconds. `run` appends one JSON line a
run and skips those it finds. The best cell of each type, with its weight, is read from the
toy world's rows (benchmarks.distillation), not chosen on the photos reported here.
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

import torch
from torch import Tensor, nn

from benchmarks.distillation import changed, graph_cells, preset_cells, read
from models.data import cached, read_examples, read_photos
from models.distillation.balance import GradMatch
from models.distillation.dynamic import DCD_PRESETS, DcdConfig, apply_dcd
from models.distillation.embeddings import EmbeddingSet
from models.distillation.graph import KnowledgeGraph
from models.distillation.losses import infonce_rows
from models.distillation.miner import HardNegativeMiner
from models.distillation.recall import both_directions
from models.distillation.similarity import cosine, l2_normalize
from models.distillation.toy import cosine_fade
from models.layers import (
    LITE2,
    MINILM,
    BertEncoder,
    EfficientNetLite,
    fuse,
    load_lite2,
    load_minilm,
    minilm_vocabulary,
    unit,
)
from models.teachers import encode_pixels, encode_texts
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Preprocess

ROWS = Path("benchmarks/results/ablation.jsonl")
TOY_ROWS = Path("benchmarks/results/distillation.jsonl")
TRAIN = "../shared/data/flickr8k-train-*.tar"
VAL = "../shared/data/flickr8k-val-000.tar"
WIDTH, BATCH, STEPS, RATE = 128, 512, 520, 3e-3
PIECES = 32


@dataclasses.dataclass(frozen=True)
class Captions:
    """Photos' features and their captions, all of a photo's side by side."""

    large: Tensor  # (N, 1280) at 224 px, for the teacher
    small: Tensor  # (N, 1280) at 96 px, for the student
    sentences: Tensor  # (Q, 384) MiniLM
    tokens: Tensor  # (Q, PIECES) int64, 0 = nothing
    owner: Tensor  # (Q,)
    first: Tensor  # (N,)
    counts: Tensor  # (N,)


def preprocess(side_px: int) -> Preprocess:
    return Preprocess(side_px=side_px, mean=(127 / 255,) * 3, std=(128 / 255,) * 3, resize="squash")


def photo_features(spec: str, side_px: int, cache: Path) -> Tensor:
    content = hashlib.sha256()
    for example in read_examples(spec):
        content.update(hashlib.sha256(example.image).digest())

    def make() -> Any:
        network = EfficientNetLite(LITE2, side_px=side_px).eval()
        load_lite2(network)
        fuse(network)
        how = preprocess(side_px)
        with torch.inference_mode():
            return encode_pixels(network.features, read_photos(spec, how).pixels, how)

    return torch.from_numpy(
        cached(cache, "ablation-photos", [content.digest(), str(side_px)], make)
    )


def sentence_parts(texts: list[str]) -> list[bytes | str]:
    return ["minilm", "\0".join(texts)]


def sentences(texts: list[str], cache: Path) -> Tensor:
    def make() -> Any:
        encoder = BertEncoder(MINILM).eval()
        load_minilm(encoder)
        tokenizer = WordPieceTokenizer(minilm_vocabulary(), context_length=MINILM.positions)
        with torch.inference_mode():
            return encode_texts(lambda tokens: unit(encoder(tokens)), texts, tokenizer)

    return torch.from_numpy(cached(cache, "ablation-texts", sentence_parts(texts), make))


def read_set(spec: str, cache: Path) -> Captions:
    groups = [example.captions for example in read_examples(spec)]
    texts = [caption for group in groups for caption in group]
    counts = torch.tensor([len(group) for group in groups])
    tokenizer = WordPieceTokenizer(minilm_vocabulary(), context_length=PIECES)
    return Captions(
        large=photo_features(spec, 224, cache),
        small=photo_features(spec, 96, cache),
        sentences=sentences(texts, cache),
        tokens=torch.from_numpy(tokenizer.batch(texts)).long(),
        owner=torch.repeat_interleave(torch.arange(len(groups)), counts),
        first=counts.cumsum(0) - counts,
        counts=counts,
    )


class Surrogate(nn.Module):
    """The teacher's heads."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.image = nn.Sequential(nn.Dropout(0.5), nn.Linear(1280, WIDTH))
        self.text = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(384, 768), nn.GELU(), nn.Linear(768, WIDTH)
        )

    def forward(self, features: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor]:
        image = self.image((features - self.mean) / self.std)
        return l2_normalize(image), l2_normalize(self.text(sentence * 10))


class SmallStudent(nn.Module):
    """64 units for photos; word pieces of 48 numbers for captions."""

    def __init__(self, mean: Tensor, std: Tensor, vocabulary: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.image = nn.Sequential(nn.Linear(1280, 64), nn.GELU(), nn.Linear(64, WIDTH))
        self.words = nn.EmbeddingBag(vocabulary, 48, mode="mean", padding_idx=0)
        self.text = nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, WIDTH))

    def forward(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        image = self.image((features - self.mean) / self.std)
        return image, self.text(self.words(tokens))


def fit_teacher(data: Captions, steps: int = 780) -> Surrogate:
    torch.manual_seed(0)
    teacher = Surrogate(data.large.mean(0), data.large.std(0) + 1e-3)
    optimizer = torch.optim.AdamW(teacher.parameters(), 1e-3, weight_decay=0.1)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 20) * cosine_fade(step, steps)
        photos = torch.randint(len(data.large), (1024,))
        captions = choose(data, photos)
        v, x = teacher(data.large[photos], data.sentences[captions])
        m = cosine(v, x)
        loss = (infonce_rows(m, 0.05) + infonce_rows(m.T, 0.05)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return teacher.eval().requires_grad_(False)


def choose(data: Captions, photos: Tensor) -> Tensor:
    """One caption of each photo, at random."""
    return data.first[photos] + (torch.rand(len(photos)) * data.counts[photos]).long()


class Bench:
    def __init__(self, cache: Path) -> None:
        torch.set_num_threads(1)
        self.train, self.val = read_set(TRAIN, cache), read_set(VAL, cache)
        file = cache / "ablation-teacher.pt"
        mean, std = self.train.large.mean(0), self.train.large.std(0) + 1e-3
        self.teacher = Surrogate(mean, std)
        if not file.is_file():
            torch.save(fit_teacher(self.train).state_dict(), file)
        self.teacher.load_state_dict(torch.load(file, weights_only=True))
        self.teacher.eval().requires_grad_(False)
        self.t_image = self.teacher.eval()(self.train.large, self.train.sentences[:1])[0]
        self.t_text = self.teacher(self.train.large[:1], self.train.sentences)[1]
        self.vocabulary = len(minilm_vocabulary())

    def teacher_recall(self) -> dict[str, float]:
        v = self.teacher(self.val.large, self.val.sentences[:1])[0]
        x = self.teacher(self.val.large[:1], self.val.sentences)[1]
        return both_directions(v, x, self.val.owner)

    def run(
        self, cells: dict[str, Any], dcd: dict[str, Any] | None, seed: int, *, balance: bool
    ) -> dict[str, float]:
        data = self.train
        torch.manual_seed(seed)
        student = SmallStudent(data.small.mean(0), data.small.std(0) + 1e-3, self.vocabulary)
        graph = KnowledgeGraph(graph_cells(cells))
        optimizer = torch.optim.AdamW(
            student.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.05
        )
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1.0, (step + 1) / 52) * cosine_fade(step, STEPS)
            photos = torch.randperm(len(data.small))[:BATCH]
            captions = choose(data, photos)
            v, x = student(data.small[photos], data.tokens[captions])
            e = EmbeddingSet.build(v, x, self.t_image[photos], self.t_text[captions])
            if balance and step == 0:
                matched = GradMatch(at=(0,))
                matched.update(graph, graph.values(e), list(student.parameters()), 0)
            loss = graph(e, progress=step / STEPS).total
            if dcd is not None:
                loss = loss + self.dcd(DcdConfig(**dcd), student, e, photos, captions)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        student.eval()
        with torch.no_grad():
            v = student(self.val.small, self.val.tokens[:1])[0]
            x = student(self.val.small[:1], self.val.tokens)[1]
        return both_directions(l2_normalize(v), l2_normalize(x), self.val.owner)

    def dcd(
        self,
        config: DcdConfig,
        student: nn.Module,
        e: EmbeddingSet,
        photos: Tensor,
        captions: Tensor,
    ) -> Tensor:
        """Mined from random captions and photos of the whole training set."""
        miner = HardNegativeMiner(config.k, 0, fn_filter=config.fn_filter, margin=config.margin)
        data, parts = self.train, []
        own = (self.t_image[photos] * self.t_text[captions]).sum(dim=1)
        for direction in config.directions:
            texts = direction == "i2t"
            keys, ids, query = (
                (self.t_text, captions, self.t_image[photos])
                if texts
                else (self.t_image, photos, self.t_text[captions])
            )
            candidates = torch.randint(len(keys), (len(photos), config.pool))
            scores = torch.einsum("nd,ncd->nc", query, keys[candidates])
            true = (data.owner[candidates] == photos[:, None]) if texts else None
            found = miner.mine(scores, candidates, ids, own, duplicates=true, direction=direction)
            flat = found.key_ids.flatten()
            some = student(data.small[:1], data.tokens[flat])[1] if texts else None
            if some is None:
                some = student(data.small[flat], data.tokens[:1])[0]
            encoded = l2_normalize(some).reshape(*found.key_ids.shape, -1)
            mine = e.v_s if texts else e.x_s
            parts.append(apply_dcd(config, torch.einsum("nd,nkd->nk", mine, encoded), found))
        return torch.stack(parts).mean()


def best_cells(file: Path) -> dict[str, dict[str, Any]]:
    """The best cell of each type in the toy world: name -> cells, weights by gradient."""
    rows = [row for row in read(file) if row["experiment"] == "E1" and row["config"]["balance"]]
    best: dict[str, tuple[float, str, dict[str, Any]]] = {}
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        mean = statistics.mean(row["rsum"] for row in mine)
        type_ = name.split(".")[0]
        if mean > best.get(type_, (0.0, "", {}))[0]:
            best[type_] = mean, name, mine[0]["config"]["cells"]
    return {f"best {type_}: {name}": cells for type_, (_, name, cells) in best.items()}


def plan(best: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any] | None]]:
    """Name -> cells, and what DCD adds."""
    names = ("NO_KD", "BASE", "CONA_T", "CONA_3P", "STRONG", "CLIPKD", "MOBILECLIP")
    found: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
        name: (preset_cells(name), None) for name in names
    }
    found["DCD_FIXED"] = (preset_cells("DCD_FIXED"), changed(DCD_PRESETS["FIXED"]))
    found |= {name: (cells, None) for name, cells in best_cells(best).items()}
    return found


def run(file: Path, seeds: list[int], best: Path, cache: Path) -> None:
    bench = Bench(cache)
    done = {(row["name"], row["seed"]) for row in read(file)}
    file.parent.mkdir(parents=True, exist_ok=True)
    entries: list[tuple[str, int, dict[str, Any], dict[str, Any] | None]] = [
        ("teacher", 0, {}, None)
    ]
    entries += [(n, seed, *both) for seed in seeds for n, both in plan(best).items()]
    for name, seed, cells, dcd in entries:
        if (name, seed) in done:
            continue
        started = time.process_time()
        balance = name.startswith("best ")
        if name == "teacher":
            found = bench.teacher_recall()
        else:
            found = bench.run(cells, dcd, seed, balance=balance)
        row = {"name": name, "seed": seed}
        row |= {key: round(value, 3) for key, value in found.items()}
        row |= {
            "cpu_s": round(time.process_time() - started, 2),
            "config": {"cells": cells, "dcd": dcd},
        }
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")


def table(file: Path) -> None:
    rows = read(file)
    names = dict.fromkeys(row["name"] for row in rows)
    columns = ("t2i_r1", "t2i_r10", "i2t_r1", "rsum")
    print("| method | T2I R@1 | T2I R@10 | I2T R@1 | rsum | seeds |\n|---|---|---|---|---|---|")
    for name in names:
        mine = [row for row in rows if row["name"] == name]
        cells = []
        for column in columns:
            values = [row[column] for row in mine]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        print(f"| {name} | {' | '.join(cells)} | {len(mine)} |")
    print(f"\nCPU: {sum(row['cpu_s'] for row in rows) / 60:.1f} minutes in {len(rows)} runs")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--best", type=Path, default=TOY_ROWS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    args = parser.parse_args()
    if args.what == "run":
        run(args.rows, args.seeds, args.best, args.cache)
    else:
        table(args.rows)


if __name__ == "__main__":
    main()
