"""What is written of photos, beside what they show: found, weighed, and never in the way."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from workbench import Bench

from photosearch.bundle import Background, Tail
from photosearch.fusion import MAX_NATS, evidence, few
from photosearch.library import Changes, Embedded
from photosearch.query import parse
from photosearch.runtimes.fake import FakeEncoder
from photosearch.search import Results, Search
from photosearch.store import mentions as store
from photosearch.store.mentions import Mentions
from photosearch.types import Facts, Matrix, Stamp, Vector
from photosearch.wording import forms, parts, stands_in

NOW = datetime.datetime(2026, 11, 29, 12, 0, tzinfo=datetime.UTC)
DIM = 16  # as the bench has it


# --- words in texts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("cat", "Cat_2019.jpg"), ("cat", "myCat.jpg"), ("cat", "two cats asleep"),
        ("cats", "a cat"), ("beach", "Beaches of 2019"), ("boxes", "box 3"), ("Dog", "DOG"),
        ("lyon", "Lyon, France"), ("été", "l'e\u0301te\u0301"), ("2019", "IMG20190714 2019"),
        ("t-shirt", "my t-shirt.png"), ("t-shirt", "my T Shirt"), ("北京", "在北京的狗"),
        ("ÉTÉ", "été"), ("grandma", "GrandmaBirthday"), ("straße", "STRASSE"),
        ("iphone", "my iPhone 12"), ("mycat", "myCat.jpg"), ("cat", "cafe\u0301Cat.jpg"),
        ("trip", "北京trip.jpg"), ("iphone", "我的iPhone照片"), ("照片", "我的iPhone照片"),
    ],
)  # fmt: skip
def test_a_word_stands_in_a_text(word: str, text: str) -> None:
    assert stands_in(word, text)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("cat", "vacation"), ("cat", "category"), ("cat", "concat"), ("car", "carnival"),
        ("as", "ass"), ("glass", "gla"), ("2019", "20190714"), ("上海", "北京"), ("bus", "bu"),
        ("t-shirt", "t 5 shirt"), ("...", "..."), ("", "cat"), ("cat", ""),
    ],
)  # fmt: skip
def test_letters_within_another_word_are_no_word(word: str, text: str) -> None:
    assert not stands_in(word, text)


@given(st.text(), st.text())
def test_any_word_and_any_text_may_be_compared(word: str, text: str) -> None:
    stands_in(word, text)
    assert forms(word)
    for part in parts(text):
        assert stands_in(part, text) or not part.isalnum()


# --- evidence -----------------------------------------------------------------------------------


def mention(word: str, *ids: int) -> Mentions:
    return Mentions(word, dict.fromkeys(ids, ("folder",)))


def test_a_word_is_worth_how_far_it_narrows_the_library() -> None:
    known = evidence([mention("lyon", *range(100)), mention("dog", 5, 500)], 1000)
    order, cut = known.of(np.asarray([5, 6, 500, 501]))
    lyon, dog = math.log(10), min(math.log(500), MAX_NATS)
    assert order == pytest.approx([lyon + dog, lyon / 2, dog / 2, 0.0], abs=1e-5)
    assert np.array_equal(order, cut)
    assert known.whole == {5}
    assert known.unwritten(6) == ["dog"]
    assert known.reasons(5) == ["folder has lyon", "folder has dog"]


def test_a_word_on_a_single_photo_is_worth_what_narrows_a_library_to_a_64th() -> None:
    """More, and a folder's rare name would stand before whatever a photo shows."""
    for photos in (64, 1000, 1_000_000):
        order, cut = evidence([mention("zermatt", 5)], photos).of(np.asarray([5]))
        assert order == pytest.approx([math.log(64)], abs=0.05)
        assert cut == pytest.approx([math.log(64)], abs=0.05)


def test_among_the_photos_a_filter_keeps_a_word_on_each_of_them_tells_nothing() -> None:
    words = [mention("lyon", *range(100))]
    order, cut = evidence(words, 1000, allowed=np.arange(50)).of(np.asarray([5]))
    assert order == pytest.approx([math.log(10)])
    assert cut == pytest.approx([0.0])
    order, cut = evidence(words, 1000, allowed=np.arange(90, 190)).of(np.asarray([95]))
    assert order == pytest.approx([math.log(10)])
    assert cut == pytest.approx([math.log(100 / 10)])


def test_a_word_on_much_of_the_library_says_nothing_and_asks_for_nothing() -> None:
    known = evidence([mention("family", *range(400)), mention("beach", 7)], 1000)
    assert known.common == ("family",)
    assert known.whole == {7}
    assert known.of(np.asarray([8]))[0] == 0
    nothing = evidence([mention("family", *range(400)), Mentions("img", None)], 1000)
    assert nothing.common == ("family", "img")
    assert not len(nothing.ids)
    assert not nothing.whole


@pytest.mark.parametrize(
    ("photos", "most"), [(0, 0), (1, 0), (4, 2), (30, 15), (100, 50), (1000, 250)]
)
def test_how_many_photos_may_share_a_name(photos: int, most: int) -> None:
    assert few(photos) == most


# --- in a library -------------------------------------------------------------------------------


class Axes(FakeEncoder):
    """A text shows the sum of the things it names; words it does not know show nothing else."""

    THINGS = ("dog", "beach", "car", "snow", "tree")

    def __init__(self) -> None:
        super().__init__(dim=DIM)

    def texts(self, texts: Sequence[str]) -> Matrix:
        rows = np.zeros((len(texts), DIM), np.float32)
        rows[:, -1] = 0.3
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                if word in self.THINGS:
                    row[self.THINGS.index(word)] = 1.0
        found: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return found


TAIL = Tail(floor=0.05, start=0.5, slope=0.3)
BACKGROUND = Background(
    (lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True))(
        np.random.default_rng(1).standard_normal((1024, DIM)).astype(np.float32)
    ),
    TAIL,
    TAIL,
)


class Shelf:
    """A library whose photos are said rather than decoded."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.encoder = Axes()
        self.rng = np.random.default_rng(0)
        self.paths: list[str] = []

    def strangers(self, count: int, folder: str = "2019") -> None:
        """Photos that show nothing that is asked for."""
        for _ in range(count):
            self.put(f"{folder}/{len(self.paths):05}.jpg")

    def put(self, path: str, *things: str, facts: Facts | None = None, much: float = 1.0) -> None:
        vector = self.rng.standard_normal(DIM).astype(np.float32)
        vector[[*range(len(Axes.THINGS)), -1]] *= 0.3
        vector /= np.linalg.norm(vector)
        if things:
            vector = vector + much * self.encoder.texts([" ".join(things)])[0]
            vector /= np.linalg.norm(vector)
        number = len(self.paths)
        self.paths.append(path)
        changes = Changes(self.bench.root.root_id)
        changes.embedded.append(
            Embedded(
                number.to_bytes(32, "big"), "JPEG", 40, 30, None, vector,
                ((path.encode(), Stamp(100, 10**18 + number, 1, 10 + number)),), None, facts,
            )
        )  # fmt: skip
        self.bench.library.commit(changes, now_ns=10**18)

    def ask(self, typed: str, *, k: int = 1000, show_all: bool = False) -> Results:
        library = self.bench.library
        search = Search(self.encoder, library.index, library.reader, BACKGROUND)
        return search.run(parse(typed, now=NOW), k=k, show_all=show_all)

    def found(self, typed: str) -> list[str]:
        root = Path(self.bench.root.path)
        return [str(Path(hit.path).relative_to(root)) for hit in self.ask(typed).hits]

    def read(self, path: str, text: str) -> None:
        """Say what is written in a picture."""
        photo_id = self.bench.library.photo_with_hash(self.paths.index(path).to_bytes(32, "big"))
        assert photo_id is not None
        self.bench.library.put_texts({photo_id: text})


class Always:
    """In place of a generator: the same numbers each time."""

    def __init__(self, numbers: Vector) -> None:
        self.numbers = numbers

    def standard_normal(self, count: int) -> Vector:
        assert len(self.numbers) == count
        return self.numbers.copy()


@pytest.fixture
def shelf(bench: Bench) -> Shelf:
    made = Shelf(bench)
    made.strangers(120)
    return made


@pytest.mark.parametrize(
    ("path", "facts", "text", "why"),
    [
        ("2018/zeppelin 3.jpg", None, "", "file name has zeppelin"),
        ("2018/Zeppelins over Lake/1.jpg", None, "", "folder has zeppelin"),
        ("2018/1.jpg", Facts(caption="Our zeppelin flight"), "", "caption has zeppelin"),
        ("2018/1.jpg", Facts(keywords=("sky", "Zeppelin")), "", "keyword has zeppelin"),
        ("2018/1.jpg", None, "ZEPPELIN museum 12.50", "the text in the picture has zeppelin"),
    ],
)
def test_what_is_written_is_found_whatever_the_photo_shows(
    shelf: Shelf, path: str, facts: Facts | None, text: str, why: str
) -> None:
    assert shelf.found("a zeppelin") == []
    shelf.put(path, facts=facts or Facts())
    if text:
        shelf.read(path, text)
    found = shelf.ask("a zeppelin")
    assert [Path(hit.path).name for hit in found.hits] == [Path(path).name]
    assert found.hits[0].why == (why,)
    assert found.hits[0].relevant
    by_date = shelf.ask("a zeppelin sort:date")
    assert [hit.photo_id for hit in by_date.hits] == [hit.photo_id for hit in found.hits]
    assert shelf.found("vacation zepp") == []


def test_places_are_written_too(shelf: Shelf) -> None:
    shelf.put("1.jpg", facts=Facts(latitude=45.76, longitude=4.84))
    found = shelf.ask("lyon")
    assert [hit.why for hit in found.hits] == [("place has lyon",)]


def test_meaning_and_writing_join(shelf: Shelf) -> None:
    """A dog in Lyon comes before a dog elsewhere; Lyon without a dog is not what was asked."""
    for number in range(10):
        shelf.put(f"lyon/{number}.jpg")
    shelf.put("home/a.jpg", "dog", much=1.0)
    shelf.put("lyon/b.jpg", "dog", much=0.9)
    shelf.put("lyon/c.jpg", "dog", much=0.48)
    assert shelf.found("dog") == ["home/a.jpg", "lyon/b.jpg"]
    found = shelf.ask("dog lyon")
    assert [Path(hit.path).name for hit in found.hits] == ["b.jpg", "a.jpg", "c.jpg"]
    assert [hit.why for hit in found.hits] == [
        ("shows dog lyon", "folder has lyon"),
        ("shows dog lyon",),
        ("shows dog", "folder has lyon"),
    ]


def test_a_written_word_lets_pass_what_it_would_as_a_filter_or_less(shelf: Shelf) -> None:
    rng = np.random.default_rng(3)
    for number in range(40):
        shelf.put(f"lyon/{number}.jpg", "dog", much=float(rng.uniform(0.0, 0.8)))
    shelf.strangers(800)
    alone = {name for name in shelf.found("dog") if name.startswith("lyon/")}
    written = {name for name in shelf.found("dog lyon") if name.startswith("lyon/")}
    filtered = set(shelf.found("dog in:lyon"))
    assert alone < written <= filtered
    assert len(filtered) < 40


def test_what_is_there_is_told_from_what_shows_it_best_whatever_is_written_on_others(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty photos of the filter are put before the best of them, but say no less of it."""
    shelf.strangers(400)
    aside = np.ones(DIM, np.float32)
    aside[[*range(len(Axes.THINGS)), -1]] = 0
    shelf.strangers(19, "2018")
    monkeypatch.setattr(shelf, "rng", Always(aside))
    for number in range(140):
        shelf.put(f"2018/lyon/{number}.jpg", "dog", much=0.72)
    shelf.put("2018/home/best.jpg", "dog", much=0.82)
    few, many = (shelf.ask("dog lyon in:2018", k=k) for k in (10, 160))
    assert [Path(hit.path).name for hit in many.hits][-1] == "best.jpg"
    assert len(many.hits) == 141
    assert few.cutoff == many.cutoff
    assert [hit.photo_id for hit in few.hits] == [hit.photo_id for hit in many.hits[:10]]


def test_a_name_on_much_of_the_library_floods_nothing(bench: Bench) -> None:
    shelf = Shelf(bench)
    shelf.strangers(150, "holiday")
    shelf.put("holiday/d.jpg", "dog")
    assert shelf.found("holiday") == []
    assert shelf.found("holiday dog") == ["holiday/d.jpg"]
    assert any('"holiday"' in note for note in shelf.ask("holiday").notes)
    assert len(shelf.found('"holiday"')) == 151


def test_a_word_with_too_many_candidates_is_looked_for_at_the_beginning_of_words(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_CANDIDATES", 20)
    shelf.strangers(30, "vacation")
    shelf.put("2018/cat.jpg")
    assert shelf.found("cat") == ["2018/cat.jpg"]
    shelf.strangers(30, "cat")
    assert shelf.found("cat") == []


def test_words_that_begin_captions_and_keywords_are_found_among_too_many_candidates(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_CANDIDATES", 20)
    for number in range(30):
        shelf.put(f"{number}.jpg", facts=Facts(caption="vacation", keywords=("vacation",)))
    shelf.put("a.jpg", facts=Facts(caption="cat on a mat"))
    shelf.put("b.jpg", facts=Facts(keywords=("pets", "cat")))
    assert sorted(shelf.found("cat")) == ["a.jpg", "b.jpg"]


def test_filters_change_no_order_where_words_are_written(shelf: Shelf) -> None:
    rng = np.random.default_rng(5)
    for number in range(60):
        folder = ("lyon", "trips/lyon", "home", "beach")[number % 4]
        shelf.put(f"{folder}/{number}.jpg", "dog", "beach", much=float(rng.uniform(0, 1)))
    for words in ("dog", "dog lyon", "beach dog lyon", "lyon"):
        whole = [hit.photo_id for hit in shelf.ask(words, show_all=True).hits]
        for filters in ("in:lyon", "-in:lyon", "in:home", '"1"', "in:trips -in:home"):
            kept = [hit.photo_id for hit in shelf.ask(f"{words} {filters}", show_all=True).hits]
            assert kept
            assert kept == [photo_id for photo_id in whole if photo_id in set(kept)]


def test_pages_join_to_the_whole_where_words_are_written(shelf: Shelf) -> None:
    for number in range(20):
        shelf.put(f"lyon/{number}.jpg", "dog", much=0.9)
    whole = [hit.photo_id for hit in shelf.ask("dog lyon").hits]
    library = shelf.bench.library
    search = Search(shelf.encoder, library.index, library.reader, BACKGROUND)
    query = parse("dog lyon", now=NOW)
    pages = [search.run(query, k=3, offset=start).hits for start in range(0, len(whole) + 3, 3)]
    assert [hit.photo_id for page in pages for hit in page] == whole
    assert len(whole) >= 20


def test_the_copy_whose_path_has_the_word_is_shown(shelf: Shelf) -> None:
    changes = Changes(shelf.bench.root.root_id)
    vector: Vector = shelf.encoder.texts(["tree"])[0]
    places = tuple(
        (path, Stamp(5, 10**18, 1, 900 + number))
        for number, path in enumerate((b"a/1.jpg", b"zeppelin/1.jpg"))
    )
    changes.embedded.append(Embedded(b"\xff" * 32, "JPEG", 40, 30, None, vector, places))
    shelf.bench.library.commit(changes, now_ns=10**18)
    assert shelf.found("zeppelin") == ["zeppelin/1.jpg"]


@pytest.mark.parametrize(
    "path", [b"caf\xe9 zeppelin.jpg", "北京/1.jpg".encode(), b'a"b/*zeppelin.jpg']
)
def test_odd_names_break_nothing(shelf: Shelf, path: bytes) -> None:
    changes = Changes(shelf.bench.root.root_id)
    vector: Vector = shelf.encoder.texts(["tree"])[0]
    place = ((path, Stamp(5, 10**18, 1, 900)),)
    changes.embedded.append(Embedded(b"\xff" * 32, "JPEG", 40, 30, None, vector, place))
    shelf.bench.library.commit(changes, now_ns=10**18)
    (hit,) = shelf.ask("北京" if b"1.jpg" in path else "zeppelin").hits
    assert hit.path.encode("utf-8", "surrogateescape").endswith(path)
    for odd in (
        '"',
        'a"b zeppelin*',
        "NEAR(zeppelin)",
        "zeppelin OR x",
        "{zeppelin}",
        "-- zeppelin",
    ):
        shelf.ask(odd)


def test_a_negative_meaning_goes_with_written_words(shelf: Shelf) -> None:
    shelf.put("lyon/1.jpg", "dog", "snow", much=2.0)
    shelf.put("lyon/2.jpg", "dog", much=2.0)
    found = shelf.found("dog lyon -snow")
    assert found[0] == "lyon/2.jpg"


def test_more_like_this_goes_with_written_words(shelf: Shelf) -> None:
    shelf.put("a/1.jpg", "dog", "snow", much=3.0)
    shelf.put("a/2.jpg", "dog", "snow", much=3.0)
    shelf.put("lyon/3.jpg", "dog", "snow", much=2.5)
    first = shelf.bench.library.photo_with_hash((120).to_bytes(32, "big"))
    found = shelf.ask(f"lyon like:{first}").hits
    assert Path(found[0].path).name == "3.jpg"
    assert found[0].why[-1] == "folder has lyon"
    assert "looks like the chosen photo" in found[0].why
    assert first not in [hit.photo_id for hit in found]
