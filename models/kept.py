"""Networks trained by an earlier run, kept by all that they depend on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn


def kept(
    cache: Path,
    name: str,
    parts: Sequence[str | bytes],
    module: nn.Module,
    train: Callable[[], None],
) -> None:
    """Give `module` what `train()` made of it last time for the same `parts`, or call it and keep
    that: a file named by their hash, written whole or not at all."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    file = cache / f"{name}-{digest.hexdigest()[:20]}.pt"
    if file.is_file():
        module.load_state_dict(torch.load(file, weights_only=True))
        return
    train()
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_name(f"{file.name}.{os.getpid()}.part")
    torch.save(module.state_dict(), staged)
    staged.replace(file)
