"""Recall with ties told honestly: a constant model scores chance, not 100."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.distillation.errors import MismatchedShapes


@torch.no_grad()
def expected_ranks(
    queries: Tensor, gallery: Tensor, truth: Sequence[set[int]] | Tensor, chunk: int = 4096
) -> tuple[Tensor, Tensor]:
    """Per query: how many items beat its best true one (Q,), and how many tie with it (Q,).

    queries (Q, d), gallery (N, d); truth: the true items of each query, as sets or one index.
    A true item neither beats nor ties with another true one.
    """
    sets = [{int(t)} for t in truth] if isinstance(truth, Tensor) else list(truth)
    if len(sets) != len(queries):
        raise MismatchedShapes(f"{len(queries)} queries, but the truth of {len(sets)}")
    above = torch.zeros(len(queries))
    level = torch.zeros(len(queries))
    for start in range(0, len(queries), chunk):
        scores = queries[start : start + chunk] @ gallery.T
        mine = torch.zeros(scores.shape, dtype=torch.bool)
        for row, found in enumerate(sets[start : start + chunk]):
            if not found:
                raise MismatchedShapes(f"query {start + row} has no true item")
            mine[row, list(found)] = True
        best = scores.masked_fill(~mine, float("-inf")).max(dim=1, keepdim=True).values
        others = scores.masked_fill(mine, float("-inf"))
        above[start : start + chunk] = (others > best).sum(dim=1).float()
        level[start : start + chunk] = (others == best).sum(dim=1).float()
    return above, level


def recall_at_k(
    queries: Tensor,
    gallery: Tensor,
    truth: Sequence[set[int]] | Tensor,
    ks: Sequence[int] = (1, 5, 10),
    chunk: int = 4096,
) -> dict[str, float]:
    """Percent of queries whose best true item is among the first k, ties in random order.

    Of `level` items tied with the true one, it comes before each with even odds, so it is
    within k with probability (k - above) / (level + 1), cut to 0..1.
    """
    above, level = expected_ranks(queries, gallery, truth, chunk)
    found = {f"r{k}": 100 * float(((k - above) / (level + 1)).clamp(0, 1).mean()) for k in ks}
    ranks = above + level / 2 + 1
    found["mean_rank"] = float(ranks.mean())
    found["median_rank"] = float(ranks.median())
    return found


def both_directions(image: Tensor, text: Tensor, owner: Tensor) -> dict[str, float]:
    """image (N, d), text (Q, d), owner (Q,) -> t2i_r1 ... i2t_r10 in percent, and rsum.

    rsum is the sum of all six recalls, 600 at best.
    """
    mine: list[set[int]] = [set() for _ in range(len(image))]
    for caption, photo in enumerate(owner.tolist()):
        mine[photo].add(caption)
    forward = recall_at_k(text, image, owner)
    backward = recall_at_k(image, text, mine)
    report = {f"t2i_r{k}": forward[f"r{k}"] for k in (1, 5, 10)}
    report |= {f"i2t_r{k}": backward[f"r{k}"] for k in (1, 5, 10)}
    return report | {"rsum": sum(report.values())}


def bootstrap_interval(
    hits: Tensor, *, rounds: int = 1000, generator: torch.Generator | None = None
) -> tuple[float, float]:
    """95 % interval of the mean of hits (Q,), in percent, by resampling queries."""
    rows = torch.randint(len(hits), (rounds, len(hits)), generator=generator)
    means = hits.float()[rows].mean(dim=1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975])).tolist()
    return 100 * low, 100 * high
