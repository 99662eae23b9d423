"""Words, and whether one stands in a text. Pure.

A word of a query is looked for in what is written of a photo as a word, not as letters:
"cat" stands in `Cat_2019.jpg`, in `myCat.jpg` and in "two cats", and not in `vacation`.
Chinese is written without spaces between words, so there any run of letters will do.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

MIN_LETTERS: Final = 3  # of a word that is looked for: the index of text knows threes

_PICTURE_FILE: Final = re.compile(
    r".+\.(?:jpe?g|png|hei[cf]|webp|avif|gif|tiff?|bmp)", re.IGNORECASE
)
_CAMEL: Final = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])")
_HAN: Final = re.compile("[\u3400-\u9fff]")
# A Latin word among Chinese ones needs no space either: 北京trip.
_PART: Final = re.compile("[\u3400-\u9fff]+|[^\\W\\d_\u3400-\u9fff]+|\\d+")


def is_byte(char: str) -> bool:
    """Whether it stands for a byte of a name that is no UTF-8, as os.fsdecode has it."""
    return "\udc80" <= char <= "\udcff"


def has_bytes(text: str) -> bool:
    return any(map(is_byte, text))


def without_bytes(text: str) -> str:
    return "".join(char for char in text if not is_byte(char))


def is_file_name(word: str) -> bool:
    """IMG_1, DSC00123, beach.jpg; not 3d, mp3 or covid19. Bytes that are no text are a name's."""
    if has_bytes(word):
        return True
    digits = sum(char in "0123456789" for char in word)
    named = digits >= 3 and any(char.isalpha() for char in word)
    return named or (digits > 0 and "_" in word) or _PICTURE_FILE.fullmatch(word) is not None


def is_han(text: str) -> bool:
    """Whether it is of the script that puts no spaces between words."""
    return _HAN.search(text) is not None


def folded(text: str) -> str:
    """Composed, and in one case."""
    return unicodedata.normalize("NFC", text).casefold()


def parts(text: str) -> list[str]:
    """The runs of letters and the runs of digits, folded; aWordAt everyCapital is its own."""
    return _PART.findall(folded(_CAMEL.sub(" ", unicodedata.normalize("NFC", text))))


@lru_cache(maxsize=256)
def forms(word: str) -> tuple[str, ...]:
    """The word in one and in many, folded, the shortest first: dogs -> dog, dogs."""
    word = folded(word)
    found = {word}
    if word.isascii() and word.isalpha() and len(word) >= MIN_LETTERS:
        for end in ("ches", "shes", "xes", "sses", "zes", "oes"):
            if word.endswith(end):
                found.add(word[:-2])
        if word.endswith("s") and not word.endswith("ss") and len(word) > MIN_LETTERS:
            found.add(word[:-1])
        for one in tuple(found):
            if not one.endswith("s"):
                found.add(one + "s")
            if one.endswith(("ch", "sh", "x", "ss", "z", "o")):
                found.add(one + "es")
    return tuple(sorted(found, key=lambda form: (len(form), form)))


def stems(word: str) -> tuple[str, ...]:
    """The forms that hold no other: who has none of their letters does not have the word."""
    known = forms(word)
    return tuple(form for form in known if not any(o in form for o in known if o != form))


def stands_in(word: str, text: str) -> bool:
    """Whether the word, in one or in many, stands in the text."""
    if is_han(word):
        return folded(word) in folded(text)
    wanted = _forms_in_parts(word)
    known = folded(text)
    # Most texts lack the very letters: to take those apart cost a search of numbers 1 ms.
    if not any(all(part in known for part in form) for form in wanted):
        return False
    # iPhone is one word to who asks for iphone, myCat two to who asks for cat.
    found = _PART.findall(known)
    if any(_follow(form, found) for form in wanted):
        return True
    if _CAMEL.search(unicodedata.normalize("NFC", text)) is None:
        return False  # its parts are those
    apart = parts(text)
    return any(_follow(form, apart) for form in wanted)


@lru_cache(maxsize=256)
def _forms_in_parts(word: str) -> tuple[list[str], ...]:
    return tuple(found for form in forms(word) if (found := _PART.findall(form)))


def _follow(wanted: list[str], text: list[str]) -> bool:
    """Whether these stand in the text one after the other."""
    first, length = wanted[0], len(wanted)
    if length == 1:
        return first in text
    return first in text and any(
        part == first and text[start : start + length] == wanted for start, part in enumerate(text)
    )
