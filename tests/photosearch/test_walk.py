"""The bar's keyboard map, and where arrows lead. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photosearch.desktop.walk import ARROWS, Act, At, act, walk


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
        ("Enter", At.BOX, "", Act.ENTER_GRID),
        ("Enter", At.BOX, "control", Act.ENTER_GRID),
        ("Escape", At.BOX, "text", Act.CLEAR),
        ("Escape", At.BOX, "text like", Act.CLEAR),
        ("Escape", At.BOX, "like", Act.STOP_LIKING),
        ("Escape", At.BOX, "", Act.HIDE),
        ("Backspace", At.BOX, "like", Act.STOP_LIKING),
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
        ("Enter", At.BOX, "shift", Act.ENTER_GRID),
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
    assert (
        act(
            key,
            at=at,
            control="control" in state,
            shift="shift" in state,
            has_text="text" in state,
            has_like="like" in state,
        )
        is expected
    )
