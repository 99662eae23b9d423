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


def mined_cell(
    sets: dict[str, Rows],
    seen: dict[str, Rows],
    type_: str,
    strategy: str,
    tau: float,
    *,
    k: int,
    weight: str,
    tau_w: float,
    columns: bool,
) -> float:
    """A cell whose rows count by difficulty or WSL, with mined negatives as further columns.

    sets: a batch's vs, xs, vt, xt; seen: the same of items seen before, without vs and xs
    where the student's vectors of them are not known. tau is also WSL's temperature.
    """
    count = len(sets["vs"])
    hardest: dict[str, list[list[int]]] = {"v": [], "x": []}
    hard, learned = np.zeros(count), np.zeros(count)
    for side, other in (("v", "x"), ("x", "v")):
        for i in range(count):
            query = sets[f"{side}t"][i]
            scores = [float(query @ row) for row in seen[f"{other}t"]]
            best = sorted(range(len(scores)), key=lambda j, s=scores: (-s[j], j))[:k]
            hardest[side].append(best)
            keys = [sets[f"{other}t"][i], *(seen[f"{other}t"][j] for j in best)]
            theirs = np.array([query @ key for key in keys])
            mine = np.array([sets[f"{side}s"][i] @ key for key in keys])
            p = softmax(theirs, tau_w)
            hard[i] -= np.sum(p * np.log(p)) / np.log(k + 1) / 2
            ratio = log_softmax(mine, tau)[0] / log_softmax(theirs, tau)[0]
            learned[i] += (1 - np.exp(-ratio)) / 2
    if weight == "difficulty" and strategy == "infonce":
        w = hard / hard.sum()
    elif weight == "difficulty":
        w = softmax((1 - hard) ** 2, 1.0)
    elif weight == "wsl" and strategy != "infonce":
        w = learned / learned.sum()
    else:
        w = np.full(count, 1 / count)
    total = 0.0
    for query, key in EDGES[type_]:
        t_query, t_key = query.replace("s", "t"), key.replace("s", "t")
        for i in range(count):
            mine = [float(sets[query][i] @ row) for row in sets[key]]
            theirs = [float(sets[t_query][i] @ row) for row in sets[t_key]]
            if columns and key in seen:
                chosen = hardest[query[0]][i]
                mine += [float(sets[query][i] @ seen[key][j]) for j in chosen]
                theirs += [float(sets[t_query][i] @ seen[t_key][j]) for j in chosen]
            m, t = np.array(mine), np.array(theirs)
            if strategy == "infonce":
                row = -log_softmax(m, tau)[i]
            elif strategy == "fd":
                row = np.sum((sets[query][i] - sets[key][i]) ** 2)
            elif strategy == "sd":
                row = np.mean((m - t) ** 2)
            else:
                row = kl(t, m, tau, tau)
            total += w[i] * row / 2
    return float(total)
