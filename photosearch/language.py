"""The words of the query language. Another human language is another table here.

English is the first. The Chinese table holds the English one as well, because
who types Chinese also types `type:raw`; it is taken where the text has a Han
character. `joined` is what Chinese needs of the parser and English does not:
there dates are looked for inside what stands between two spaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

Unit = Literal["week", "month", "year"]
Bound = Literal["before", "after", "since", "until"]


@dataclass(frozen=True)
class Language:
    """Every word the parser gives a meaning, in lower case."""

    months: Mapping[str, int]  # 1..12; may stand alone unless ambiguous
    short_months: Mapping[str, int]  # count only beside a year or a day and a year
    ambiguous: frozenset[str]  # months that are words too: need a year, `in_month` or `last`
    seasons: Mapping[str, tuple[int, str]]  # first of three months, and the name to show
    weekdays: Mapping[str, int]  # 0 is Monday
    units: Mapping[str, Unit]
    days_ago: Mapping[str, int]  # today: 0, yesterday: 1
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
    spans: Mapping[str, tuple[int, Unit]] = field(default_factory=dict)  # 去年: one year back
    follow: Mapping[str, Bound] = field(default_factory=dict)  # bounds after their date: 2019年之前
    year_suffixes: tuple[str, ...] = ()  # "2019年"
    year_first: bool = False  # "2019年7月14日", "去年夏天"
    joined: bool = False  # no white space between words
    small: frozenset[str] = frozenset()  # words that no photo is looked for by alone: of, the


_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_WEEKDAYS: Final = (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
)  # fmt: skip


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


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
    days_ago={"today": 0, "yesterday": 1},
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
        "hidden": "hidden",
    },
    sorts={"date": "date"},
    month_names=_MONTHS,
    weekday_names=_WEEKDAYS,
    small=_set(
        "a all an and any are as at but by for from get had has have her here his i in into is it"
        " its just me my near no not of off on one or our out over she some than that the their"
        " them then there these they this those through to two under up very was we were what when"
        " where which while who with without you your"
        " image images photo photograph photographs photos pic pics picture pictures shot"
    ),
)  # fmt: skip

_HAN_DIGITS: Final = ("一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二")
_HAN_WEEKDAYS: Final = ("一", "二", "三", "四", "五", "六", "日")

CHINESE: Final = replace(
    ENGLISH,
    months={
        **ENGLISH.months,
        **{f"{number}月": number for number in range(1, 13)},
        **{f"0{number}月": number for number in range(1, 10)},
        **{f"{digits}月": number for number, digits in enumerate(_HAN_DIGITS, 1)},
    },
    seasons={
        **ENGLISH.seasons,
        **dict.fromkeys(("春天", "春季"), (3, "spring")),
        **dict.fromkeys(("夏天", "夏季", "暑假"), (6, "summer")),
        **dict.fromkeys(("秋天", "秋季"), (9, "autumn")),
        **dict.fromkeys(("冬天", "冬季"), (12, "winter")),
    },
    weekdays={
        **ENGLISH.weekdays,
        **{
            f"{week}{digit}": number
            for week in ("星期", "周", "礼拜")
            for number, digit in enumerate(_HAN_WEEKDAYS)
        },
        "星期天": 6,
        "礼拜天": 6,
    },
    days_ago={**ENGLISH.days_ago, "今天": 0, "昨天": 1, "前天": 2},
    spans={
        **dict.fromkeys(("今年",), (0, "year")),
        **dict.fromkeys(("去年",), (1, "year")),
        **dict.fromkeys(("前年",), (2, "year")),
        **dict.fromkeys(("这个月", "本月"), (0, "month")),
        **dict.fromkeys(("上个月", "上月"), (1, "month")),
        **dict.fromkeys(("这周", "本周", "这星期", "这个星期"), (0, "week")),
        **dict.fromkeys(("上周", "上星期", "上个星期"), (1, "week")),
    },
    follow={
        **dict.fromkeys(("之前", "以前"), "before"),
        **dict.fromkeys(("之后", "以后"), "after"),
        **dict.fromkeys(("以来",), "since"),
        **dict.fromkeys(("为止",), "until"),
    },
    day_suffixes=(*ENGLISH.day_suffixes, "日", "号"),
    year_suffixes=("年",),
    of=ENGLISH.of | {"的"},
    to=ENGLISH.to | {"到", "至", "~", "～"},
    before_date=ENGLISH.before_date | {"在", "于", "从"},
    in_month=ENGLISH.in_month | {"在"},
    keys={
        **ENGLISH.keys,
        "像": "like",
        "地点": "near",
        "附近": "near",
        "范围": "within",
        "之前": "before",
        "之后": "after",
        "相机": "camera",
        "镜头": "lens",
        "感光度": "iso",
        "文件夹": "in",
        "目录": "in",
        "类型": "type",
        "格式": "type",
        "是": "is",
        "排序": "sort",
    },
    kinds={
        **ENGLISH.kinds,
        "收藏": "favourite",
        "截图": "screenshot",
        "截屏": "screenshot",
        "屏幕截图": "screenshot",
        "全景": "panorama",
        "竖图": "portrait",
        "横图": "landscape",
        "隐藏": "hidden",
    },
    sorts={**ENGLISH.sorts, "日期": "date", "时间": "date"},
    small=ENGLISH.small | {"照片", "图片", "相片"},
    year_first=True,
    joined=True,
)


def language_of(text: str) -> Language:
    """The table for what was typed: by its script."""
    return CHINESE if any("\u4e00" <= char <= "\u9fff" for char in text) else ENGLISH
