"""The keyboard map, the same as the page's (static/keys.js, static/walk.js). Pure."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

ARROWS: Final = ("Left", "Right", "Up", "Down")


class At(Enum):
    """Where the user is."""

    BOX = auto()
    GRID = auto()
    PREVIEW = auto()


class Act(Enum):
    """What a key press asks for."""

    FOCUS_BOX = auto()  # with its text selected
    ENTER_GRID = auto()
    MOVE = auto()  # by the key itself
    PREVIEW = auto()
    CLOSE_PREVIEW = auto()
    OPEN = auto()
    REVEAL = auto()
    COPY = auto()
    COPY_PATH = auto()
    LIKE = auto()
    LEAVE_GRID = auto()
    CLEAR = auto()
    STOP_LIKING = auto()
    HIDE = auto()
    SHOW_KEYS = auto()
    NOTHING = auto()  # ours, and without effect


def act(
    key: str, *, at: At, control: bool, shift: bool, has_text: bool, has_like: bool
) -> Act | None:
    """What a key asks for; None: it is typed, or the system's.

    `key` is Left, Right, Up, Down, Home, End, Enter, Escape, Backspace or what it types.
    """
    if control:
        if at is At.BOX:
            return Act.ENTER_GRID if key == "Enter" else None
        return {"Enter": Act.REVEAL, "c": Act.COPY_PATH if shift else Act.COPY}.get(key)
    if at is At.BOX:
        return _in_box(key, has_text=has_text, has_like=has_like)
    if key in ARROWS or key in ("Home", "End"):
        return Act.MOVE
    common = {"Enter": Act.LIKE if shift else Act.OPEN, "/": Act.FOCUS_BOX, "?": Act.SHOW_KEYS}
    if at is At.PREVIEW:
        return {**common, " ": Act.CLOSE_PREVIEW, "Escape": Act.CLOSE_PREVIEW}.get(key)
    return {**common, " ": Act.PREVIEW, "Escape": Act.LEAVE_GRID}.get(key)


def _in_box(key: str, *, has_text: bool, has_like: bool) -> Act | None:
    if key in ("Down", "Enter"):
        return Act.ENTER_GRID
    if key == "Escape":
        return Act.CLEAR if has_text else Act.STOP_LIKING if has_like else Act.HIDE
    if has_text:
        return None
    if key == "Backspace" and has_like:
        return Act.STOP_LIKING
    return {"?": Act.SHOW_KEYS, "/": Act.NOTHING}.get(key)


def walk(key: str, at: int, *, columns: int, total: int) -> int:
    """Where an arrow key leads among `total` photos in rows of `columns`; -1: out at the top."""
    if key == "Home":
        return 0
    if key == "End":
        return total - 1
    if key == "Left":
        return max(at - 1, 0)
    if key == "Right":
        return min(at + 1, total - 1)
    if key == "Up":
        return at - columns if at >= columns else -1
    if at + columns < total:
        return at + columns
    is_last_row = at // columns == (total - 1) // columns
    return at if is_last_row else total - 1  # the next row is shorter than this one
