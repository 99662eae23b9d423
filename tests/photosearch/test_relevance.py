"""The cut-off's statistics, on scores whose distribution is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from photosearch.bundle import Background, Tail
from photosearch.relevance import bounds, cut, products, scale
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


PARTS = Background(ROWS, TAIL, parts=(48, 16), by_parts=Tail(TAIL.floor, 0.9, 0.4))


def test_the_parts_of_a_query_add_up_to_its_cosines() -> None:
    told = products(ROWS, QUERIES[0], (48, 16))
    assert told.shape == (2, len(ROWS))
    np.testing.assert_allclose(told.sum(axis=0), ROWS @ QUERIES[0], atol=1e-6)
    np.testing.assert_allclose(told[0], ROWS[:, :48] @ QUERIES[0][:48], atol=1e-6)
    assert bounds((), 64) == [(0, 64)]
    assert bounds((48, 16), 64) == [(0, 48), (48, 64)]


def test_an_answer_is_told_by_the_whole_and_the_surest_part() -> None:
    """By the formula, worked out another way."""
    query, photos = QUERIES[6], unit(ROWS[:5] + 0.3 * QUERIES[6])
    found = scale(query, PARTS)
    assert found.parts is not None
    each = []
    for a, b in ((0, 48), (48, 64)):
        noise = ROWS[:, a:b] @ query[a:b]
        floor = TAIL.floor * np.linalg.norm(query[a:b])
        each.append((photos[:, a:b] @ query[a:b] - noise.mean()) / (noise.std() + floor))
    noise = ROWS @ query
    whole = (photos @ query - noise.mean()) / (noise.std() + TAIL.floor)
    wanted = (whole + np.maximum(*each)) / 2
    told = found.parts.told(found.parts.products(photos), found)
    np.testing.assert_allclose(told, wanted, rtol=1e-4)
    best = float((photos @ query).max())
    there = math.exp((wanted.max() - 0.9) / 0.4)  # photos among which it is just an answer
    assert found.cutoff(int(there) - 1, best, photos) <= best
    assert found.cutoff(int(there) + 2, best, photos) > best


def test_what_one_part_is_sure_of_is_there_and_what_both_rate_a_little_is_not() -> None:
    """Two photos of one cosine: the sum cannot tell them apart."""
    query = unit(np.ones((1, 64), np.float32))[0]
    sure, vague = np.zeros((2, 64), np.float32)
    sure[48:] = 1  # all it has in common with the query lies in the small part
    vague[:] = sure.sum() / 64
    spare = np.tile([1, -1], 24).astype(np.float32)  # at right angles to the query
    sure, vague = 0.5 * sure, 0.5 * vague
    vague[:48] += spare * math.sqrt((sure @ sure - vague @ vague) / 48)
    assert sure @ query == pytest.approx(vague @ query)
    found, best = scale(query, PARTS), float(sure @ query)
    assert found.parts is not None
    told = found.parts.told(found.parts.products(np.stack([sure, vague])), found)
    assert told[0] > told[1] + 0.5
    photos = int(math.exp((told.mean() - 0.9) / 0.4))
    assert found.cutoff(photos, best, sure[None]) <= best
    assert found.cutoff(photos, best, vague[None]) > best


def test_without_parts_the_cut_off_is_the_plain_one() -> None:
    query, photos = QUERIES[7], ROWS[:4]
    plain = scale(query, Background(ROWS, TAIL))
    best = float((photos @ query).max())
    assert plain.parts is None
    assert plain.cutoff(10, best, photos) == plain.cut(10).of(best)
    for image in (False, True):  # a photo that asks has no parts to tell by
        found = scale(query, PARTS, image=image)
        assert (found.parts is None) == image
    # Where nothing is near, nothing is there, and nothing is shown.
    assert scale(query, PARTS).cutoff(10, -1.0, ROWS[:0]) > -1.0


def test_a_known_word_is_told_by_its_own_scale_alone() -> None:
    known = Background(ROWS, TAIL, words={"a dog": (-0.3, 0.01)}, parts=(48, 16))
    assert scale(QUERIES[4], known, text="a dog").parts is None
    assert scale(QUERIES[4], known, text="a cat").parts is not None


def test_the_best_photo_is_shown_where_there_is_an_answer() -> None:
    """Though the whole by itself would have cut below it, or above it."""
    for query in QUERIES[:40]:
        found = scale(query, PARTS)
        near = unit(ROWS[:8] + 0.4 * query)
        cosines = near @ query
        cutoff = np.float32(found.cutoff(3, float(cosines.max()), near))
        assert (cosines >= cutoff).any()
        far = blind(ROWS[:8], query)
        cosines = far @ query
        cutoff = np.float32(found.cutoff(10**6, float(cosines.max()), far))
        assert not (cosines >= cutoff).any()
