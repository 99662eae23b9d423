"""Dates as people write them -> the condition on `taken`. Pure.

docs/query-language.md has the table of what is understood. Everything is
reckoned in calendar days of the user's zone, because a camera writes local time
and seldom says where: so neither a zone nor a clock change can move a photo.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from photosearch.conditions import EARLIEST, LATEST, TakenEvery, TakenIn
from photosearch.language import Language

_YEAR: Final = r"(?:19|20)[0-9]{2}"  # other numbers of four digits are more often just numbers
_DAY_OR_MORE: Final = re.compile(rf"({_YEAR})(?:-([0-9]{{1,2}})(?:-([0-9]{{1,2}}))?)?")
_RANGE: Final = re.compile(r"([0-9-]*)\.\.([0-9-]*)")
_YEARS: Final = re.compile(rf"({_YEAR})-({_YEAR})")
_LIKE_A_DATE: Final = re.compile(
    rf"{_YEAR}-[0-9]{{1,2}}|[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}|(?=.*[0-9]){_RANGE.pattern}"
)
LEAP_YEAR: Final = 2000  # in which every day of a year exists
MAX_WORDS: Final = 10  # of the longest phrase: "from 14 july of 2019 to 3 august of 2019"


@dataclass(frozen=True)
class Found:
    """A date at the start of some words."""

    words: int  # how many of them it takes
    conditions: tuple[TakenIn | TakenEvery, ...]  # one of them must hold
    bounds: bool = False  # before, after, since, until: narrows what other dates allow


@dataclass(frozen=True)
class _Period:
    """`words` of the input name a stretch of time, or one that comes back every year or week."""

    words: int
    name: str  # "July 2019"
    at: str  # "in", "on"
    start: str = ""
    end: str = ""
    every: TakenEvery | None = None

    def condition(self) -> TakenIn | TakenEvery:
        label = f"taken {self.at} {self.name}"
        if self.every is not None:
            return replace(self.every, label=label)
        return TakenIn(self.start, self.end, label)


def looks_like_a_date(word: str) -> bool:
    """Whether someone who typed this surely meant a date, be it a possible one or not."""
    return _LIKE_A_DATE.fullmatch(word) is not None


def find_date(words: Sequence[str], *, today: datetime.date, language: Language) -> Found | None:
    """The longest date at the start of `words` (lower case), or None."""
    calendar = _Calendar(today, language)
    plain = [word.rstrip(",") or word for word in words[:MAX_WORDS]]
    if not plain:
        return None
    if (name := _bound_name(plain[0], language)) is not None:
        return calendar.bound(name, plain[1:], taken=1)
    if plain[0] in language.before_date:
        # "march" alone is a walk as often as a month; "in march" is the month.
        found = calendar.between(plain[1:], sure=plain[0] in language.in_month, led=True)
        found = None if found is None else replace(found, words=found.words + 1)
    else:
        found = calendar.between(plain, sure=False, led=False)
    if (
        found is not None
        and language.joined
        and plain[found.words :][:1] in ([w] for w in language.of)
    ):
        return replace(found, words=found.words + 1)  # 去年的, before what it tells of
    return found


def find_joined(text: str, *, today: datetime.date, language: Language) -> list[tuple[int, int]]:
    """Where the words of dates stand in a text without white space: (start, end) of each."""
    spans: list[tuple[int, int]] = []
    position = 0
    while position < len(text):
        words = _lexemes(text, position, language)
        found = find_date([word for word, _ in words], today=today, language=language)
        if found is None:
            position += 1
            continue
        for word, start in words[: found.words]:
            position = start + len(word)
            spans.append((start, position))
    return spans


def _lexemes(text: str, position: int, language: Language) -> list[tuple[str, int]]:
    """Words of the table, and numbers with what belongs to them, one after another from here."""
    found: list[tuple[str, int]] = []
    if position and text[position - 1].isnumeric():
        return found  # inside a number, or "一周一次", once a week
    table = _lexicon(language)
    while len(found) < MAX_WORDS and (match := table.match(text, position)) is not None:
        found.append((match.group(), position))
        position = match.end()
    return found


@functools.cache
def _lexicon_of(words: tuple[str, ...], years: str, days: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?:{_YEAR}(?:{years})|[0-9]{{1,2}}(?:{days})(?![0-9])|{'|'.join(words)})", re.IGNORECASE
    )


def _lexicon(language: Language) -> re.Pattern[str]:
    """Of a language whose words join: its own words, longest first, and numbers it marks."""
    tables = (
        language.months, language.seasons, language.weekdays, language.days_ago, language.spans,
        language.follow, language.of, language.to, language.before_date,
    )  # fmt: skip
    words = {word for table in tables for word in table if not word.isascii()}
    return _lexicon_of(
        tuple(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word))),
        "|".join(map(re.escape, language.year_suffixes)),
        "|".join(re.escape(suffix) for suffix in language.day_suffixes if not suffix.isascii()),
    )


def find_bound(
    name: str, value: str, *, today: datetime.date, language: Language
) -> TakenIn | None:
    """before: or after: with the whole of `value` as its date."""
    words = value.lower().split()
    found = _Calendar(today, language).bound(name, words, taken=0)
    if found is None or found.words != len(words):
        return None
    (condition,) = found.conditions
    assert isinstance(condition, TakenIn)
    return condition


def _bound_name(word: str, language: Language) -> str | None:
    for name in ("before", "after", "since", "until"):
        if word in getattr(language, name):
            return name
    return None


@dataclass(frozen=True)
class _Calendar:
    """One day, and one language to speak about the days around it."""

    today: datetime.date
    language: Language

    def bound(self, name: str, words: Sequence[str], *, taken: int) -> Found | None:
        """ "before" and "after" leave the named period itself out, "since" and "until" do not."""
        period = self.period(words, sure=True, led=True)
        if period is None:
            return None
        if period.every is not None:
            if period.every.month is None or period.every.day is not None:
                return None
            period = replace(self._latest_month(period.every.month), words=period.words)
        start, end = {
            "before": (EARLIEST, period.start),
            "after": (period.end, LATEST),
            "since": (period.start, LATEST),
            "until": (EARLIEST, period.end),
        }[name]
        condition = TakenIn(start, end, f"taken {name} {period.name}")
        return Found(taken + period.words, (condition,), bounds=True)

    def between(self, words: Sequence[str], *, sure: bool, led: bool) -> Found | None:
        """A period, or two with "to" between them."""
        first = self.period(words, sure=sure, led=led)
        if first is None:
            return None
        rest = words[first.words :]
        if rest and rest[0] in self.language.follow:
            bound = self.bound(self.language.follow[rest[0]], words[: first.words], taken=1)
            if bound is not None:
                return bound
        if len(rest) > 1 and rest[0] in self.language.to:
            second = self.period(rest[1:], sure=sure, led=led)
            joined = None if second is None else self._join(first, second)
            if joined is not None:
                return joined
        return Found(first.words, (first.condition(),))

    def _join(self, first: _Period, second: _Period) -> Found | None:
        words = first.words + 1 + second.words
        one, other = _bare_month(first), _bare_month(second)
        if one is not None and other is not None:
            count = (other - one) % 12 + 1
            months = [(one - 1 + step) % 12 + 1 for step in range(count)]
            return Found(words, tuple(self._every_month(1, month).condition() for month in months))
        if one is not None and second.every is None:  # "june to august 2019"
            year, month = int(second.start[:4]), int(second.start[5:7])
            first = self._month(0, year if one <= month else year - 1, one)
        if first.every is not None or second.every is not None:
            return None
        return Found(words, (_spanning(first, second),))

    def period(self, words: Sequence[str], *, sure: bool, led: bool) -> _Period | None:
        if not words:
            return None
        return (
            self._year_first(words)
            or self._numeric(words[0])
            or self._relative(words)
            or self._day_month(words, led=led)
            or self._month_first(words, sure=sure, led=led)
            or self._season(words)
            or self._weekday(words[0])
        )

    # --- by numbers ---------------------------------------------------------------------------

    def _numeric(self, word: str) -> _Period | None:
        if (found := _DAY_OR_MORE.fullmatch(word)) is not None:
            year, month, day = (int(part) if part else None for part in found.groups())
            assert year is not None
            return self._date(1, year, month, day)
        if (found := _YEARS.fullmatch(word)) is None:
            found = _RANGE.fullmatch(word)
        if found is None or not any(found.groups()):
            return None
        ends = [self._numeric(part) if part else None for part in found.groups()]
        if any(part and end is None for part, end in zip(found.groups(), ends, strict=True)):
            return None
        first, last = ends
        if first is not None and last is not None:
            span = _spanning(first, last)
            name = span.label.removeprefix("taken from ")
            return _Period(1, name, "from", span.start, span.end)
        if first is not None:
            return replace(first, at="since", end=LATEST)
        assert last is not None
        return replace(last, at="until", start=EARLIEST)

    def _date(self, words: int, year: int, month: int | None, day: int | None) -> _Period | None:
        """A year, a month of it or a day of that; None where there is no such thing."""
        if month is None:
            return _Period(words, str(year), "in", f"{year:04}-01-01", _month_start(12 * year + 12))
        if not 1 <= month <= 12:
            return None
        if day is None:
            return self._month(words, year, month)
        try:
            return self._day(words, datetime.date(year, month, day).toordinal())
        except ValueError:
            return None

    # --- by names -----------------------------------------------------------------------------

    def _year_first(self, words: Sequence[str]) -> _Period | None:
        """2019年7月14日; 2019年夏天; 去年7月. Only in languages that say it so."""
        if not self.language.year_first:
            return None
        year = self._year(words[0])
        if year is None:
            back, unit = self.language.spans.get(words[0], (0, ""))
            if unit != "year":
                return None
            year = self.today.year - back
        after = words[1] if len(words) > 1 else ""
        if after in self.language.seasons:
            return self._season_of(2, after, year)
        month = self._named_month(after)
        if month is None:
            return self._date(1, year, None, None)
        day = self._day_number(words[2]) if len(words) > 2 else None
        whole = None if day is None else self._date(3, year, month, day)
        return whole or self._month(2, year, month)

    def _year(self, word: str) -> int | None:
        for suffix in self.language.year_suffixes:
            word = word.removesuffix(suffix)
        return int(word) if re.fullmatch(_YEAR, word) else None

    def _day_month(self, words: Sequence[str], *, led: bool) -> _Period | None:
        """14 july 2019; 14 july, of any year."""
        day = self._day_number(words[0])
        if day is None or len(words) < 2:
            return None
        return self._day_of_month(day, words[1], words[2:], led=led)

    def _month_first(self, words: Sequence[str], *, sure: bool, led: bool) -> _Period | None:
        """july 14 2019; july 14; july 2019; july."""
        named = self._named_month(words[0])
        if named is None:
            return None
        day = self._day_number(words[1]) if len(words) > 1 else None
        if day is not None:
            found = self._day_of_month(day, words[0], words[2:], led=led)
            if found is not None:
                return found
        used, year = self._year_after(words[1:])
        if year is not None:
            return self._month(1 + used, year, named)
        if words[0] not in self.language.months or self._is_word(words[0], sure=sure):
            return None
        return self._every_month(1, named)

    def _day_of_month(
        self, day: int, name: str, after: Sequence[str], *, led: bool
    ) -> _Period | None:
        month = self._named_month(name)
        if month is None:
            return None
        used, year = self._year_after(after)
        if year is not None:
            return self._date(2 + used, year, month, day)
        if name not in self.language.months or self._is_word(name, sure=led):
            return None
        if self._date(0, LEAP_YEAR, month, day) is None:
            return None
        shown = f"{day} {self.language.month_names[month - 1]}"
        return _Period(2, shown, "on", every=TakenEvery("", month=month, day=day))

    def _season(self, words: Sequence[str]) -> _Period | None:
        """Only with a year: what a bare "winter" looks like is for the meaning to find."""
        if words[0] not in self.language.seasons:
            return None
        used, year = self._year_after(words[1:])
        return None if year is None else self._season_of(1 + used, words[0], year)

    def _weekday(self, word: str) -> _Period | None:
        weekday = self.language.weekdays.get(word)
        if weekday is None:
            return None
        name = f"a {self.language.weekday_names[weekday]}"
        return _Period(1, name, "on", every=TakenEvery("", weekday=weekday))

    def _is_word(self, month: str, *, sure: bool) -> bool:
        return month in self.language.ambiguous and not sure

    def _named_month(self, word: str) -> int | None:
        return self.language.months.get(word) or self.language.short_months.get(word)

    def _day_number(self, word: str) -> int | None:
        for suffix in self.language.day_suffixes:
            word = word.removesuffix(suffix)
        if not (word.isascii() and word.isdigit()) or len(word) > 2:
            return None
        return int(word) if 1 <= int(word) <= 31 else None

    def _year_after(self, words: Sequence[str]) -> tuple[int, int | None]:
        """(words used, year) of "2019" or "of 2019"."""
        used = 1 if len(words) > 1 and words[0] in self.language.of else 0
        if len(words) > used and (year := self._year(words[used])) is not None:
            return used + 1, year
        return 0, None

    # --- by today -----------------------------------------------------------------------------

    def _relative(self, words: Sequence[str]) -> _Period | None:
        """today, yesterday; last and this week, month, year, summer; last july, last monday."""
        day = self.today.toordinal()
        if words[0] in self.language.days_ago:
            return self._day(1, day - self.language.days_ago[words[0]])
        if words[0] in self.language.spans:
            span, unit = self.language.spans[words[0]]
            return replace(self._unit(unit, back=span), words=1)
        back = int(words[0] in self.language.last)
        if len(words) < 2 or not (back or words[0] in self.language.this):
            return None
        word = words[1]
        if word in self.language.units:
            return self._unit(self.language.units[word], back=back)
        if word in self.language.seasons:
            years = range(self.today.year, self.today.year - 3, -1)
            seasons = [self._season_of(2, word, year) for year in years]
            return self._past(seasons) if back else self._running(seasons)
        month = self._named_month(word)
        if month is not None:
            years = range(self.today.year, self.today.year - 2, -1)
            months = [self._month(2, year, month) for year in years]
            return self._past(months) if back else months[0]
        if back and (weekday := self.language.weekdays.get(word)) is not None:
            return self._day(2, day - 1 - (self.today.weekday() - weekday - 1) % 7)
        return None

    def _unit(self, unit: str, *, back: int) -> _Period:
        """The calendar's week (from Monday), month or year that holds today, or the one before."""
        today = self.today
        if unit == "week":
            monday = today.toordinal() - today.weekday() - 7 * back
            first = self._day(2, monday)
            return replace(first, name=f"the week of {first.name}", at="in", end=_day(monday + 7))
        if unit == "month":
            number = 12 * today.year + today.month - 1 - back
            return self._month(2, number // 12, number % 12 + 1)
        year = today.year - back
        return _Period(2, str(year), "in", _month_start(12 * year), _month_start(12 * year + 12))

    def _past(self, newest_first: Sequence[_Period]) -> _Period:
        """The latest that is over; "last summer" in July is the one a year ago."""
        over = (period for period in newest_first if period.end <= self.today.isoformat())
        return next(over, newest_first[-1])

    def _running(self, newest_first: Sequence[_Period]) -> _Period:
        """The one that holds today, else this year's."""
        today = self.today.isoformat()
        holding = (period for period in newest_first if period.start <= today < period.end)
        return next(holding, newest_first[0])

    def _latest_month(self, month: int) -> _Period:
        """The latest such month that has begun: what "since july" means."""
        year = self.today.year - int(month > self.today.month)
        return self._month(1, year, month)

    # --- what they are called -----------------------------------------------------------------

    def _day(self, words: int, ordinal: int) -> _Period:
        ordinal = min(max(ordinal, 1), datetime.date.max.toordinal())
        day = datetime.date.fromordinal(ordinal)
        name = f"{day.day} {self.language.month_names[day.month - 1]} {day.year}"
        return _Period(words, name, "on", _day(ordinal), _day(ordinal + 1))

    def _month(self, words: int, year: int, month: int) -> _Period:
        number = 12 * year + month - 1
        name = f"{self.language.month_names[month - 1]} {year}"
        return _Period(words, name, "in", _month_start(number), _month_start(number + 1))

    def _every_month(self, words: int, month: int) -> _Period:
        name = self.language.month_names[month - 1]
        return _Period(words, name, "in", every=TakenEvery("", month=month))

    def _season_of(self, words: int, word: str, year: int) -> _Period:
        """A season belongs to the year it begins in: winter 2019 ends in February 2020."""
        month, shown = self.language.seasons[word]
        first = 12 * year + month - 1
        name = f"{shown} {year}" if month + 2 <= 12 else f"{shown} {year}/{(year + 1) % 100:02}"
        return _Period(words, name, "in", _month_start(first), _month_start(first + 3))


def _bare_month(period: _Period) -> int | None:
    every = period.every
    return every.month if every is not None and every.day is None else None


def _spanning(one: _Period, other: _Period) -> TakenIn:
    """From the beginning of the earlier to the end of the later, both included."""
    first, last = sorted((one, other), key=lambda period: period.start)
    end = max(first.end, last.end)
    return TakenIn(first.start, end, f"taken from {first.name} to {last.name}")


def _month_start(number: int) -> str:
    """The first day of a month counted from year 0."""
    year, month = divmod(number, 12)
    if year < 1:
        return EARLIEST
    return LATEST if year > 9999 else f"{year:04}-{month + 1:02}-01"


def _day(ordinal: int) -> str:
    if ordinal < 1:
        return EARLIEST
    if ordinal > datetime.date.max.toordinal():
        return LATEST
    return datetime.date.fromordinal(ordinal).isoformat()
