"""The small pictures of a photo: its thumbnail, and what a glance at that tells."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

THUMBNAIL_PX: Final = 320  # of the longer side
# Of WebP's ways the fastest: at this size it costs 2.4 ms, where method 2 at quality 78 took 4.3
# for 0.5 dB and 8 % fewer bytes (36 dB, 12 KB; docs/ingest.md).
THUMBNAIL_QUALITY: Final = 75
THUMBNAIL_METHOD: Final = 0

_HASH_BITS: Final = 64
_PLAIN_BITS: Final = 3  # a hash with fewer bits of one kind is of sky or wall, and says nothing
_GLANCE_PX: Final = 60  # of the shorter side, or little more: lines of text are still lines


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
    # Averaged by whole steps down to what is nearest, then resampled: at most half of what
    # resampling the whole costs.
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.0)


def webp(image: Image.Image) -> bytes:
    """The image as WebP, which carries no metadata."""
    file = io.BytesIO()
    how = {"quality": THUMBNAIL_QUALITY, "method": THUMBNAIL_METHOD}
    image.save(file, "WEBP", **how, exif=b"", icc_profile=b"")
    return file.getvalue()


def colour(image: Image.Image) -> int:
    """The mean colour of an upright RGB image, as 0xRRGGBB: what a page shows before the photo."""
    tiny = image.resize((1, 1), Image.Resampling.BOX, reducing_gap=2.0)
    (red, green, blue) = tiny.getpixel((0, 0))  # type: ignore[misc]
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
    tiny = small.reduce(max(1, min(small.size) // _GLANCE_PX))
    if tiny.width < 2:
        return False  # no edges to be seen
    red, green, blue = (np.asarray(band, dtype=np.int16) for band in tiny.split())
    brightest = np.maximum(np.maximum(red, green), blue)
    darkest = np.minimum(np.minimum(red, green), blue)
    paper = (darkest > 140) & (brightest - darkest < 48)
    edges = np.abs(np.diff(red + green + blue, axis=1)) > 3 * 24
    return bool(paper.mean() > 0.55 and 0.04 < edges.mean() < 0.5)
