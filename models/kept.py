"""Networks trained by an earlier run, kept by all that they depend on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from models.data import cache_file


def kept(
    cache: Path,
    name: str,
    parts: Sequence[str | bytes],
    module: nn.Module,
    train: Callable[[], None],
) -> None:
    """Give `module` what `train()` made of it last time for the same `parts`, or call it and keep
    that: a file named by their hash, written whole or not at all."""
    file = cache_file(cache, name, parts, ".pt")
    if file.is_file():
        module.load_state_dict(torch.load(file, weights_only=True))
        return
    train()
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_name(f"{file.name}.{os.getpid()}.part")
    torch.save(module.state_dict(), staged)
    staged.replace(file)
