"""What an export measures for the cut-off: on vectors whose statistics are known."""

from __future__ import annotations

import numpy as np
import pytest

from export import tails
from export.querybank import bank_texts
from export.tails import image_tail, parts_tail, text_tail
from photosearch.bundle import Background
from photosearch.relevance import NEAREST, cut, scale
from photosearch.types import Matrix


def unit_rows(count: int, seed: int, *, dim: int = 64) -> Matrix:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_most_absent_queries_stay_below_the_height_at_every_size() -> None:
    """Nothing here has to do with anything: it is the promise itself, also beyond the sizes that
    were measured and for photos and queries that were not there."""
    background = unit_rows(1024, 0)
    tail = text_tail(unit_rows(600, 1), background)
    known = Background(background, tail)
    photos, queries = unit_rows(8000, 2), unit_rows(400, 3)
    for count in (120, 500, 8000):
        best = (queries @ photos[:count].T).max(axis=1)
        heights = np.asarray([cut(query, known, photos=count).present for query in queries])
        share = float((best < heights).mean())
        # Normal scores have lighter tails than photos: what is read off beyond the largest
        # size measured asks for too much rather than for too little.
        assert 0.45 <= share <= (0.7 if count < 1024 else 0.95), count  # 0.57 is meant


def test_most_absent_queries_stay_below_the_height_of_their_parts_too() -> None:
    background, texts, widths = unit_rows(1024, 0), unit_rows(600, 1), (40, 24)
    tail = text_tail(texts, background)
    by_parts = parts_tail(texts, background, widths, tail.floor)
    known = Background(background, tail, parts=widths, by_parts=by_parts)
    photos, queries = unit_rows(8000, 2), unit_rows(400, 3)
    for count in (120, 500):
        empty = 0
        for query in queries:
            scores = photos[:count] @ query
            nearest = photos[np.argsort(-scores)[:NEAREST]]
            best = float(scores.max())
            empty += scale(query, known).cutoff(count, best, nearest) > best
        assert 0.42 <= empty / len(queries) <= 0.67, count  # 0.54 is meant


def test_a_photo_is_not_its_own_neighbour() -> None:
    background = unit_rows(512, 0)
    twice = np.concatenate([background, background])
    assert image_tail(twice).start < 3
    assert image_tail(twice).slope > 0


def test_what_some_queries_find_hardly_moves_the_measure() -> None:
    background = unit_rows(512, 0)
    absent = unit_rows(300, 1)
    present = background[:60] + 0.05 * unit_rows(60, 2)
    present /= np.linalg.norm(present, axis=1, keepdims=True)
    plain = text_tail(absent, background)
    mixed = text_tail(np.concatenate([absent, present.astype(np.float32)]), background)
    for size in (50, 500):
        height = [tail.start + tail.slope * np.log(size) for tail in (plain, mixed)]
        assert height[1] == pytest.approx(height[0], rel=0.1)


def test_the_bank_is_large_varied_and_the_same_each_time() -> None:
    texts = bank_texts()
    assert texts == bank_texts()
    assert len(set(texts)) == len(texts) > 2500
    assert all(text == " ".join(text.split()) and text for text in texts)
    assert {"tench", "screenshot", "sunset", "a pizza with cheese and vegetables"} <= set(texts)
    assert sum(len(text.split()) > 4 for text in texts) > 1000


def test_heights_for_words_are_means_and_not_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many libraries of strangers: the mean of an extreme lies above its median."""
    background = unit_rows(1024, 0)
    words = unit_rows(600, 1)
    raised = text_tail(words, background)
    monkeypatch.setattr(tails, "MEAN_ABOVE_MEDIAN", 0.0)
    medians = text_tail(words, background)
    assert (raised.floor, raised.slope) == (medians.floor, medians.slope)
    draws = np.random.default_rng(5).gumbel(scale=medians.slope, size=400_000)
    wanted = medians.start + draws.mean() - np.median(draws)
    assert raised.start == pytest.approx(wanted, abs=0.01 * medians.slope)
    assert raised.start > medians.start
