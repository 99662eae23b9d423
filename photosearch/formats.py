"""The small pictures of a photo: its thumbnail, and what a glance at that tells."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

THUMBNAIL_PX: Final = 320  # of the longer side
THUMBNAIL_QUALITY: Final = 78

_HASH_BITS: Final = 64
_PLAIN_BITS: Final = 3  # a hash with fewer bits of one kind is of sky or wall, and says nothing
_GLANCE_PX: Final = 64


@dataclass(frozen=True)
class Glance:
    """What a thumbnail shows without understanding it."""

    dhash: int | None  # signed 64 bits; None where the picture is too plain to have one
    is_document: bool  # ink on paper: text worth reading before that of other photos


def shrink(image: Image.Image, *, side_px: int = THUMBNAIL_PX) -> Image.Image:
    """An upright RGB image, its longer side at most `side_px`."""
    width, height = image.size
    scale = side_px / max(width, height)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def webp(image: Image.Image) -> bytes:
    """The image as WebP, which carries no metadata."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=THUMBNAIL_QUALITY, method=2, exif=b"", icc_profile=b"")
    return file.getvalue()


def colour(image: Image.Image) -> int:
    """The mean colour of an upright RGB image, as 0xRRGGBB: what a page shows before the photo."""
    (red, green, blue) = image.resize((1, 1), Image.Resampling.BOX, reducing_gap=2.0).getpixel(
        (0, 0)
    )  # type: ignore[misc]
    return int(red) << 16 | int(green) << 8 | int(blue)


def thumbnail(image: Image.Image, *, side_px: int = THUMBNAIL_PX) -> bytes:
    """WebP of an upright RGB image, its longer side at most `side_px`; carries no metadata."""
    return webp(shrink(image, side_px=side_px))


def glance(small: Image.Image) -> Glance:
    """Hash and kind of a small upright RGB image; a millisecond."""
    return Glance(_dhash(small), _is_document(small))


def _dhash(small: Image.Image) -> int | None:
    """Whether each of 8 x 8 patches is brighter than its right neighbour: unmoved by saving
    again at another size or quality, moved by cropping (measured in docs/ingest.md)."""
    grey = small.resize((9, 8), Image.Resampling.BOX).convert("L")
    rows = np.asarray(grey, dtype=np.int16)
    bits = (rows[:, 1:] > rows[:, :-1]).ravel()
    ones = int(bits.sum())
    if not _PLAIN_BITS < ones < _HASH_BITS - _PLAIN_BITS:
        return None
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)


def _is_document(small: Image.Image) -> bool:
    """Mostly paper (bright, colourless), some ink, and many edges between the two."""
    pixels = np.asarray(small.resize((_GLANCE_PX, _GLANCE_PX)), dtype=np.int16)
    brightest, darkest = pixels.max(axis=2), pixels.min(axis=2)
    paper = (darkest > 140) & (brightest - darkest < 48)
    edges = np.abs(np.diff(pixels.mean(axis=2), axis=1)) > 24
    return bool(paper.mean() > 0.55 and 0.04 < edges.mean() < 0.5)
