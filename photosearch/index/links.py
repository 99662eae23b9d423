"""An HNSW graph's links without its vectors: what is kept on disk, and the check of it.

The vectors lie in SQLite already; kept here too they would double the library and
outlive the photos they were made from. So a graph is packed to its links (about
100 bytes a photo) and put together again with the vectors of the moment.

hnswlib trusts what it loads: one link id that is too large and it reads beyond its
memory. Everything it will follow is therefore checked first, in numpy.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from photosearch.index.exact import MAX_ID
from photosearch.types import Ids, Matrix

# The file of hnswlib 0.5 to 0.8: this header, then one fixed record a node, then for each node
# the links of its upper layers behind their byte count. chroma-hnswlib 0.7.6 has four bytes
# a node between the two, which it uses for the cosine space alone: `spare_words` of one.
# offset of layer 0, capacity, nodes, record bytes, label offset, vector offset, top layer,
# entry node, links above layer 0, links on it, M, level factor, efConstruction
FILE_HEADER: Final = struct.Struct("<6QiI3QdQ")
PACK_HEADER: Final = struct.Struct("<4sIII")  # magic, nodes, entry node, links on layer 0
MAGIC: Final = b"PSL1"
MAX_LEVEL: Final = 32  # drawn from an exponential: 1 in 16 ** 32 nodes would be higher
BLOCK: Final = 4096  # nodes written at a time

RowsOf = Callable[[Ids], tuple[Ids, Matrix]]


class UnsoundGraph(ValueError):
    """These bytes are not a graph that may be handed to hnswlib. Says what is wrong."""


@dataclass(frozen=True)
class Links:
    """Nodes 0..n-1 of a graph with `m` links a node above layer 0 and 2m on it."""

    m: int
    entry: int
    labels: Ids  # (n,) photo ids
    counts: NDArray[np.uint8]  # (n,) links on layer 0
    levels: NDArray[np.uint8]  # (n,) each node's top layer
    links: NDArray[np.uint32]  # (sum of counts,) node numbers
    upper: NDArray[np.uint32]  # (sum of levels, 1 + m) a count, then node numbers

    def check(self) -> None:
        """Raise UnsoundGraph naming the first thing hnswlib must not see."""
        n = len(self.labels)
        _require(n > 0, "it has no nodes")
        _require(len(self.counts) == len(self.levels) == n, "its columns differ in length")
        inside = 0 <= int(self.labels.min()) <= int(self.labels.max()) <= MAX_ID
        _require(inside, "a label is out of range")
        _require(len(np.unique(self.labels)) == n, "a label comes twice")
        _require(int(self.counts.max()) <= 2 * self.m, "a node has too many links")
        _require(int(self.counts.sum(dtype=np.int64)) == len(self.links), "links are missing")
        _require(int(self.links.max(initial=0)) < n, "a link leads nowhere")
        self._check_levels(n)

    def _check_levels(self, n: int) -> None:
        levels = self.levels
        _require(0 <= self.entry < n, "its entry node does not exist")
        _require(int(levels.max()) <= MAX_LEVEL, "it is too high")
        _require(int(levels[self.entry]) == int(levels.max()), "its entry is not at the top")
        above = int(levels.sum(dtype=np.int64))
        _require(self.upper.shape == (above, 1 + self.m), "upper links are missing")
        counts = self.upper[:, 0]
        _require(int(counts.max(initial=0)) <= self.m, "an upper node has too many links")
        used = np.arange(self.m)[None, :] < counts[:, None]
        targets = self.upper[:, 1:][used]
        _require(int(targets.max(initial=0)) < n, "an upper link leads nowhere")
        # Row r holds the links of one node on one layer; a target must reach that layer.
        first = np.cumsum(levels, dtype=np.int64) - levels
        layer = np.arange(above) - np.repeat(first, levels) + 1
        reached = levels[targets] >= np.repeat(layer, counts)
        _require(bool(reached.all()), "an upper link leads below its layer")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UnsoundGraph(otherwise)


def pack(found: Links) -> bytes:
    """What is stored; `unpack` reads it back."""
    n, links = len(found.labels), len(found.links)
    return b"".join(
        (
            PACK_HEADER.pack(MAGIC, n, found.entry, links),
            found.labels.astype("<i8").tobytes(),
            found.links.astype("<u4").tobytes(),
            found.upper.astype("<u4").tobytes(),
            found.counts.tobytes(),
            found.levels.tobytes(),
        )
    )


def unpack(data: bytes, m: int) -> Links:
    """Read and check packed links. Raises UnsoundGraph."""
    _require(len(data) >= PACK_HEADER.size, "it is cut short")
    magic, n, entry, count = PACK_HEADER.unpack_from(data)
    _require(magic == MAGIC, "it is not a graph")
    left = len(data) - PACK_HEADER.size - n * 8 - count * 4 - n - n
    _require(left >= 0 and left % (4 * (1 + m)) == 0, "its length is wrong")
    at = PACK_HEADER.size
    labels = np.frombuffer(data, "<i8", n, at).astype(np.int64)
    links = np.frombuffer(data, "<u4", count, at + n * 8).astype(np.uint32)
    at += n * 8 + count * 4
    upper = np.frombuffer(data, "<u4", left // 4, at).astype(np.uint32).reshape(-1, 1 + m)
    counts = np.frombuffer(data, np.uint8, n, at + left)
    levels = np.frombuffer(data, np.uint8, n, at + left + n)
    found = Links(m, entry, labels, counts, levels, links, upper)
    found.check()
    return found


def node_type(m: int, dim: int) -> np.dtype[np.void]:
    """One node on layer 0 as hnswlib lays it out."""
    return np.dtype(
        [
            ("count", "<u2"),
            ("deleted", "u1"),
            ("unused", "u1"),
            ("links", "<u4", (2 * m,)),
            ("vector", "<f4", (dim,)),
            ("label", "<u8"),
        ]
    )


def read_file(file: NDArray[np.uint8], m: int, dim: int, *, spare_words: int) -> Links:
    """The links in a file hnswlib saved. Raises UnsoundGraph where it is not as expected."""
    _require(len(file) >= FILE_HEADER.size, "it is cut short")
    header = FILE_HEADER.unpack(file[: FILE_HEADER.size].tobytes())
    kind = node_type(m, dim)
    n, entry = header[2], header[7]
    _require(header[3] == kind.itemsize and header[10] == m, "hnswlib's file has another layout")
    end = FILE_HEADER.size + n * kind.itemsize
    _require(end <= len(file), "it is cut short")
    nodes = file[FILE_HEADER.size : end].view(kind)
    counts = nodes["count"].astype(np.uint8)
    used = np.arange(2 * m)[None, :] < counts[:, None]
    links = nodes["links"][used]
    end += 4 * n * spare_words
    levels, upper = _read_upper(np.array(file[end:]).view("<u4"), n, m)
    labels = nodes["label"].astype(np.int64)
    found = Links(m, entry, labels, counts, levels, links, upper)
    found.check()
    return found


def _read_upper(
    words: NDArray[np.uint32], n: int, m: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Each node's top layer, and the links above layer 0.

    Fifteen nodes of sixteen have none and are a single zero: those are skipped at once.
    """
    layer = 1 + m
    levels = np.zeros(n, np.uint8)
    parts = []
    filled = np.flatnonzero(words)
    at, node, next_filled = 0, 0, 0
    while next_filled < len(filled):
        node += int(filled[next_filled]) - at
        at = int(filled[next_filled])
        height, rest = divmod(int(words[at]), 4 * layer)
        sound = rest == 0 and 0 < height <= MAX_LEVEL and node < n
        _require(sound and at + 1 + height * layer <= len(words), "upper links are damaged")
        levels[node] = height
        parts.append(words[at + 1 : at + 1 + height * layer])
        at += 1 + height * layer
        node += 1
        next_filled = int(np.searchsorted(filled, at))
    _require(node + len(words) - at == n, "upper links are missing")
    return levels, np.concatenate([*parts, words[:0]]).reshape(-1, layer)


def file_parts(
    found: Links,
    dim: int,
    *,
    ef_construction: int,
    rows_of: RowsOf,
    dead: NDArray[np.bool_],
    spare_words: int,
) -> Iterator[bytes]:
    """The file hnswlib loads, piece by piece, with the vectors of the moment.

    A node whose photo is gone stays as a waypoint, marked deleted: its own vector is
    gone with the photo, so it takes the middle of its neighbours'.
    """
    n, m = len(found.labels), found.m
    kind = node_type(m, dim)
    yield FILE_HEADER.pack(
        0, n, n, kind.itemsize, kind.itemsize - 8, 4 + 8 * m,
        int(found.levels.max()), found.entry, m, 2 * m, m, 1 / np.log(m), ef_construction,
    )  # fmt: skip
    first = np.cumsum(found.counts, dtype=np.int64) - found.counts
    used = np.arange(2 * m)[None, :] < found.counts[:, None]
    for start in range(0, n, BLOCK):
        part = slice(start, min(start + BLOCK, n))
        nodes = np.zeros(part.stop - start, kind)
        nodes["count"] = found.counts[part]
        nodes["deleted"] = dead[part]
        nodes["label"] = found.labels[part]
        table = np.zeros((len(nodes), 2 * m), np.uint32)
        ends = int(first[part.stop]) if part.stop < n else len(found.links)
        table[used[part]] = found.links[int(first[start]) : ends]
        nodes["links"] = table
        alive = ~dead[part]
        nodes["vector"][alive] = rows_of(found.labels[part][alive])[1]
        for place in np.flatnonzero(dead[part]):
            around = table[place, : found.counts[start + place]]
            near = rows_of(found.labels[around[~dead[around]]])[1]
            middle = near.sum(axis=0) if len(near) else np.ones(dim, np.float32)
            nodes["vector"][place] = middle / max(float(np.linalg.norm(middle)), 1e-9)
        yield nodes.tobytes()
    yield bytes(4 * n * spare_words)
    yield from _upper_parts(found)


def _upper_parts(found: Links) -> Iterator[bytes]:
    layer = 1 + found.m
    heights = np.flatnonzero(found.levels)
    at, node = 0, 0
    for place in heights:
        height = int(found.levels[place])
        yield bytes(4 * (int(place) - node))
        yield struct.pack("<I", height * layer * 4)
        yield found.upper[at : at + height].astype("<u4").tobytes()
        at += height
        node = int(place) + 1
    yield bytes(4 * (len(found.levels) - node))
