"""Many processes: the same loss and gradients (T31), shards dealt out, nothing lost or repeated."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from models.distillation.errors import DistillationError  # noqa: E402
from models.distillation.shards import (  # noqa: E402
    Shards,
    Source,
    count_examples,
    dealt,
    epoch_steps,
    loader,
    seen_by,
)
from tests.models.samples import captioned_shard  # noqa: E402

REPOSITORY = Path(__file__).parents[3]
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "picture", "of", "colour", "number")

WORKER = """
import sys, torch
from torch.nn.parallel import DistributedDataParallel
from models.distillation.cells import CellKey, CellSpec
from models.distillation.distributed import gather, open_world, share
from models.distillation.embeddings import EmbeddingSet
from models.distillation.graph import KnowledgeGraph
from models.distillation.loop import compute
from models.distillation.presets import PRESETS

torch.set_num_threads(1)
out, parts = sys.argv[1], int(sys.argv[2])
with open_world() as world:
    torch.manual_seed(0)
    tower = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.GELU(), torch.nn.Linear(8, 5))
    tower = tower.double()
    seen, said, t, u = (torch.randn(8, n, dtype=torch.float64) for n in (6, 6, 5, 5))
    pair = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0])
    cells = {**PRESETS["CONA_T"].cells, **PRESETS["STRONG"].cells}
    graph = KnowledgeGraph(cells, learn_tau=True).double()

    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.tower = tower
        def forward(self, a, b):
            return self.tower(a), self.tower(b)

    model = Both()
    wrapped = DistributedDataParallel(model) if world.size > 1 else model
    size = 8 // world.size
    mine = slice(world.rank * size, (world.rank + 1) * size)
    def forward(rows):
        return wrapped(seen[mine][rows], said[mine][rows])
    def loss_of(a, b):
        v, x = gather(a, world), gather(b, world)
        e = EmbeddingSet.build(v, x, gather(t[mine], world), gather(u[mine], world),
                               pair_id=gather(pair[mine], world))
        report = graph(e)
        return report.total, report
    found = compute(forward, size, parts, loss_of, wrapped)
    grads = [p.grad for p in tower.parameters()] + [p.grad for p in graph.parameters()]
    assert share([world.rank + 1], world) == [sum(range(1, world.size + 1))]
    if world.first:
        torch.save({"loss": found.loss, "grads": grads}, out)
"""


def launched(command: list[str], processes: int, timeout: float = 900) -> None:
    """As torchrun does it, without its rendezvous."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    started = [
        subprocess.Popen(
            command,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    for process in started:
        _, said = process.communicate(timeout=timeout)
        assert process.returncode == 0, said


def computed(out: Path, processes: int, parts: int) -> dict[str, Any]:
    """What WORKER finds, by so many processes in so many parts each."""
    launched([sys.executable, "-c", WORKER, str(out), str(parts)], processes)
    found: dict[str, Any] = torch.load(out, weights_only=True)
    return found


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By one process, of the whole batch at once."""
    return computed(tmp_path_factory.mktemp("one") / "found.pt", 1, 1)


@pytest.mark.parametrize("parts", [1, 2])
def test_two_processes_equal_one(tmp_path: Path, one: dict[str, Any], parts: int) -> None:
    """T31: loss and gradients on the same batch, also when each computes it in parts."""
    two = computed(tmp_path / "found.pt", 2, parts)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-6)
    assert len(one["grads"]) == 4 + 3  # and three learned temperatures
    for a, b in zip(one["grads"], two["grads"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_the_whole_command_in_two_processes(tmp_path: Path) -> None:
    """Ends, with one checkpoint, whose weights are those of one process with the whole batch."""
    from models.checkpoint import load_checkpoint
    from models.distillation.distributed import World
    from models.distillation.recipe import DistillRecipe
    from models.distillation.stages import run
    from models.distillation.start import start
    from tests.models.distillation.runs import prepared

    made = prepared()
    for number in range(2):
        captioned_shard(tmp_path / f"{number}.tar", 6, first=6 * number)
    # An epoch is one step of all twelve photos, however many share it, and no unit drops out.
    fields: dict[str, Any] = {
        "name": "toy",
        "version": "1",
        "title": "A toy",
        "student": "tiny",
        "teacher": f"surrogate:{made / 'teacher.pt'}",
        "data": f"{tmp_path}/*.tar",
        "side_px": 32,
        "image_dropout": 0.0,
        "text_dropout": 0.0,
        "batch": 6,
        "epochs": 3,
        "learning_rate": 0.2,  # at 1,024 photos a step; 0.002 here
        "threads": 1,
        "cache": str(tmp_path / "cache"),
        "log_steps": 1,
        "preset": "STRONG",
        "out": str(tmp_path / "two"),
    }
    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        "from models.distillation.recipe import DistillRecipe\n"
        f"RECIPE = DistillRecipe(**{fields!r})\n"
    )
    launched([sys.executable, "-m", "models.train", str(recipe)], 2)
    lines = (tmp_path / "two" / "metrics-0.csv").read_text().splitlines()
    assert len(lines) == 4  # three steps of 2 x 6 photos
    alone = DistillRecipe(**{**fields, "batch": 12, "out": str(tmp_path / "one")})
    before = start(alone, World(0, 1, torch.device("cpu"))).student.state_dict()
    one = load_checkpoint(run(alone, None)).weights
    two = load_checkpoint(tmp_path / "two" / "final.pt").weights
    floats = [name for name, value in one.items() if value.is_floating_point()]
    moved = torch.cat([(one[name] - before[name]).flatten() for name in floats])
    apart = torch.cat([(two[name] - one[name]).flatten() for name in floats])
    # As a share of the way, because the optimiser takes rounding in a gradient of almost
    # nothing for a direction; a process that learns from its own rows alone is 0.4 away.
    assert moved.norm() > 0
    assert (apart.norm() / moved.norm()).item() < 0.02


def source(data: str, batch: int = 3) -> Source:
    return Source(
        data=data,
        batch=batch,
        side_px=8,
        seed=0,
        crops=1,
        smallest=0.5,
        vocabulary=WORDS,
        context_length=16,
    )


@pytest.mark.parametrize("files", [1, 2, 8])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_photo_is_seen_once_an_epoch(tmp_path: Path, files: int, workers: int) -> None:
    """By one process or another; in another order in the next epoch."""
    for number in range(files):
        captioned_shard(tmp_path / f"{number}.tar", 24 // files, first=number * 24 // files)
    spec = str(tmp_path / "*.tar")
    assert sum(count_examples(spec)) == 24
    orders = []
    for epoch in (0, 0, 1):
        seen: list[int] = []
        for rank in range(2):
            for batch in loader(Shards(source(spec), epoch, rank, 2), workers):
                seen += batch.pair_id.tolist()
                assert batch.pixels.shape == (3, 8, 8, 3) and batch.skipped == 0
        assert len(set(seen)) == len(seen) == 24
        orders.append(seen)
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_epoch_leaves_out_what_was_seen(tmp_path: Path, workers: int) -> None:
    for number in range(3):
        captioned_shard(tmp_path / f"{number}.tar", 8, first=8 * number)
    spec = str(tmp_path / "*.tar")
    whole = [b.pair_id.tolist() for b in loader(Shards(source(spec, 2), 1, 0, 1), workers)]
    for done in (1, 5):
        rest = [b.pair_id.tolist() for b in loader(Shards(source(spec, 2), 1, 0, 1, done), workers)]
        assert rest == whole[done:]


def test_dealing_and_counting() -> None:
    assert dealt([5, 5, 5], 2) == [10, 5]
    assert dealt([7], 3) == [3, 2, 2]
    assert epoch_steps([10, 10], 4, 1, 0) == 5
    assert epoch_steps([10, 6], 4, 2, 0) == 1  # as many as the process that has fewest
    assert epoch_steps([10, 10, 10, 10], 4, 2, 2) == 4
    with pytest.raises(DistillationError, match="lower batch or workers"):
        epoch_steps([3, 3], 4, 2, 0)
    assert seen_by([3, 1, 2], 6) == ([3, 1, 2], 1)
    assert seen_by([3, 1, 2], 4) == ([2, 1, 1], 1)
