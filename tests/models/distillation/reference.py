"""The formulas once more, as loops over float64 numbers: shares no code with the product."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
EDGES = {
    "intra_ts": (("vs", "vt"), ("xs", "xt")),
    "intra_ss": (("vs", "vs"), ("xs", "xs")),
    "inter_ts": (("vs", "xt"), ("xs", "vt")),
    "inter_ss": (("vs", "xs"), ("xs", "vs")),
}


def softmax(row: Rows, tau: float) -> Rows:
    shifted = np.exp(row / tau - np.max(row / tau))
    return np.asarray(shifted / shifted.sum())


def log_softmax(row: Rows, tau: float) -> Rows:
    scaled = row / tau
    return np.asarray(scaled - scaled.max() - np.log(np.exp(scaled - scaled.max()).sum()))


def kl(a: Rows, b: Rows, tau_a: float, tau_b: float) -> float:
    log_a, log_b = log_softmax(a, tau_a), log_softmax(b, tau_b)
    return float(np.sum(np.exp(log_a) * (log_a - log_b)))


def matrix(sets: dict[str, Rows], query: str, key: str) -> Rows:
    a, b = sets[query], sets[key]
    return np.asarray(np.einsum("id,jd->ij", a, b))


def cell(
    sets: dict[str, Rows],
    type_: str,
    strategy: str,
    tau: float,
    *,
    tau_t: float | None = None,
    align: str = "row",
    direction: str = "forward",
    drop_diag: bool = False,
) -> float:
    """sets: vs, xs, vt, xt, unit rows (N, d)."""
    tau_t = tau if tau_t is None else tau_t
    edges = EDGES[type_]
    students = [matrix(sets, q, k) for q, k in edges]
    teachers = [matrix(sets, q.replace("s", "t"), k.replace("s", "t")) for q, k in edges]
    count = len(sets["vs"])
    if strategy.startswith("sym"):
        one, two = students
        pairs = [(one, two)] if align == "row" else [(one, two.T), (two, one.T)]
        total = 0.0
        for a, b in pairs:
            for i in range(count):
                if strategy == "sym_sd":
                    total += np.sum((a[i] - b[i]) ** 2) / count
                else:
                    total += (kl(a[i], b[i], tau, tau) + kl(b[i], a[i], tau, tau)) / 2
        return total / count / len(pairs)
    total = 0.0
    for (query, key), m, t in zip(edges, students, teachers, strict=True):
        for i in range(count):
            kept = [j for j in range(count) if not (drop_diag and i == j)]
            mine, theirs = m[i, kept], t[i, kept]
            if strategy == "infonce":
                total -= log_softmax(m[i], tau)[i]
            elif strategy == "fd":
                total += np.sum((sets[query][i] - sets[key][i]) ** 2)
            elif not kept:
                continue
            elif strategy == "sd":
                total += np.sum((mine - theirs) ** 2) / len(kept)
            elif direction == "forward":
                total += kl(theirs, mine, tau_t, tau)
            elif direction == "reverse":
                total += kl(mine, theirs, tau, tau_t)
            else:
                total += (kl(theirs, mine, tau_t, tau) + kl(mine, theirs, tau, tau_t)) / 2
    return total / count / 2
