"""How the toy world's student is trained: one Trial, fully determined, one row of numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.distillation.bank import TeacherBank
from models.distillation.cells import GRID, CellKey, CellSpec
from models.distillation.dynamic import DcdConfig, apply_dcd
from models.distillation.embeddings import EmbeddingSet
from models.distillation.graph import KnowledgeGraph
from models.distillation.miner import HardNegativeMiner, MinedBatch
from models.distillation.recall import both_directions
from models.distillation.similarity import l2_normalize
from models.distillation.toy import Pairs, ToyEncoder, World, cosine_fade, train_teacher

STEPS, BATCH, PAIRS, RATE = 350, 128, 8_000, 3e-3
HELD_OUT = {"test": 2, "validation": 3}  # seeds of the 1,000 pairs that are measured on


@dataclass(frozen=True)
class Trial:
    """One training run of the toy student; fully determines it."""

    experiment: str
    name: str
    seed: int
    cells: dict[str, dict[str, Any]]
    dcd: dict[str, Any] | None = None
    mined: bool = True  # False: negatives at random
    repeated: float = 0.0
    wrong: float = 0.3  # share of training captions that belong to another image
    hidden: int = 32
    held_out: str = "test"
    text_layers: int = 0  # E6 only
    text_start: str = ""

    @property
    def key(self) -> str:
        """Hash of all that decides the result."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Bench:
    """World, teacher and data, made once."""

    def __init__(self, cache: Path) -> None:
        torch.set_num_threads(1)
        self.world = World()
        self.teacher = ToyEncoder(384, 3)
        file = cache / "toy-teacher-1.pt"
        if not file.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            torch.save(train_teacher(self.world).state_dict(), file)
        self.teacher.load_state_dict(torch.load(file, weights_only=True))
        self.teacher.eval().requires_grad_(False)
        self.held_out = {name: self.world.pairs(1000, seed=seed) for name, seed in HELD_OUT.items()}
        self._train: dict[tuple[float, float], tuple[Pairs, Tensor, Tensor]] = {}
        self._deep: DeepText | None = None

    def train_set(self, wrong: float, repeated: float) -> tuple[Pairs, Tensor, Tensor]:
        """Noisy pairs and the teacher's vectors of them."""
        if (wrong, repeated) not in self._train:
            data = self.world.pairs(PAIRS, seed=4, wrong=wrong, repeated=repeated)
            image, text = self.teacher(data.image, data.caption)
            self._train[wrong, repeated] = data, l2_normalize(image), l2_normalize(text)
        return self._train[wrong, repeated]

    def teacher_recall(self, held_out: str = "test") -> dict[str, float]:
        held = self.held_out[held_out]
        image, text = self.teacher(held.image, held.caption)
        return both_directions(l2_normalize(image), l2_normalize(text), torch.arange(len(held)))

    def run(self, trial: Trial) -> dict[str, float]:
        if trial.text_layers:
            return self.run_text(trial)
        data, t_image, t_text = self.train_set(trial.wrong, trial.repeated)
        torch.manual_seed(trial.seed)
        student = ToyEncoder(trial.hidden, 1)
        graph = KnowledgeGraph(graph_cells(trial.cells))
        negatives = Negatives(trial, data, t_image, t_text) if trial.dcd else None
        optimizer = torch.optim.AdamW(student.parameters(), RATE, betas=(0.9, 0.98))
        for step in range(STEPS):
            set_rate(optimizer, RATE, step, STEPS)
            rows = torch.randint(PAIRS, (BATCH,))
            v, x = student(data.image[rows], data.caption[rows])
            e = EmbeddingSet.build(v, x, t_image[rows], t_text[rows])
            loss = graph(e, progress=step / STEPS).total
            if negatives is not None:
                loss = loss + negatives.loss(student, e, rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        held = self.held_out[trial.held_out]
        with torch.no_grad():
            v, x = student(held.image, held.caption)
        return both_directions(l2_normalize(v), l2_normalize(x), torch.arange(len(held)))

    def run_text(self, trial: Trial) -> dict[str, float]:
        """A text tower of k layers, from an eight-layer one's or from nothing; teacher's images."""
        deep = self.deep_text()
        data, _, _ = self.train_set(0.0, 0.0)
        with torch.no_grad():
            target = l2_normalize(deep(data.caption))
        torch.manual_seed(trial.seed)
        tower = DeepText(trial.text_layers)
        if trial.text_start:
            tower.inherit(deep, trial.text_start)
        fit_text(tower, data, target, 150)
        held = self.held_out[trial.held_out]
        with torch.no_grad():
            image = l2_normalize(self.teacher(held.image, held.caption)[0])
            text = l2_normalize(tower(held.caption))
        return both_directions(image, text, torch.arange(len(held)))

    def deep_text(self) -> DeepText:
        """Eight layers that know the teacher's text vectors of clean captions."""
        if self._deep is None:
            torch.manual_seed(0)
            self._deep = DeepText(8)
            clean = self.world.pairs(20_000, seed=5)
            target = l2_normalize(self.teacher(clean.image, clean.caption)[1])
            fit_text(self._deep, clean, target, 900)
        return self._deep


def set_rate(optimizer: torch.optim.Optimizer, rate: float, step: int, steps: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * min(1.0, (step + 1) / 35) * cosine_fade(step, steps)


def graph_cells(cells: dict[str, dict[str, Any]]) -> dict[CellKey, CellSpec]:
    keys = {str(key): key for key in GRID}
    return {keys[name]: CellSpec(**options) for name, options in cells.items()}


class Negatives:
    """DCD in the toy world: candidates of the whole training set, scored by the teacher."""

    def __init__(self, trial: Trial, data: Pairs, t_image: Tensor, t_text: Tensor) -> None:
        assert trial.dcd is not None
        self.config = DcdConfig(**trial.dcd)
        self.mined = trial.mined
        self.data, self.t_image, self.t_text = data, t_image, t_text
        self.miner = HardNegativeMiner(
            self.config.k, 0, fn_filter=self.config.fn_filter, margin=self.config.margin
        )
        self.bank = TeacherBank(t_image.shape[1], len(data))
        self.bank.push(torch.arange(len(data)), t_image, t_text)

    def loss(self, student: ToyEncoder, e: EmbeddingSet, rows: Tensor) -> Tensor:
        parts = []
        for direction in self.config.directions:
            texts = direction == "i2t"
            query, keys = (self.t_image, self.t_text) if texts else (self.t_text, self.t_image)
            candidates = torch.randint(PAIRS, (len(rows), self.config.pool))
            scores = torch.einsum("nd,ncd->nc", query[rows], keys[candidates])
            own = (query[rows] * keys[rows]).sum(dim=1)
            ranked, suspected = scores, None
            if not self.mined:  # chance ranks, below every true score; the filter is the same
                suspected = self.miner.suspected(scores, own)
                ranked = torch.rand(scores.shape) - 2.0
            found = self.miner.mine(
                ranked, candidates, rows, own, duplicates=suspected, direction=direction
            )
            true = torch.einsum("nd,nkd->nk", query[rows], keys[found.key_ids])
            found = MinedBatch(found.key_ids, true, found.valid, direction)
            flat = found.key_ids.flatten()
            keyed = (
                student.read(self.data.caption[flat])
                if texts
                else student.image(self.data.image[flat])
            )
            encoded = l2_normalize(keyed).reshape(*found.key_ids.shape, -1)
            mine = e.v_s if texts else e.x_s
            parts.append(apply_dcd(self.config, torch.einsum("nd,nkd->nk", mine, encoded), found))
        return torch.stack(parts).mean()


class DeepText(nn.Module):
    """A bag of slots through residual layers."""

    def __init__(self, layers: int, width: int = 64) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(160, width, mode="sum")
        nn.init.normal_(self.words.weight, std=0.3)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
            )
            for _ in range(layers)
        )
        self.out = nn.Linear(width, 64)

    def forward(self, caption: Tensor) -> Tensor:
        x = self.words(caption)
        for layer in self.layers:
            x = x + layer(x)
        found: Tensor = self.out(x)
        return found

    def inherit(self, deep: DeepText, how: str) -> None:
        """Words, projection and as many layers as this tower has: the first ones, or evenly."""
        count, whole = len(self.layers), len(deep.layers)
        step = {"first": 1, "uniform": whole // count}[how]
        self.words.load_state_dict(deep.words.state_dict())
        self.out.load_state_dict(deep.out.state_dict())
        for number, layer in enumerate(self.layers):
            layer.load_state_dict(deep.layers[number * step].state_dict())


def fit_text(tower: DeepText, data: Pairs, target: Tensor, steps: int) -> None:
    """InfoNCE against the teacher's text vectors: MoTIS stage 1 on the text side."""
    graph = KnowledgeGraph(graph_cells({"intra_ts.infonce": {"edges": "text"}}))
    optimizer = torch.optim.AdamW(tower.parameters(), 1e-3, betas=(0.9, 0.98))
    for step in range(steps):
        set_rate(optimizer, 1e-3, step, steps)
        rows = torch.randint(len(data), (BATCH,))
        x = tower(data.caption[rows])
        t = target[rows]
        loss = graph(EmbeddingSet.build(x, x, t, t)).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
