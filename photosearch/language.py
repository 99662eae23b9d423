"""The words of the query language. Another human language is another table here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Unit = Literal["week", "month", "year"]


@dataclass(frozen=True)
class Language:
    """Every word the parser gives a meaning, in lower case."""

    months: Mapping[str, int]  # 1..12; may stand alone unless ambiguous
    short_months: Mapping[str, int]  # count only beside a year or a day and a year
    ambiguous: frozenset[str]  # months that are words too: need a year, `in_month` or `last`
    seasons: Mapping[str, tuple[int, str]]  # first of three months, and the name to show
    weekdays: Mapping[str, int]  # 0 is Monday
    units: Mapping[str, Unit]
    today: frozenset[str]
    yesterday: frozenset[str]
    last: frozenset[str]
    this: frozenset[str]
    day_suffixes: tuple[str, ...]  # "14th"
    of: frozenset[str]  # "summer of 2019"
    to: frozenset[str]  # "2019 to 2021"
    in_month: frozenset[str]  # makes an ambiguous month a month
    before_date: frozenset[str]  # swallowed before a date, which they do not change
    before: frozenset[str]
    after: frozenset[str]
    since: frozenset[str]
    until: frozenset[str]
    keys: Mapping[str, str]  # what may stand before ":" -> the filter's own name
    kinds: Mapping[str, str]  # of is:
    sorts: Mapping[str, str]  # of sort:
    month_names: tuple[str, ...]  # to show
    weekday_names: tuple[str, ...]  # to show


_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_WEEKDAYS: Final = (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
)  # fmt: skip

ENGLISH: Final = Language(
    months={name.lower(): number for number, name in enumerate(_MONTHS, 1)},
    short_months={name[:3].lower(): number for number, name in enumerate(_MONTHS, 1)}
    | {"sept": 9},
    ambiguous=frozenset({"march", "may"}),
    # Of the northern half of the world, as the weather services count them.
    seasons={
        "spring": (3, "spring"),
        "summer": (6, "summer"),
        "autumn": (9, "autumn"),
        "fall": (9, "autumn"),
        "winter": (12, "winter"),
    },
    weekdays={name.lower(): number for number, name in enumerate(_WEEKDAYS)},
    units={"week": "week", "month": "month", "year": "year"},
    today=frozenset({"today"}),
    yesterday=frozenset({"yesterday"}),
    last=frozenset({"last"}),
    this=frozenset({"this"}),
    day_suffixes=("st", "nd", "rd", "th"),
    of=frozenset({"of"}),
    to=frozenset({"to", "-"}),
    in_month=frozenset({"in"}),
    before_date=frozenset({"in", "on", "from", "during"}),
    before=frozenset({"before"}),
    after=frozenset({"after"}),
    since=frozenset({"since"}),
    until=frozenset({"until"}),
    keys={
        name: name
        for name in (
            "like", "near", "within", "before", "after", "camera", "lens", "iso", "in", "type",
            "is", "sort",
        )
    }
    | {"folder": "in"},
    kinds={
        "favourite": "favourite",
        "favorite": "favourite",
        "screenshot": "screenshot",
        "panorama": "panorama",
        "portrait": "portrait",
        "landscape": "landscape",
    },
    sorts={"date": "date"},
    month_names=_MONTHS,
    weekday_names=_WEEKDAYS,
)  # fmt: skip
