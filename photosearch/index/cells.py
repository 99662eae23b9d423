"""The rows in cells: near neighbours side by side, and a query reads the rows that may matter.

An inverted file. Each cell has a middle (the mean of its rows) and a spread (how far, in any
one direction, its rows lie from it, as a standard deviation); all have a shape, which says in
what directions rows lie further from their middles. (A model's texts often ask along these: 1.6
times as far with the model we ship.) A query is compared with every middle. In the most
promising cells the signs of the rows (signs.py) say which to compare with it, and those which
k-th best score is to be bettered. Then it looks at every cell in which a row as good would lie
no more than `reach` spreads from the middle, and compares the rows there which their signs do
not rule out:

    look at c  where  middle(c) @ q + reach * stretch(q) * spread(c) > k-th best score
    read x     where  estimate(x) + SLACK * its error   > k-th best score

So an easy query reads little and a hard one more, and a wider k reads more by itself. Texts
lie off the photos' manifold, their best photos are strewn over many cells, and this rule
needs about half the rows that a fixed number of cells does (docs/index.md).

Cells are learned from the photos alone, by k-means in two levels and then together. `reach`
has a floor that the benchmark's texts set, and is raised by trial where a library needs more.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from photosearch.index.exact import MAX_ID, NOBODY, ExactIndex, best
from photosearch.index.signs import ERROR, Asked, Words, sketch, word_count
from photosearch.types import Ids, Matrix, Vector

Numbers = NDArray[np.int64]

ROWS_A_CELL: Final = 48  # finer cells read fewer rows, and more middles
MAX_CELLS: Final = 8192
SAMPLE_A_CELL: Final = 24  # rows that middles are learned from
MAX_SAMPLE: Final = 1 << 17
GROUP_ROWS: Final = 128  # rows sampled for each group of cells, in the first level
FIRST_ROUNDS: Final = 6  # of k-means, in each of the two levels
LAST_ROUNDS: Final = 2  # with all cells together
CHUNK: Final = 512  # rows compared with all middles at a time
FIRST_ROWS: Final = 256  # looked at before the k-th best score says what else to read
FIRST_REACH: Final = 2.0  # spreads by which a cell is given credit in that choice
FIRST_READ: Final = 4  # rows read then, for each result wanted
SLACK: Final = 2.1  # errors by which a row's estimate may miss the k-th best score
MOST_SHARE: Final = 0.4  # beyond it one pass over everything is cheaper
# What the benchmark's texts need at 100,000 photos and at a million. Never less: the trial's own
# queries, which are easier, would be content with 2.6 and .88.
REACH: Final = 3.4
REACH_A_DECADE: Final = 0.4
MAX_REACH: Final = 4.1
MORE_REACH: Final = (0.0, 0.2, 0.4, 0.7, 1.2, 1.7)  # in trials
# More of it behind a filter: fewer rows of a cell count, and say how far to look.
FILTER_REACH: Final = 0.3
WANTED_RECALL: Final = 0.97  # by trial; with this slack no reach finds all
TRIALS: Final = 48  # queries that `reach` is set by
TRIAL_K: Final = 10
SHAPE_ROWS: Final = 8192  # that the cells' shape is measured on
NOISE_ROWS: Final = 2048  # whose differences from their cells' middles make up that noise
SCORE_NOISE: Final = 1e-6  # between two ways of adding up one dot product
# A row so many times as far from its cell's middle as the median row is from its own (squared) is
# of no cell: the rule above would pass it over where there are others like it. Of a hundred
# thousand photos of one library hardly any is. Never more than one in 200.
EDGE: Final = 2.5
EDGE_SHARE: Final = 0.995
HEADER: Final = struct.Struct("<4sIIIff")  # magic, cells, D, photos, reach, edge
MAGIC: Final = b"PSC4"
LAYOUT: Final = "cells-4"


class UnsoundCells(ValueError):
    """These bytes are not cells that may be used. Says what is wrong."""


@dataclass
class Cells:
    """Middles (C, D) and spreads (C,) of the blocks of an ExactIndex, in its order."""

    middles: Matrix
    spreads: Vector
    shape: Matrix  # (D, D): the rows' covariance around their middles, its trace made D
    reach: float
    edge: float = np.inf  # squared distance from its middle beyond which a row is of no cell

    def near(
        self, exact: ExactIndex, query: Vector, k: int, *, among: NDArray[np.bool_] | None = None
    ) -> tuple[Ids, Vector] | None:
        """The k best ids and scores; among the rows marked, where some are. None where one
        pass over everything is the better way. The caller holds the index's lock."""
        share = 1.0 if among is None else max(np.count_nonzero(among) / len(exact), 1e-9)
        rows_a_cell = max(1.0, len(exact) / len(self.middles))
        first_count = int(max(4 * k, FIRST_ROWS) / share / rows_a_cell) + 8
        if first_count >= len(self.middles) * MOST_SHARE:
            return None
        towards = self.middles @ query
        asked = Asked(query)
        stretch = np.sqrt(max(0.0, float(query @ (self.shape @ query))))
        stretched = self.spreads * np.float32(stretch)
        credit = towards + FIRST_REACH * stretched
        first = np.argpartition(credit, len(credit) - first_count)[len(credit) - first_count :]
        rows, guesses, sizes = _look(exact, first, towards, asked, among)
        most = FIRST_READ * k
        top = np.argpartition(guesses, len(rows) - most)[-most:] if len(rows) > most else None
        some = rows if top is None else rows[top]
        tail, tail_scores = exact.tail(query)
        if among is not None:
            tail, tail_scores = tail[among[tail]], tail_scores[among[tail]]
        scores = np.append(exact.dot(some, query), tail_scores)
        if len(scores) < k:
            return None
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        reach = self.reach + (0.0 if among is None else FILTER_REACH)
        promising = towards + reach * stretched > kth
        promising[first] = False
        cells = np.flatnonzero(promising)
        if len(cells) > len(self.middles) * MOST_SHARE:
            return None
        more, more_guesses, more_sizes = _look(exact, cells, towards, asked, among)
        guesses[slice(None) if top is None else top] = np.inf  # they are among the best so far
        read = np.concatenate(
            [
                rows[guesses + SLACK * ERROR * sizes > kth],
                more[more_guesses + SLACK * ERROR * more_sizes > kth],
            ]
        )
        scores = np.append(exact.dot(read, query), tail_scores)
        return best(exact.ids_at(np.append(read, tail)), scores, k)

    def nearest(self, vectors: Matrix) -> Numbers:
        """The cell of each row."""
        return _nearest(vectors, self.middles)

    def are_far(self, vectors: Matrix, cells: Numbers) -> NDArray[np.bool_]:
        """Which of these rows lie too far from these cells to be of them."""
        return apart_from(vectors, self.middles[cells]) > self.edge

    def refresh(self, exact: ExactIndex) -> None:
        """Middles, spreads and shape of the rows of the moment. What is kept then holds nothing
        of photos that have gone, even where a cell was one photo alone. The lock is held."""
        for cell in exact.take_changed().tolist():
            rows = exact.block(cell)
            self.middles[cell] = rows.mean(axis=0) if len(rows) else 0
            exact.sign(cell, self.middles[cell])
        self.spreads = spreads_of(self.middles, exact.counts())
        self.shape = shape_of(exact, self.middles)

    def check(self, exact: ExactIndex) -> None:
        """Raise AssertionError where signs are not what these middles make of the rows."""
        with exact.lock:
            ids, cells = exact.blocks_of_rows()
            bits, sizes = sketch(exact.rows_of(ids)[1], self.middles[cells])
            kept_bits, kept_sizes = exact.signs_of_rows()
            # Two ways of adding up one middle differ in a number that is about zero.
            differ = np.bitwise_count(bits ^ kept_bits).sum(axis=1)
            assert not (differ > 2).any(), f"photo {ids[int(differ.argmax())]} has another's signs"
            assert np.allclose(sizes, kept_sizes, atol=1e-5), "a photo has another's size"

    def calibrate(self, exact: ExactIndex) -> float:
        """Set `reach` to the least that finds what it should for queries off the manifold;
        returns the share it finds."""
        queries = off_manifold(exact, self, TRIALS)
        found = 1.0
        truths = [exact.search(query, TRIAL_K)[1][-1] for query in queries]
        decades = np.log10(max(1, len(exact)) / 100_000)
        floor = float(np.clip(REACH + REACH_A_DECADE * decades, REACH, MAX_REACH))
        for more in MORE_REACH:
            self.reach = floor + more
            hits, wanted = 0, 0
            for query, least in zip(queries, truths, strict=True):
                with exact.lock:
                    near = self.near(exact, query, TRIAL_K)
                wanted += TRIAL_K
                scores = near[1] if near is not None else np.full(TRIAL_K, least)
                hits += int((scores >= least - SCORE_NOISE).sum())
            found = hits / max(1, wanted)
            if found >= WANTED_RECALL:
                break
        return found

    def to_bytes(self, exact: ExactIndex) -> bytes:
        """Cells as of now, and which photo is in which."""
        self.refresh(exact)
        ids, cells = exact.blocks_of_rows()
        bits, sizes = exact.signs_of_rows()
        spreads = np.where(np.isfinite(self.spreads), self.spreads, 0)
        data = io.BytesIO()
        data.write(HEADER.pack(MAGIC, *self.middles.shape, len(ids), self.reach, self.edge))
        for kind, numbers in (
            ("<f4", self.middles),
            ("<f4", spreads),
            ("<f4", self.shape),
            ("<u4", ids),
            ("<u2", cells),
            ("<f4", sizes),
            ("<u8", bits),
        ):
            data.write(np.ascontiguousarray(numbers, kind).data)
        return data.getvalue()


@dataclass(frozen=True)
class Kept:
    """Cells that were kept, the photos in them, each one's cell, bits and size."""

    cells: Cells
    ids: Ids
    where: Numbers
    signs: tuple[Words, Vector]


def from_bytes(data: bytes, dim: int) -> Kept:
    """What `to_bytes` wrote. Raises UnsoundCells."""
    _require(len(data) >= HEADER.size, "they are cut short")
    magic, count, width, photos, reach, edge = HEADER.unpack(data[: HEADER.size])
    _require(magic == MAGIC and width == dim, "they are of another kind")
    words = word_count(dim)
    size = HEADER.size + 4 * (count + dim) * dim + 4 * count + (4 + 2 + 4 + 8 * words) * photos
    _require(len(data) == size and 0 < count <= MAX_CELLS, "their length is wrong")
    at = HEADER.size

    def take(kind: str, number: int) -> NDArray[Any]:
        nonlocal at
        found = np.frombuffer(data, kind, number, at)
        at += found.nbytes
        return found

    middles = take("<f4", count * dim).reshape(count, dim).astype(np.float32)
    spreads = take("<f4", count).astype(np.float32)
    shape = take("<f4", dim * dim).reshape(dim, dim).astype(np.float32)
    ids = take("<u4", photos).astype(np.int64)
    cells = take("<u2", photos).astype(np.int64)
    sizes = take("<f4", photos).astype(np.float32)
    bits = take("u1", photos * words * 8).view(np.uint64).reshape(photos, words)
    _require(int(ids.max(initial=0)) <= MAX_ID, "a photo id is out of range")
    _require(int(cells.max(initial=0)) < count, "a cell's number is out of range")
    _require(not len(ids) or int(np.bincount(ids).max()) == 1, "a photo is in two cells")
    sound = all(np.isfinite(numbers).all() for numbers in (middles, spreads, shape, sizes))
    sound = sound and 1 <= reach <= 10 and edge >= 0
    _require(bool(sound), "a number is damaged")
    empty = np.bincount(cells, minlength=count) == 0
    spreads[empty] = -np.inf
    return Kept(Cells(middles, spreads, shape, reach, edge), ids, cells, (bits, sizes))


def layout(dim: int) -> str:
    """What `to_bytes` wrote, in a word; cells of another layout are made anew, not read."""
    return f"{LAYOUT} d{dim}"


def off_manifold(exact: ExactIndex, cells: Cells, count: int) -> Matrix:
    """Queries that lie off the photos as texts do: towards the middle of some cell, most of it
    drowned in noise as photos of one cell differ by, and the part that all photos have in
    common scaled down."""
    rnd = np.random.default_rng(len(exact))
    ids, blocks = exact.blocks_of_rows()
    some = rnd.choice(len(ids), min(len(ids), NOISE_ROWS), replace=False)
    rows = exact.rows_of(ids[some])[1]
    common = rows.mean(axis=0)
    apart = rows - cells.middles[blocks[some]]
    noise = rnd.standard_normal((count, len(some))).astype(np.float32) @ apart
    towards = cells.middles[blocks[rnd.choice(some, count)]] - common
    told = _unit(0.5 * _unit(towards) + 0.85 * _unit(noise))
    found: Matrix = _unit(0.3 * common + 0.35 * told).astype(np.float32)
    return found


def build(exact: ExactIndex) -> Iterator[Cells | None]:
    """Learn cells and lay the index out by them, in steps of about a second. Searches and
    changes go on between; the last step yields the cells."""
    rnd = np.random.default_rng(len(exact))
    ids = exact.ids()
    count = int(np.clip(len(ids) // ROWS_A_CELL, 1, MAX_CELLS))
    sampled = min(len(ids), SAMPLE_A_CELL * count, MAX_SAMPLE)
    if sampled < 2:
        return
    # Ids alone: their rows, half as many as there are, are fetched as they are needed.
    sample = np.sort(rnd.choice(ids, sampled, replace=False))
    groups = max(1, int(np.sqrt(count)))
    some = rnd.choice(sample, min(sampled, GROUP_ROWS * groups), replace=False)
    rows = exact.rows_of(some)[1]
    tops = rows[:groups].copy()
    for _ in range(FIRST_ROUNDS):
        tops = _means(rows, _nearest(rows, tops), tops)
        yield None
    group_of = np.full(sampled, -1)
    for here, rows in _chunks(exact, sample):
        group_of[here] = _nearest(rows, tops)
    parts = []
    for group in range(groups):
        rows = exact.rows_of(sample[group_of == group])[1]
        share = max(1, round(count * len(rows) / sampled))
        if len(rows):
            middles = rows[rnd.choice(len(rows), min(share, len(rows)), replace=False)]
            for _ in range(FIRST_ROUNDS):
                middles = _means(rows, _nearest(rows, middles), middles)
            parts.append(middles)
        yield None
    if not parts:
        return  # all of them have gone meanwhile
    middles = np.concatenate(parts)[:MAX_CELLS]
    for _ in range(LAST_ROUNDS):
        sums, counts = np.zeros_like(middles), np.zeros(len(middles), np.int64)
        for _, rows in _chunks(exact, sample):
            cells = _nearest(rows, middles)
            _add_up(rows, cells, sums)
            counts += np.bincount(cells, minlength=len(middles))
            yield None
        middles = _mean(sums, counts, middles)
    spreads, shape = np.zeros(len(middles), np.float32), np.eye(exact.dim, dtype=np.float32)
    yield from settle(exact, Cells(middles, spreads, shape, REACH))


def settle(exact: ExactIndex, cells: Cells) -> Iterator[Cells | None]:
    """Give every photo its cell and lay the rows out by them; photos that come meanwhile and
    those far from every cell stay in the tail. The last step yields the cells, with numbers of
    their own."""
    ids, numbers = exact.blocks_of_rows()
    if exact.block_count != len(cells.middles):
        ids, numbers = ids[:0], numbers[:0]  # other cells: everything is placed anew
    pending = np.setdiff1d(exact.ids(), ids)
    ids = np.concatenate([ids, pending])
    numbers = np.concatenate([numbers, np.full(len(pending), -1)])
    sums = np.zeros(cells.middles.shape, np.float32)
    for some, rows in _chunks(exact, ids):
        new = numbers[some] < 0
        numbers[some[new]] = cells.nearest(rows[new])
        _add_up(rows, numbers[some], sums)
        yield None
    placed = numbers >= 0  # not so those that went before they were looked at
    ids, numbers = ids[placed], numbers[placed]
    used, numbers = np.unique(numbers, return_inverse=True)  # cells that nobody is in go
    counts = np.bincount(numbers, minlength=len(used))
    middles: Matrix = (sums[used] / counts[:, None]).astype(np.float32)
    bits = np.zeros((len(ids), word_count(exact.dim)), np.uint64)
    sizes = np.zeros(len(ids), np.float32)
    apart = np.full(len(ids), np.inf, np.float32)
    for some, rows in _chunks(exact, ids):
        bits[some], sizes[some] = sketch(rows, middles[numbers[some]])
        apart[some] = apart_from(rows, middles[numbers[some]])
        yield None
    edge = cells.edge
    if np.isinf(edge) and np.isfinite(apart).any():  # these cells are new
        half, most = np.quantile(apart[np.isfinite(apart)], (0.5, EDGE_SHARE))
        edge = max(EDGE * float(half), float(most))
    # Gone (and perhaps back by now), or far: such a one goes to the tail.
    ids[~np.isfinite(apart) | (apart > edge)] = NOBODY
    settled = Cells(middles, spreads_of(middles, counts), cells.shape, cells.reach, edge)
    with exact.lock:
        exact.arrange(ids, numbers, len(used), (bits, sizes))
        settled.refresh(exact)  # some may have gone meanwhile
    settled.calibrate(exact)
    yield settled


def apart_from(rows: Matrix, middles: Matrix) -> Vector:
    """Squared distance of each row from the middle beside it."""
    apart = rows - middles
    found: Vector = np.einsum("nd,nd->n", apart, apart)
    return found


def spreads_of(middles: Matrix, counts: Numbers) -> Vector:
    """Of unit rows: mean |x - m|^2 = 1 - |m|^2. A cell of one or two rows says little of its
    spread: as if it had one more, of the average spread. None in a cell without rows."""
    apart = counts * (1 - np.einsum("cd,cd->c", middles, middles))
    average = apart.sum() / max(1, counts.sum())
    spreads = np.sqrt(np.maximum(apart + average, 0) / (counts + 1) / middles.shape[1])
    return np.where(counts > 0, spreads, -np.inf).astype(np.float32)


def shape_of(exact: ExactIndex, middles: Matrix) -> Matrix:
    """Covariance of some of the rows around their middles, (D, D), its trace made D."""
    ids, cells = exact.blocks_of_rows()
    some = np.linspace(0, len(ids) - 1, min(len(ids), SHAPE_ROWS)).astype(np.int64)
    found: Matrix = np.zeros((exact.dim, exact.dim), np.float32)
    for here, rows in _chunks(exact, ids[some]):
        rows -= middles[cells[some[here]]]
        found += rows.T @ rows
    trace = float(np.trace(found))
    return (
        found * np.float32(exact.dim / trace) if trace > 0 else np.eye(exact.dim, dtype=np.float32)
    )


def _look(
    exact: ExactIndex,
    cells: Numbers,
    towards: Vector,
    asked: Asked,
    among: NDArray[np.bool_] | None,
) -> tuple[Numbers, Vector, Vector]:
    """Rows of these cells, what their signs and middles make of their scores, and their sizes."""
    rows, lengths = exact.rows_in(cells)
    middles = np.repeat(towards[cells], lengths)
    if among is not None:
        kept = np.flatnonzero(among[rows])
        rows, middles = rows[kept], middles[kept]
    guesses, sizes = exact.estimate(rows, asked)
    guesses += middles
    return rows, guesses, sizes


def _chunks(exact: ExactIndex, ids: Ids) -> Iterator[tuple[Numbers, Matrix]]:
    """Positions in `ids` of photos that are still there, and their rows."""
    for start in range(0, len(ids), CHUNK):
        here = np.flatnonzero(exact.contains(ids[start : start + CHUNK])) + start
        found, rows = exact.rows_of(ids[here])
        if len(found) != len(here):  # one went between the two
            here = here[np.isin(ids[here], found)]
        yield here, rows


def _add_up(rows: Matrix, cells: Numbers, sums: Matrix) -> None:
    """Add each row to its cell's sum."""
    if not len(rows):
        return
    order = np.argsort(cells, kind="stable")
    some, starts = np.unique(cells[order], return_index=True)
    sums[some] += np.add.reduceat(rows[order], starts, axis=0)


def _nearest(rows: Matrix, middles: Matrix) -> Numbers:
    """The nearest middle of each row, by distance."""
    half = np.einsum("cd,cd->c", middles, middles) / 2
    found = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), CHUNK):
        scores = rows[start : start + CHUNK] @ middles.T
        scores -= half
        found[start : start + CHUNK] = scores.argmax(1)
    return found


def _means(rows: Matrix, cells: Numbers, middles: Matrix) -> Matrix:
    """The mean of each cell's rows; a cell without any keeps its middle."""
    sums, counts = np.zeros_like(middles), np.bincount(cells, minlength=len(middles))
    for start in range(0, len(rows), CHUNK):
        _add_up(rows[start : start + CHUNK], cells[start : start + CHUNK], sums)
    return _mean(sums, counts, middles)


def _mean(sums: Matrix, counts: Numbers, middles: Matrix) -> Matrix:
    held = counts > 0
    found = middles.copy()
    found[held] = sums[held] / counts[held, None]
    return found


def _unit(rows: Matrix) -> Matrix:
    found: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)
    return found


def _require(held: bool, otherwise: str) -> None:
    if not held:
        raise UnsoundCells(otherwise)
