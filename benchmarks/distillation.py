"""Which kinds of distillation help, in a world small enough to ask often.

    python -m benchmarks.distillation run [--only E5 E6] [--rows FILE]
    python -m benchmarks.distillation table [--rows FILE]

`run` appends one JSON line a training run and skips those it finds there, so it can be
stopped and started at any time; every line carries the configuration it came from. The
world is that of models/distillation/toy.py: it shows orders, not magnitudes. Weights of
the grid are not tuned: a cell's gradient is matched to the baseline's at step 0.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.distillation.balance import GradMatch
from models.distillation.bank import TeacherBank
from models.distillation.cells import GRID, SYMMETRIC, USES_TAU, CellKey, CellSpec
from models.distillation.dynamic import DCD_PRESETS, DcdConfig, apply_dcd
from models.distillation.embeddings import EmbeddingSet
from models.distillation.graph import KnowledgeGraph
from models.distillation.miner import HardNegativeMiner, MinedBatch
from models.distillation.presets import PRESETS
from models.distillation.recall import both_directions
from models.distillation.similarity import l2_normalize
from models.distillation.toy import Pairs, ToyEncoder, World, cosine_fade, train_teacher

ROWS = Path("benchmarks/results/distillation.jsonl")
SEEDS = (1, 2, 3)
STEPS, BATCH, PAIRS, HIDDEN, RATE = 350, 128, 8_000, 32, 3e-3


@dataclass(frozen=True)
class Trial:
    """One training run of the toy student; fully determines it."""

    experiment: str
    name: str
    seed: int
    cells: dict[str, dict[str, Any]]
    dcd: dict[str, Any] | None = None
    balance: bool = False  # weights matched by gradient at step 0
    mined: bool = True  # False: negatives at random
    repeated: float = 0.0
    text_layers: int = 0  # E6 only
    text_start: str = ""

    @property
    def key(self) -> str:
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
        self.held_out = self.world.pairs(1000, seed=2)
        self._train: dict[float, tuple[Pairs, Tensor, Tensor]] = {}

    def train_set(self, repeated: float) -> tuple[Pairs, Tensor, Tensor]:
        """Noisy pairs and the teacher's vectors of them."""
        if repeated not in self._train:
            data = self.world.pairs(PAIRS, seed=4, wrong=0.3, repeated=repeated)
            image, text = self.teacher(data.image, data.caption)
            self._train[repeated] = data, l2_normalize(image), l2_normalize(text)
        return self._train[repeated]

    def run(self, trial: Trial) -> dict[str, float]:
        if trial.text_layers:
            return run_text(self, trial)
        data, t_image, t_text = self.train_set(trial.repeated)
        held = self.held_out
        torch.manual_seed(trial.seed)
        student = ToyEncoder(HIDDEN, 1)
        graph = KnowledgeGraph(graph_cells(trial.cells))
        negatives = Negatives(trial, data, t_image, t_text) if trial.dcd else None
        optimizer = torch.optim.AdamW(student.parameters(), RATE, betas=(0.9, 0.98))
        for step in range(STEPS):
            set_rate(optimizer, step)
            rows = torch.randint(PAIRS, (BATCH,))
            v, x = student(data.image[rows], data.caption[rows])
            e = EmbeddingSet.build(v, x, t_image[rows], t_text[rows])
            if trial.balance and step == 0:
                balance = GradMatch(at=(0,))
                balance.update(graph, graph.values(e), list(student.parameters()), 0)
            loss = graph(e, progress=step / STEPS).total
            if negatives is not None:
                loss = loss + negatives.loss(student, e, rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            v, x = student(held.image, held.caption)
        return both_directions(l2_normalize(v), l2_normalize(x), torch.arange(len(held)))


def set_rate(optimizer: torch.optim.Optimizer, step: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = RATE * min(1.0, (step + 1) / 35) * cosine_fade(step, STEPS)


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

    def loss(self, student: nn.Module, e: EmbeddingSet, rows: Tensor) -> Tensor:
        parts = []
        for direction in self.config.directions:
            texts = direction == "i2t"
            query, keys = (self.t_image, self.t_text) if texts else (self.t_text, self.t_image)
            candidates = torch.randint(PAIRS, (len(rows), self.config.pool))
            scores = torch.einsum("nd,ncd->nc", query[rows], keys[candidates])
            own = (query[rows] * keys[rows]).sum(dim=1)
            ranked = scores if self.mined else torch.rand(scores.shape) - 2.0
            found = self.miner.mine(ranked, candidates, rows, own, direction=direction)
            true = torch.einsum("nd,nkd->nk", query[rows], keys[found.key_ids])
            found = MinedBatch(found.key_ids, true, found.valid, direction)
            flat = found.key_ids.flatten()
            v, x = student(self.data.image[flat], self.data.caption[flat])
            encoded = l2_normalize(x if texts else v).reshape(*found.key_ids.shape, -1)
            mine = e.v_s if texts else e.x_s
            parts.append(apply_dcd(self.config, torch.einsum("nd,nkd->nk", mine, encoded), found))
        return torch.stack(parts).mean()


# --- E6: a deep text tower, cut ------------------------------------------------------------


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
        return self.out(x)


def fit_text(bench: Bench, tower: DeepText, data: Pairs, target: Tensor, steps: int) -> None:
    """InfoNCE against the teacher's text vectors: MoTIS stage 1 on the text side."""
    graph = KnowledgeGraph(graph_cells({"intra_ts.infonce": {"edges": "text"}}))
    optimizer = torch.optim.AdamW(tower.parameters(), 1e-3, betas=(0.9, 0.98))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 35) * cosine_fade(step, steps)
        rows = torch.randint(len(data), (BATCH,))
        x = tower(data.caption[rows])
        t = target[rows]
        loss = graph(EmbeddingSet.build(x, x, t, t)).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def run_text(bench: Bench, trial: Trial) -> dict[str, float]:
    """A text tower of k layers, from an eight-layer one's or from nothing; teacher's images."""
    if not hasattr(bench, "deep"):
        torch.manual_seed(0)
        deep = DeepText(8)
        clean = bench.world.pairs(20_000, seed=5)
        fit_text(
            bench, deep, clean, l2_normalize(bench.teacher(clean.image, clean.caption)[1]), 900
        )
        bench.deep = deep  # type: ignore[attr-defined]
    deep = bench.deep  # type: ignore[attr-defined]
    data, _, _ = bench.train_set(0.0)
    with torch.no_grad():
        target = l2_normalize(deep(data.caption))
    torch.manual_seed(trial.seed)
    tower = DeepText(trial.text_layers)
    if trial.text_start:
        chosen = {
            "first": list(range(trial.text_layers)),
            "uniform": [n * (8 // trial.text_layers) for n in range(trial.text_layers)],
        }[trial.text_start]
        tower.words.load_state_dict(deep.words.state_dict())
        tower.out.load_state_dict(deep.out.state_dict())
        for mine, theirs in enumerate(chosen):
            tower.layers[mine].load_state_dict(deep.layers[theirs].state_dict())
    fit_text(bench, tower, data, target, 150)
    held = bench.held_out
    with torch.no_grad():
        image = l2_normalize(bench.teacher(held.image, held.caption)[0])
        text = l2_normalize(tower(held.caption))
    return both_directions(image, text, torch.arange(len(held)))


# --- what is run -----------------------------------------------------------------------------

BASE: dict[str, dict[str, Any]] = {"intra_ts.infonce": {}}


def variants() -> Iterator[tuple[CellKey, str]]:
    """Every cell beside the baseline, symmetric ones of ts types in both alignments."""
    for key in GRID:
        if str(key) == "intra_ts.infonce":
            continue
        yield key, "row"
        if key.strategy in SYMMETRIC and key.type.endswith("ts"):
            yield key, "transpose"


def options(key: CellKey, align: str, weight: float, tau: float) -> dict[str, Any]:
    chosen: dict[str, Any] = {"weight": weight}
    if key.strategy in USES_TAU:
        chosen["tau"] = tau
    if align != "row":
        chosen["align"] = align
    return chosen


def label(key: CellKey, align: str) -> str:
    return str(key) if align == "row" else f"{key} ({align})"


def grid() -> Iterator[Trial]:
    """E1 to E3: the baseline and every cell beside it, weights by gradient at step 0."""
    for seed in SEEDS:
        yield Trial("E1", "BASE", seed, BASE)
        for key, align in variants():
            # Intra-modal KL needs a soft temperature: each row's cosine with itself is 1.
            tau = 0.3 if key.strategy == "kl" and key.type.startswith("intra") else 0.07
            cells = {**BASE, str(key): options(key, align, 1.0, tau)}
            yield Trial("E1", label(key, align), seed, cells, balance=True)


def curves() -> Iterator[Trial]:
    """E3: symmetric terms at fixed weights, one seed."""
    for name in ("intra_ts.sym_kl", "inter_ts.sym_kl"):
        for align in ("row", "transpose"):
            for weight in (0.1, 0.3, 1.0, 3.0):
                chosen = {"weight": weight, **({} if align == "row" else {"align": align})}
                yield Trial("E3", f"{name} ({align}) {weight:g}", 1, {**BASE, name: chosen})


def preset_cells(name: str) -> dict[str, dict[str, Any]]:
    plain = CellSpec()
    return {
        str(key): {
            field.name: value
            for field in dataclasses.fields(spec)
            if (value := getattr(spec, field.name)) != getattr(plain, field.name)
        }
        for key, spec in PRESETS[name].cells.items()
    }


def combinations() -> Iterator[Trial]:
    """E4: the published sums."""
    for seed in SEEDS:
        for name in ("NO_KD", "CONA_3P", "CONA_T", "CLIPKD", "CLIPRD", "STRONG"):
            yield Trial("E4", name, seed, preset_cells(name))


def clip_kd() -> Iterator[Trial]:
    """E5: CLIP-KD's own additions to the captions' loss, with its weights."""
    task: dict[str, dict[str, Any]] = {"inter_ss.infonce": {}}
    additions: dict[str, dict[str, dict[str, Any]]] = {
        "task": {},
        "task + FD": {"intra_ts.fd": {"weight": 3.9}},
        "task + ICL": {"inter_ts.infonce": {}},
        "task + CRD": {"inter_ss.kl": {}},
    }
    for seed in SEEDS:
        yield Trial("E5", "BASE", seed, BASE)
        for name, extra in additions.items():
            yield Trial("E5", name, seed, {**task, **extra})


def truncation() -> Iterator[Trial]:
    """E6: 6, 4 or 2 of 8 text layers, inherited or not."""
    for seed in SEEDS:
        for layers in (6, 4, 2):
            for start in ("first", "uniform", ""):
                name = f"{layers} layers, {start or 'random'}"
                yield Trial("E6", name, seed, {}, text_layers=layers, text_start=start)


def mining() -> Iterator[Trial]:
    """E8: who chooses the negatives, and what the published weights do."""
    task: dict[str, dict[str, Any]] = {"inter_ss.infonce": {}}
    fixed = changed(DCD_PRESETS["FIXED"])
    released = changed(DCD_PRESETS["RELEASED"])
    for seed in SEEDS:
        yield Trial("E8", "task", seed, task)
        yield Trial("E8", "FIXED, random negatives", seed, task, dcd=fixed, mined=False)
        yield Trial("E8", "FIXED", seed, task, dcd=fixed)
        yield Trial("E8", "PAPER", seed, task, dcd=changed(DCD_PRESETS["PAPER"]))
        yield Trial("E8", "RELEASED", seed, task, dcd=released)
        aligned = {**released, "aligned": True}
        yield Trial("E8", "RELEASED, aligned", seed, task, dcd=aligned)
        even = {**aligned, "scalar_kd": False, "gamma": 0.0}  # equal weights, truly applied
        yield Trial("E8", "RELEASED, aligned, equal weights", seed, task, dcd=even)
        yield Trial("E8", "WSL", seed, task, dcd=changed(DCD_PRESETS["WSL"]))


def filtering() -> Iterator[Trial]:
    """E9: a tenth of the captions stands on two images; is it taken for a negative?"""
    task: dict[str, dict[str, Any]] = {"inter_ss.infonce": {}}
    fixed = changed(DCD_PRESETS["FIXED"])
    for seed in SEEDS:
        for repeated in (0.1,):
            for chosen in ("teacher_margin", "none"):
                dcd = {**fixed, "fn_filter": chosen}
                name = f"{repeated:.0%} repeated, filter {chosen}"
                yield Trial("E9", name, seed, task, dcd=dcd, repeated=repeated)


def changed(config: DcdConfig) -> dict[str, Any]:
    plain = DcdConfig()
    fields = (field.name for field in dataclasses.fields(config))
    return {
        name: getattr(config, name)
        for name in fields
        if getattr(config, name) != getattr(plain, name)
    }


PLAN = {
    "E5": clip_kd,
    "E6": truncation,
    "E4": combinations,
    "E9": filtering,
    "E8": mining,
    "E1": grid,
    "E3": curves,
}


def read(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


def run(file: Path, only: list[str], cache: Path) -> None:
    bench = Bench(cache)
    file.parent.mkdir(parents=True, exist_ok=True)
    for experiment, plan in PLAN.items():
        if only and experiment not in only:
            continue
        done = {row["key"] for row in read(file)}
        for trial in plan():
            if trial.key in done:
                continue
            started = time.process_time()
            found = {name: round(value, 3) for name, value in bench.run(trial).items()}
            row = {
                "experiment": trial.experiment,
                "name": trial.name,
                "seed": trial.seed,
                "key": trial.key,
                **found,
                "cpu_s": round(time.process_time() - started, 2),
                "config": dataclasses.asdict(trial),
            }
            with file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")


# --- reading the rows ------------------------------------------------------------------------


def table(file: Path) -> None:
    """Mean and s.d. over seeds of each named configuration; then the pass rules."""
    rows = read(file)
    experiments = ("E1", "E4", "E5", "E6", "E8", "E9")
    for experiment in experiments:
        names = {row["name"]: None for row in rows if row["experiment"] == experiment}
        print(f"\n{experiment}\n| name | T2I R@1 | I2T R@1 | rsum | seeds |\n|---|---|---|---|---|")
        for name in names:
            print(f"| {name} | {_line(rows, experiment, name)} |")
    verdicts(rows)


def _line(rows: list[dict[str, Any]], experiment: str, name: str) -> str:
    mine = [r for r in rows if r["experiment"] == experiment and r["name"] == name]
    cells = []
    for column in ("t2i_r1", "i2t_r1", "rsum"):
        values = [row[column] for row in mine]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells.append(f"{statistics.mean(values):.1f} ± {spread:.1f}")
    return " | ".join([*cells, str(len(mine))])


def by_seed(rows: list[dict[str, Any]], experiment: str, name: str) -> dict[int, float]:
    return {
        row["seed"]: row["rsum"]
        for row in rows
        if row["experiment"] == experiment and row["name"] == name
    }


def wins(a: dict[int, float], b: dict[int, float]) -> str:
    seeds = sorted(set(a) & set(b))
    return f"{sum(a[s] > b[s] for s in seeds)} of {len(seeds)} seeds"


def verdicts(rows: list[dict[str, Any]]) -> None:
    base = by_seed(rows, "E1", "BASE")
    types: dict[str, list[tuple[float, str]]] = {}
    for key, align in variants():
        mine = by_seed(rows, "E1", label(key, align))
        if mine:
            mean = statistics.mean(mine.values())
            types.setdefault(key.type, []).append((mean, label(key, align)))
    print("\nE1 best cell of each type against BASE; E2 spread inside a type")
    noise = statistics.stdev(base.values()) if len(base) > 1 else 0.0
    for type_, found in types.items():
        top, bottom = max(found), min(found)
        print(
            f"{type_}: {top[1]} {top[0]:.1f}, above BASE in "
            f"{wins(by_seed(rows, 'E1', top[1]), base)}; spread {top[0] - bottom[0]:.1f} "
            f"(3 s.d. of BASE: {3 * noise:.1f})"
        )
    print("\nE3 symmetric against standard")
    means = {name: mean for found in types.values() for mean, name in found}
    for type_ in ("intra_ts", "inter_ts"):
        for kind in ("sd", "kl"):
            for align in ("row", "transpose"):
                name = label(CellKey(type_, f"sym_{kind}"), align)  # type: ignore[arg-type]
                if name in means and f"{type_}.{kind}" in means:
                    standard = means[f"{type_}.{kind}"]
                    print(f"{name} {means[name]:.1f}, {type_}.{kind} {standard:.1f}")
    print("\nE3 weight curves (rsum, one seed)")
    for row in rows:
        if row["experiment"] == "E3":
            print(f"{row['name']}: {row['rsum']:.0f}")
    print(f"\nCPU: {sum(row['cpu_s'] for row in rows) / 60:.1f} minutes in {len(rows)} runs")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--only", nargs="*", default=[], choices=tuple(PLAN))
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    args = parser.parse_args()
    if args.what == "run":
        run(args.rows, args.only, args.cache)
    else:
        table(args.rows)


if __name__ == "__main__":
    main()
