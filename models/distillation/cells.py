"""What can be switched on: learning types x strategies, and the checks on combinations.

A learning type says which embeddings meet (ConaCLIP, arXiv:2305.17652): photos with
photos and texts with texts (intra) or across (inter); student with teacher (ts) or
with itself (ss). A strategy says what is asked of their similarity.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeGuard, get_args

from models.distillation.errors import BadCells

LearningType = Literal["intra_ts", "intra_ss", "inter_ts", "inter_ss"]
Strategy = Literal["infonce", "fd", "sd", "kl", "sym_sd", "sym_kl"]
Align = Literal["row", "transpose"]
Direction = Literal["forward", "reverse", "jeffreys"]
Edges = Literal["both", "image", "text"]

TYPES: Final[tuple[LearningType, ...]] = get_args(LearningType)
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)
SYMMETRIC: Final = frozenset({"sym_sd", "sym_kl"})
LABEL_DRIVEN: Final = frozenset({"infonce"})  # the others imitate the teacher
USES_TAU: Final = frozenset({"infonce", "kl", "sym_kl"})


class CellKey(NamedTuple):
    """One cell of the grid; written `intra_ts.infonce`."""

    type: LearningType
    strategy: Strategy

    def __str__(self) -> str:
        return f"{self.type}.{self.strategy}"


@dataclass(frozen=True)
class CellSpec:
    """How one cell counts. Temperatures are in cosine units per nat."""

    weight: float = 1.0
    tau: float = 0.07  # of the student
    tau_t: float | None = None  # of the teacher; None = tau
    align: Align = "row"  # sym_* only
    stop_target: bool = False  # sym_*: each side is a constant for the other
    direction: Direction = "forward"  # kl: forward = KL(teacher || student)
    scale_T2: bool = False  # kl: multiply by tau squared (Hinton, arXiv:1503.02531)
    drop_diag: bool = False  # intra sd and kl: leave out each row's cosine with itself
    symmetric_nce: bool = False  # infonce of ts types: also find the student for each teacher row
    edges: Edges = "both"  # "image": only the edge whose query is the image student
    ramp: tuple[float, float] = (0.0, 0.0)  # weight grows 0 -> 1 between these shares of training

    @property
    def teacher_tau(self) -> float:
        return self.tau if self.tau_t is None else self.tau_t

    def strength(self, progress: float) -> float:
        """The weight at `progress`, a share of training in 0..1."""
        start, end = self.ramp
        if progress >= end:
            return self.weight
        return self.weight * max(0.0, (progress - start) / (end - start))


Cells = Mapping[CellKey, CellSpec]

# Not defined: a vector's positive would be itself, so nothing but uniformity is learned,
# or the distance is zero by construction.
UNDEFINED: Final = frozenset({CellKey("intra_ss", "infonce"), CellKey("intra_ss", "fd")})
GRID: Final = tuple(
    key for t in TYPES for s in STRATEGIES if (key := CellKey(t, s)) not in UNDEFINED
)  # 22 cells


def validate(cells: Cells) -> None:
    """Raise BadCells with the reason when these cells cannot be trained together."""
    active = [key for key, spec in cells.items() if spec.weight > 0]
    for key, spec in cells.items():
        _validate_cell(key, spec)
    if not active:
        raise BadCells("no active cell: give at least one a weight above 0")
    if all(key.strategy in SYMMETRIC for key in active):
        names = ", ".join(str(key) for key in active)
        raise BadCells(
            f"{names}: symmetric cells alone are solved by a student that maps everything to "
            "one point; add an anchored cell (infonce, fd, sd or kl)"
        )


def _validate_cell(key: CellKey, spec: CellSpec) -> None:
    if key in UNDEFINED:
        raise BadCells(f"{key} is not defined: it would compare each student vector with itself")
    symmetric = key.strategy in SYMMETRIC
    problems = {
        f"weight is {spec.weight}; it must be at least 0": not spec.weight >= 0,
        f"tau is {spec.tau}; it must be above 0": not spec.tau > 0,
        f"tau_t is {spec.tau_t}; it must be above 0": not spec.teacher_tau > 0,
        f"ramp is {spec.ramp}; needs 0 <= start <= end <= 1": (
            not 0 <= spec.ramp[0] <= spec.ramp[1] <= 1
        ),
        "with align = transpose both sides are the same matrix, so it is always 0": (
            symmetric and key.type == "inter_ss" and spec.align == "transpose"
        ),
        "a symmetric cell compares both edges, so edges must be both": (
            symmetric and spec.edges != "both"
        ),
        "align is for sym_sd and sym_kl only": not symmetric and spec.align != "row",
        "drop_diag is for sd and kl of intra types only": (
            spec.drop_diag and not (key.strategy in ("sd", "kl") and key.type.startswith("intra"))
        ),
        "symmetric_nce is for infonce of ts types only": (
            spec.symmetric_nce and not (key.strategy == "infonce" and key.type.endswith("ts"))
        ),
    }
    for problem, found in problems.items():
        if found:
            raise BadCells(f"{key}: {problem}")


def parse_key(name: str) -> CellKey:
    """`intra_ts.infonce` -> CellKey; a misspelt one is named with its nearest known name."""
    left, _, right = name.partition(".")
    if _is_type(left) and _is_strategy(right):
        return CellKey(left, right)
    known = [f"{t}.{s}" for t in TYPES for s in STRATEGIES]
    near = difflib.get_close_matches(name, known, n=1)
    raise BadCells(f"{name}: no such cell" + (f"; did you mean {near[0]}?" if near else ""))


def _is_type(text: str) -> TypeGuard[LearningType]:
    return text in TYPES


def _is_strategy(text: str) -> TypeGuard[Strategy]:
    return text in STRATEGIES


def parse_spec(name: str, options: Mapping[str, Any]) -> CellSpec:
    """Options of one cell -> CellSpec, types and choices checked."""
    known = {field.name: field for field in fields(CellSpec)}
    choices: dict[str, tuple[str, ...]] = {
        "align": get_args(Align),
        "direction": get_args(Direction),
        "edges": get_args(Edges),
    }
    changes: dict[str, Any] = {}
    for option, value in options.items():
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
            raise BadCells(f"{name}: no option {option}{hint}")
        if option in choices:
            if value not in choices[option]:
                raise BadCells(f"{name}: {option} is one of {', '.join(choices[option])}")
            changes[option] = value
        elif option in ("stop_target", "scale_T2", "drop_diag", "symmetric_nce"):
            if not isinstance(value, bool):
                raise BadCells(f"{name}: {option} is true or false")
            changes[option] = value
        elif option == "ramp":
            if not (isinstance(value, list | tuple) and len(value) == 2):
                raise BadCells(f"{name}: ramp is two shares of training, [0.1, 0.3]")
            changes[option] = (float(value[0]), float(value[1]))
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise BadCells(f"{name}: {option} is a number")
        else:
            changes[option] = float(value)
    return CellSpec(**changes)


def parse_cells(document: Mapping[str, Any]) -> dict[CellKey, CellSpec]:
    """The `[cells]` table of a TOML document -> validated cells."""
    table = document.get("cells")
    if not isinstance(table, Mapping) or not table:
        raise BadCells('no cells: write a table [cells] with lines "intra_ts.infonce" = {}')
    cells: dict[CellKey, CellSpec] = {}
    for name, options in table.items():
        if not isinstance(options, Mapping):
            raise BadCells(f"{name}: write its options in braces, {{ weight = 1.0 }}")
        cells[parse_key(name)] = parse_spec(name, options)
    validate(cells)
    return cells


def read_cells(file: Path) -> dict[CellKey, CellSpec]:
    """A TOML file's cells. Raises BadCells naming the file."""
    try:
        return parse_cells(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, BadCells) as error:
        raise BadCells(f"{file}: {error}") from error
