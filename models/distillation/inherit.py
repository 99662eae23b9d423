"""A student that starts as a part of its teacher (TinyCLIP, arXiv:2309.12314; T35).

Initialisation moved MoTIS's recall further than its hard negatives did (+5.4 against +1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, cast, get_args

import torch
from torch import Tensor

from models.checkpoint import Checkpoint, build
from models.distillation.errors import MismatchedShapes
from models.narrow import inherit_image, is_narrower
from models.students import DualEncoder

Named = Literal["uniform", "first", "last"]
Layers = Sequence[int] | Named

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


def parse_layers(text: str) -> Layers:
    """`uniform`, `first`, `last`, or numbers such as `0,3,5`. Raises MismatchedShapes."""
    for name in get_args(Named):
        if text == name:
            return cast("Named", text)
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise MismatchedShapes(f"layers is {text!r}; known: uniform, first, last, or 0,3,5")
    return [int(number) for number in text.split(",")]


@torch.no_grad()
def inherit_networks(
    student: DualEncoder,
    vocabulary: Sequence[str],
    teacher: Checkpoint,
    layers: Layers,
    pixels: Tensor,
) -> None:
    """Both networks of a student from those of a teacher of ours; its heads stay its own.

    Of the text network the layers chosen; each piece of `vocabulary` takes its row, and one
    that the teacher lacks the mean of the others. Of the image network all, where it is the same,
    or what counts on `pixels` (B, 3, S, S) where it is narrower, as models/narrow.py says.
    Raises MismatchedShapes when either is no part of the teacher's.
    """
    whole = build(teacher)
    mine, theirs = student.image.backbone, whole.image.backbone
    if mine.config == theirs.config:
        mine.load_state_dict(theirs.state_dict())
    elif is_narrower(mine.config, theirs.config):
        inherit_image(mine, theirs, pixels)
    else:
        raise MismatchedShapes("the student's image network is no part of the teacher's")
    encoder, source = student.text.encoder, whole.text.encoder
    weights = source.state_dict()
    number = {piece: row for row, piece in enumerate(teacher.vocabulary)}
    rows = torch.tensor([number.get(piece, -1) for piece in vocabulary])
    table = weights["words.weight"][rows.clamp_min(0)]
    table[rows < 0] = weights["words.weight"][rows[rows >= 0]].mean(dim=0)
    weights = {**weights, "words.weight": table}
    encoder.load_state_dict(inherit(encoder.state_dict(), weights, layers=layers))


def _count(weights: Mapping[str, Tensor]) -> int:
    found = (_NUMBERED.match(name) for name in weights)
    return max((int(match[2]) + 1 for match in found if match), default=0)
