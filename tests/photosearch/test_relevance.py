"""The cut-off's statistics, on scores whose distribution is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from photosearch.bundle import Background, Tail
from photosearch.relevance import cut
from photosearch.types import Matrix


def unit(rows: Matrix) -> Matrix:
    found: Matrix = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return found


ROWS = unit(np.random.default_rng(0).standard_normal((1024, 64)).astype(np.float32))
QUERIES = unit(np.random.default_rng(1).standard_normal((300, 64)).astype(np.float32))
TAIL = Tail(floor=0.02, start=1.0, slope=0.5)


def test_the_heights_are_those_of_the_formula() -> None:
    query = QUERIES[0]
    scores = ROWS @ query
    found = cut(query, Background(ROWS, TAIL), photos=1000)
    spread = scores.std() + 0.02
    assert found.present == pytest.approx(scores.mean() + spread * (1 + 0.5 * math.log(1000)))
    shown = scores.mean() + spread * (1 + 0.5 * math.log(1000 / 8))
    assert found.shown == pytest.approx(shown)
    assert found.of(found.present) == found.shown
    assert found.of(found.present - 1e-6) == found.present


def test_a_larger_library_must_show_more_and_a_tiny_one_is_no_exception() -> None:
    background = Background(ROWS, TAIL)
    heights = [cut(QUERIES[0], background, photos=n).present for n in (1, 2, 10, 1000, 10**6)]
    assert heights == sorted(heights)
    tiny = cut(QUERIES[0], background, photos=1)
    assert tiny.present == tiny.shown
    assert cut(QUERIES[0], background, photos=0) == tiny


def test_a_photo_as_the_query_has_its_own_tail() -> None:
    background = Background(ROWS, TAIL, Tail(0.0, 3.0, 0.1))
    words = cut(QUERIES[0], background, photos=100)
    photo = cut(QUERIES[0], background, photos=100, image=True)
    assert photo.present != words.present


def test_copies_of_one_photo_change_nothing_but_the_count() -> None:
    """The best of a thousand copies is no better than the one: no query is answered by them
    that would not be by it."""
    background = Background(ROWS, TAIL)
    for query in QUERIES[:50]:
        one = cut(query, background, photos=100)
        many = cut(query, background, photos=1100)
        assert many.present > one.present
