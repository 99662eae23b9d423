"""vectors.bin: a library's vectors as one file that a phone maps into memory and scans.

Little-endian, every part on a multiple of 16 bytes, offsets in the header, so
that a reader needs no parsing (docs/mobile.md has one in Swift and one in Kotlin):

    0   8 bytes  magic
    8   u32      version of this layout
    12  u32      N, photos
    16  u32      D, width of a vector
    20  u32      stride: bytes from one row to the next, D rounded up to 16
    24  u64      offset of N int64 photo ids, ascending
    32  u64      offset of N float32 scales
    40  u64      offset of N rows of D int8, the rest of a stride zero
    48  16 bytes zero
    64  32 bytes space id, ASCII

score(query, photo) = scale * sum(query[i] * row[i]); a row is round(vector / scale),
with scale = the vector's largest value / 127.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from photosearch.errors import BundleError
from photosearch.types import Ids, Matrix, Vector

MAGIC: Final = b"PHSFLAT\0"
VERSION: Final = 1
HEADER: Final = struct.Struct("<8sIIIIQQQ16x32s")
ALIGN: Final = 16


@dataclass(frozen=True)
class Flat:
    """The file, mapped: nothing is read before it is used."""

    space: str
    ids: Ids  # (N,) ascending
    scales: NDArray[np.float32]  # (N,)
    rows: NDArray[np.int8]  # (N, D)

    def scores(self, query: Vector) -> NDArray[np.float32]:
        """(D,) -> (N,): cosines, to about 0.002 of the float32 vectors' own."""
        found: NDArray[np.float32] = (self.rows.astype(np.float32) @ query) * self.scales
        return found

    def best(self, query: Vector, k: int) -> Ids:
        """Ids of the k best photos; ties by id."""
        scores = self.scores(query)
        order = np.lexsort((self.ids, -scores))[:k]
        return self.ids[order]


def quantise(vectors: Matrix) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(N, D) -> int8 rows and a scale for each."""
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    scales = (np.maximum(largest, 1e-12) / 127).astype(np.float32)
    return np.rint(vectors / scales[:, None]).astype(np.int8), scales


def write_flat(file: Path, space: str, ids: Ids, vectors: Matrix) -> None:
    """ids (N,) ascending, vectors (N, D) unit rows."""
    assert np.all(np.diff(ids) > 0), "ids must ascend"
    rows, scales = quantise(vectors)
    count, dim = vectors.shape
    stride = _aligned(dim)
    ids_at = HEADER.size + (-HEADER.size) % ALIGN
    scales_at = _aligned(ids_at + 8 * count)
    rows_at = _aligned(scales_at + 4 * count)
    padded = np.zeros((count, stride), np.int8)
    padded[:, :dim] = rows
    header = HEADER.pack(
        MAGIC, VERSION, count, dim, stride, ids_at, scales_at, rows_at, space.encode("ascii")
    )
    with file.open("wb") as stream:
        stream.write(header)
        for offset, part in (
            (ids_at, ids.astype("<i8")),
            (scales_at, scales.astype("<f4")),
            (rows_at, padded),
        ):
            stream.write(b"\0" * (offset - stream.tell()))
            stream.write(part.tobytes())


def open_flat(file: Path) -> Flat:
    """Map a file. BundleError for one that is cut short, foreign or newer."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(HEADER.size)
    except OSError as error:
        raise BundleError(f"{file}: cannot be read ({error.strerror})") from error
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        raise BundleError(f"{file}: not a file of vectors of ours")
    _, version, count, dim, stride, ids_at, scales_at, rows_at, space = HEADER.unpack(head)
    if version > VERSION:
        raise BundleError(f"{file}: layout {version} is newer than this program. Update it.")
    parts_end = (ids_at + 8 * count, scales_at + 4 * count, rows_at + stride * count)
    starts = (ids_at, scales_at, rows_at)
    if stride < dim or min(starts) < HEADER.size or any(at % ALIGN for at in starts):
        raise BundleError(f"{file}: damaged, its header contradicts itself")
    if max(parts_end) > size:
        raise BundleError(f"{file}: cut short, {size} bytes of {max(parts_end)}")
    if not count:
        empty = np.empty(0, np.int64)
        return Flat(_space(space), empty, np.empty(0, np.float32), np.empty((0, dim), np.int8))
    raw = np.memmap(file, dtype=np.uint8, mode="r")
    ids = raw[ids_at : parts_end[0]].view("<i8")
    if np.any(np.diff(ids) <= 0):
        raise BundleError(f"{file}: damaged, its photo ids do not ascend")
    return Flat(
        _space(space),
        ids,
        raw[scales_at : parts_end[1]].view("<f4"),
        raw[rows_at : parts_end[2]].view(np.int8).reshape(count, stride)[:, :dim],
    )


def _space(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("ascii", "replace")


def _aligned(offset: int) -> int:
    return offset + (-offset) % ALIGN
