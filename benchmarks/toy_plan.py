"""Which trials of the toy student make up each experiment.

A plan is a function of the rows at hand: E1 trains with the weights that the tuning rows
found best, so it comes after them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.toy_student import Trial
from models.distillation.cells import GRID, SYMMETRIC, USES_TAU, CellKey, CellSpec
from models.distillation.dynamic import DCD_PRESETS, DcdConfig
from models.distillation.presets import PRESETS

Row = dict[str, Any]
Cells = dict[str, dict[str, Any]]

SEEDS = (1, 2, 3)
GRID_SEEDS = (*SEEDS, 4, 5)  # E1's rule asks for four of five
WEIGHTS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
COARSE = (0.1, 1.0, 10.0)
TAUS = (0.07, 0.3)
BASE: Cells = {"intra_ts.infonce": {}}
TASK: Cells = {"inter_ss.infonce": {}}


def variants() -> Iterator[tuple[CellKey, str]]:
    """Every cell beside the baseline, symmetric ones of ts types in both alignments."""
    for key in GRID:
        if str(key) == "intra_ts.infonce":
            continue
        yield key, "row"
        if key.strategy in SYMMETRIC and key.type.endswith("ts"):
            yield key, "transpose"


def label(key: CellKey, align: str) -> str:
    return str(key) if align == "row" else f"{key} ({align})"


def beside_base(key: CellKey, align: str, weight: float, tau: float) -> Cells:
    chosen: dict[str, Any] = {"weight": weight}
    if key.strategy in USES_TAU:
        chosen["tau"] = tau
    if align != "row":
        chosen["align"] = align
    return {**BASE, str(key): chosen}


def tuning(rows: Sequence[Row]) -> Iterator[Trial]:
    """Weight and temperature of every cell beside the baseline: seed 0, validation pairs."""
    del rows
    yield Trial("tune", "BASE", 0, BASE, held_out="validation")
    for key, align in variants():
        for tau in TAUS if key.strategy in USES_TAU else TAUS[:1]:
            for weight in COARSE:
                yield tuning_trial(key, align, weight, tau)


def refining(rows: Sequence[Row]) -> Iterator[Trial]:
    """The weights on both sides of the best coarse one, at its temperature."""
    for key, align in variants():
        name = label(key, align)
        coarse = [row for row in rows if row["name"] == name and row["experiment"] == "tune"]
        coarse = [row for row in coarse if row["config"]["cells"][str(key)]["weight"] in COARSE]
        if coarse:
            best = tuned(coarse)[name][str(key)]
            at = WEIGHTS.index(best["weight"])
            for near in (at - 1, at + 1):
                yield tuning_trial(key, align, WEIGHTS[near], best.get("tau", TAUS[0]))


def tuning_trial(key: CellKey, align: str, weight: float, tau: float) -> Trial:
    cells = beside_base(key, align, weight, tau)
    return Trial("tune", label(key, align), 0, cells, held_out="validation")


def tuned(rows: Sequence[Row]) -> dict[str, Cells]:
    """Name of each variant -> its cells where the validation pairs' rsum was highest."""
    best: dict[str, Row] = {}
    for row in rows:
        known = best.get(row["name"])
        if row["experiment"] == "tune" and (known is None or row["rsum"] > known["rsum"]):
            best[row["name"]] = row
    return {name: row["config"]["cells"] for name, row in best.items()}


def grid(rows: Sequence[Row]) -> Iterator[Trial]:
    """E1 to E3: the baseline, and every cell beside it at its tuned weight."""
    chosen = tuned(rows)
    for seed in GRID_SEEDS:
        yield Trial("E1", "BASE", seed, BASE)
        for key, align in variants():
            name = label(key, align)
            if name in chosen:
                yield Trial("E1", name, seed, chosen[name])


def preset_cells(name: str) -> Cells:
    return {str(key): changed(spec, CellSpec()) for key, spec in PRESETS[name].cells.items()}


def combinations(rows: Sequence[Row]) -> Iterator[Trial]:
    """E4: the published sums."""
    del rows
    for seed in SEEDS:
        for name in ("NO_KD", "CONA_3P", "CONA_T", "CLIPKD", "CLIPRD", "STRONG"):
            yield Trial("E4", name, seed, preset_cells(name))


def clip_kd(rows: Sequence[Row]) -> Iterator[Trial]:
    """E5: CLIP-KD's own additions to the captions' loss, with its weights."""
    del rows
    additions: dict[str, Cells] = {
        "task": {},
        "task + FD": {"intra_ts.fd": {"weight": 3.9}},
        "task + ICL": {"inter_ts.infonce": {}},
        "task + CRD": {"inter_ss.kl": {}},
    }
    for seed in SEEDS:
        yield Trial("E5", "BASE", seed, BASE)
        for name, extra in additions.items():
            yield Trial("E5", name, seed, {**TASK, **extra})


def truncation(rows: Sequence[Row]) -> Iterator[Trial]:
    """E6: 6, 4 or 2 of 8 text layers, inherited or not."""
    del rows
    for seed in SEEDS:
        for layers in (6, 4, 2):
            for start in ("first", "uniform", ""):
                name = f"{layers} layers, {start or 'random'}"
                yield Trial("E6", name, seed, {}, text_layers=layers, text_start=start)


def mining(rows: Sequence[Row]) -> Iterator[Trial]:
    """E8: who chooses the negatives, and what the published weights do."""
    del rows
    fixed, paper, released, wsl = (
        changed(DCD_PRESETS[name], DcdConfig()) for name in ("FIXED", "PAPER", "RELEASED", "WSL")
    )
    aligned = {**released, "aligned": True}
    even = {**aligned, "scalar_kd": False, "gamma": 0.0}  # equal weights, truly applied
    for seed in SEEDS:
        yield Trial("E8", "task", seed, TASK)
        yield Trial("E8", "FIXED, random negatives", seed, TASK, dcd=fixed, mined=False)
        yield Trial("E8", "FIXED", seed, TASK, dcd=fixed)
        yield Trial("E8", "PAPER", seed, TASK, dcd=paper)
        yield Trial("E8", "RELEASED", seed, TASK, dcd=released)
        yield Trial("E8", "RELEASED, aligned", seed, TASK, dcd=aligned)
        yield Trial("E8", "RELEASED, aligned, equal weights", seed, TASK, dcd=even)
        yield Trial("E8", "WSL", seed, TASK, dcd=wsl)
    # Without wrong captions: do hard negatives hurt because a third of the captions lies?
    for seed in SEEDS:
        for name, dcd, mined in (
            ("task", None, True),
            ("FIXED, random negatives", fixed, False),
            ("FIXED", fixed, True),
        ):
            yield Trial(
                "E8", f"{name}; no wrong captions", seed, TASK, dcd=dcd, mined=mined, wrong=0.0
            )


def filtering(rows: Sequence[Row]) -> Iterator[Trial]:
    """E9: a tenth of the captions stands on two images; is it taken for a negative?"""
    del rows
    fixed = changed(DCD_PRESETS["FIXED"], DcdConfig())
    for seed in SEEDS:
        for chosen in ("teacher_margin", "none"):
            dcd = {**fixed, "fn_filter": chosen}
            name = f"10% repeated, filter {chosen}"
            yield Trial("E9", name, seed, TASK, dcd=dcd, repeated=0.1)


def noise(rows: Sequence[Row]) -> Iterator[Trial]:
    """E11: how much wrong captions cost cells that trust the teacher, and those that do not."""
    chosen = tuned(rows)
    names = ("inter_ts.infonce", "inter_ss.infonce", "intra_ts.fd", "inter_ts.sd", "inter_ss.kl")
    for seed in SEEDS:
        for wrong in (0.0, 0.3, 0.6):
            for name in names:
                if name in chosen:
                    yield Trial(
                        "E11", f"{name}, {wrong:.0%} wrong", seed, chosen[name], wrong=wrong
                    )


def widths(rows: Sequence[Row]) -> Iterator[Trial]:
    """E12: what distillation gains over captions alone, by the student's width."""
    del rows
    for seed in SEEDS:
        for hidden in (16, 32, 64):
            for name in ("NO_KD", "STRONG"):
                yield Trial(
                    "E12", f"{name}, width {hidden}", seed, preset_cells(name), hidden=hidden
                )


def changed(config: Any, plain: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from its defaults."""
    return {
        field.name: value
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) != getattr(plain, field.name)
    }


PLAN: dict[str, Callable[[Sequence[Row]], Iterator[Trial]]] = {
    "E5": clip_kd,
    "E6": truncation,
    "E4": combinations,
    "E9": filtering,
    "E8": mining,
    "tune": tuning,
    "refine": refining,
    "E1": grid,
    "E11": noise,
    "E12": widths,
}
