"""A key chord as users write it. Pure."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Final

from photosearch.errors import UsageError

DEFAULT: Final = "ctrl+alt+space"
NAMES: Final = {"control": "ctrl", "option": "alt", "cmd": "meta", "super": "meta", "win": "meta"}
MODIFIERS: Final = ("ctrl", "alt", "shift", "meta")
FUNCTION: Final = tuple(f"f{number}" for number in range(1, 13))
KEYS: Final = ("space", *string.ascii_lowercase, *string.digits, *FUNCTION)


@dataclass(frozen=True)
class Chord:
    """Modifiers held while one key goes down."""

    modifiers: frozenset[str]  # of MODIFIERS
    key: str  # one of KEYS

    def __str__(self) -> str:
        return "+".join([*(name for name in MODIFIERS if name in self.modifiers), self.key])


def parse(text: str) -> Chord:
    """`Ctrl+Alt+Space` -> Chord. Raises UsageError naming what is wrong."""
    words = [NAMES.get(word, word) for word in text.lower().replace(" ", "").split("+")]
    *modifiers, key = words
    for word in modifiers:
        if word not in MODIFIERS:
            raise UsageError(f"{text!r}: {word!r} is none of {', '.join(MODIFIERS)}.")
    if key not in KEYS:
        raise UsageError(
            f"{text!r}: {key!r} cannot be the key. Use space, a letter, a digit or f1 to f12."
        )
    if len(set(modifiers)) != len(modifiers):
        raise UsageError(f"{text!r} names a modifier twice.")
    # A letter or Space with no more than Shift is typing: no program would get it any more.
    if key not in FUNCTION and not set(modifiers) - {"shift"}:
        raise UsageError(f"{text!r} is what one types. Add ctrl, alt or meta.")
    return Chord(frozenset(modifiers), key)
