"""What a photo must be to be kept: the nouns between the query language and the SQL.

Each condition carries `label`, its words for "why was this found". Conditions of
one kind stand together in a Group, of which one must hold; every Group must.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Part = Literal["caption", "keyword", "place", "picture"]
Shape = Literal["portrait", "landscape", "panorama"]

# `taken` is ISO text, so these compare below and above every date.
EARLIEST: Final = "0000"
LATEST: Final = "9999-99"


@dataclass(frozen=True)
class TakenIn:
    """Taken in [start, end): dates as ISO text, compared with the photo's own local text."""

    start: str
    end: str
    label: str


@dataclass(frozen=True)
class TakenEvery:
    """Taken in this month, on this day of it, or on this weekday, of any year."""

    label: str
    month: int | None = None  # 1..12
    day: int | None = None  # 1..31; only with a month
    weekday: int | None = None  # 0 is Monday


@dataclass(frozen=True)
class InFolder:
    """Lies at any depth in a folder whose path ends with these parts."""

    parts: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class NameHas:
    """The path below the library's folder, or that folder's own name, contains this text."""

    text: str
    label: str


@dataclass(frozen=True)
class Says:
    """This text stands in the photo's caption, in a keyword, in the name of its place, or in the
    picture itself, where that was read."""

    part: Part
    text: str
    label: str


@dataclass(frozen=True)
class OfKind:
    """What the file says of itself marks it as one."""

    kind: Literal["screenshot"]
    label: str


@dataclass(frozen=True)
class OfFormat:
    """The file's bytes are of one of these formats (Pillow's names); of none: no photo is."""

    formats: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class OfShape:
    shape: Shape
    label: str


@dataclass(frozen=True)
class Written:
    """The camera wrote this text, in any case and anywhere in its name."""

    field: Literal["camera", "lens"]
    text: str
    label: str


@dataclass(frozen=True)
class Sensitivity:
    """ISO in low..high, both included; None is open."""

    low: int | None
    high: int | None
    label: str


@dataclass(frozen=True)
class TakenNear:
    """Taken within a distance of a place, by name or (latitude, longitude)."""

    place: str | tuple[float, float]
    within_km: float
    label: str


@dataclass(frozen=True)
class Favourite:
    """Rated four stars or more in its file."""

    label: str


@dataclass(frozen=True)
class Hidden:
    """Its owner has hidden it. Without this condition no hidden photo is found."""

    label: str


Condition = (
    TakenIn
    | TakenEvery
    | InFolder
    | NameHas
    | Says
    | OfKind
    | OfFormat
    | OfShape
    | Written
    | Sensitivity
    | TakenNear
    | Favourite
    | Hidden
)


@dataclass(frozen=True)
class Group:
    """One of the options must hold; with `negative`, none may."""

    options: tuple[Condition, ...]
    negative: bool = False


def asks_for_hidden(groups: Sequence[Group]) -> bool:
    """Whether hidden photos, and they alone, are to be found."""
    return any(
        not group.negative and any(isinstance(option, Hidden) for option in group.options)
        for group in groups
    )
