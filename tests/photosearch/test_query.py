"""The query language: every construct, what is ambiguous, and what is not a query at all."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import NOW, check_shape, dates, kinds, read

from photosearch.conditions import (
    Favourite,
    Group,
    InFolder,
    NameHas,
    OfFormat,
    OfShape,
    Says,
    Sensitivity,
    TakenNear,
    Written,
)
from photosearch.language import CHINESE, ENGLISH, language_of
from photosearch.query import (
    MAX_FILTERS,
    SAYS,
    Query,
    parse,
    render,
)


def exact(text: str, *, negative: bool = False) -> Group:
    """Quoted text may stand in a name, and in what the file or the picture says."""
    said = (Says(part, text, f"{where} has {text}") for part, where in SAYS)
    return Group((NameHas(text, ""), *said), negative)


# --- every construct ------------------------------------------------------------------------------


def test_words_quotations_and_negatives() -> None:
    query = read('dog  on a beach "IMG_1234" -people -"screen shots" "two  spaces"')
    assert query.text == "dog on a beach"
    assert query.less == ("people",)
    assert query.groups == (
        exact("IMG_1234"),
        exact("screen shots", negative=True),
        exact("two  spaces"),
    )
    assert kinds(query)[0] == ("words", "dog on a beach")
    assert read("“curly” quotes") == read('"curly" quotes')
    assert read("t-shirt - --x").text == "t-shirt - --x"
    assert read("-x -x").less == ("x",)


def test_a_span_is_where_it_was_typed() -> None:
    typed = '  dog\ton   a beach\n-people  july  14,  2019 "a  b"in:x'
    query = read(typed)
    assert [typed[token.start : token.end] for token in query.tokens] == [
        "dog\ton   a beach", "-people", "july  14,  2019", '"a  b"', "in:x",
    ]  # fmt: skip
    assert kinds(query) == [
        ("words", "dog on a beach"), ("less", "-people"), ("date", "july 14, 2019"),
        ("exact", '"a  b"'), ("in", "in:x"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "condition"),
    [
        ("in:holidays/2019", InFolder(("holidays", "2019"), "in holidays/2019")),
        ("in:./holidays//2019/", InFolder(("holidays", "2019"), "in holidays/2019")),
        ('in:"my holidays\\2019"', InFolder(("my holidays", "2019"), "in my holidays/2019")),
        ("type:heic", OfFormat(("HEIF",), "is a HEIC")),
        ("TYPE:JPG", OfFormat(("JPEG", "MPO"), "is a JPG")),
        ("is:portrait", OfShape("portrait", "is upright")),
        ("is:landscape", OfShape("landscape", "is wider than high")),
        ("is:panorama", OfShape("panorama", "is a panorama")),
    ],
)
def test_filters(typed: str, condition: object) -> None:
    query = read(typed)
    assert query.groups == (Group((condition,)),)  # type: ignore[arg-type]
    assert query.notes == ()
    assert read(f"-{typed}").groups == (Group((condition,), negative=True),)  # type: ignore[arg-type]


def test_the_same_filter_twice_widens_except_is_and_exact() -> None:
    (group,) = read("type:png type:heic").groups
    assert len(group.options) == 2
    assert len(read("in:a in:b").groups) == 1
    assert len(read("is:portrait is:screenshot").groups) == 2
    assert len(read('"a" "b"').groups) == 2
    assert len(read("in:a -in:b").groups) == 2


@pytest.mark.parametrize(
    ("typed", "condition"),
    [
        ('camera:"iPhone 12"', Written("camera", "iPhone 12", "taken with iPhone 12")),
        ("lens:50mm", Written("lens", "50mm", "taken through 50mm")),
        ("iso:800", Sensitivity(800, 800, "taken at ISO 800")),
        ("iso:>800", Sensitivity(801, None, "taken at ISO >800")),
        ("iso:>=800", Sensitivity(800, None, "taken at ISO >=800")),
        ("iso:<800", Sensitivity(None, 799, "taken at ISO <800")),
        ("iso:<=800", Sensitivity(None, 800, "taken at ISO <=800")),
        ("iso:400..100", Sensitivity(100, 400, "taken at ISO 100 to 400")),
        ("near:Lyon", TakenNear("Lyon", 10.0, "taken near Lyon")),
        ("near:45.76,4.84", TakenNear((45.76, 4.84), 10.0, "taken near 45.76,4.84")),
        ("near:-45,4.84 within:20km", TakenNear((-45.0, 4.84), 20.0, "taken near -45,4.84")),
        ('within:500m near:"San José"', TakenNear("San José", 0.5, "taken near San José")),
        ("is:favorite", Favourite("is a favourite")),
        ("type:raw", OfFormat(("RAW",), "is a RAW")),
        ("type:video", OfFormat(("VIDEO",), "is a VIDEO")),
    ],
)
def test_filters_on_what_files_say_of_themselves(typed: str, condition: object) -> None:
    query = read(f"dog {typed}")
    assert query.text == "dog"
    assert query.groups == (Group((condition,)),)  # type: ignore[arg-type]
    assert query.notes == ()


@pytest.mark.parametrize(
    "piece",
    [
        "2019-13", "2019-02-30", "2019..2019-99", "foo:bar", "http://example.org", '"never',
        '-"never', 'in:"never', "in:..", "in:/", "type:exe", "is:nice", "iso:high", "iso:>",
        "sort:size",
        "before:soon", "after:2019-99", "like:0", "like:99999999999999999999",
        "near:91,0",
        "near:,", "within:20km", "within:far", "-like:5", "-sort:date", "-within:5km",
        "re:zero",
    ],
)  # fmt: skip
def test_what_cannot_be_understood_becomes_words_and_is_noted(piece: str) -> None:
    query = read(f"dog {piece}")
    assert query.groups == ()
    assert (query.like_photo_id, query.like_path, query.by_date) == (None, None, False)
    assert query.text.startswith("dog")
    assert query.tokens[-1].kind == "words"
    assert query.tokens[-1].note
    assert query.notes == (f"{piece} is taken as words: {query.tokens[-1].note}",)
    check_shape(f"dog {piece}", query)


def test_like_is_a_photos_number_or_a_path() -> None:
    assert read("like:17 at night") == Query("at night", like_photo_id=17)
    assert read("like:./a.jpg").like_path == "./a.jpg"
    assert read('like:"my photos/a b.jpg"').like_path == "my photos/a b.jpg"
    twice = read("like:17 like:18")
    assert twice.like_photo_id == 17
    assert len(twice.notes) == 1
    given_one = parse("like:18 dog", now=NOW, like_photo_id=17)
    assert given_one.like_photo_id == 17


def test_sort_and_what_is_asked_at_all() -> None:
    assert read("sort:date").by_date
    assert read("sort:date").finds_nothing_by_itself
    assert read("").finds_nothing_by_itself
    assert read('""').finds_nothing_by_itself
    for typed in ("dog", "2019", "-dog", '"x"', "like:5", "like:a", "is:favourite"):
        assert not read(typed).finds_nothing_by_itself, typed


@pytest.mark.parametrize(
    "word",
    ["IMG_1234", "DSC00123", "P1010001", "20190714_183000", "beach.jpg", "b.HEIC", "x_1"],
)
def test_words_that_look_like_file_names(word: str) -> None:
    query = read(f"dog {word}")
    assert query.names == (word,)
    assert query.text == f"dog {word}"
    assert not query.only_names
    assert read(word).only_names


@pytest.mark.parametrize("word", ["dog", "3d", "mp3", "covid19", "snake_case", "1234", "file.txt"])
def test_words_that_do_not(word: str) -> None:
    assert read(word).names == ()


def test_a_query_has_at_most_so_many_filters() -> None:
    query = read(" ".join(f'"{number}"' for number in range(100)))
    assert len(query.groups) == MAX_FILTERS
    assert query.notes


def test_another_language_is_another_table() -> None:
    from dataclasses import replace

    german = replace(
        ENGLISH,
        months={"juli": 7},
        seasons={"sommer": (6, "Sommer")},
        last=frozenset({"letzter", "letzten"}),
        keys={**ENGLISH.keys, "ordner": "in"},
    )
    assert dates(parse("juli 2019", now=NOW, language=german)) == dates(read("july 2019"))
    assert dates(parse("letzten sommer", now=NOW, language=german)) == dates(read("last summer"))
    assert parse("ordner:x", now=NOW, language=german) == read("in:x")


# --- Chinese: a second table ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "english"),
    [
        ("2019年", "2019"),
        ("2019年7月", "july 2019"),
        ("2019年七月", "july 2019"),
        ("2019年7月14日", "14 july 2019"),
        ("2019年7月14号", "14 july 2019"),
        ("7月14日", "14 july"),
        ("七月", "july"),
        ("2019年夏天", "summer 2019"),
        ("去年夏天", "summer 2025"),
        ("去年冬季", "winter 2025"),
        ("前年", "2024"),
        ("去年", "last year"),
        ("今年", "this year"),
        ("去年7月", "july 2025"),
        ("上个月", "last month"),
        ("本月", "this month"),
        ("上星期", "last week"),
        ("昨天", "yesterday"),
        ("今天", "today"),
        ("星期一", "monday"),
        ("周日", "sunday"),
        ("2018年到2020年", "2018 to 2020"),
        ("从2018年至2020年3月", "2018 to march 2020"),
        ("2018年之前", "before 2018"),
        ("2018年7月以后", "after july 2018"),
        ("2018年以来", "since 2018"),
        ("2018年为止", "until 2018"),
        ("2019-07-14", "2019-07-14"),
        ("-2019年", "-2019"),
        ("类型:png", "type:png"),
        ("类型：png", "type:png"),
        ("文件夹：旅行/2019", "in:旅行/2019"),
        ("是：截图", "is:screenshot"),
        ("是:全景", "is:panorama"),
        ("排序:日期", "sort:date"),
        ("感光度:>800", "iso:>800"),
        ("像:17", "like:17"),
        ("附近:里昂 范围:5km", "near:里昂 within:5km"),
        ("in:trips", "in:trips"),
        ("last month", "last month"),
    ],
)
def test_chinese_says_what_english_says(typed: str, english: str) -> None:
    """With a word beside it, so that the script alone chooses the table."""
    assert read(f"{typed} 狗") == read(f"{english} 狗")
    assert read(f"狗 {typed}").groups == read(f"狗 {english}").groups


@pytest.mark.parametrize(
    ("typed", "words", "span"),
    [
        ("去年夏天的海滩", "海滩", ("2025-06-01", "2025-09-01")),
        ("海边的狗2019年", "海边的狗", ("2019-01-01", "2020-01-01")),
        ("2019年7月14日的海边的狗", "海边的狗", ("2019-07-14", "2019-07-15")),
        ("上个月在海边", "在海边", ("2026-10-01", "2026-11-01")),
        ("在2019年看海", "看海", ("2019-01-01", "2020-01-01")),
    ],
)
def test_dates_are_found_where_no_space_parts_them(
    typed: str, words: str, span: tuple[str, str]
) -> None:
    query = read(typed)
    assert query.text == words
    assert dates(query) == [[span]]
    check_shape(typed, query)


@pytest.mark.parametrize(
    "typed",
    ["夏天的海滩", "冬天", "海边：狗", "吃饭之前", "12019年", "一周一次", "2019年13", "三号"],
)
def test_what_is_no_date_in_chinese_stays_words(typed: str) -> None:
    query = read(typed)
    assert [group for group in dates(query) if group] in ([], [[("2019-01-01", "2020-01-01")]])
    assert (query.text == typed) == (typed != "2019年13")
    assert query.notes == ()
    check_shape(typed, query)


def test_the_script_chooses_the_table() -> None:
    assert language_of("last month 北京") is CHINESE
    assert language_of("last month") is ENGLISH
    for field in ("months", "seasons", "weekdays", "days_ago", "keys", "kinds", "sorts"):
        english, chinese = getattr(ENGLISH, field), getattr(CHINESE, field)
        assert english.items() <= chinese.items(), field


# --- any string at all ------------------------------------------------------------------------


PARTS = [
    "dog", "may", "in", "last", "2019", "2019-07", "..", "july", "14", "14th,", "summer", "of",
    "to",
    "-", '"', '""', "“", "”", ":", "in:", "like:", "near:", "within:", "20km", "iso:>", "800",
    "type:",
    "is:", "panorama", "favourite", "before:", "after", "since", "sort:date", "camera:", "IMG_1",
    "*",
    "\x00", "\ud800", "\u3000", "\u00a0", "北京", "é", "e\u0301", "🐈‍⬛", "'", "\\", "%", "_", "/",
    "..",
    "AND", "OR", "NOT", "NEAR(", ")", "^", "{", "}", "+", " ", "  ", "\n", "\t", "today", "week",
    "sunday",
    "去年", "夏天", "的", "2019年", "7月", "14日", "之前", "到", "类型：", "：", "狗",
    "周日", "上个月",
    "٣", "²", "İ", "ß", "１２", "٢٠١٩", "0001-01", "9999", "like:5", "type:raw", '-"x"',
]  # fmt: skip


def check_strings(count: int, seed: int) -> None:
    """So many strings of odd parts or of printable noise, each a query; of some, every promise."""
    rng = random.Random(seed)
    for number in range(count):
        if number % 3:
            typed = "".join(
                rng.choice(PARTS) + rng.choice(("", " ", " ")) for _ in range(rng.randrange(7))
            )
        else:
            typed = "".join(rng.choice(string.printable) for _ in range(rng.randrange(14)))
        query = parse(typed, now=NOW)
        if number % 20 == 0:  # the whole of the promise costs twice as much to check
            check_shape(typed, query)


def test_thousands_of_strings_are_all_queries() -> None:
    check_strings(4_000, seed=20261129)


@pytest.mark.slow
def test_100_000_strings_are_all_queries() -> None:
    check_strings(100_000, seed=20261121)


@pytest.mark.parametrize(
    "typed",
    ["a" * 1000, '"' * 1000, "-" * 1000, ":" * 1000, "a:" * 500, "..", "1" * 1000, "_1" * 500,
     " " * 1000, '"a"' * 333, "2019.." * 160, "in:" + "/" * 997, "july " * 200, "-x " * 333,
     "to " * 333, "2019 to " * 125, "1a" * 500, "\ud800" * 1000, "last " * 200, '" ' * 500],
)  # fmt: skip
def test_long_and_repetitive_strings_are_read_at_once(typed: str) -> None:
    check_shape(typed, parse(typed, now=NOW))


@settings(deadline=None)
@given(st.text(max_size=1100) | st.lists(st.sampled_from(PARTS)).map(" ".join))
def test_no_string_is_an_error_and_rendering_gives_it_back(typed: str) -> None:
    check_shape(typed, parse(typed, now=NOW))


@pytest.mark.parametrize(
    "typed", ["camera: cat", "cat in:", "-lens: cat", 'cat near:""', "相机： cat"]
)
def test_a_key_without_a_value_means_nothing_and_that_is_said(typed: str) -> None:
    query = parse(typed, now=NOW)
    assert (query.text, query.less, query.groups) == ("cat", (), ())
    assert "has no value and is left out" in query.notes[0]
    assert render(query) == typed


def test_a_date_of_no_century_is_said_to_be_none() -> None:
    assert "this is no date" in parse("9999-99-99", now=NOW).notes[0]


def test_quotation_marks_around_nothing_are_said() -> None:
    assert parse('""', now=NOW).notes == ("there is nothing between the quotation marks",)
