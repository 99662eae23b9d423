"""Everything a run needs to go on as if it had not stopped; T33 compares the bits."""

from __future__ import annotations

import pickle
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.checkpoint import CheckpointError, save_whole

FORMAT: Final = 1


@dataclass(frozen=True)
class RunState:
    """A point between two steps."""

    digest: str  # of the recipe
    phase: int  # of sequential_finetune; else 0
    step: int  # of the phase
    student: dict[str, Any]
    graph: dict[str, Any]
    multipliers: dict[str, float]
    optimizer: dict[str, Any]
    candidates: dict[str, Any]
    skipped: int
    frozen: Any = None  # vectors of the side that does not learn, of the phase before
    random: dict[str, Any] = field(default_factory=dict)  # filled in by save_state


def random_state() -> dict[str, Any]:
    """Of Python, NumPy and torch."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, numbers, gauss_next = random.getstate()
    return {
        "python": [version, list(numbers), gauss_next],
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random(state: dict[str, Any]) -> None:
    version, numbers, gauss_next = state["python"]
    random.setstate((version, tuple(numbers), gauss_next))
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy(), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def save_state(file: Path, state: RunState) -> None:
    """Whole or not at all."""
    save_whole(file, {"format": FORMAT, **state.__dict__, "random": random_state()})


def load_state(file: Path, digest: str) -> RunState:
    """Read a state; restore_random() takes up its random numbers. Runs no code from it.

    Raises CheckpointError when it is missing, damaged, or of a recipe that differs.
    """
    try:
        document = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{file}: nothing to resume; start without --resume") from None
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{file}: not a whole state of a run ({error!s:.80})") from error
    try:
        if document.pop("format") > FORMAT:
            raise CheckpointError(f"{file}: written by a newer version of models.train")
        state = RunState(**document)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file}: not a state of a run of ours ({error!r})") from error
    if state.digest != digest:
        raise CheckpointError(f"{file}: saved by another recipe; resume with the same settings")
    return state
