"""The bar's keyboard map, and where arrows lead. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photosearch.desktop.walk import ARROWS, Act, At, Box, Held, act, onwards, walk


@pytest.mark.parametrize(
    ("key", "at", "columns", "total", "expected"),
    [
        pytest.param("Right", 0, 5, 12, 1, id="along"),
        pytest.param("Right", 11, 5, 12, 11, id="the end stays"),
        pytest.param("Left", 0, 5, 12, 0, id="the beginning stays"),
        pytest.param("Down", 1, 5, 12, 6, id="a row down"),
        pytest.param("Down", 9, 5, 12, 11, id="into a shorter row"),
        pytest.param("Down", 10, 5, 12, 10, id="no row below"),
        pytest.param("Up", 6, 5, 12, 1, id="a row up"),
        pytest.param("Up", 4, 5, 12, -1, id="out at the top"),
        pytest.param("Home", 7, 5, 12, 0, id="home"),
        pytest.param("End", 0, 5, 12, 11, id="end"),
        pytest.param("Down", 0, 1, 1, 0, id="a single photo"),
    ],
)
def test_walk(key: str, at: int, columns: int, total: int, expected: int) -> None:
    assert walk(key, at, columns=columns, total=total) == expected


@given(st.data(), st.integers(1, 9), st.integers(1, 60))
def test_no_arrow_leads_out_but_up(data: st.DataObject, columns: int, total: int) -> None:
    at = data.draw(st.integers(0, total - 1))
    for key in (*ARROWS, "Home", "End"):
        to = walk(key, at, columns=columns, total=total)
        assert 0 <= to < total or (key == "Up" and to == -1 and at < columns)
    down = walk("Down", at, columns=columns, total=total)
    if down == at + columns:
        assert walk("Up", down, columns=columns, total=total) == at


@pytest.mark.parametrize(
    ("key", "at", "state", "expected"),
    [
        ("Down", At.BOX, "", Act.ENTER_GRID),
        ("Enter", At.BOX, "", Act.MEAN),
        ("Enter", At.BOX, "control", Act.MEAN),
        ("Enter", At.BOX, "alt", Act.MEAN),
        ("Down", At.BOX, "alt", None),
        ("End", At.BOX, "text onwards", Act.TAKE),
        ("Right", At.BOX, "onwards", Act.TAKE),  # past searches, for an empty box
        ("End", At.BOX, "text onwards shift", None),  # selects, as everywhere
        ("Right", At.BOX, "text onwards control", None),
        ("End", At.BOX, "text", None),
        ("End", At.GRID, "text onwards", Act.MOVE),
        ("Escape", At.BOX, "text", Act.CLEAR),
        ("Escape", At.BOX, "text like", Act.CLEAR),
        ("Escape", At.BOX, "like", Act.STEP_BACK),
        ("Escape", At.BOX, "", Act.HIDE),
        ("Backspace", At.BOX, "like", Act.STEP_BACK),
        ("Backspace", At.BOX, "text like", None),
        ("?", At.BOX, "", Act.SHOW_KEYS),
        ("?", At.BOX, "text", None),
        (" ", At.BOX, "text", None),
        ("Left", At.BOX, "text", None),
        ("c", At.BOX, "control text", None),  # copies the words, as everywhere
        (" ", At.GRID, "", Act.PREVIEW),
        ("Enter", At.GRID, "", Act.OPEN),
        ("Enter", At.GRID, "control", Act.REVEAL),
        ("c", At.GRID, "control", Act.COPY),
        ("c", At.PREVIEW, "control shift", Act.COPY_PATH),
        ("Enter", At.GRID, "shift", Act.LIKE),
        ("Enter", At.BOX, "shift", Act.MEAN),
        ("Enter", At.GRID, "alt", Act.GROUP),
        ("Enter", At.PREVIEW, "alt", Act.GROUP),
        ("d", At.GRID, "alt", None),
        ("Left", At.GRID, "alt", None),
        ("c", At.GRID, "", None),
        ("Escape", At.GRID, "text", Act.LEAVE_GRID),
        ("Left", At.GRID, "", Act.MOVE),
        ("/", At.GRID, "", Act.FOCUS_BOX),
        (" ", At.PREVIEW, "", Act.CLOSE_PREVIEW),
        ("Escape", At.PREVIEW, "text", Act.CLOSE_PREVIEW),
        ("Right", At.PREVIEW, "", Act.MOVE),
        ("Enter", At.PREVIEW, "control", Act.REVEAL),
    ],
)
def test_act(key: str, at: At, state: str, expected: Act | None) -> None:
    held = Held(control="control" in state, shift="shift" in state, alt="alt" in state)
    keys = ("End", "Right") if "onwards" in state else ()
    box = Box(has_text="text" in state, has_chip="like" in state, onwards=keys)
    assert act(key, at=at, held=held, box=box) is expected


def test_in_words_written_from_the_right_the_right_arrow_leads_back() -> None:
    assert onwards("dog 2019") == onwards("") == onwards("2019") == ("End", "Right")
    assert onwards("כלב") == onwards("2019 قطة") == ("End",)
