"""Ranking, the cut, paging, and what a deletion does to an answer under way."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from workbench import Bench, jpeg

from photosearch.bundle import Background, Tail
from photosearch.library import Changes, Embedded
from photosearch.query import Query, parse
from photosearch.relevance import scale
from photosearch.search import Results, Search
from photosearch.types import Matrix, Stamp, Vector


def unit(rows: Matrix) -> Matrix:
    found: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def flat(rows: Matrix, height: float) -> Background:
    """Relevant from so many spreads above the rows' level, however large the library is."""
    tail = Tail(floor=0.0, start=height, slope=0.0)
    return Background(rows, tail, tail)


@pytest.fixture
def filled(bench: Bench) -> Bench:
    for number in range(30):
        bench.write(f"{number:02}.jpg", jpeg(number))
    bench.sync()
    return bench


def search_of(bench: Bench, background: Background | None = None) -> Search:
    return Search(bench.encoder, bench.library.index, bench.library.reader, background)


NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)


def ask(
    typed: str,
    bench: Bench,
    background: Background | None = None,
    *,
    k: int = 100,
    offset: int = 0,
    show_all: bool = False,
) -> Results:
    query = parse(typed, now=NOW)
    return search_of(bench, background).run(query, k=k, offset=offset, show_all=show_all)


def names(found: Results) -> list[str]:
    return [Path(hit.path).name for hit in found.hits]


@pytest.fixture
def album(bench: Bench) -> Bench:
    """Thirty photos, said rather than decoded: 2017 to 2019, two folders, the last undated."""
    changes = Changes(bench.root.root_id)
    for number in range(30):
        taken = f"{2017 + number % 3}-{number % 12 + 1:02}-{number % 28 + 1:02}T12:00:00"
        folder = "trips" if number % 2 else "home"
        name = "Screenshot_1.png" if number == 5 else f"IMG_{1000 + number}.jpg"
        stamp = Stamp(100 + number, 10**18 + number * 10**9, 1, 10 + number)
        changes.embedded.append(
            Embedded(
                number.to_bytes(32, "big"),
                "PNG" if number == 5 else "JPEG",
                40 + 60 * (number == 7),
                30,
                None if number == 29 else taken,
                bench.encoder.texts([f"photo {number}"])[0],
                ((f"{folder}/{name}".encode(), stamp),),
            )
        )
    bench.library.commit(changes, now_ns=10**18)
    return bench


def flat_background(dim: int = 16) -> Background:
    rows = np.random.default_rng(0).standard_normal((500, dim)).astype(np.float32)
    return flat(unit(rows), 1.0)


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
    background = flat(unit(rng.standard_normal((500, 16)).astype(np.float32)), 1.0)
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
    assert search_of(filled, flat(unlike, 1.0)).run(Query("a dog"), k=5).hits == ()


def test_the_cut_goes_by_the_librarys_own_photos_too(filled: Bench) -> None:
    """And by those that it holds now, once it has grown by an eighth or shrunk."""
    search = search_of(filled, flat(filled.encoder.texts(["a", "b", "c"]), 3.0))

    def sampled(words: str) -> int:
        assert search.run(parse(words, now=NOW), k=1).cutoff is not None
        assert search._own is not None
        return len(search._own)

    assert sampled("one") == 30
    filled.write("31.jpg", jpeg(31))
    filled.sync()
    assert sampled("two") == 30  # one more says little
    for number in range(32, 36):
        filled.write(f"{number}.jpg", jpeg(number))
    filled.sync()
    assert sampled("three") == 35
    (filled.disk / "00.jpg").unlink()
    filled.sync()
    assert sampled("four") == 34  # what is gone is gone


def test_words_and_photos_are_cut_by_their_own_measure_and_by_how_many_may_answer(
    album: Bench,
) -> None:
    rows = unit(np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32))
    text, image = Tail(0.1, 0.2, 0.1), Tail(0.0, 0.5, 0.3)
    background = Background(rows, text, image)
    search = search_of(album, background)

    def wanted(vector: Vector, tail: Tail, photos: float) -> list[float]:
        scores = rows @ vector
        spread = float(scores.std()) + tail.floor
        heights = (tail.start + tail.slope * np.log(n) for n in (photos, photos))
        return [float(scores.mean()) + spread * height for height in heights]

    words = album.encoder.texts(["a dog"])[0]
    found = search.run(Query("a dog"), k=30, show_all=True)
    best = found.hits[0].score
    assert found.cutoff is not None
    present, shown = wanted(words, text, 30)
    assert found.cutoff == pytest.approx(shown if best >= present else present, abs=1e-5)
    few = ask("a dog in:trips 2018", album, background, show_all=True)
    assert few.cutoff is not None
    assert len(few.hits) == 5
    present, shown = wanted(words, text, 5)
    assert few.cutoff == pytest.approx(shown if few.hits[0].score >= present else present, abs=1e-5)
    photo_id = found.hits[0].photo_id
    vector = album.library.index.exact.vector(photo_id)
    assert vector is not None
    like = search.run(Query(like_photo_id=photo_id), k=30, show_all=True)
    present, shown = wanted(vector, image, 30)
    assert like.cutoff == pytest.approx(
        shown if like.hits[0].score >= present else present, abs=1e-5
    )


def test_parts_of_a_query_tell_the_same_for_a_short_page_a_long_one_and_by_date(
    album: Bench,
) -> None:
    """The photo that one part is sure of is among the last by cosine: it counts though the page
    is one photo."""
    rows = unit(np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32))
    background = Background(rows, Tail(0.01, 0.2, 0.1), parts=(1, 15))
    exact = album.library.index.exact

    def told_of(query: Vector, photos: Matrix) -> Vector:
        found = scale(query, background)
        assert found.parts is not None
        return found.parts.told(found.parts.products(photos), found)

    for word in map("word {}".format, range(500)):
        query = album.encoder.texts([word])[0]
        one, rest = query[:1] @ query[:1], query[1:] @ query[1:]
        sure = unit(np.concatenate([query[:1], -query[1:] * (one + 0.03) / rest])[None])
        near = exact.rows_of(exact.search(query, 30)[0])[1]
        late = (near @ query)[18] > sure[0] @ query
        if late and told_of(query, sure)[0] > told_of(query, near).max() + 0.1:
            break
    else:
        raise AssertionError("no word has such a photo")
    place = (b"sure.jpg", Stamp(1, 10**18, 1, 1))
    made = Embedded(b"s" * 32, "JPEG", 1, 1, None, sure[0], (place,))
    album.library.commit(Changes(album.root.root_id, [made]), now_ns=10**18)
    told = told_of(query, np.concatenate([near, sure]))
    height = float(np.sort(told)[-2:].mean())  # it alone is sure enough
    for start, answered in ((height, True), (float(told.max()) + 0.1, False)):
        search = search_of(album, replace(background, by_parts=Tail(0.01, start, 0.0)))
        search._own, search._own_of = near[:0], 31  # by the background alone, as `told` is
        pages = [search.run(Query(word), k=k) for k in (1, 3, 31)]
        pages.append(search.run(parse(f"{word} sort:date", now=NOW), k=31))
        assert [bool(page.hits) for page in pages] == [answered] * 4
        assert len({round(page.cutoff or 0.0, 5) for page in pages}) == 1
        assert all(hit.score >= (page.cutoff or 0.0) - 1e-6 for page in pages for hit in page.hits)


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
