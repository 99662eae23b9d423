"""Queries as they are typed: filters, exact words, less of, more like; photos shown as one."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from test_search import NOW, album, ask, flat_background, names, search_of, unit  # noqa: F401
from workbench import Bench

from photosearch.conditions import Group, NameHas, Says, TakenNear, Written
from photosearch.library import Changes, Embedded
from photosearch.query import SAYS, parse
from photosearch.runtimes.fake import FakeEncoder
from photosearch.search import Search, turned_away
from photosearch.store.connection import open_writer, transaction
from photosearch.types import Matrix, Stamp


@pytest.mark.parametrize(
    "filters",
    ["2019", "in:trips", "type:jpg", "after:2018", '"img_10"', "-in:home", "in:trips 2018"],
)
def test_filters_change_no_order_among_the_photos_they_keep(album: Bench, filters: str) -> None:
    kept = {hit.photo_id for hit in ask(filters, album).hits}
    assert 0 < len(kept) < 30
    whole = [hit for hit in ask("a dog", album).hits if hit.photo_id in kept]
    found = ask(f"a dog {filters}", album).hits
    assert [(hit.photo_id, hit.score) for hit in found] == [(h.photo_id, h.score) for h in whole]


def test_filters_alone_list_the_newest_first_and_all_are_relevant(album: Bench) -> None:
    found = ask("2019", album, flat_background())
    taken = [hit.taken or "" for hit in found.hits]
    assert len(taken) == 9  # the tenth has no date
    assert taken == sorted(taken, reverse=True)
    assert all(hit.relevant and hit.why == ("taken in 2019",) for hit in found.hits)
    assert found.cutoff is None
    assert found.hidden == 0


@pytest.mark.parametrize(
    "typed",
    ["2019", "a dog in:trips", "a dog sort:date", "IMG_10 dog", "-cat", "dog -cat", "IMG_100"],
)
def test_pages_of_any_query_join_to_the_whole(album: Bench, typed: str) -> None:
    whole = ask(typed, album)
    assert whole.hits
    assert not whole.more
    pages = [ask(typed, album, k=4, offset=start) for start in range(0, 32, 4)]
    assert [hit.photo_id for page in pages for hit in page.hits] == [
        hit.photo_id for hit in whole.hits
    ]
    assert [page.more for page in pages] == [4 * n + 4 < len(whole.hits) for n in range(8)]
    assert [hit.rank for hit in whole.hits] == list(range(1, len(whole.hits) + 1))


def test_why_says_which_parts_a_photo_met(album: Bench) -> None:
    (hit, *_) = ask('a dog july 2017 in:home "img"', album).hits
    assert hit.why == ("shows a dog", "taken in July 2017", "in home", "file name has img")
    (shot,) = ask("is:screenshot", album).hits
    assert shot.why == ("is a screenshot",)
    (folder, *_) = ask('"trips/"', album).hits
    assert folder.why == ("folder has trips/",)
    years = ask("2017 2018", album).hits
    assert {hit.why for hit in years} == {("taken in 2017",), ("taken in 2018",)}
    odd = ask("dog foo:bar", album).hits[0]
    assert odd.why == ("shows dog foo:bar", "foo:bar is taken as words: there is no filter foo:")


@pytest.fixture
def told(album: Bench) -> Bench:
    """The album, of whose photos four say something of themselves."""
    db = open_writer(album.library.file)
    ids = [row[0] for row in db.execute("SELECT id FROM photos ORDER BY id LIMIT 4")]
    columns = (
        "photo_id, reader, camera, lens, iso, latitude, longitude, rating, caption, keywords,"
        " place, kind"
    )
    rows = (
        (
            ids[0],
            1,
            "Apple iPhone 12",
            "50mm f/1.8",
            800,
            45.76,
            4.84,
            5,
            "Our 'big' day",
            "wedding\ncake",
            "Lyon, France",
            "photo",
        ),
        (ids[1], 1, "Canon EOS 5D", "24-70mm", 1600, 45.90, 4.84, 3, "", "", "", "photo"),
        (ids[2], 1, "Canon_X", None, None, None, None, None, "喜 family", "", "", "screenshot"),
        (ids[3], 1, None, None, 100, 48.85, 2.35, 4, "100% fun", "", "Paris, France", "photo"),
    )
    with transaction(db):
        marks = ", ".join("?" * 12)
        for row in rows:
            db.execute(f"INSERT OR REPLACE INTO facts ({columns}) VALUES ({marks})", row)
        db.execute("INSERT INTO texts (photo_id, reader, text) VALUES (?, 1, 'EXIT 42')", (ids[1],))
    db.close()
    return album


@pytest.mark.parametrize(
    ("typed", "wanted", "why"),
    [
        ('camera:"iphone 12"', {0}, "taken with iphone 12"),
        ("camera:canon", {1, 2}, "taken with canon"),
        ("camera:canon_x", {2}, "taken with canon_x"),
        ("lens:50mm", {0}, "taken through 50mm"),
        ("iso:>800", {1}, "taken at ISO >800"),
        ("iso:100..800", {0, 3}, "taken at ISO 100 to 800"),
        ("near:45.76,4.84 within:5km", {0}, "taken near 45.76,4.84"),
        ("near:45.76,4.84 within:20km", {0, 1}, "taken near 45.76,4.84"),
        ("near:France", {0, 3}, "taken near France"),
        ("is:favourite", {0, 3}, "is a favourite"),
        ('"wedding"', {0}, "keyword has wedding"),
        ("\"'big' day\"", {0}, "caption has 'big' day"),
        ('"喜"', {2}, "caption has 喜"),
        ('"100%"', {3}, "caption has 100%"),
        ('"Lyon, F"', {0}, "place has Lyon, F"),
        ('"exit 42"', {1}, "the text in the picture has exit 42"),
    ],
)
def test_what_files_say_of_themselves_is_found_and_is_why(
    told: Bench, typed: str, wanted: set[int], why: str
) -> None:
    first = min(told.library.index.exact.ids().tolist())
    found = ask(typed, told)
    assert {hit.photo_id - first for hit in found.hits} == wanted
    assert all(hit.why == (why,) for hit in found.hits)
    without = ask(f"{typed.split(' within')[0]} in:nowhere", told)
    assert without.hits == ()


def test_a_screenshot_is_one_by_its_name_or_by_what_it_says(told: Bench) -> None:
    assert len(ask("is:screenshot", told).hits) == 2
    assert len(ask("-is:screenshot", told).hits) == 28


@pytest.mark.parametrize(
    "text", ["\0", "a\0b", "abc\0", "\ud800", "abc\ud800", "\0\0\0", '"', '""', "%_\\"]
)
def test_no_text_breaks_the_index_of_words(told: Bench, text: str) -> None:
    """Asked of the store itself, which other callers reach without the parser's cleaning."""
    for condition in (
        NameHas(text, ""),
        *(Says(part, text, "") for part, _ in SAYS),
        Written("camera", text, ""),
        TakenNear(text, 5.0, ""),
    ):
        for negative in (False, True):
            told.library.reader.matching([Group((condition,), negative)])


def test_an_empty_answer_of_filters_says_that_they_are_why(album: Bench) -> None:
    assert ask("1999", album).notes == ("no photo passes all the filters",)
    assert ask("a dog in:nowhere", album).notes == ("no photo passes all the filters",)


def test_the_cut_is_of_the_meaning_alone(album: Bench) -> None:
    background = flat_background()
    cut = ask("a dog in:trips", album, background)
    everything = ask("a dog in:trips", album, background, show_all=True)
    assert 0 < len(cut.hits) < len(everything.hits) == 15
    assert cut.cutoff is not None
    assert all(hit.score >= cut.cutoff for hit in cut.hits)
    assert len(ask("in:trips", album, background).hits) == 15


def test_sort_date_shows_the_same_photos_in_another_order(album: Bench) -> None:
    for background in (None, flat_background()):
        ranked = ask("a dog in:trips", album, background)
        sorted_ = ask("a dog in:trips sort:date", album, background)
        assert {h.photo_id for h in sorted_.hits} == {h.photo_id for h in ranked.hits}
        assert {h.photo_id: h.score for h in sorted_.hits} == {
            h.photo_id: h.score for h in ranked.hits
        }
        dated = [hit.taken for hit in sorted_.hits if hit.taken]
        assert dated == sorted(dated, reverse=True)
    assert len(ask("sort:date", album).hits) == 30


def test_a_word_that_looks_like_a_file_name_finds_it_first(album: Bench) -> None:
    background = flat_background()
    found = ask("a dog IMG_1012", album, background)
    assert names(found)[0] == "IMG_1012.jpg"
    assert found.hits[0].relevant
    assert "file name has IMG_1012" in found.hits[0].why
    assert len(found.hits) > 1
    assert names(ask("IMG_1012", album, background)) == ["IMG_1012.jpg"]
    assert ask("IMG_1012", album).hits[0].why == ("file name has IMG_1012",)
    assert names(ask("IMG_1012 2018", album))[0] != "IMG_1012.jpg"  # taken in 2017
    assert len(ask("IMG_9999", album).hits) == 30  # no such name: a word like any other


def test_exact_text_is_required_and_meaning_ranks_what_has_it(album: Bench) -> None:
    assert names(ask('"IMG_1012"', album)) == ["IMG_1012.jpg"]
    assert len(ask('-"trips"', album).hits) == 15
    found = ask('a dog "trips"', album)
    scores = [hit.score for hit in found.hits]
    assert len(scores) == 15
    assert scores == sorted(scores, reverse=True)


def test_the_query_turns_away_from_what_it_should_not_show() -> None:
    """Two things in four directions: each photo shows one, both, or neither."""
    dog, people, both, neither = np.eye(4, dtype=np.float32)[[0, 1, 2, 3]]
    both = unit((dog + people)[None])[0]
    for background in (None, flat_background(4)):
        plain, turned = dog, turned_away(dog, [people], background)
        assert np.linalg.norm(turned) == pytest.approx(1.0, abs=1e-5)
        assert turned @ both < plain @ both
        assert turned @ people < plain @ people
        assert turned @ dog > turned @ neither > turned @ people
        assert turned @ dog > turned @ both
        assert np.array_equal(turned_away(dog, [], background), dog)
        stronger = turned_away(dog, [people], background, weight=3.0)
        assert stronger @ both < turned @ both


class Words(FakeEncoder):
    """A text's vector is the sum of its words' axes."""

    AXES = ("dog", "people", "street")

    def texts(self, texts: Sequence[str]) -> Matrix:
        rows = np.full((len(texts), self.dim), 0.05, np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.split():
                row[self.AXES.index(word)] = 1.0
        return unit(rows)


def test_what_is_to_be_less_pushes_half_as_hard_again_as_what_is_asked_pulls() -> None:
    """As measured best (docs/experiments-query.md); several push no harder than one, together."""
    dog, snow, people = np.eye(3, dtype=np.float32)
    one = turned_away(dog, [snow], None)
    np.testing.assert_allclose(one / one[0], [1, -1.5, 0], atol=1e-6)
    two = turned_away(dog, [snow, people], None)
    np.testing.assert_allclose(two / two[0], [1, -1.5 / np.sqrt(2), -1.5 / np.sqrt(2)], atol=1e-6)


def test_less_people_puts_photos_of_people_last(bench: Bench) -> None:
    encoder = Words()
    shown = ("dog", "people", "dog people", "street people", "dog street", "street")
    changes = Changes(bench.root.root_id)
    for number, text in enumerate(shown):
        place = (f"{text}.jpg".encode(), Stamp(100, 10**18, 1, 10 + number))
        (vector,) = encoder.texts([text])
        changes.embedded.append(
            Embedded(bytes([number]) * 32, "JPEG", 40, 30, None, vector, (place,))
        )
    bench.library.commit(changes, now_ns=10**18)
    search = Search(encoder, bench.library.index, bench.library.reader, None)

    def order(typed: str) -> list[str]:
        return [Path(hit.path).stem for hit in search.run(parse(typed, now=NOW), k=10).hits]

    assert order("dog")[:3] in (
        ["dog", "dog people", "dog street"],
        ["dog", "dog street", "dog people"],
    )
    assert order("dog -people")[:2] == ["dog", "dog street"]
    assert order("dog -people")[-1] == "people"
    assert order("street -people")[:2] == ["street", "dog street"]
    assert order("dog -people -street")[0] == "dog"
    assert order('-people -"street"') == ["dog"]


def test_only_negatives_leave_out_what_clearly_shows_them(album: Bench) -> None:
    background = flat_background()
    less = album.encoder.texts(["photo"])[0]
    ids, rows = album.library.index.exact.snapshot()
    cosines = background.vectors @ less
    clear = cosines.mean() + background.text.start * cosines.std()
    wanted = set(ids[rows @ less < clear].tolist())
    found = ask("-photo", album, background)
    assert {hit.photo_id for hit in found.hits} == wanted
    assert 0 < len(wanted) < 30
    assert found.hidden == 30 - len(wanted)
    assert len(ask("-photo", album, background, show_all=True).hits) == 30
    assert {hit.photo_id for hit in ask("-photo 2018", album, background).hits} <= wanted


def test_like_takes_numbers_paths_and_words(album: Bench) -> None:
    first = ask('"IMG_1012"', album).hits[0]
    by_id = ask(f"like:{first.photo_id}", album)
    assert len(by_id.hits) == 29
    assert by_id.hits[0].why == ("looks like the chosen photo",)
    for path in (f'like:"{first.path}"', "like:home/IMG_1012.jpg", "like:./home/IMG_1012.jpg"):
        found = ask(path, album)
        assert [hit.photo_id for hit in found.hits] == [hit.photo_id for hit in by_id.hits], path
    mixed = ask(f"a dog like:{first.photo_id} in:trips", album)
    assert len(mixed.hits) == 15
    assert mixed.hits[0].why == ("shows a dog", "looks like the chosen photo", "in trips")
    for gone in ("like:999999", "like:./nowhere.jpg"):
        found = ask(gone, album)
        assert found.hits == ()
        assert len(found.notes) == 1
        assert len(ask(f"a dog {gone}", album).notes) == 1
        assert len(ask(f"a dog {gone}", album).hits) == 30


def test_panoramas_and_screenshots(album: Bench) -> None:
    assert names(ask("is:panorama", album)) == ["IMG_1007.jpg"]
    assert names(ask("is:screenshot", album)) == ["Screenshot_1.png"]
    assert names(ask("type:png", album)) == ["Screenshot_1.png"]
    assert len(ask("-is:screenshot", album).hits) == 29
    assert len(ask("is:portrait", album).hits) == 0


# --- photos that are shown as one ---------------------------------------------------------------


def group(bench: Bench, *groups: Sequence[int]) -> None:
    """Say in the library file which photos belong together."""
    db = open_writer(bench.library.file)
    with transaction(db):
        for members in groups:
            for number, photo_id in enumerate(members):
                db.execute(
                    "INSERT OR REPLACE INTO groups (photo_id, group_id, why) VALUES (?, ?, ?)",
                    (photo_id, members[0], "near" if number else "first"),
                )
    db.close()


@pytest.mark.parametrize(
    "typed", ["a dog", "2018", "a dog sort:date", "-cat", "img_10", "dog in:trips"]
)
def test_of_a_burst_one_photo_is_shown_and_says_for_how_many(album: Bench, typed: str) -> None:
    plain = ask(typed, album)
    ids = [hit.photo_id for hit in plain.hits]
    assert len(ids) > 7
    group(album, ids[1:4], [ids[6], ids[0]])
    found = ask(typed, album)
    shown = [hit.photo_id for hit in found.hits]
    assert shown == [photo_id for n, photo_id in enumerate(ids) if n not in (2, 3, 6)]
    similar = {hit.photo_id: hit.similar for hit in found.hits}
    assert (similar[ids[0]], similar[ids[1]], similar[ids[4]]) == (1, 2, 0)
    assert [hit.rank for hit in found.hits] == list(range(1, len(shown) + 1))
    assert found.hidden == 0
    every = ask(typed, album, show_all=True)
    assert [hit.photo_id for hit in every.hits] == ids
    assert all(hit.similar == 0 for hit in every.hits)
    pages = [ask(typed, album, k=2, offset=start) for start in range(0, len(shown) + 2, 2)]
    assert [hit.photo_id for page in pages for hit in page.hits] == shown


def test_the_newest_show_one_of_each_too(album: Bench) -> None:
    search = search_of(album)
    ids = [hit.photo_id for hit in search.latest(k=30).hits]
    group(album, ids[:25])
    found = search.latest(k=3)
    assert [hit.photo_id for hit in found.hits] == [ids[0], ids[25], ids[26]]
    assert found.hits[0].similar == 24
    assert found.more
    assert [hit.photo_id for hit in search.latest(k=3, offset=3).hits] == ids[27:]


def test_deleted_members_are_not_counted_nor_shown(album: Bench) -> None:
    ids = [hit.photo_id for hit in ask("a dog", album).hits]
    group(album, ids[:3])
    db = open_writer(album.library.file)
    with transaction(db):
        db.execute("DELETE FROM locations WHERE photo_id = ?", (ids[1],))
    db.close()
    assert ask("a dog", album).hits[0].similar == 1
    assert album.library.reader.group_members(ids[2]) == [ids[2], ids[0]]
    assert album.library.reader.group_members(ids[5]) == [ids[5]]
