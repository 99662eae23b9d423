"""Reading the toy world's rows: means over seeds, and each experiment's pass rule."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.toy_plan import Row, label, tuned, variants
from models.distillation.cells import CellKey

EXPERIMENTS = ("E1", "E4", "E5", "E6", "E8", "E9", "E11", "E12")


def print_tables(rows: Sequence[Row]) -> None:
    """Mean and s.d. over seeds of each named configuration; then the pass rules."""
    for experiment in EXPERIMENTS:
        names = dict.fromkeys(row["name"] for row in rows if row["experiment"] == experiment)
        print(f"\n{experiment}\n| name | T2I R@1 | I2T R@1 | rsum | seeds |\n|---|---|---|---|---|")
        for name in names:
            print(f"| {name} | {line(rows, experiment, name)} |")
    types = by_type(rows)
    print_types(rows, types)
    print_symmetric(rows, types)
    print_curves(rows)
    print_pairs(rows)
    print(f"\nCPU: {sum(row['cpu_s'] for row in rows) / 60:.1f} minutes in {len(rows)} runs")


def line(rows: Sequence[Row], experiment: str, name: str) -> str:
    mine = [r for r in rows if r["experiment"] == experiment and r["name"] == name]
    cells = []
    for column in ("t2i_r1", "i2t_r1", "rsum"):
        values = [row[column] for row in mine]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells.append(f"{statistics.mean(values):.1f} ± {spread:.1f}")
    return " | ".join([*cells, str(len(mine))])


def by_seed(rows: Sequence[Row], experiment: str, name: str) -> dict[int, float]:
    return {
        row["seed"]: row["rsum"]
        for row in rows
        if row["experiment"] == experiment and row["name"] == name
    }


def wins(a: dict[int, float], b: dict[int, float]) -> str:
    seeds = sorted(set(a) & set(b))
    return f"{sum(a[s] > b[s] for s in seeds)} of {len(seeds)} seeds"


def by_type(rows: Sequence[Row]) -> dict[str, list[tuple[float, str]]]:
    """Learning type -> (mean rsum, variant) of E1."""
    types: dict[str, list[tuple[float, str]]] = {}
    for key, align in variants():
        mine = by_seed(rows, "E1", label(key, align))
        if mine:
            mean = statistics.mean(mine.values())
            types.setdefault(key.type, []).append((mean, label(key, align)))
    return types


def print_types(rows: Sequence[Row], types: dict[str, list[tuple[float, str]]]) -> None:
    print("\nE1 best cell of each type against BASE; E2 spread inside a type")
    base = by_seed(rows, "E1", "BASE")
    noise = statistics.stdev(base.values()) if len(base) > 1 else 0.0
    for type_, found in types.items():
        top, bottom = max(found), min(found)
        print(
            f"{type_}: {top[1]} {top[0]:.1f}, above BASE in "
            f"{wins(by_seed(rows, 'E1', top[1]), base)}; spread {top[0] - bottom[0]:.1f} "
            f"(3 s.d. of BASE: {3 * noise:.1f})"
        )
    print("\nE1 tuned weights and temperatures")
    for name, cells in tuned(rows).items():
        print(f"{name}: {next((o for k, o in cells.items() if k in name), {})}")


def print_symmetric(rows: Sequence[Row], types: dict[str, list[tuple[float, str]]]) -> None:
    print("\nE3 symmetric against standard, each at its tuned weight")
    means = {name: mean for found in types.values() for mean, name in found}
    for type_ in ("intra_ts", "inter_ts"):
        for kind in ("sd", "kl"):
            for align in ("row", "transpose"):
                name = label(CellKey(type_, f"sym_{kind}"), align)  # type: ignore[arg-type]
                if name in means and f"{type_}.{kind}" in means:
                    mine, plain = (by_seed(rows, "E1", n) for n in (name, f"{type_}.{kind}"))
                    print(
                        f"{name} {means[name]:.1f}, {type_}.{kind} {means[f'{type_}.{kind}']:.1f}: "
                        f"above it in {wins(mine, plain)}"
                    )


def print_curves(rows: Sequence[Row]) -> None:
    print("\nE3 weight curves: validation rsum by weight, one seed")
    curves: dict[tuple[str, float], dict[float, float]] = {}
    for row in rows:
        if row["experiment"] == "tune" and row["name"] != "BASE":
            key = next(k for k in row["config"]["cells"] if k in row["name"])
            chosen = row["config"]["cells"][key]
            curve = curves.setdefault((row["name"], chosen.get("tau", 0.0)), {})
            curve[chosen["weight"]] = row["rsum"]
    for (name, tau), curve in curves.items():
        at = f" tau {tau:g}" if tau else ""
        print(f"{name}{at}: " + ", ".join(f"{w:g} {r:.0f}" for w, r in sorted(curve.items())))


def print_pairs(rows: Sequence[Row]) -> None:
    """E8, E9: is the first of each pair above the second?"""
    print("\nE8, E9")
    for experiment, first, second in (
        ("E8", "FIXED", "FIXED, random negatives"),
        ("E8", "FIXED", "task"),
        ("E8", "FIXED", "RELEASED"),
        ("E8", "RELEASED, aligned", "RELEASED"),
        ("E8", "RELEASED, aligned", "RELEASED, aligned, equal weights"),
        ("E8", "FIXED; no wrong captions", "FIXED, random negatives; no wrong captions"),
        ("E8", "FIXED; no wrong captions", "task; no wrong captions"),
        ("E9", "10% repeated, filter teacher_margin", "10% repeated, filter none"),
    ):
        a, b = by_seed(rows, experiment, first), by_seed(rows, experiment, second)
        seeds = sorted(set(a) & set(b))
        if seeds:
            apart = statistics.mean(a[s] - b[s] for s in seeds)
            print(f"{first} over {second}: {apart:+.1f}, {wins(a, b)}")
