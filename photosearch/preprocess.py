"""Image file -> (3, S, S) float32. Our only resize, crop and normalise.

Training and search both come through here, so that a model meets the same
pixels in use that it learned from.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import pi_heif
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from photosearch.errors import PhotoRejected
from photosearch.types import Facts, Pixels, Preprocess

# What a decoder may be asked to read. Pillow knows stranger formats (PSD, EPS
# through Ghostscript, ...): each is attack surface and none is a photo.
# (Pillow opens MPO, several JPEGs in one file, through JPEG and has no opener of that name.)
FORMATS: Final = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "HEIF")

# Phones take 200-megapixel photos; a JPEG of that size decodes at reduced scale
# in about 100 MB. Beyond this a file is a mistake or an attack.
MAX_PIXELS: Final = 260_000_000

# Other formats decode whole: 4 bytes a pixel, twice while transparency is flattened.
MAX_PIXELS_UNSCALED: Final = 130_000_000

# A photo is decoded at no less than this many times the encoder's side. At 1.5, 12 megapixels of
# JPEG decode at an eighth of their side, for a sixth of the whole decode's cost, and a photo's
# vector stays within a cosine of 0.999 of the whole decode's on average (docs/ingest.md).
DRAFT_OVERSAMPLING: Final = 1.5
# What decodes whole keeps so much more than that: averaging less is no dearer.
REDUCED_OVERSAMPLING: Final = 4 / 3

FILTERS: Final = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}

WHITE: Final = (255, 255, 255)

# EXIF orientation -> the turn that shows the photo upright (EXIF 2.32, tag 0x0112).
TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS: Final = (TURNS[5], TURNS[6], TURNS[7], TURNS[8])

# Byte order, and where the place of its first list of tags is written; the last two are BigTIFF.
TIFF_BEGINS: Final[Mapping[bytes, tuple[Literal["little", "big"], int, int]]] = {
    b"II*\0": ("little", 4, 4),
    b"MM\0*": ("big", 4, 4),
    b"II+\0": ("little", 8, 8),
    b"MM\0+": ("big", 8, 8),
}

# What Pillow's decoders raise for damaged bytes, beside OSError.
_DAMAGED: Final = (ValueError, EOFError, LookupError, TypeError, RuntimeError)


@dataclass(frozen=True)
class Decoded:
    """A photo in memory: upright RGB, with what its file says of itself."""

    image: Image.Image  # RGB, upright; JPEGs perhaps at a reduced scale
    width_px: int  # of the whole photo, upright
    height_px: int
    format: str  # one of FORMATS, or MPO
    exif: Image.Exif  # empty where there is none or it is damaged
    info: Mapping[Any, Any]  # Pillow's: further blocks of metadata, by its names
    told: Facts | None = None  # where no block of metadata but a container says it


def decode(source: Path | BinaryIO | bytes, *, least_px: int) -> Image.Image:
    """Decode a photo upright, as RGB, with a short side of at least `least_px` where it has one."""
    return open_photo(source, least_px=least_px).image


def open_photo(source: Path | BinaryIO | bytes, *, least_px: int) -> Decoded:
    """Decode a photo; JPEGs at a reduced scale where that keeps `least_px` on both sides.

    Raises PhotoRejected with a reason a user can read for anything that is not a
    whole photo; OSError from opening the file itself (missing, forbidden) passes
    through.
    """
    _prepare_pillow()
    file: Path | BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata on stderr; what matters becomes an error below.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as image:
                return _load(image, least_px)
    except (PhotoRejected, FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except UnidentifiedImageError:
        raise PhotoRejected(_unidentified(file)) from None
    except Image.DecompressionBombError:
        raise PhotoRejected(f"too large: more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except MemoryError:
        raise PhotoRejected("too large: decoding it ran out of memory") from None
    except (OSError, SyntaxError, ArithmeticError, AttributeError, *_DAMAGED) as error:
        raise PhotoRejected(f"damaged: {str(error) or type(error).__name__}") from error


def _unidentified(file: Path | BinaryIO) -> str:
    """Why Pillow knows nothing of a file's bytes: TIFF is a frame for more kinds of pictures
    than it opens, and of those it says no more than of what is no picture at all."""
    with file.open("rb") if isinstance(file, Path) else contextlib.nullcontext(file) as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        head = stream.read(16)
    found = TIFF_BEGINS.get(head[:4])
    if found is None:
        return "not a photo: its bytes match no image format we read"
    order, at, wide = found  # where it says where its first list of tags lies
    if len(head) < at + wide or int.from_bytes(head[at : at + wide], order) + 2 > size:
        return "damaged: a TIFF that is cut short"
    return "not supported: this kind of TIFF cannot be opened here"


@functools.cache
def _prepare_pillow() -> None:
    """Teach Pillow HEIC and our pixel limit (its own is 179 megapixels); once, not at import."""
    pi_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def _load(image: Image.Image, least_px: int) -> Decoded:
    width, height = image.size
    name = image.format or ""
    scales = name in ("JPEG", "MPO")
    limit = MAX_PIXELS if scales else MAX_PIXELS_UNSCALED
    if width * height > limit:
        raise PhotoRejected(
            f"too large: {width} x {height} pixels, more than {limit // 1_000_000} megapixels"
        )
    if scales:
        image.draft("RGB", (least_px, least_px))
    image.load()
    exif = _exif(image)
    turn = TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
    upright = to_srgb(_reduced(image, least_px))
    if turn is not None:
        upright = upright.transpose(turn)
        if turn in SIDEWAYS:
            width, height = height, width
    return Decoded(upright, width, height, name, exif, dict(image.info))


def _reduced(image: Image.Image, least_px: int) -> Image.Image:
    """What decodes whole, averaged down by whole steps as JPEG's draft does: everything after
    costs a fraction. Moves no pixel of the encoder's square by more than 3/255 on average."""
    factor = int(min(image.size) / max(1, REDUCED_OVERSAMPLING * least_px))
    if factor < 2 or image.mode in ("1", "P", "PA", "F") or image.mode.startswith("I"):
        return image  # these must become colours first
    small = image.reduce(factor)
    small.info = image.info
    return small


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB in sRGB's colours: by the profile the file carries, where it has another."""
    profile = image.info.get("icc_profile")
    plain = image if image.mode in ("RGB", "CMYK", "L") else to_rgb(image)
    change = _to_srgb(profile, plain.mode) if isinstance(profile, bytes) else None
    if change is not None:
        with contextlib.suppress(ImageCms.PyCMSError, *_DAMAGED):
            changed = ImageCms.applyTransform(plain, change)
            if changed is not None:
                return changed
    return to_rgb(plain)


@functools.lru_cache(maxsize=16)  # a camera's photos share one profile
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None for sRGB itself, and for profiles that are damaged or of another kind of picture."""
    try:
        found = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in (found.profile.profile_description or ""):
            return None
        return ImageCms.buildTransform(found, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, *_DAMAGED):
        return None


def _exif(image: Image.Image) -> Image.Exif:
    """The EXIF block, or an empty one: a photo with damaged EXIF is still a photo."""
    try:
        exif = image.getexif()
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            exif.get_ifd(part)  # a TIFF's are read from the file, which is closed later
        return exif
    except (OSError, SyntaxError, struct.error, *_DAMAGED):
        return Image.Exif()


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode -> RGB; transparency is shown on white, 16 bits are scaled to 8."""
    if image.mode == "RGB":
        return image
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
        deep = np.asarray(image).astype(np.int64)
        return Image.fromarray(np.clip(deep >> 8, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        real = np.nan_to_num(np.asarray(image, dtype=np.float32))
        low, high = float(real.min()), float(real.max())
        scaled = (real - low) * (255.0 / (high - low)) if high > low else np.zeros_like(real)
        return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        clear = image.convert("RGBA")
        flat = Image.new("RGB", clear.size, WHITE)
        flat.paste(clear, mask=clear.getchannel("A"))
        return flat
    return image.convert("RGB")


def fit(image: Image.Image, how: Preprocess) -> Pixels:
    """Resize an upright RGB image to the encoder's square: (S, S, 3) uint8."""
    side = how.side_px
    kernel = FILTERS[how.filter]
    width, height = image.size
    short = min(width, height)
    if how.resize == "squash":
        square = image.resize((side, side), kernel, reducing_gap=None)
    elif how.resize == "center":
        # torchvision's integers: the long side is cut off, the margin rounded half to even.
        long = int(side * max(width, height) / short)
        scaled = image.resize((side, long) if width <= height else (long, side), kernel)
        x, y = round((scaled.width - side) / 2), round((scaled.height - side) / 2)
        square = scaled.crop((x, y, x + side, y + side))
    else:
        left, top = (width - short) / 2, (height - short) / 2
        square = image.resize((side, side), kernel, box=(left, top, left + short, top + short))
    return np.asarray(square, dtype=np.uint8)


def normalise(pixels: NDArray[np.uint8], how: Preprocess) -> NDArray[np.float32]:
    """(N, S, S, 3) uint8 -> (N, 3, S, S) float32, the encoder's input."""
    assert pixels.ndim == 4 and pixels.shape[3] == 3, pixels.shape
    scale = (1.0 / (255.0 * np.asarray(how.std))).astype(np.float32)
    shift = (np.asarray(how.mean) / np.asarray(how.std)).astype(np.float32)
    # Reordered while they are bytes: a fifth of what reordering floats costs.
    planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32)
    planes *= scale[:, None, None]
    planes -= shift[:, None, None]
    return planes


def load(source: Path | BinaryIO | bytes, how: Preprocess) -> Pixels:
    """File -> (S, S, 3) uint8: `decode` and `fit` in one step."""
    return fit(decode(source, least_px=draft_px(how)), how)


def draft_px(how: Preprocess) -> int:
    """The least side that a photo is decoded at, for this encoder."""
    return math.ceil(DRAFT_OVERSAMPLING * how.side_px)
