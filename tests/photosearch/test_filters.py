"""Conditions against the stored photos, each compared with what plain Python says."""

from __future__ import annotations

import random
import shutil
import sqlite3
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photosearch.conditions import (
    EARLIEST,
    LATEST,
    Condition,
    Favourite,
    Group,
    InFolder,
    NameHas,
    OfFormat,
    OfShape,
    Sensitivity,
    TakenEvery,
    TakenIn,
    TakenNear,
    Written,
)
from photosearch.library import Changes, Embedded, Library
from photosearch.store import filters, photos, schema
from photosearch.store.connection import open_writer, transaction
from photosearch.store.names import _aside, are_waiting, index_waiting
from photosearch.types import Stamp

DIM = 4
GOLDEN = Path(__file__).parent.parent / "data" / "libraries" / "v2.db"


@dataclass
class Shelf:
    """A library filled without files: what its photos are is said outright."""

    library: Library
    root_id: int
    ids: dict[str, int] = field(default_factory=dict)  # by the first path given

    def put(
        self,
        *paths: str | bytes,
        taken: str | None = None,
        format: str = "JPEG",
        size: tuple[int, int] = (40, 30),
    ) -> int:
        number = len(self.ids) + 1
        names = [path.encode() if isinstance(path, str) else path for path in paths]
        vector = np.zeros(DIM, np.float32)
        vector[number % DIM] = 1.0
        places = tuple(
            (name, Stamp(100, 10**18 + number * 10**9, 1, 1000 * number + index))
            for index, name in enumerate(names)
        )
        new = Embedded(number.to_bytes(32, "big"), format, *size, taken, vector, places)
        self.library.commit(Changes(self.root_id, embedded=[new]), now_ns=10**18)
        photo_id = self.library.photo_with_hash(number.to_bytes(32, "big"))
        assert photo_id is not None
        self.ids[str(paths[0])] = photo_id
        return photo_id

    def find(self, *conditions: Condition, negative: bool = False) -> set[str]:
        """First paths of the photos that meet one of the conditions."""
        found = set(self.library.reader.matching([Group(conditions, negative)]).tolist())
        return {name for name, photo_id in self.ids.items() if photo_id in found}

    def having(self, text: str) -> set[str]:
        return self.find(NameHas(text, ""))

    def inside(self, folder: str) -> set[str]:
        return self.find(InFolder(tuple(folder.split("/")), ""))


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    library = Library(tmp_path / "library.db", space="s", dim=DIM, bundle="b")
    yield Shelf(library, library.add_root("/mnt/My Pictures").root_id)
    library.close()


def taken_in(start: str, end: str) -> TakenIn:
    return TakenIn(start, end, "")


# --- dates, kinds -----------------------------------------------------------------------------


def test_dates_compare_with_the_photographers_own_day(shelf: Shelf) -> None:
    shelf.put("none.jpg")
    shelf.put("eve.jpg", taken="2018-12-31T23:59:59")
    shelf.put("first.jpg", taken="2019-01-01T00:00:00")
    shelf.put("east.jpg", taken="2019-01-01T01:00:00+09:00")  # still 2018 in Greenwich
    shelf.put("west.jpg", taken="2019-12-31T23:30:00-08:00")  # already 2020 there
    shelf.put("next.jpg", taken="2020-01-01T00:00:00")
    in_2019 = taken_in("2019-01-01", "2020-01-01")
    assert shelf.find(in_2019) == {"first.jpg", "east.jpg", "west.jpg"}
    assert shelf.find(in_2019, negative=True) == {"none.jpg", "eve.jpg", "next.jpg"}
    assert shelf.find(taken_in(EARLIEST, LATEST)) == set(shelf.ids) - {"none.jpg"}
    assert shelf.find(taken_in("2018-12-31", "2019-01-01")) == {"eve.jpg"}


def test_months_days_and_weekdays_of_any_year(shelf: Shelf) -> None:
    shelf.put("none.jpg")
    shelf.put("a.jpg", taken="2019-07-14T12:00:00")  # a Sunday
    shelf.put("b.jpg", taken="2020-07-14T12:00:00+02:00")  # a Tuesday
    shelf.put("c.jpg", taken="2020-12-27T00:10:00")  # a Sunday
    assert shelf.find(TakenEvery("", month=7)) == {"a.jpg", "b.jpg"}
    assert shelf.find(TakenEvery("", month=7, day=14)) == {"a.jpg", "b.jpg"}
    assert shelf.find(TakenEvery("", month=7, day=1)) == set()
    assert shelf.find(TakenEvery("", weekday=6)) == {"a.jpg", "c.jpg"}
    assert shelf.find(TakenEvery("", weekday=1)) == {"b.jpg"}
    assert shelf.find(TakenEvery("", weekday=6), TakenEvery("", weekday=1)) == {
        "a.jpg", "b.jpg", "c.jpg",
    }  # fmt: skip


def test_formats_and_shapes(shelf: Shelf) -> None:
    shelf.put("square.png", format="PNG", size=(30, 30))
    shelf.put("tall.jpg", size=(30, 60))
    shelf.put("wide.jpg", format="MPO", size=(40, 30))
    shelf.put("pano.heic", format="HEIF", size=(60, 30))
    assert shelf.find(OfFormat(("JPEG", "MPO"), "")) == {"tall.jpg", "wide.jpg"}
    assert shelf.find(OfFormat((), "")) == set()
    assert shelf.find(OfFormat((), ""), negative=True) == set(shelf.ids)
    assert shelf.find(OfShape("portrait", "")) == {"tall.jpg"}  # a tall picture is no panorama
    assert shelf.find(OfShape("landscape", "")) == {"wide.jpg", "pano.heic"}
    assert shelf.find(OfShape("panorama", "")) == {"pano.heic"}


@pytest.mark.parametrize(
    "condition",
    [
        Written("camera", "x", ""),
        Sensitivity(1, None, ""),
        TakenNear("Lyon", 1.0, ""),
        Favourite(""),
    ],
)
def test_what_is_not_stored_matches_no_photo(shelf: Shelf, condition: Condition) -> None:
    shelf.put("a.jpg", taken="2019-07-14T12:00:00")
    assert shelf.find(condition) == set()
    assert shelf.find(condition, negative=True) == {"a.jpg"}


def test_every_group_must_hold_and_the_newest_come_first(shelf: Shelf) -> None:
    first = shelf.put("a.jpg", taken="2019-07-14T12:00:00")
    second = shelf.put("b.jpg", taken="2019-08-14T12:00:00")
    third = shelf.put("c.png", taken="2019-08-14T12:00:00", format="PNG")
    undated = shelf.put("d.jpg")
    reader = shelf.library.reader
    year = Group((taken_in("2019-01-01", "2020-01-01"),))
    jpeg = Group((OfFormat(("JPEG",), ""),))
    assert reader.matching([year], newest_first=True).tolist() == [third, second, first]
    assert reader.matching([year, jpeg], newest_first=True).tolist() == [second, first]
    assert reader.matching([]).tolist() == [first, second, third, undated]
    assert reader.meeting(jpeg.options[0], [first, third, 999]) == {first}


def test_a_photo_that_is_gone_matches_nothing(shelf: Shelf) -> None:
    shelf.put("a.jpg", "b.jpg", taken="2019-07-14T12:00:00")
    shelf.library.commit(Changes(shelf.root_id, forgotten=[b"a.jpg"]), now_ns=10**18)
    assert shelf.having("a.jpg") == set()
    assert shelf.having("b.jpg") == {"a.jpg"}  # the photo, by its other name
    shelf.library.commit(Changes(shelf.root_id, forgotten=[b"b.jpg"]), now_ns=10**18)
    assert shelf.find(taken_in(EARLIEST, LATEST)) == set()
    assert shelf.having("b.jpg") == set()


# --- folders and names ------------------------------------------------------------------------


def test_a_folder_is_whole_names_at_any_depth(shelf: Shelf) -> None:
    for path in (
        "holidays/2019/a.jpg", "old/Holidays/2019/spain/b.jpg", "holidays/20190/c.jpg",
        "myholidays/2019/d.jpg", "holidays2019/e.jpg", "2019.jpg", "x/holidays/f.jpg",
        "été/2019/g.jpg", "北京/h.jpg", "100%_a/i.jpg", "100xba/j.jpg",
    ):  # fmt: skip
        shelf.put(path)
    assert shelf.inside("holidays/2019") == {"holidays/2019/a.jpg", "old/Holidays/2019/spain/b.jpg"}
    assert shelf.inside("2019") == {
        "holidays/2019/a.jpg", "old/Holidays/2019/spain/b.jpg", "myholidays/2019/d.jpg",
        "été/2019/g.jpg",
    }  # fmt: skip
    assert shelf.inside("2019.jpg") == set()  # a file is no folder
    assert shelf.inside("ÉTÉ") == {"été/2019/g.jpg"}
    assert shelf.inside("北京") == {"北京/h.jpg"}
    assert shelf.inside("100%_a") == {"100%_a/i.jpg"}
    assert shelf.inside("%") == shelf.inside("_") == set()


def test_the_librarys_own_folder_counts_by_its_name(shelf: Shelf) -> None:
    other = shelf.library.add_root("/mnt/Scans 100%")
    shelf.put("a/b.jpg")
    shelf.put("b.jpg")
    shelf.root_id = other.root_id
    shelf.put("a/c.jpg")
    assert shelf.inside("my pictures") == {"a/b.jpg", "b.jpg"}
    assert shelf.inside("my pictures/a") == {"a/b.jpg"}
    assert shelf.inside("My Pictures/A") == {"a/b.jpg"}
    assert shelf.inside("mnt") == set()  # nor do the folders it lies in
    assert shelf.inside("Scans 100%/a") == {"a/c.jpg"}
    assert shelf.inside("Scans 100%/b") == shelf.inside("pictures") == set()
    assert shelf.having("pictures") == {"a/b.jpg", "b.jpg"}
    assert shelf.having("scans 1") == {"a/c.jpg"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("IMG_1234", {"trip/IMG_1234.JPG"}),
        ("img_12", {"trip/IMG_1234.JPG"}),
        ("1234", {"trip/IMG_1234.JPG", "x1234y.jpg"}),
        ("IMG.1234", set()),
        ("trip/img", {"trip/IMG_1234.JPG"}),
        ("北京", {"北京天安门.jpg"}),
        ("天", {"北京天安门.jpg"}),
        ("天安门", {"北京天安门.jpg"}),
        ("ÉTÉ", {"un été.jpg"}),
        ("été", {"un été.jpg"}),
        ("e\u0301te\u0301", {"un été.jpg"}),
        ("é", {"un été.jpg"}),
        ("СНИМОК", {"снимок.png"}),
        ("снимок", {"снимок.png"}),
        ("g*", set()),
        ("**", {"stars **bright*.jpg"}),
        ("*bright*", {"stars **bright*.jpg"}),
        ('say "hi"', {'say "hi" AND OR.jpg'}),
        ('"', {'say "hi" AND OR.jpg'}),
        ('"hi" OR "IMG', set()),
        ('" OR "1234', set()),
        ("AND OR", {'say "hi" AND OR.jpg'}),
        ("NOT 1234", set()),
        ("path:IMG", set()),
        ("^IMG", set()),
        ("IMG + 1234", set()),
        ("NEAR(IMG 1234)", set()),
        ("%", {"100%.jpg"}),
        ("_1", {"trip/IMG_1234.JPG"}),
        ("\\", {"back\\slash.jpg"}),
        ("\\sl", {"back\\slash.jpg"}),
        ("'", {"o'clock.jpg"}),
        ("o'clock'; DROP", set()),
        ("caf", {"b'caf\\xe9 \\xff\\n1.jpg'"}),
        ("1.jpg", {"b'caf\\xe9 \\xff\\n1.jpg'"}),
        ("\ufffd", {"b'caf\\xe9 \\xff\\n1.jpg'"}),  # what stands for a byte that is no text
        ("nowhere", set()),
    ],
)
def test_text_in_names_is_found_as_it_stands(shelf: Shelf, text: str, found: set[str]) -> None:
    for path in (
        "trip/IMG_1234.JPG", "x1234y.jpg", "北京天安门.jpg", "un été.jpg", "снимок.png",
        "stars **bright*.jpg", 'say "hi" AND OR.jpg', "100%.jpg", "back\\slash.jpg", "o'clock.jpg",
        b"caf\xe9 \xff\n1.jpg",
    ):  # fmt: skip
        shelf.put(path)
    assert shelf.having(text) == found
    assert shelf.find(NameHas(text, ""), negative=True) == set(shelf.ids) - found


def test_names_that_a_mac_took_apart_are_found_too(shelf: Shelf) -> None:
    shelf.put(unicodedata.normalize("NFD", "été/café.jpg"))
    (name,) = shelf.ids
    for text in ("café", "CAFÉ", unicodedata.normalize("NFD", "café"), "fé", "é"):
        assert shelf.having(text) == {name}, text
    assert shelf.inside("été") == {name}


NAMES = st.text(st.sampled_from("abAB1_-. \"*%\\é北ß'/"), min_size=1, max_size=12).map(
    lambda name: name.strip("/") or "x"
)


@settings(max_examples=60, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=6, unique=True), data=st.data())
def test_text_in_names_is_what_a_plain_look_finds(names: list[str], data: st.DataObject) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(db, Path("memory"))
    indexed = data.draw(st.integers(0, len(names)))  # the others wait
    with transaction(db):
        root_id = photos.add_root(db, "/zzz")
        for number, name in enumerate(names):
            if number == indexed:
                index_waiting(db)
            db.execute(
                "INSERT INTO photos (content_hash, size_bytes, format, width_px, height_px)"
                " VALUES (?, 1, 'JPEG', 1, 1)",
                (number.to_bytes(32, "big"),),
            )
            db.execute(
                "INSERT INTO locations (root_id, path, size_bytes, mtime_ns, device, inode,"
                " photo_id) VALUES (?, ?, 1, 1, 1, 1, ?)",
                (root_id, name.encode(), number + 1),
            )
    whole = data.draw(st.sampled_from(names))
    start = data.draw(st.integers(0, len(whole) - 1))
    text = data.draw(st.just(whole[start : start + data.draw(st.integers(1, 8))]) | NAMES)
    found = filters.matching(db, [Group((NameHas(text, ""),))]).tolist()
    wanted = [n + 1 for n, name in enumerate(names) if text.lower() in f"/{name}".lower()]
    assert found == wanted
    db.close()


# --- the index of names -----------------------------------------------------------------------


def check_names(library: Library) -> None:
    """The index holds exactly what the paths say."""
    db = open_writer(library.file)
    db.execute("INSERT INTO location_names (location_names, rank) VALUES ('integrity-check', 1)")
    db.close()


def test_the_index_of_names_follows_every_change(shelf: Shelf) -> None:
    rng = random.Random(5)
    for number in range(60):
        shelf.put(f"folder {number % 5}/photo {number}.jpg", f"copies/{number}.jpg")
    for _ in range(40):
        number = rng.randrange(60)
        stamp = Stamp(100, rng.randrange(10**18), 1, rng.randrange(1000))
        changes = Changes(shelf.root_id)
        path = f"folder {number % 5}/photo {number}.jpg".encode()
        match rng.randrange(4):
            case 0:
                changes.forgotten.append(path)
            case 1 if number % 4 == 0:
                shelf.library.rest()
            case 1:
                changes.rejected.append((path, stamp, "damaged"))
            case 2:
                changes.located.append((path, stamp, shelf.ids["folder 1/photo 1.jpg"]))
            case _:
                changes.located.append((path + b".bak", stamp, shelf.ids["folder 2/photo 2.jpg"]))
        shelf.library.commit(changes, now_ns=10**18)
        check_names(shelf.library)
    known = shelf.library.known_under(shelf.root_id, b"")
    placed = {path for path, place in known.items() if place.photo_id is not None}
    bak = {known[path].photo_id for path in placed if b".bak" in path}
    assert set(shelf.library.reader.matching([Group((NameHas(".bak", ""),))]).tolist()) == bak


def test_a_name_is_found_while_it_waits_and_when_it_is_indexed(shelf: Shelf) -> None:
    db = open_writer(shelf.library.file)

    def indexed() -> int:
        held: int = db.execute("SELECT count(*) FROM location_names_docsize").fetchone()[0]
        return held

    for number in range(70):
        shelf.put(f"Straße {number:02}/ÇA.jpg")
        assert shelf.having("çA.J") == set(shelf.ids), number
        assert shelf.inside(f"straße {number:02}") == {f"Straße {number:02}/ÇA.jpg"}
    assert indexed() == 64
    shelf.library.rest()
    assert indexed() == 70
    assert shelf.having("çA.J") == set(shelf.ids)
    check_names(shelf.library)
    db.close()


def test_a_name_that_goes_while_it_waits_is_not_taken_out_of_the_index(shelf: Shelf) -> None:
    shelf.put("a/first.jpg")
    shelf.put("b/second.jpg")
    shelf.library.rest()
    shelf.put("c/third.jpg")
    for path in (b"c/third.jpg", b"b/second.jpg"):
        shelf.library.commit(Changes(shelf.root_id, forgotten=[path]), now_ns=10**18)
        check_names(shelf.library)
    shelf.put("d/fourth.jpg")
    shelf.library.rest()
    check_names(shelf.library)
    assert shelf.having("third") == shelf.having("second") == set()
    assert shelf.having("fourth") == {"d/fourth.jpg"}


def test_forgetting_a_library_forgets_its_names(shelf: Shelf) -> None:
    shelf.put("a/secret.jpg")
    shelf.library.rest()
    shelf.put("b/secret.jpg")  # and one that waits
    db = open_writer(shelf.library.file)
    with transaction(db):
        db.execute("DELETE FROM roots")
    assert db.execute("SELECT count(*) FROM locations").fetchone() == (0,)
    match = "SELECT count(*) FROM location_names WHERE location_names MATCH '\"secret\"'"
    assert db.execute(match).fetchone() == (0,)
    db.close()
    check_names(shelf.library)


def test_an_undone_change_leaves_no_name_behind(shelf: Shelf) -> None:
    db = open_writer(shelf.library.file)
    with pytest.raises(ZeroDivisionError), transaction(db):
        db.execute(
            "INSERT INTO locations (root_id, path, size_bytes, mtime_ns, device, inode, rejected)"
            " VALUES (?, ?, 1, 1, 1, 1, 'x')",
            (shelf.root_id, b"never.jpg"),
        )
        raise ZeroDivisionError
    match = "SELECT count(*) FROM location_names WHERE location_names MATCH '\"never\"'"
    assert db.execute(match).fetchone() == (0,)
    db.close()


def test_an_older_librarys_names_are_found_after_it_is_brought_up_to_date(tmp_path: Path) -> None:
    file = tmp_path / "library.db"
    shutil.copy(GOLDEN, file)
    library = Library(file, space="golden-space", dim=4, bundle="golden")
    try:
        named = library.reader.matching([Group((NameHas("1.jpg", ""),))]).tolist()
        assert [library.reader.places(named)[i].path for i in named] == ["/golden/photos/1.jpg"]
        (copied,) = library.reader.matching([Group((InFolder(("copy",), ""),))]).tolist()
        assert library.reader.places([copied])[copied].path == "/golden/photos/0.jpg"
        check_names(library)
    finally:
        library.close()


# --- where a photo is shown -------------------------------------------------------------------


def test_the_copy_that_was_asked_for_is_the_one_shown(shelf: Shelf) -> None:
    both = shelf.put("all/IMG_1.jpg", "best/beach.jpg")
    reader = shelf.library.reader

    def shown(*conditions: Condition) -> str:
        groups = [Group((condition,)) for condition in conditions]
        return reader.places_matching([both], groups)[both].path

    assert shown(taken_in("2019", "2020")).endswith("/all/IMG_1.jpg")
    assert shown(InFolder(("best",), "")).endswith("/best/beach.jpg")
    assert shown(NameHas("beach", "")).endswith("/best/beach.jpg")
    assert shown(NameHas("img", "")).endswith("/all/IMG_1.jpg")
    assert reader.places_matching([999], []) == {}


def test_a_photo_is_known_by_its_path(shelf: Shelf) -> None:
    photo_id = shelf.put("a b/c.jpg")
    reader = shelf.library.reader
    for path in ("/mnt/My Pictures/a b/c.jpg", "a b/c.jpg", "./a b/c.jpg", "a b/../a b/c.jpg"):
        assert reader.photo_at(path) == photo_id, path
    for path in ("/mnt/My Pictures 2/a b/c.jpg", "c.jpg", "", ".", "../c.jpg", "/", "a b", "~/c"):
        assert reader.photo_at(path) is None, path


def test_names_that_wait_are_indexed_by_a_program_that_writes_nothing_else(shelf: Shelf) -> None:
    """As a daemon does whose folders are away, or at rest since `index` was killed."""
    shelf.put("waits.jpg")
    file, space, dim = shelf.library.file, shelf.library.space, shelf.library.dim
    shelf.library.close()
    shelf.library = Library(file, space=space, dim=dim, bundle="b")
    with shelf.library.reader.reading() as db:
        assert are_waiting(db)
        shelf.library.rest()
        assert not are_waiting(db)
    assert shelf.having("waits") == {"waits.jpg"}


def test_the_index_of_waiting_names_is_made_once_while_the_same_names_wait(shelf: Shelf) -> None:
    shelf.put("one.jpg")
    _aside.cache_clear()
    for _ in range(5):
        assert len(shelf.having("one")) == 1
    assert _aside.cache_info().misses == 1
    shelf.put("one more.jpg")
    assert len(shelf.having("one")) == 2
    assert _aside.cache_info().misses == 2
