"""One bit a number: which way each row lies from its cell's middle.

A cell's middle says how good its rows are to within their spread. The signs of the row less
the middle say it to within 0.8 of that, for an eighth of a byte a number in place of four:
enough to leave most rows of a promising cell unread. The estimate is RaBitQ's (arXiv 2405.12497):
with T, a turn that spreads what a few numbers say over all of them, and x = T (row - middle),

    (row - middle) @ q  ~  size * sign(x) @ (T q),  size = sum(x ** 2) / sum(|x|)

(so that a row right in the query's direction is not taken for a lesser one).

A query's numbers are rounded to eight steps, so that bits are compared with bits. Without the
turn a real model's vectors, whose numbers differ in what they vary by, are told apart half as well.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from photosearch.types import Matrix, Vector

Words = NDArray[np.uint64]
Numbers = NDArray[np.int64]

WORD_BITS: Final = 64
# Of the query's root mean square: the step with the least error for normal numbers and 8 steps.
STEP: Final = 0.586
WEIGHTS: Final = np.asarray([4, 2, 1], np.float32)  # of the planes, in half steps
PLANES: Final = WEIGHTS.astype(np.uint8)[:, None]  # and their bits in the number of a step
CHUNK: Final = 4096  # rows compared at a time: what they need stays in the processor's cache
# How far a row's score strays from its estimate, as a standard deviation, for unit queries and in
# sizes: sqrt(1 - 2 / pi) of normal numbers, and a little for the rounding of the query.
ERROR: Final = 0.63


class Asked:
    """A query as the signs see it."""

    def __init__(self, query: Vector) -> None:
        query = turn(len(query)) @ query
        self.step = STEP * float(np.sqrt(np.dot(query, query) / max(1, len(query))))
        # Eight odd multiples of half a step: each is +-4, +-2 and +-1 halves, a plane for each.
        number = np.floor(query * np.float32(1 / max(self.step, 1e-30))) + 4
        number = number.clip(0, 7).astype(np.uint8)
        self.planes = _words((number & PLANES).astype(np.bool_))
        self.most = self.step / 2 * len(query) * float(WEIGHTS.sum())


class Signs:
    """Signs of N rows: bits (N, W), and sizes (N,). Rows without any have zeros."""

    def __init__(self, dim: int, count: int) -> None:
        self.bits: Words = np.zeros((count, word_count(dim)), np.uint64)
        self.sizes: Vector = np.zeros(count, np.float32)

    def put(self, rows: Numbers | slice, bits: Words, sizes: Vector) -> None:
        self.bits[rows] = bits
        self.sizes[rows] = sizes

    def move(self, source: int, target: int) -> None:
        self.bits[target] = self.bits[source]
        self.sizes[target] = self.sizes[source]

    def clear(self, row: int) -> None:
        self.bits[row] = 0
        self.sizes[row] = 0

    def estimate(self, rows: Numbers, asked: Asked) -> tuple[Vector, Vector]:
        """About (row - middle) @ query, for each of these rows; and the rows' sizes, of which
        ERROR is by how much that strays."""
        found = np.empty(len(rows), np.float32)
        planes = asked.planes[:, :, None]
        weights = np.repeat(WEIGHTS, self.bits.shape[1]) * np.float32(-asked.step)
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            bits = np.ascontiguousarray(self.bits.take(rows[part], axis=0).T)  # word by word
            differ = np.bitwise_count(bits ^ planes).reshape(len(weights), -1)
            np.dot(weights, differ.astype(np.float32), out=found[part])
        sizes = self.sizes.take(rows)
        found += np.float32(asked.most)
        found *= sizes
        return found, sizes


@lru_cache(maxsize=2)
def turn(dim: int) -> Matrix:
    """Columns at right angles, (B, D), B the next power of two: Hadamard's matrix after changes
    of sign, twice. Signs that are kept depend on it, so it is the same everywhere."""
    size = WORD_BITS * word_count(dim)
    hadamard = np.ones((1, 1), np.float32)
    while len(hadamard) < size:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    seed = hashlib.shake_128(b"photosearch signs").digest(size // 4)
    changes = np.unpackbits(np.frombuffer(seed, np.uint8)).reshape(2, size) * np.float32(2) - 1
    turned: Matrix = (hadamard * changes[0]) @ (hadamard * changes[1]) / np.float32(size)
    return np.ascontiguousarray(turned[:, :dim])


def word_count(dim: int) -> int:
    """Words of bits a row: the next power of two of numbers."""
    return max(1, (1 << (dim - 1).bit_length()) // WORD_BITS)


def sketch(rows: Matrix, middles: Matrix) -> tuple[Words, Vector]:
    """Bits (n, W) and sizes (n,) of these rows, seen from these middles: (n, D), or one (D,)."""
    apart = (rows - middles) @ turn(rows.shape[1]).T
    sums = np.maximum(np.abs(apart).sum(axis=1), 1e-30)
    return _words(apart > 0), np.einsum("nb,nb->n", apart, apart) / sums


def _words(bits: NDArray[np.bool_]) -> Words:
    """(n, B) packed into (n, W)."""
    return np.packbits(bits, axis=1).view(np.uint64)
