"""Published combinations of cells, by name.

ConaCLIP's own list and weights are not to be had; CONA_3P is a third party's reading of
it and CONA_T ours. docs/training.md has the sources.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.distillation.cells import (
    GRID,
    CellKey,
    Cells,
    CellSpec,
    LearningType,
    Strategy,
    validate,
)
from models.distillation.dynamic import DCD_PRESETS, DcdConfig
from models.distillation.errors import BadCells


@dataclass(frozen=True)
class Preset:
    """Cells, and what goes with them. Validated when made."""

    cells: Cells
    why: str
    learn_tau: bool = False
    layers: str = ""  # of the teacher, that the student starts from; see inherit.parse_layers
    dcd: DcdConfig | None = None
    dcd_weight: float = 0.0

    def __post_init__(self) -> None:
        validate(self.cells)


def _cells(**specs: CellSpec) -> dict[CellKey, CellSpec]:
    """intra_ts__infonce=CellSpec() -> {intra_ts.infonce: ...}; checked by Preset."""
    known = {f"{key.type}__{key.strategy}": key for key in GRID}
    return {known[name]: spec for name, spec in specs.items()}


ONE: Final = CellSpec()
# Weight 1 is what the third party used; alone it collapses, and in the full set it is weaker.
SYM_KL: Final = CellSpec(weight=0.3)
CLIP_TAU: Final = 1 / 100  # of a trained CLIP: its logit scale ends at 100

_BASE: Final = _cells(intra_ts__infonce=ONE)
_CONA: Final = {
    **_BASE,
    **_cells(
        intra_ts__sd=ONE,
        intra_ts__sym_sd=ONE,
        intra_ss__sd=ONE,
        inter_ts__infonce=ONE,
        inter_ts__sym_kl=SYM_KL,
        inter_ss__infonce=ONE,
        inter_ss__sd=ONE,
    ),
}
_CLIPKD: Final = _cells(
    inter_ss__infonce=ONE,
    # 2,000 on the mean over 512 dimensions, as its authors have it
    intra_ts__fd=CellSpec(weight=3.9),
    inter_ts__infonce=ONE,
    inter_ss__kl=ONE,
)
_TRANSPOSED: Final = dataclasses.replace(SYM_KL, align="transpose")
_STRONG: Final = {
    **_BASE,
    **_cells(intra_ts__fd=CellSpec(weight=8.0), inter_ts__kl=ONE, inter_ss__kl=ONE),
}

PRESETS: Final[Mapping[str, Preset]] = {
    "NO_KD": Preset(_cells(inter_ss__infonce=ONE), "captions alone, no teacher"),
    "BASE": Preset(_BASE, "MoTIS stage 1 (arXiv:2204.13913), ConaCLIP's baseline"),
    "MOTIS_1": Preset(_BASE, "the same under its own name"),
    "MOTIS_2": Preset(
        _cells(inter_ss__infonce=ONE, inter_ss__kl=ONE),
        "MoTIS stage 2; sequential_finetune adds its hard negatives",
    ),
    "CONA_3P": Preset(_CONA, "a third party's reading of ConaCLIP (arXiv:2305.17652)"),
    "CONA_T": Preset(
        {**_CONA, **_cells(inter_ts__sym_kl=_TRANSPOSED)}, "CONA_3P, well-posed by transposing"
    ),
    "CLIPKD": Preset(_CLIPKD, "CLIP-KD (arXiv:2307.12732)"),
    "TINYCLIP": Preset(
        _cells(inter_ss__infonce=ONE, inter_ss__kl=CellSpec(tau_t=CLIP_TAU)),
        "affinity mimicking of TinyCLIP (arXiv:2309.12314), with inherited layers",
        learn_tau=True,
        layers="uniform",
    ),
    "MOBILECLIP": Preset(
        _cells(inter_ss__kl=CellSpec(tau_t=CLIP_TAU)),
        "MobileCLIP (arXiv:2311.17049): an ensemble's cached targets, and nothing else",
    ),
    "CLIPRD": Preset(
        {**_CLIPKD, **_cells(intra_ts__sym_kl=SYM_KL, inter_ts__sym_kl=_TRANSPOSED)},
        "CLIP-RD (arXiv:2603.25383): both symmetric terms on CLIP-KD",
    ),
    "STRONG": Preset(_STRONG, "the best mixed set of our toy pilot"),
    **{
        f"DCD_{name}": Preset(
            _cells(inter_ss__infonce=ONE),
            f"captions and DCD (arXiv:2207.01426), {name.lower()}",
            dcd=config,
            dcd_weight=1.0,
        )
        for name, config in DCD_PRESETS.items()
    },
}


def preset(name: str) -> Preset:
    """By name, or `CELL:intra_ts.fd` for the baseline and one cell. Raises BadCells."""
    if name.startswith("CELL:"):
        kind, _, strategy = name.removeprefix("CELL:").partition(".")
        for key in GRID:
            if (key.type, key.strategy) == (kind, strategy):
                return Preset(with_cell(key), f"the baseline and {key}")
    if name not in PRESETS:
        near = difflib.get_close_matches(name.upper(), PRESETS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(PRESETS)}"
        raise BadCells(f"no preset {name}{hint}")
    return PRESETS[name]


def with_cell(key: CellKey, spec: CellSpec = ONE) -> dict[CellKey, CellSpec]:
    """The baseline and one more cell: a row of the ablation grid."""
    return {**_BASE, key: spec}


def cell(type_: LearningType, strategy: Strategy, spec: CellSpec = ONE) -> Preset:
    return Preset(with_cell(CellKey(type_, strategy), spec), f"the baseline and {type_}.{strategy}")


def with_teacher_tau(cells: Cells, tau_t: float) -> dict[CellKey, CellSpec]:
    """The same cells, KL targets across modalities taken at the teacher's own temperature."""
    return {
        key: dataclasses.replace(spec, tau_t=tau_t)
        if key.strategy == "kl" and key.type.startswith("inter") and spec.tau_t is None
        else spec
        for key, spec in cells.items()
    }
