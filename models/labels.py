"""Labels of photos: which are learned, and in what words they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from models.finetune import NO_LABEL

LABEL_PROMPTS: Final = ("a photo of a {}", "{}", "a {}", "a photo of the {}")
HELD_OUT: Final = 5  # every fifth photo with a label is not trained on


def label_numbers(labels: Sequence[str | None]) -> tuple[list[str], list[int]]:
    """The names in order, and each photo's number; NO_LABEL for every HELD_OUT-th photo."""
    names = sorted({label for label in labels if label is not None})
    return names, [
        NO_LABEL if label is None or number % HELD_OUT == 0 else names.index(label)
        for number, label in enumerate(labels)
    ]
