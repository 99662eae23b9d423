"""What a photo's file says of itself, and its thumbnail."""

from __future__ import annotations

import datetime
import io
import re
from typing import Final

from PIL import ExifTags, Image

THUMBNAIL_PX: Final = 320  # of the longer side
THUMBNAIL_QUALITY: Final = 78

_EXIF_DATE: Final = re.compile(r"(\d{4}):(\d\d):(\d\d)[ T](\d\d):(\d\d):(\d\d)")
_EXIF_OFFSET: Final = re.compile(r"[+-]\d\d:\d\d")


def taken(exif: Image.Exif) -> str | None:
    """When the photo was taken, as its camera wrote it: ISO 8601 local time.

    With an offset only where the camera wrote one; a zone is never invented.
    None for no date and for impossible ones (cameras write 0000:00:00 when unset).
    """
    try:
        ifd = exif.get_ifd(ExifTags.IFD.Exif)
    except (KeyError, ValueError, OSError, TypeError, SyntaxError):
        return None
    for date_tag, offset_tag in (
        (ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal),
        (ExifTags.Base.DateTimeDigitized, ExifTags.Base.OffsetTimeDigitized),
    ):
        found = _EXIF_DATE.match(str(ifd.get(date_tag, "")))
        if not found:
            continue
        try:
            year, month, day, hour, minute, second = map(int, found.groups())
            moment = datetime.datetime(year, month, day, hour, minute, second)
        except ValueError:
            continue
        offset = str(ifd.get(offset_tag, "")).strip("\0 ")
        return moment.isoformat() + (offset if _EXIF_OFFSET.fullmatch(offset) else "")
    return None


def thumbnail(image: Image.Image, *, side_px: int = THUMBNAIL_PX) -> bytes:
    """WebP of an upright RGB image, its longer side at most `side_px`; carries no metadata."""
    small = image.copy()
    small.thumbnail((side_px, side_px), Image.Resampling.BICUBIC, reducing_gap=2.0)
    small.info.clear()
    file = io.BytesIO()
    small.save(file, "WEBP", quality=THUMBNAIL_QUALITY, method=2)
    return file.getvalue()
