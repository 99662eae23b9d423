"""What was typed, read on one day in Berlin, and what holds of every query."""

from __future__ import annotations

import datetime
import zoneinfo

from photosearch.conditions import TakenIn
from photosearch.pieces import clean_text
from photosearch.query import (
    MAX_FILTERS,
    MAX_QUERY_CHARS,
    MAX_WRITTEN_WORDS,
    Query,
    parse,
    render,
)
from photosearch.values import SCREENSHOTS
from photosearch.wording import stands_in

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=BERLIN)  # a Saturday


def read(typed: str, now: datetime.datetime = NOW) -> Query:
    return parse(typed, now=now)


def kinds(query: Query) -> list[tuple[str, str]]:
    return [(token.kind, token.text) for token in query.tokens]


def dates(query: Query) -> list[list[tuple[str, str]]]:
    """The spans of time in each group."""
    return [
        [(option.start, option.end) for option in group.options if isinstance(option, TakenIn)]
        for group in query.groups
    ]


def check_shape(typed: str, query: Query) -> None:
    """What holds of every query, whatever was typed."""
    assert len(query.text) <= MAX_QUERY_CHARS
    assert query.text == " ".join(query.text.split())
    query.text.encode()  # never a lone surrogate
    last = 0
    for token in query.tokens:
        assert last <= token.start < token.end <= min(len(typed), MAX_QUERY_CHARS)
        assert token.text.split() == clean_text(typed[token.start : token.end]).split()
        last = token.end
    between = "".join(
        typed[one.end : other.start]
        for one, other in zip(query.tokens, query.tokens[1:], strict=False)
    )
    assert not clean_text(between).strip()  # nothing that was typed is left out
    again = parse(render(query), now=NOW)
    assert again == query or len(typed) > MAX_QUERY_CHARS
    assert kinds(again) == kinds(query)
    assert sum(len(group.options) for group in query.groups) <= MAX_FILTERS * len(SCREENSHOTS)
    assert again.words == query.words or len(typed) > MAX_QUERY_CHARS
    assert len(query.words) <= MAX_WRITTEN_WORDS
    for word in query.words:
        assert stands_in(word, query.text), word
