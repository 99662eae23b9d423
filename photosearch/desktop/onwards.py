"""What the line over the photos offers: the parts of a search, ways to go on, searches to try.

As pills.js. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from photosearch.protocol import Chip, ExampleMessage, SuggestionMessage

HISTORY: Final = "history"  # the kind of a suggestion that is a search made before
MAX_PAST: Final = 3  # searches made before, beside those to try


class Kind(Enum):
    PART = auto()  # of the search: to change, or to take out
    WAY = auto()  # to go on with the words typed
    PAST = auto()  # a search made before: to take over, or to forget
    EXAMPLE = auto()  # a search that finds something in this library


@dataclass(frozen=True)
class Pill:
    """One of them."""

    kind: Kind
    shown: str
    whole: str  # the search it stands for; of a part, the search that it is a part of
    chip: Chip | None = None  # of a part
    photo_id: int | None = None  # of an example: a photo it finds


def for_search(
    query: str, chips: Sequence[Chip], found: Sequence[SuggestionMessage], typed: str
) -> list[Pill]:
    """The parts of `query`, and ways to go on with what is `typed` by now."""
    parts = [Pill(Kind.PART, chip.text, query, chip) for chip in chips if is_part(chip)]
    return [*parts, *(_suggested(each, typed) for each in found)]


def for_empty_box(
    found: Sequence[SuggestionMessage], examples: Sequence[ExampleMessage]
) -> list[Pill]:
    """Searches made before, fewer where there are some to try as well; then those."""
    past = [_suggested(each, "") for each in found[: MAX_PAST if examples else None]]
    tries = [Pill(Kind.EXAMPLE, e.query, e.query, photo_id=e.photo_id) for e in examples]
    return [*past, *tries]


def _suggested(each: SuggestionMessage, typed: str) -> Pill:
    if each.kind == HISTORY:
        return Pill(Kind.PAST, each.text, each.text)
    return Pill(Kind.WAY, addition(each.text, typed), each.text)


def is_part(chip: Chip) -> bool:
    """Is it more than plain words, or something to be said of it?"""
    return chip.kind not in ("words", "name") or chip.note != ""


def without(query: str, chip: Chip) -> str:
    """`query` without that stretch, and without the gap it leaves."""
    return re.sub(r"\s+", " ", f"{query[: chip.start]} {query[chip.end :]}").strip()


def stretch(text: str, chip: Chip) -> tuple[int, int]:
    """Where the chip stands in a box with this text, as Qt counts: (start, length), in UTF-16
    units. The chip counts code points, from after what is empty at the beginning."""
    indent = len(text) - len(text.lstrip())
    start = indent + chip.start
    return units(text[:start]), units(text[start : indent + chip.end])


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def addition(suggested: str, typed: str) -> str:
    """What a suggestion adds to the words typed; all of it where it begins otherwise."""
    before = typed[: typed.rfind(" ") + 1]
    return suggested.removeprefix(before)
