"""Pages of one search while photos come and go."""

from __future__ import annotations

import datetime
import random

import numpy as np
import pytest
from workbench import Bench

from photosearch.library import Changes, Embedded
from photosearch.query import parse
from photosearch.search import Results, Search
from photosearch.types import Stamp

NOW = datetime.datetime(2026, 11, 29, 12, 0, tzinfo=datetime.UTC)
ASKED = ("a dog", "2019", "a dog sort:date", "", "a dog in:trips", "IMG_1 dog", "trips dog")


class Album:
    """A library that photos are added to and taken from between two pages."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.draw = random.Random(0)
        self.number = 0
        library = bench.library
        self.search = Search(bench.encoder, library.index, library.reader, None)

    def add(self, *, like: str = "") -> int:
        """One photo; `like` text shows it best of all."""
        self.number += 1
        vector = self.bench.encoder.texts([like or f"photo {self.number}"])[0]
        path = f"trips/IMG_{self.number}.jpg".encode()
        taken = f"2019-{1 + self.number % 12:02}-01T00:{self.number % 60:02}:00"
        digest = self.number.to_bytes(32, "big")
        stamp = Stamp(self.number, 10**18 + self.number, 1, self.number)
        new = Embedded(digest, "JPEG", 40, 30, taken, vector, ((path, stamp),))
        changes = Changes(self.bench.root.root_id, embedded=[new])
        self.bench.library.commit(changes, now_ns=10**18)
        photo_id = self.bench.library.photo_with_hash(digest)
        assert photo_id is not None
        return photo_id

    def remove(self, photo_id: int) -> None:
        (place,) = self.bench.library.reader.places([photo_id]).values()
        path = place.path.removeprefix(self.bench.root.path).lstrip("/").encode()
        changes = Changes(self.bench.root.root_id, forgotten=[path])
        self.bench.library.commit(changes, now_ns=10**18)

    def page(self, typed: str, k: int, offset: int) -> Results:
        query = parse(typed, now=NOW)
        if query.finds_nothing_by_itself:
            return self.search.latest(k=k, offset=offset)
        return self.search.run(query, k=k, offset=offset)


@pytest.fixture
def album(bench: Bench) -> Album:
    made = Album(bench)
    for _ in range(40):
        made.add()
    return made


def ids(found: Results) -> list[int]:
    return [hit.photo_id for hit in found.hits]


@pytest.mark.parametrize("typed", ASKED)
def test_a_photo_that_comes_is_on_a_later_page_and_moves_none(album: Album, typed: str) -> None:
    whole = ids(album.page(typed, 100, 0))
    assert len(whole) == 40
    first = album.page(typed, 10, 0)
    new = album.add(like="a dog")
    rest = [album.page(typed, 10, offset) for offset in (10, 20, 30, 40)]
    shown = [*ids(first), *(photo_id for page in rest for photo_id in ids(page))]
    assert len(shown) == len(set(shown)) == 41
    assert [photo_id for photo_id in shown if photo_id != new] == whole
    assert [page.more for page in rest] == [True, True, True, False]
    again = ids(album.page(typed, 100, 0))
    assert sorted(again) == sorted([*whole, new])


@pytest.mark.parametrize("typed", ASKED)
def test_whatever_comes_and_goes_nothing_is_shown_twice_or_passed_over(
    album: Album, typed: str
) -> None:
    draw = random.Random(typed)
    for _ in range(2):
        k = draw.randint(5, 12)
        before = ids(album.page(typed, 100, 0))
        stayed = set(before)
        shown: list[int] = []
        offset = 0
        while True:
            page = album.page(typed, k, offset)
            shown += ids(page)
            offset += k
            if not page.more:
                break
            album.add(like=draw.choice(["a dog", ""]))
            if draw.random() < 0.7:
                gone = draw.choice(sorted(stayed))
                stayed.discard(gone)
                album.remove(gone)
            if offset > 100:
                break  # photos come as fast as they are shown: nothing ends that
        assert len(shown) == len(set(shown))
        kept = [photo_id for photo_id in shown if photo_id in stayed]
        assert kept == [photo_id for photo_id in before if photo_id in stayed][: len(kept)]
        if offset <= 100:
            assert set(kept) == stayed


def test_searches_in_turn_keep_their_own_places(album: Album) -> None:
    firsts = {typed: ids(album.page(typed, 5, 0)) for typed in ASKED}
    wholes = {typed: firsts[typed] + ids(album.page(typed, 100, 5)) for typed in ASKED}
    album.add(like="a dog")
    for typed in ASKED:
        assert ids(album.page(typed, 20, 5)) == wholes[typed][5:25]


def test_a_vector_as_the_example_has_pages_of_its_own(album: Album) -> None:
    one, other = album.bench.encoder.texts(["one", "other"])
    query = parse("", now=NOW)
    found = {
        name: [
            hit.photo_id
            for offset in (0, 10, 20, 30)
            for hit in album.search.run(query, k=10, offset=offset, like=vector).hits
        ]
        for name, vector in (("one", one), ("other", other))
    }
    assert len(set(found["one"])) == len(set(found["other"])) == 40
    assert found["one"] != found["other"]
    assert not np.array_equal(one, other)
