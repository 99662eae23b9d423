"""The keyboard map, the same as the page's (static/keys.js, static/walk.js). Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
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
    MEAN = auto()  # the search is one; and into the grid
    MOVE = auto()  # by the key itself
    PREVIEW = auto()
    CLOSE_PREVIEW = auto()
    OPEN = auto()
    REVEAL = auto()
    COPY = auto()
    COPY_PATH = auto()
    LIKE = auto()
    GROUP = auto()  # the similar photos it stands for
    LEAVE_OUT = auto()  # of every search
    UNDO = auto()
    TAKE = auto()  # the first suggestion
    LEAVE_GRID = auto()
    CLEAR = auto()
    STEP_BACK = auto()  # from the photos that the chip in the box tells of
    HIDE = auto()
    SHOW_KEYS = auto()
    NOTHING = auto()  # ours, and without effect


@dataclass(frozen=True)
class Held:
    """The keys held down beside another."""

    control: bool = False  # or the Mac's command
    shift: bool = False
    alt: bool = False


@dataclass(frozen=True)
class Box:
    """What the box holds, as far as keys depend on it."""

    has_text: bool
    has_chip: bool  # more like a photo, or a burst opened up
    onwards: tuple[str, ...] = ()  # keys that take the first suggestion now
    can_undo: bool = False  # something was done with a photo, and nothing typed since


def onwards(text: str) -> tuple[str, ...]:
    """Keys that lead nowhere else at the end of what is typed."""
    strong = (unicodedata.bidirectional(char) for char in text)
    first = next((kind for kind in strong if kind in ("L", "R", "AL")), "L")
    return ("End", "Right") if first == "L" else ("End",)


def act(key: str, *, at: At, held: Held, box: Box) -> Act | None:
    """What a key asks for; None: it is typed, or the system's.

    `key` is Left, Right, Up, Down, Home, End, Enter, Escape, Backspace, Delete or what it types.
    """
    if at is At.BOX:
        return _in_box(key, held, box)
    if key == "Enter":
        return _used(held)
    if held.alt:
        return None
    if held.control:
        with_control = {"c": Act.COPY_PATH if held.shift else Act.COPY, "z": Act.UNDO}
        return with_control.get(key)
    if key in ARROWS or key in ("Home", "End"):
        return Act.MOVE
    common = {"/": Act.FOCUS_BOX, "?": Act.SHOW_KEYS, "Delete": Act.LEAVE_OUT}
    if at is At.PREVIEW:
        return {**common, " ": Act.CLOSE_PREVIEW, "Escape": Act.CLOSE_PREVIEW}.get(key)
    return {**common, " ": Act.PREVIEW, "Escape": Act.LEAVE_GRID}.get(key)


def _used(held: Held) -> Act:
    """Enter, on a photo."""
    if held.control:
        return Act.REVEAL
    return Act.LIKE if held.shift else Act.GROUP if held.alt else Act.OPEN


def _in_box(key: str, held: Held, box: Box) -> Act | None:
    if key == "Enter":
        return Act.MEAN
    if held.control and key == "z" and box.can_undo and not held.shift:
        return Act.UNDO
    if held.control or held.alt:
        return None
    if key == "Down":
        return Act.ENTER_GRID
    if key == "Escape":
        return Act.CLEAR if box.has_text else Act.STEP_BACK if box.has_chip else Act.HIDE
    if key in box.onwards and not held.shift:
        return Act.TAKE
    if box.has_text:
        return None
    if key == "Backspace" and box.has_chip:
        return Act.STEP_BACK
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
