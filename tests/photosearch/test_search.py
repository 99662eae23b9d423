"""Ranking, the cut, paging, and what a deletion does to an answer under way."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Bench, jpeg
from hypothesis import given
from hypothesis import strategies as st

from photosearch.bundle import Background
from photosearch.query import MAX_QUERY_CHARS, Query, parse
from photosearch.search import Search
from photosearch.types import Matrix


def unit(rows: Matrix) -> Matrix:
    found: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


@pytest.fixture
def filled(bench: Bench) -> Bench:
    for number in range(30):
        bench.write(f"{number:02}.jpg", jpeg(number))
    bench.sync()
    return bench


def search_of(bench: Bench, background: Background | None = None) -> Search:
    return Search(bench.encoder, bench.library.index, bench.library.reader, background)


def test_hits_are_ranked_by_cosine_with_the_querys_vector(filled: Bench) -> None:
    found = search_of(filled).run(Query("a dog"), k=30)
    query = filled.encoder.texts(["a dog"])[0]
    ids, rows = filled.library.index.exact.snapshot()
    wanted = ids[np.argsort(-(rows @ query))].tolist()
    assert [hit.photo_id for hit in found.hits] == wanted
    assert [hit.rank for hit in found.hits] == list(range(1, 31))
    assert not found.more
    assert found.cutoff is None
    assert all(hit.relevant for hit in found.hits)


def test_pages_join_to_the_whole(filled: Bench) -> None:
    search = search_of(filled)
    whole = [hit.photo_id for hit in search.run(Query("a dog"), k=30).hits]
    pages = [search.run(Query("a dog"), k=7, offset=start) for start in range(0, 35, 7)]
    assert [hit.photo_id for page in pages for hit in page.hits] == whole
    assert [page.more for page in pages] == [True, True, True, True, False]


def test_the_cut_hides_what_scores_like_the_background(filled: Bench) -> None:
    rng = np.random.default_rng(0)
    background = Background(unit(rng.standard_normal((500, 16)).astype(np.float32)), 1.0)
    search = search_of(filled, background)
    shown = search.run(Query("a dog"), k=30)
    everything = search.run(Query("a dog"), k=30, show_all=True)
    assert shown.cutoff is not None
    assert 0 < len(shown.hits) < 30
    assert all(hit.score >= shown.cutoff for hit in shown.hits)
    assert shown.hidden == 30 - len(shown.hits)
    assert [hit.relevant for hit in everything.hits] == [
        hit.score >= shown.cutoff for hit in everything.hits
    ]
    unlike = np.repeat(filled.encoder.texts(["a dog"]), 500, axis=0)
    unlike[::2] *= 0.9  # a background that resembles the query more than any photo does
    assert search_of(filled, Background(unlike, 1.0)).run(Query("a dog"), k=5).hits == ()


def test_the_cut_is_the_backgrounds_where_the_best_stands_out_and_near_the_best_elsewhere(
    filled: Bench,
) -> None:
    rows = unit(np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32))
    search = search_of(filled, Background(rows, 2.0))
    vector = filled.encoder.texts(["a dog"])[0]
    scores = rows @ vector
    level, spread = float(scores.mean()), float(scores.std())
    for best, wanted in ((5.0, 2.0), (2.0, 2.0), (1.9, 1.65), (1.1, 1.0), (0.5, 1.0)):
        found = search.cutoff(vector, best=level + best * spread)
        assert found == pytest.approx(level + wanted * spread, abs=1e-5), best


def test_more_like_a_photo_leaves_that_photo_out(filled: Bench) -> None:
    (first, *_) = filled.library.index.exact.ids().tolist()
    found = search_of(filled).run(Query("", like_photo_id=first), k=30)
    assert first not in [hit.photo_id for hit in found.hits]
    assert len(found.hits) == 29


def test_a_photo_deleted_behind_the_index_is_not_shown(filled: Bench) -> None:
    """The index may lag; the join with the locations decides."""
    ids = filled.library.index.exact.ids().tolist()
    (filled.disk / "00.jpg").unlink()
    vectors = {photo_id: filled.library.index.exact.vector(photo_id) for photo_id in ids}
    filled.sync()
    gone = set(ids) - set(filled.library.index.exact.ids().tolist())
    for photo_id in gone:
        vector = vectors[photo_id]
        assert vector is not None
        filled.library.index.exact.add(photo_id, vector)  # as it was before it followed
    found = search_of(filled).run(Query("a dog"), k=30)
    assert len(found.hits) == 29
    assert gone.isdisjoint(hit.photo_id for hit in found.hits)
    pages = [search_of(filled).run(Query("a dog"), k=3, offset=3 * n).hits for n in range(10)]
    assert [len(page) for page in pages] == [3] * 9 + [2]  # and no page is short for it


def test_an_empty_query_finds_nothing_and_latest_shows_the_newest(filled: Bench) -> None:
    assert search_of(filled).run(Query(""), k=5).hits == ()
    assert len(search_of(filled).latest(k=5).hits) == 5


@given(st.text())
def test_no_string_is_an_error_and_parsing_again_changes_nothing(typed: str) -> None:
    query = parse(typed)
    assert len(query.text) <= MAX_QUERY_CHARS
    assert query.text == query.text.strip()
    assert parse(query.text) == query
    query.text.encode()  # never a lone surrogate
