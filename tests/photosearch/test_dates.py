"""Dates in what is typed: every way to say one, and what could be one and is none."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import BERLIN, check_shape, dates, kinds, read

from photosearch.conditions import EARLIEST, LATEST, TakenEvery, TakenIn


@pytest.mark.parametrize(
    ("typed", "start", "end"),
    [
        ("2019", "2019-01-01", "2020-01-01"),
        ("in 2019", "2019-01-01", "2020-01-01"),
        ("from 2019", "2019-01-01", "2020-01-01"),
        ("2019-07", "2019-07-01", "2019-08-01"),
        ("2019-7", "2019-07-01", "2019-08-01"),
        ("2019-12", "2019-12-01", "2020-01-01"),
        ("2019-07-14", "2019-07-14", "2019-07-15"),
        ("2020-02-29", "2020-02-29", "2020-03-01"),
        ("2019..2021", "2019-01-01", "2022-01-01"),
        ("2021..2019", "2019-01-01", "2022-01-01"),
        ("2019-2021", "2019-01-01", "2022-01-01"),
        ("2019 to 2021", "2019-01-01", "2022-01-01"),
        ("2019 - 2021", "2019-01-01", "2022-01-01"),
        ("from 2019 to 2021", "2019-01-01", "2022-01-01"),
        ("2019-07..2019-09-03", "2019-07-01", "2019-09-04"),
        ("2019..", "2019-01-01", LATEST),
        ("..2019", EARLIEST, "2020-01-01"),
        ("summer 2019", "2019-06-01", "2019-09-01"),
        ("Summer of 2019", "2019-06-01", "2019-09-01"),
        ("spring 2019", "2019-03-01", "2019-06-01"),
        ("fall 2019", "2019-09-01", "2019-12-01"),
        ("autumn 2019", "2019-09-01", "2019-12-01"),
        ("winter 2019", "2019-12-01", "2020-03-01"),
        ("july 2019", "2019-07-01", "2019-08-01"),
        ("JULY 2019", "2019-07-01", "2019-08-01"),
        ("july of 2019", "2019-07-01", "2019-08-01"),
        ("jul 2019", "2019-07-01", "2019-08-01"),
        ("sept 2019", "2019-09-01", "2019-10-01"),
        ("mar 2019", "2019-03-01", "2019-04-01"),
        ("may 2019", "2019-05-01", "2019-06-01"),
        ("march 2019", "2019-03-01", "2019-04-01"),
        ("14 july 2019", "2019-07-14", "2019-07-15"),
        ("july 14, 2019", "2019-07-14", "2019-07-15"),
        ("July 4th 2019", "2019-07-04", "2019-07-05"),
        ("on 2 may 2019", "2019-05-02", "2019-05-03"),
        ("june to august 2019", "2019-06-01", "2019-09-01"),
        ("november to february 2019", "2018-11-01", "2019-03-01"),
        ("today", "2026-11-21", "2026-11-22"),
        ("yesterday", "2026-11-20", "2026-11-21"),
        ("last week", "2026-11-09", "2026-11-16"),
        ("this week", "2026-11-16", "2026-11-23"),
        ("last month", "2026-10-01", "2026-11-01"),
        ("this month", "2026-11-01", "2026-12-01"),
        ("last year", "2025-01-01", "2026-01-01"),
        ("this year", "2026-01-01", "2027-01-01"),
        ("last summer", "2026-06-01", "2026-09-01"),
        ("last autumn", "2025-09-01", "2025-12-01"),  # this one is not over
        ("this autumn", "2026-09-01", "2026-12-01"),
        ("last winter", "2025-12-01", "2026-03-01"),
        ("last july", "2026-07-01", "2026-08-01"),
        ("last november", "2025-11-01", "2025-12-01"),
        ("last may", "2026-05-01", "2026-06-01"),
        ("this may", "2026-05-01", "2026-06-01"),
        ("last monday", "2026-11-16", "2026-11-17"),
        ("last saturday", "2026-11-14", "2026-11-15"),
        ("before:2020", EARLIEST, "2020-01-01"),
        ("before:2020-05-01", EARLIEST, "2020-05-01"),
        ("after:2020", "2021-01-01", LATEST),
        ("after:2020-05-01", "2020-05-02", LATEST),
        ('before:"july 2019"', EARLIEST, "2019-07-01"),
        ("after:yesterday", "2026-11-21", LATEST),
        ("before 2020", EARLIEST, "2020-01-01"),
        ("after 2020", "2021-01-01", LATEST),
        ("since 2020", "2020-01-01", LATEST),
        ("until 2020", EARLIEST, "2021-01-01"),
        ("since july", "2026-07-01", LATEST),
        ("since december", "2025-12-01", LATEST),
        ("since november", "2026-11-01", LATEST),
    ],
)  # fmt: skip
def test_dates(typed: str, start: str, end: str) -> None:
    query = read(typed)
    assert dates(query) == [[(start, end)]]
    assert len(query.tokens) == 1
    assert query.text == ""
    assert query.notes == ()
    check_shape(typed, query)


@pytest.mark.parametrize(
    ("typed", "options"),
    [
        ("july", [(7, None, None)]),
        ("in may", [(5, None, None)]),
        ("in march", [(3, None, None)]),
        ("25 december", [(12, 25, None)]),
        ("december 25", [(12, 25, None)]),
        ("29 february", [(2, 29, None)]),
        ("on 2 may", [(5, 2, None)]),
        ("sunday", [(None, None, 6)]),
        ("on monday", [(None, None, 0)]),
        ("june to august", [(6, None, None), (7, None, None), (8, None, None)]),
        ("november to january", [(11, None, None), (12, None, None), (1, None, None)]),
        ("july august", [(7, None, None), (8, None, None)]),
    ],
)
def test_dates_that_come_back(typed: str, options: list[tuple[int | None, ...]]) -> None:
    query = read(typed)
    (group,) = query.groups
    found = [(o.month, o.day, o.weekday) for o in group.options if isinstance(o, TakenEvery)]
    assert found == options
    assert query.text == ""


@pytest.mark.parametrize(
    "typed",
    [
        "may", "march", "fall", "spring", "summer", "winter", "sun", "mon", "sat", "jan", "mar",
        "dec",
        "a cat may jump", "a march through town", "autumn leaves", "in winter", "in fall",
        "the last sun", "last", "this", "last one", "before", "since",
        "may 14", "2 may", "sun set", "1234", "12345", "3000", "1850", "2019abc", "week",
        "before dinner", "a view from above", "on top", "in the house", "last supper", "to",
        "second", "99", "may day", "mar 3",
    ],
)  # fmt: skip
def test_words_that_could_be_dates_and_are_not(typed: str) -> None:
    query = read(typed)
    assert query.groups == ()
    assert query.text == typed
    assert query.notes == ()


def test_a_word_is_a_month_only_where_it_can_be_nothing_else() -> None:
    assert kinds(read("a cat in may")) == [("words", "a cat"), ("date", "in may")]
    assert kinds(read("a cat may 2019")) == [("words", "a cat"), ("date", "may 2019")]
    assert kinds(read("march in may")) == [("words", "march"), ("date", "in may")]
    assert kinds(read("sunday 2019 lunch")) == [
        ("date", "sunday"), ("date", "2019"), ("words", "lunch"),
    ]  # fmt: skip
    assert kinds(read("july 20 2019")) == [("date", "july 20 2019")]
    assert kinds(read('"july" 2019')) == [("exact", '"july"'), ("date", "2019")]


@pytest.mark.parametrize("typed", ["31 february 2019", "february 30", "2019-02-30", "0 july 2019"])
def test_days_that_do_not_exist_are_not_days(typed: str) -> None:
    for group in read(typed).groups:
        for option in group.options:
            assert not (isinstance(option, TakenEvery) and option.day)
            if isinstance(option, TakenIn):
                assert option.end[8:] == "01"  # a month or a year


def test_dates_of_one_kind_widen_and_of_two_kinds_narrow() -> None:
    assert dates(read("2018 2020")) == [
        [("2018-01-01", "2019-01-01"), ("2020-01-01", "2021-01-01")]
    ]
    assert len(read("sunday 2019").groups) == 2
    assert len(read("sunday saturday 2019 2020").groups) == 2
    assert len(read("after:2018 before:2020").groups) == 2
    assert len(read("july 14 december").groups) == 1


@pytest.mark.parametrize(
    ("now", "typed", "start"),
    [
        # The day is the user's, not Greenwich's.
        (datetime.datetime(2026, 1, 1, 0, 30, tzinfo=BERLIN), "today", "2026-01-01"),
        (datetime.datetime(2026, 1, 1, 0, 30, tzinfo=BERLIN), "this year", "2026-01-01"),
        (datetime.datetime(2026, 1, 1, 0, 30, tzinfo=BERLIN), "last month", "2025-12-01"),
        # The night the clocks go forward, and the hour that comes twice.
        (datetime.datetime(2026, 3, 29, 3, 0, tzinfo=BERLIN), "yesterday", "2026-03-28"),
        (datetime.datetime(2026, 3, 30, 0, 30, tzinfo=BERLIN), "yesterday", "2026-03-29"),
        (datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN), "yesterday", "2026-10-24"),
        (datetime.datetime(2026, 10, 26, 0, 10, tzinfo=BERLIN), "last week", "2026-10-19"),
        (datetime.datetime(2024, 3, 1, 9, 0, tzinfo=BERLIN), "yesterday", "2024-02-29"),
        # A season that crosses the year belongs to the year it begins in.
        (datetime.datetime(2026, 1, 15, 9, 0, tzinfo=BERLIN), "this winter", "2025-12-01"),
        (datetime.datetime(2026, 1, 15, 9, 0, tzinfo=BERLIN), "last winter", "2024-12-01"),
        (datetime.datetime(2026, 3, 1, 9, 0, tzinfo=BERLIN), "last winter", "2025-12-01"),
        (datetime.datetime(2026, 7, 1, 9, 0, tzinfo=BERLIN), "last summer", "2025-06-01"),
    ],
)
def test_the_day_is_the_users_own(now: datetime.datetime, typed: str, start: str) -> None:
    ((span,),) = dates(read(typed, now))
    assert span[0] == start


@given(
    st.datetimes(timezones=st.just(datetime.UTC)),
    st.sampled_from(
        ["today", "yesterday", *(f"{w} {u}" for w in ("last", "this", "since") for u in
         ("week", "month", "year", "winter", "july", "monday", "today"))]
    ),
)  # fmt: skip
def test_relative_dates_hold_at_any_time_there_is(now: datetime.datetime, typed: str) -> None:
    for group in dates(read(typed, now)):
        for start, end in group:
            assert start < end or end == LATEST
