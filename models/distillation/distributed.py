"""One process or many: the same loss and the same gradients (T31).

Every process computes the loss of the whole batch from gathered embeddings. Gathering
keeps the gradient: backward sums what all processes ask of one's rows, so each sees W
times its part, and DistributedDataParallel's mean over W processes makes that exact.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed
import torch.distributed.nn
from torch import Tensor


@dataclass(frozen=True)
class World:
    """Who this process is among how many."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0


@contextmanager
def open_world() -> Iterator[World]:
    """Join the processes that torchrun started, or be alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if size == 1:
        yield World(0, 1, device)
        return
    if cuda:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield World(rank, size, device)
    finally:
        torch.distributed.destroy_process_group()


def gather(rows: Tensor, world: World) -> Tensor:
    """(B, ...) of each process -> (W B, ...) of all, in rank order, with gradient."""
    if world.size == 1:
        return rows
    if rows.requires_grad:
        parts = torch.distributed.nn.all_gather(rows.contiguous())  # type: ignore[no-untyped-call]
        return torch.cat(list(parts))
    found = [torch.empty_like(rows) for _ in range(world.size)]
    torch.distributed.all_gather(found, rows.contiguous())
    return torch.cat(found)


def share(values: list[int], world: World) -> list[int]:
    """Sums over all processes."""
    if world.size == 1:
        return values
    total = torch.tensor(values, device=world.device)
    torch.distributed.all_reduce(total)
    return [int(value) for value in total]
