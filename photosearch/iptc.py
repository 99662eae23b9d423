"""IPTC-IIM records -> {dataset: values}: the older way to write captions into photos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TITLE: Final = 5
KEYWORDS: Final = 25
CREATED_DAY: Final = 55  # CCYYMMDD
CREATED_TIME: Final = 60  # HHMMSS+HHMM
HEADLINE: Final = 105
CAPTION: Final = 120

_MARK: Final = 0x1C
_APPLICATION: Final = 2
_ENVELOPE: Final = 1
_CHARSET: Final = 90
_UTF8: Final = b"\x1b%G"

Records = Mapping[int, tuple[str, ...]]


def records(data: bytes) -> Records:
    """The texts of record 2, as far as the data is sound (IIM 4.2, chapter 3)."""
    found: dict[int, list[bytes]] = {}
    utf8 = False
    position = 0
    while position + 5 <= len(data) and data[position] == _MARK:
        record, dataset = data[position + 1], data[position + 2]
        size = int.from_bytes(data[position + 3 : position + 5], "big")
        position += 5
        if size & 0x8000:  # an extended dataset: the length of its length
            digits = size & 0x7FFF
            if digits > 4:
                break
            size = int.from_bytes(data[position : position + digits], "big")
            position += digits
        value = data[position : position + size]
        if len(value) < size:
            break
        position += size
        if (record, dataset) == (_ENVELOPE, _CHARSET):
            utf8 = value == _UTF8
        elif record == _APPLICATION:
            found.setdefault(dataset, []).append(value)
    return {key: tuple(_text(value, utf8) for value in values) for key, values in found.items()}


def _text(value: bytes, utf8: bool) -> str:
    """Many writers use UTF-8 without saying so; what is not UTF-8 is taken for Latin-1."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("utf-8", "replace") if utf8 else value.decode("latin-1")
