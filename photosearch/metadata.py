"""What a photo's file says of itself: EXIF, IPTC and XMP, and the date in its name.

Of two that speak, EXIF is believed before XMP on what the camera did, and XMP before
IPTC and EXIF on what people wrote, since programs keep XMP up to date.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import re
import struct
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from PIL import ExifTags, Image

from photosearch import iptc, xmp
from photosearch.types import Facts, Kind

READER: Final = 1  # grows when this module learns to read more: known photos are read again

MAX_TEXT: Final = 8_000  # characters of a caption
MAX_NAME: Final = 200  # of a keyword, a camera, a lens
MAX_KEYWORDS: Final = 200
MAX_ISO: Final = 10_000_000

_Base, _GPS = ExifTags.Base, ExifTags.GPS
_XP_TITLE, _XP_COMMENT, _XP_KEYWORDS, _XP_SUBJECT = 0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F
_RATING, _RATING_PERCENT = 0x4746, 0x4749
_DATE: Final = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?")
_OFFSET: Final = re.compile(r"(?:[+-]\d\d:\d\d|Z)$")
_XMP_GPS: Final = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d+)?)(?:,(\d{1,2}(?:\.\d+)?))?([NSEW])")

# What Pillow raises for damaged EXIF, beside what a damaged number raises.
_DAMAGED: Final = (
    KeyError, ValueError, OSError, TypeError, SyntaxError, ArithmeticError, LookupError,
    AttributeError,
)  # fmt: skip


@dataclass(frozen=True)
class Sources:
    """A file's metadata blocks, decoded as far as they can be."""

    exif: Mapping[int, Any]  # main directory and the photo's own, merged
    gps: Mapping[int, Any]
    xmp: xmp.Properties
    iptc: iptc.Records
    software: str  # PNG's own text chunk, or EXIF's


def sources(exif: Image.Exif, info: Mapping[Any, Any], *, beside: bytes = b"") -> Sources:
    """Read the blocks Pillow found: `info` is an image's, after loading it. `beside` is what an
    XMP file beside the photo holds: each property there is believed before the photo's own."""
    tags: dict[int, Any] = {}
    gps: dict[int, Any] = {}
    with contextlib.suppress(*_DAMAGED):
        tags.update(exif)
    with contextlib.suppress(*_DAMAGED):
        tags.update(exif.get_ifd(ExifTags.IFD.Exif))
    with contextlib.suppress(*_DAMAGED):
        gps.update(exif.get_ifd(ExifTags.IFD.GPSInfo))
    packet = info.get("xmp") or info.get("XML:com.adobe.xmp") or tags.get(700) or b""
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    elif not isinstance(packet, bytes):
        packet = b""
    photoshop = info.get("photoshop")
    block = photoshop.get(0x0404) if isinstance(photoshop, dict) else None
    block = block or tags.get(33723) or b""
    return Sources(
        tags,
        gps,
        {**xmp.properties(packet), **xmp.properties(beside)},
        iptc.records(block) if isinstance(block, bytes) else {},
        _exif_text(tags.get(_Base.Software)) or _clean(str(info.get("Software") or "")),
    )


def read(found: Sources, *, name: str = "") -> Facts:
    """Facts from a file's own words; `name` is the file's, for a date no block holds.

    What only the pixels tell (kind of document, hashes, colour) is left as it is.
    """
    taken = _taken(found)
    named = None if taken else taken_by_name(name)
    place = _place(found)
    apple = _apple(found.exif.get(_Base.MakerNote))
    return Facts(
        taken=taken or named,
        taken_from="camera" if taken else "name" if named else None,
        camera=_camera(found),
        lens=_lens(found),
        iso=_iso(found),
        exposure_s=_positive(_number(found, _Base.ExposureTime, "exif:ExposureTime")),
        aperture=_positive(_number(found, _Base.FNumber, "exif:FNumber")),
        focal_mm=_positive(_number(found, _Base.FocalLength, "exif:FocalLength")),
        latitude=place[0] if place else None,
        longitude=place[1] if place else None,
        rating=_rating(found),
        caption=_caption(found),
        keywords=_keywords(found),
        kind=_kind(found, name),
        burst=apple.get(_BURST) or _clean(_first(found.xmp, "GCamera:BurstID"))[:MAX_NAME] or None,
        live=apple.get(_CONTENT),
    )


def told_beside(told: Facts, beside: bytes) -> Facts:
    """Facts that a container gave, with what people wrote into an XMP file beside it."""
    said = read(Sources({}, {}, xmp.properties(beside), {}, ""))
    return replace(
        told,
        rating=told.rating if said.rating is None else said.rating,
        caption=said.caption or told.caption,
        keywords=said.keywords or told.keywords,
    )


# --- when -------------------------------------------------------------------------------------


def _taken(found: Sources) -> str | None:
    """When the photo was taken, as its camera wrote it: ISO 8601 local time.

    With an offset only where the camera wrote one; a zone is never invented.
    None for no date and for impossible ones (cameras write 0000:00:00 when unset).
    """
    for date_tag, offset_tag in (
        (_Base.DateTimeOriginal, _Base.OffsetTimeOriginal),
        (_Base.DateTimeDigitized, _Base.OffsetTimeDigitized),
    ):
        offset = _exif_text(found.exif.get(offset_tag))
        if moment := _moment(_exif_text(found.exif.get(date_tag)), offset):
            return moment
    for name in ("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate"):
        if moment := _moment(_first(found.xmp, name)):
            return moment
    day = "".join(found.iptc.get(iptc.CREATED_DAY, ())[:1])
    clock = "".join(found.iptc.get(iptc.CREATED_TIME, ())[:1]) or "000000"
    if re.fullmatch(r"\d{8}", day) and re.match(r"\d{6}", clock):
        return _moment(
            f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:6]}",
            f"{clock[6:9]}:{clock[9:11]}",
        )
    return None


def _moment(text: str, offset: str = "") -> str | None:
    found = _DATE.match(text)
    if not found:
        return None
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
        moment = datetime.datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
    zone = _OFFSET.search(text[found.end() :]) or _OFFSET.fullmatch(offset)
    if not zone:
        return moment.isoformat()
    return moment.isoformat() + ("+00:00" if zone.group() == "Z" else zone.group())


# Dates that phones, messengers and screenshot tools put into names:
# IMG_20190714_183005, PXL_20210101_101112345, Screenshot 2023-05-01 at 10.11.12,
# IMG-20190714-WA0007, 2019-07-14 18.30.05, signal-2020-11-28-101112, 20190714.
_NAMED: Final = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])"
    r"(?:(?:[-_ T.]|\s+(?:at|um|à|om|kl\.?)\s+|[-_ ]*)"
    r"([01]\d|2[0-3])([-_.:h]?)([0-5]\d)\6([0-5]\d)(?:\d{3})?)?(?!\d)"
)
_EARLIEST_NAMED: Final = 1990  # 19xxxxxx before digital cameras is more likely a number


def taken_by_name(name: str) -> str | None:
    """The date a file's name holds, with its time of day where that is there too."""
    found = _NAMED.search(unicodedata.normalize("NFC", name))
    if not found or int(found[1]) < _EARLIEST_NAMED:
        return None
    try:
        day = datetime.date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None
    clock = f"T{found[5]}:{found[7]}:{found[8]}" if found[5] else ""
    return day.isoformat() + clock


# --- with what --------------------------------------------------------------------------------


def _camera(found: Sources) -> str | None:
    maker = _exif_text(found.exif.get(_Base.Make)) or _clean(_first(found.xmp, "tiff:Make"))
    model = _exif_text(found.exif.get(_Base.Model)) or _clean(_first(found.xmp, "tiff:Model"))
    if not model:
        return maker[:MAX_NAME] or None
    # "NIKON CORPORATION" makes the "NIKON D850": its first word is enough to know it again.
    said = not maker or maker.split()[0].casefold() in model.casefold()
    return (model if said else f"{maker} {model}")[:MAX_NAME]


def _lens(found: Sources) -> str | None:
    lens = (
        _exif_text(found.exif.get(_Base.LensModel))
        or _clean(_first(found.xmp, "exifEX:LensModel"))
        or _clean(_first(found.xmp, "aux:Lens"))
    )
    return lens[:MAX_NAME] if lens.strip("-0. ") else None


def _iso(found: Sources) -> int | None:
    """16 bits hold no more than 65535, which cameras write where the true value is elsewhere."""
    tags = (_Base.ISOSpeedRatings, _Base.RecommendedExposureIndex, _Base.ISOSpeed)
    values = [_real(found.exif.get(tag)) for tag in tags]
    values.append(_real(_first(found.xmp, "exif:ISOSpeedRatings")))
    sound = [int(value) for value in values if value is not None and 1 <= value <= MAX_ISO]
    return next((value for value in sound if value != 65535), sound[0] if sound else None)


def _number(found: Sources, tag: int, name: str) -> float | None:
    value = _real(found.exif.get(tag))
    return value if value is not None else _real(_first(found.xmp, name))


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _real(value: Any) -> float | None:
    """A number of EXIF or XMP; the first of several. None for 1/0, NaN and words."""
    if isinstance(value, tuple | list):
        value = value[0] if value else None
    if value is None or isinstance(value, bytes):
        return None
    try:
        if isinstance(value, str):
            over, _, under = value.partition("/")
            number = float(over) / float(under or 1)
        else:
            number = float(value)
    except _DAMAGED:
        return None
    return number if math.isfinite(number) else None


# --- where ------------------------------------------------------------------------------------


def _place(found: Sources) -> tuple[float, float] | None:
    """(latitude, longitude); None for what is off the globe, and for 0, 0, which receivers
    without a fix write: nobody has a photo of that buoy."""
    point = _exif_point(found.gps) or _xmp_point(found.xmp)
    if point is None or point == (0.0, 0.0):
        return None
    latitude, longitude = point
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    return round(latitude, 6), round(longitude, 6)  # 0.1 m


def _exif_point(gps: Mapping[int, Any]) -> tuple[float, float] | None:
    if _exif_text(gps.get(_GPS.GPSStatus)).upper() == "V":  # the receiver had no fix
        return None
    latitude = _degrees(gps.get(_GPS.GPSLatitude), _exif_text(gps.get(_GPS.GPSLatitudeRef)), "S")
    longitude = _degrees(gps.get(_GPS.GPSLongitude), _exif_text(gps.get(_GPS.GPSLongitudeRef)), "W")
    return (latitude, longitude) if latitude is not None and longitude is not None else None


def _degrees(parts: Any, reference: str, negative: str) -> float | None:
    if not isinstance(parts, tuple | list) or not 1 <= len(parts) <= 3:
        return None
    values = [_real(part) for part in parts]
    if values[0] is None:
        return None
    degrees = sum((value or 0.0) / 60.0**power for power, value in enumerate(values))
    return -degrees if reference.upper().startswith(negative) else degrees


def _xmp_point(said: xmp.Properties) -> tuple[float, float] | None:
    """ "45,45.6N" or "45,45,36N" (XMP part 2, GPSCoordinate)."""
    point = []
    for name in ("exif:GPSLatitude", "exif:GPSLongitude"):
        found = _XMP_GPS.fullmatch(_first(said, name).strip())
        if not found:
            return None
        degrees = int(found[1]) + float(found[2]) / 60 + float(found[3] or 0) / 3600
        point.append(-degrees if found[4] in "SW" else degrees)
    return point[0], point[1]


# --- what people wrote ------------------------------------------------------------------------


def _rating(found: Sources) -> int | None:
    """Stars 0..5, or -1 for rejected. Windows also writes percent: 1, 25, 50, 75, 99."""
    value = _real(_first(found.xmp, "xmp:Rating"))
    if value is None:
        value = _real(found.exif.get(_RATING))
    if value is None:
        percent = _real(_first(found.xmp, "MicrosoftPhoto:Rating"))
        percent = percent if percent is not None else _real(found.exif.get(_RATING_PERCENT))
        value = None if percent is None else 1 + round(percent / 25) if percent else 0
    if value is None or not -1 <= value <= 5:
        return None
    return int(value)


def _caption(found: Sources) -> str:
    """Title, headline and description, each once."""
    lines = [
        _first(found.xmp, "dc:title"),
        _first(found.xmp, "photoshop:Headline"),
        _first(found.xmp, "dc:description"),
        *(
            text
            for dataset in (iptc.TITLE, iptc.HEADLINE, iptc.CAPTION)
            for text in found.iptc.get(dataset, ())[:1]
        ),
        *(_windows_text(found.exif.get(tag)) for tag in (_XP_TITLE, _XP_SUBJECT, _XP_COMMENT)),
        _exif_text(found.exif.get(_Base.ImageDescription)),
        _comment(found.exif.get(_Base.UserComment)),
        _first(found.xmp, "exif:UserComment"),
    ]
    kept: list[str] = []
    for line in (_clean(line, keep_lines=True) for line in lines):
        if line and not _is_boilerplate(line) and not any(line in other for other in kept):
            kept.append(line)
    return "\n".join(kept)[:MAX_TEXT]


# What cameras write where a person might: names themselves, or nothing.
_BOILERPLATE: Final = re.compile(
    r"(olympus|sony|minolta|konica minolta|samsung|kodak|exif|digital) ?(digital)? ?(dsc|camera)?"
    r"|default|untitled|screenshot|charset=.*|ascii|binary comment|[\W\d_]*",
    re.IGNORECASE,
)


def _is_boilerplate(line: str) -> bool:
    return bool(_BOILERPLATE.fullmatch(line))


def _keywords(found: Sources) -> tuple[str, ...]:
    """Each once, in the order written; of a hierarchy ("Places|France|Lyon") every part."""
    words: list[str] = [*found.xmp.get("dc:subject", ()), *found.iptc.get(iptc.KEYWORDS, ())]
    for name in ("lr:hierarchicalSubject", "digiKam:TagsList", "MicrosoftPhoto:LastKeywordXMP"):
        for path in found.xmp.get(name, ()):
            words += re.split(r"[|/]", path)
    words += _windows_text(found.exif.get(_XP_KEYWORDS)).split(";")
    clean = (_clean(word)[:MAX_NAME] for word in words)
    return tuple(dict.fromkeys(word for word in clean if word))[:MAX_KEYWORDS]


_SCREENSHOT: Final = re.compile(
    r"\b(screenshot|spectacle|flameshot|ksnip|shutter|grim)|"
    r"screen ?shot|bildschirmfoto|capture d.[eé]cran|captura de (pantalla|tela)|截屏|屏幕|스크린샷"
)


def _kind(found: Sources, name: str) -> Kind:
    """iOS says so in a comment, Linux tools in the name of the program, others in the file's."""
    said = (
        _comment(found.exif.get(_Base.UserComment)),
        _first(found.xmp, "exif:UserComment"),
        found.software,
        "" if found.exif.get(_Base.Model) else name.replace("_", " "),
    )
    return "screenshot" if _SCREENSHOT.search(" ".join(said).casefold()) else "photo"


_APPLE: Final = b"Apple iOS\0\0\1MM"
_BURST, _CONTENT = 0x0B, 0x11  # BurstUUID, ContentIdentifier
_ASCII: Final = 2


def _apple(note: Any) -> dict[int, str]:
    """The texts of Apple's maker note: a TIFF directory of its own, big-endian, whose offsets
    count from the note's first byte."""
    found: dict[int, str] = {}
    if not isinstance(note, bytes) or not note.startswith(_APPLE):
        return found
    with contextlib.suppress(struct.error):
        (count,) = struct.unpack_from(">H", note, len(_APPLE))
        for number in range(min(count, 200)):
            at = len(_APPLE) + 2 + 12 * number
            tag, kind, size, offset = struct.unpack_from(">HHII", note, at)
            if kind == _ASCII and tag in (_BURST, _CONTENT):
                begin = offset if size > 4 else at + 8
                text = note[begin : begin + size].split(b"\0")[0].decode("ascii", "replace")
                if text := _clean(text)[:MAX_NAME]:
                    found[tag] = text
    return found


# --- text -------------------------------------------------------------------------------------


def _first(said: xmp.Properties, name: str) -> str:
    return said.get(name, ("",))[0]


def _exif_text(value: Any) -> str:
    """An ASCII field. Many hold UTF-8 all the same, which Pillow reads as Latin-1."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ""
    with contextlib.suppress(UnicodeError):
        value = value.encode("latin-1").decode("utf-8")
    return _clean(value.split("\0")[0], keep_lines=True)


def _comment(value: Any) -> str:
    """UserComment: eight bytes name its encoding (EXIF 2.32, 4.6.5)."""
    if not isinstance(value, bytes):
        return _exif_text(value)
    head, body = value[:8], value[8:]
    if head == b"UNICODE\0":
        big = body[:1] == b"\0"  # Latin text in big-endian order begins with a zero
        return _clean(body.decode("utf-16-be" if big else "utf-16-le", "replace"), keep_lines=True)
    if head in (b"ASCII\0\0\0", b"\0" * 8):
        return _exif_text(body)
    return ""


def _windows_text(value: Any) -> str:
    """Explorer's own fields: UTF-16, little-endian."""
    if isinstance(value, tuple):
        with contextlib.suppress(ValueError, TypeError):
            value = bytes(value)
    if not isinstance(value, bytes):
        return ""
    return _clean(value.decode("utf-16-le", "replace"), keep_lines=True)


def _clean(text: str, *, keep_lines: bool = False) -> str:
    """NFC, without control characters and lone surrogates, white space drawn together."""
    lines = text.splitlines() if keep_lines else [text]
    kept = []
    for line in lines[:500]:
        line = "".join(
            " " if unicodedata.category(c) in ("Cc", "Cs", "Zs", "Zl", "Zp") else c
            for c in line[:MAX_TEXT]
        )
        kept.append(" ".join(unicodedata.normalize("NFC", line).split()))
    return "\n".join(line for line in kept if line)
