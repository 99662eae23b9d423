"""A student that starts as a part of its teacher (TinyCLIP, arXiv:2309.12314; T35).

Initialisation moved MoTIS's recall further than its hard negatives did (+5.4 against +1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from torch import Tensor

from models.distillation.errors import MismatchedShapes

Layers = Sequence[int] | Literal["uniform", "first", "last"]

_NUMBERED: Final = re.compile(r"^(.*\blayers\.)(\d+)(\..+)$")


def chosen_layers(layers: Layers, student: int, teacher: int) -> list[int]:
    """Which of the teacher's layers become the student's, in order.

    uniform: each (teacher // student)-th from the first, as TinyCLIP; first: as MoTIS's text
    students; a list such as [0, 3, 5]: DCD's choice of 3 from 6.
    """
    if not 0 < student <= teacher:
        raise MismatchedShapes(f"{student} layers cannot be taken from {teacher}")
    if isinstance(layers, str):
        step = teacher // student
        return {
            "uniform": [number * step for number in range(student)],
            "first": list(range(student)),
            "last": list(range(teacher - student, teacher)),
        }[layers]
    picked = list(layers)
    if len(picked) != student or not all(0 <= number < teacher for number in picked):
        raise MismatchedShapes(f"layers {picked} are not {student} of 0..{teacher - 1}")
    return picked


def inherit(
    student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], *, layers: Layers = "uniform"
) -> dict[str, Tensor]:
    """The student's weights, filled from the teacher's: layers as chosen, widths by their start.

    Both are state dicts whose layers are numbered `...layers.N...`. Along every axis the
    first rows, channels or heads are taken. Raises MismatchedShapes when the student has a
    tensor that the teacher lacks, or a larger one.
    """
    mine, theirs = (_count(weights) for weights in (student, teacher))
    picked = chosen_layers(layers, mine, theirs) if mine else []
    filled: dict[str, Tensor] = {}
    for name, value in student.items():
        found = _NUMBERED.match(name)
        source = f"{found[1]}{picked[int(found[2])]}{found[3]}" if found else name
        if source not in teacher:
            raise MismatchedShapes(f"{name}: the teacher has no {source}")
        whole = teacher[source]
        if whole.ndim != value.ndim or any(
            a > b for a, b in zip(value.shape, whole.shape, strict=True)
        ):
            raise MismatchedShapes(
                f"{name} is {tuple(value.shape)}, which does not fit into the teacher's "
                f"{tuple(whole.shape)}"
            )
        part = whole[tuple(slice(0, size) for size in value.shape)]
        filled[name] = part.detach().clone().to(value.dtype)
    return filled


def _count(weights: Mapping[str, Tensor]) -> int:
    found = (_NUMBERED.match(name) for name in weights)
    return max((int(match[2]) + 1 for match in found if match), default=0)
