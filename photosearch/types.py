"""The nouns of the house. Frozen, no I/O.

Shape letters everywhere: B batch, N photos, D embedding width, S image side in
pixels, L tokens, K results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]  # (D,), unit length unless said otherwise
Matrix = NDArray[np.float32]  # (N, D), unit rows unless said otherwise
Pixels = NDArray[np.uint8]  # (S, S, 3), sRGB, upright
Ids = NDArray[np.int64]  # (N,)

Resize = Literal["squash", "crop", "center"]
Filter = Literal["bicubic", "bilinear"]


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes the encoder's input; part of a Space's identity."""

    side_px: int
    mean: tuple[float, float, float]  # of values in 0..1, per RGB channel
    std: tuple[float, float, float]
    # squash: whole photo to a square; crop: the middle square, resampled; center: the short
    # side to S, then the middle S x S pixels of that, as torchvision and so OpenCLIP do it
    resize: Resize
    filter: Filter = "bicubic"

    def __post_init__(self) -> None:
        if not 16 <= self.side_px <= 1024:
            raise ValueError(f"side_px is {self.side_px}; it must lie in 16..1024")
        if self.resize not in ("squash", "crop", "center"):
            raise ValueError(f"resize is {self.resize!r}; it must be squash, crop or center")
        if self.filter not in ("bicubic", "bilinear"):
            raise ValueError(f"filter is {self.filter!r}; it must be bicubic or bilinear")
        if min(self.std) <= 0:
            raise ValueError(f"std is {self.std}; every value must be positive")

    def as_json(self) -> dict[str, object]:
        """As a manifest holds it, and as a Space's identity hashes it: what is the default
        since a field was added is left out, so that older spaces keep their names."""
        fields: dict[str, object] = {
            "side_px": self.side_px,
            "mean": list(self.mean),
            "std": list(self.std),
            "resize": self.resize,
        }
        return fields if self.filter == "bicubic" else {**fields, "filter": self.filter}


@dataclass(frozen=True)
class Stamp:
    """What the file system says of a file without opening it.

    Two equal stamps mean: not worth reading again. `file_id` is (device, inode),
    which survives a rename; zero where the system has none.
    """

    size_bytes: int
    mtime_ns: int
    device: int
    inode: int


@dataclass(frozen=True)
class Photo:
    """Distinct image bytes, named by their hash."""

    photo_id: int
    content_hash: bytes  # BLAKE2b-256 of the file's bytes
    width_px: int  # upright, after EXIF orientation
    height_px: int
    format: str  # Pillow's name of what the bytes are: JPEG, PNG, ...
    taken: str | None  # local time as the camera wrote it, ISO 8601, seldom with an offset
    colour: int | None  # the mean, 0xRRGGBB; None where the library is older than colours


Kind = Literal["photo", "screenshot", "document"]
TakenFrom = Literal["camera", "name"]


@dataclass(frozen=True)
class Facts:
    """What a photo's file says of itself beside its pixels, and what a glance at them says.

    None and "" mean that it says nothing; nothing is ever guessed.
    """

    taken: str | None = None  # local time, ISO 8601; an offset, or a time of day, only where known
    taken_from: TakenFrom | None = None  # the camera wrote it, or the file's name holds it
    camera: str | None = None  # maker and model, the maker named once
    lens: str | None = None
    iso: int | None = None
    exposure_s: float | None = None
    aperture: float | None = None  # f-number
    focal_mm: float | None = None  # as written, not as for 35 mm film
    latitude: float | None = None  # degrees, WGS 84; both or neither
    longitude: float | None = None
    rating: int | None = None  # -1 rejected, 0..5 stars
    caption: str = ""  # title and description, one a line
    keywords: tuple[str, ...] = ()
    kind: Kind = "photo"
    burst: str | None = None  # the camera's own name of the series it belongs to
    live: str | None = None  # the name a Live Photo's still and film share
    seconds: float | None = None  # of a video
    dhash: int | None = None  # 64-bit difference hash, signed; None for a picture of one colour
    beside: bytes | None = None  # digest of the XMP file beside it that was read with it


@dataclass(frozen=True)
class Location:
    """A path we have seen: with its Photo, or with the reason it was rejected."""

    root_id: int
    path: bytes  # relative to the root, "/" between parts, as the file system spells it
    stamp: Stamp
    photo_id: int | None
    rejected: str | None


@dataclass(frozen=True)
class Root:
    """A watched folder."""

    root_id: int
    path: str  # absolute; surrogate-escaped where the name is not UTF-8
    offline: bool


@dataclass(frozen=True)
class Hit:
    """A Photo, its cosine score, and a Location to open."""

    rank: int  # from 1
    score: float
    path: str  # absolute
    photo_id: int
    taken: str | None
    why: tuple[str, ...]
    relevant: bool
    offline: bool
    width_px: int
    height_px: int
    colour: str | None = None  # the photo's mean as "#rrggbb", to show before the photo is there
    similar: int = 0  # others like it (a burst, near duplicates) that this hit stands for
    place: str = ""  # where it was taken, by name
    hidden: bool = False  # by its owner: found only by `is:hidden`
