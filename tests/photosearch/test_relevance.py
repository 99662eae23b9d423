"""The cut-off's statistics, on scores whose distribution is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from photosearch.bundle import Background, Tail
from photosearch.relevance import cut, scale
from photosearch.types import Matrix, Vector


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


def blind(rows: Matrix, query: Vector) -> Matrix:
    """The rows without what they have of the query."""
    return unit(rows - np.outer(rows @ query, query))


def test_a_library_of_other_things_asks_for_less_and_never_for_more() -> None:
    background = Background(ROWS, TAIL)
    query = QUERIES[0]
    alone = scale(query, background).cut(1000)
    away = blind(ROWS, query)  # has less to do with the query than the background
    near = unit(ROWS[:300] + 0.5 * query)  # a third of a library that shows it
    assert scale(query, background, library=away).cut(1000).present < alone.present - 0.02
    assert scale(query, background, library=near).cut(1000) == alone
    assert scale(query, background, library=ROWS[:0]).cut(1000) == alone
    with_few = scale(query, background, library=away[:10]).cut(1000).present
    assert with_few == pytest.approx(alone.present, abs=0.01)  # tiny: the bundle's own counts
    for library in (away, near):
        photo = scale(query, background, library=library, image=True)
        assert photo == scale(query, background, image=True)


def test_a_library_and_the_background_are_one_crowd() -> None:
    query, library = QUERIES[1], blind(ROWS[:500], QUERIES[1])
    crowd = np.concatenate([ROWS, library]) @ query
    found = scale(query, Background(ROWS, TAIL), library=library)
    assert found.level == pytest.approx(crowd.mean(), abs=1e-6)
    assert found.spread == pytest.approx(crowd.std() + TAIL.floor, abs=1e-6)


def test_copies_in_the_library_do_not_hide_what_they_show() -> None:
    """Two thirds of the library are one photo of what is asked: it is found as it was."""
    background, query = Background(ROWS, TAIL), QUERIES[2]
    library = np.concatenate([np.repeat(unit(ROWS[:1] + 2 * query), 1000, axis=0), ROWS[:500]])
    assert scale(query, background, library=library).cut(1500) == scale(query, background).cut(1500)


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


def test_a_word_whose_strangers_are_known_goes_by_these() -> None:
    query = QUERIES[4]
    plain = Background(ROWS, TAIL)
    known = Background(ROWS, TAIL, words={"a dog": (-0.3, 0.01)})
    found = scale(query, known, text=" A  dog ")
    assert (found.level, found.spread) == pytest.approx((-0.3, 0.01 + TAIL.floor))
    assert scale(query, known, text="a cat") == scale(query, plain)
    assert scale(query, known) == scale(query, plain)
    assert scale(query, known, text="a dog", image=True) == scale(query, plain, image=True)
    # A scale that asks for more than the background does is not taken.
    high = Background(ROWS, TAIL, words={"a dog": (0.5, 0.3)})
    assert scale(query, high, text="a dog") == scale(query, plain)


def test_what_a_third_of_all_photos_show_is_found_in_a_library_like_them() -> None:
    """The background's own answers made a spread that none of the library's could rise above."""
    query = QUERIES[5]
    away = blind(ROWS, query)

    def crowd(count: int, seed: int) -> Matrix:
        """Of 1,000 photos these many show what is asked."""
        random = np.random.default_rng(seed)
        rows = away[random.permutation(len(away))[:1000]]
        rows[:count] += random.normal(0.35, 0.05, (count, 1)).astype(np.float32) * query
        return unit(rows)

    text = Tail(floor=0.04, start=0.5, slope=0.3)
    strangers = crowd(0, 1) @ query
    words = {"people": (float(strangers.mean()), float(strangers.std()))}
    background = Background(crowd(350, 2), text, words=words)
    library = crowd(350, 3)
    scores = library @ query
    assert scale(query, background, library=library).cut(1000).present > scores.max()
    found = scale(query, background, library=library, text="people").cut(1000)
    shown = scores >= found.of(float(scores.max()))
    assert shown[:350].sum() > 330
    assert not shown[350:].any()
