"""The value of a key:value filter -> its conditions. Pure."""

from __future__ import annotations

import re
from typing import Final

from photosearch.conditions import (
    Condition,
    Favourite,
    Hidden,
    InFolder,
    NameHas,
    OfFormat,
    OfKind,
    OfShape,
    Sensitivity,
    TakenNear,
    Written,
)
from photosearch.language import Language

NEAR_KM: Final = 10.0  # where no within: says otherwise
MAX_NEAR_KM: Final = 20_038.0  # half way round the world
TYPES: Final[dict[str, tuple[str, ...]]] = {
    "jpeg": ("JPEG", "MPO"),  # MPO: a JPEG with further pictures behind it, as some phones write
    "jpg": ("JPEG", "MPO"),
    "heic": ("HEIF",),
    "heif": ("HEIF",),
    "png": ("PNG",),
    "webp": ("WEBP",),
    "avif": ("AVIF",),
    "gif": ("GIF",),
    "tiff": ("TIFF",),
    "tif": ("TIFF",),
    "bmp": ("BMP",),
    "raw": ("RAW",),
    "video": ("VIDEO",),
}
SHAPES: Final[dict[str, OfShape]] = {
    "portrait": OfShape("portrait", "is upright"),
    "landscape": OfShape("landscape", "is wider than high"),
    "panorama": OfShape("panorama", "is a panorama"),
}
# What systems and phones call a screenshot's file, or the folder they put it in.
SCREENSHOTS: Final = (
    "screenshot", "screen shot", "screen_shot", "screencap", "bildschirmfoto",
    "capture d'écran", "capture d’écran", "captura de pantalla", "captura de ecrã",
    "captura de tela", "schermata", "schermafbeelding", "skärmavbild", "skærmbillede",
    "skjermbilde", "zrzut ekranu", "snímek obrazovky", "снимок экрана", "スクリーンショット",
    "屏幕截图", "屏幕快照", "截屏", "螢幕截圖", "스크린샷",
)  # fmt: skip

_ISO: Final = re.compile(r"(>=|<=|>|<|=|)([0-9]{1,7})|([0-9]{1,7})(?:\.\.|-)([0-9]{1,7})")
_POINT: Final = re.compile(r"(-?[0-9]{1,3}(?:\.[0-9]*)?),(-?[0-9]{1,3}(?:\.[0-9]*)?)")
_DISTANCE: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(km|mi|m|)", re.IGNORECASE)
_KM: Final = {"km": 1.0, "": 1.0, "m": 0.001, "mi": 1.609344}

Read = tuple[tuple[Condition, ...], str]  # the options, and what is wrong where there are none


def conditions_of(key: str, value: str, within_km: float | None, language: Language) -> Read:
    """(the options of a filter, "") or ((), what is wrong with it)."""
    if not value:
        return (), f"{key}: needs a value"
    match key:
        case "in":
            return _in_folder(value)
        case "type":
            formats = TYPES.get(value.lower())
            if formats is None:
                return (), f"type: knows {', '.join(TYPES)}"
            return (OfFormat(formats, f"is a {value.upper()}"),), ""
        case "is":
            return _is(value, language)
        case "iso":
            return _iso(value)
        case "near":
            place = find_place(value)
            if place is None:
                return (), "near: needs a place, as Lyon or 45.76,4.84"
            within = NEAR_KM if within_km is None else within_km
            return (TakenNear(place, within, f"taken near {value}"),), ""
        case "camera":
            return (Written("camera", value, f"taken with {value}"),), ""
        case _:
            assert key == "lens", key
            return (Written("lens", value, f"taken through {value}"),), ""


def _is(value: str, language: Language) -> Read:
    kind = language.kinds.get(value.lower())
    if kind is None:
        return (), f"is: knows {', '.join(dict.fromkeys(language.kinds.values()))}"
    if kind == "favourite":
        return (Favourite("is a favourite"),), ""
    if kind == "hidden":
        return (Hidden("is hidden"),), ""
    if kind == "screenshot":
        named = tuple(NameHas(name, "is a screenshot") for name in SCREENSHOTS)
        return (OfKind("screenshot", "is a screenshot"), *named), ""
    return (SHAPES[kind],), ""


def _in_folder(value: str) -> Read:
    parts = tuple(part for part in value.replace("\\", "/").split("/") if part not in ("", "."))
    if not parts or ".." in parts:
        return (), "in: needs a folder, as holidays/2019"
    return (InFolder(parts, f"in {'/'.join(parts)}"),), ""


def _iso(value: str) -> Read:
    found = _ISO.fullmatch(value.replace(" ", ""))
    if found is None:
        return (), "iso: needs a number, as 800, >800 or 100..400"
    sign, one, low, high = found.groups()
    if one is None:
        first, last = sorted((int(low), int(high)))
        return (Sensitivity(first, last, f"taken at ISO {first} to {last}"),), ""
    number = int(one)
    lows = {">": number + 1, ">=": number, "=": number, "": number}
    highs = {"<": number - 1, "<=": number, "=": number, "": number}
    label = f"taken at ISO {sign.lstrip('=')}{number}"
    return (Sensitivity(lows.get(sign), highs.get(sign), label),), ""


def find_place(value: str) -> str | tuple[float, float] | None:
    """A place's name, or its latitude and longitude; None for a point off the globe."""
    value = " ".join(value.split())
    found = _POINT.fullmatch(value.replace(" ", ""))
    if found is None:
        return value if any(char.isalpha() for char in value) else None
    latitude, longitude = float(found[1]), float(found[2])
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def find_distance_km(value: str) -> float | None:
    """20km, 500m, 12.5mi; kilometres where no unit is named."""
    found = _DISTANCE.fullmatch(value.replace(" ", ""))
    distance = float(found[1]) * _KM[found[2].lower()] if found is not None else 0.0
    return distance if 0 < distance <= MAX_NEAR_KM else None
