"""One vocabulary for English and Simplified Chinese, small enough to ship.

Both languages go through the tokenizer we have (photosearch/tokenizer.py): it
already takes each Chinese character for a word of its own, so Chinese needs
rows in the table and nothing else, on a desktop as on a phone.
"""

from __future__ import annotations

import importlib.resources
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from photosearch.tokenizer import WordPieceTokenizer, words_of

FREQUENT: Final = 16_000  # ids of MiniLM's pieces fall with their frequency in English
SHORT: Final = 3  # letters: any English word can be spelled from pieces this short
MIN_COUNT: Final = 1

WORDS: Final = "chinese_words.txt"
TRADITIONAL: Final = "chinese_traditional.txt"


@dataclass(frozen=True)
class Word:
    """An English word with its Chinese names and the measure words these take."""

    english: str
    chinese: tuple[str, ...]
    measures: tuple[str, ...]  # empty for names that take none

    def phrases(self) -> list[tuple[str, str]]:
        """(Chinese phrase, the English one that means it)."""
        found: list[tuple[str, str]] = []
        for name in self.chinese:
            found.append((name, self.english))
            found.append((f"{name}的照片", f"a photo of a {self.english}"))
            found.append((f"一张{name}的照片", f"a photo of a {self.english}"))
            found += [(f"一{measure}{name}", f"a {self.english}") for measure in self.measures]
        return found


def read_words() -> list[Word]:
    """The word list beside this file, in its order."""
    words: list[Word] = []
    measures: tuple[str, ...] = ()
    text = (importlib.resources.files("models") / WORDS).read_text("utf-8")
    for line in text.splitlines():
        if line.startswith("@"):
            measures = tuple(part for part in line[1:].split(",") if part != "-")
        elif line and not line.startswith("#"):
            english, _, names = line.partition(":")
            words.append(Word(english, tuple(names.split(",")), measures))
    return words


def read_traditional() -> dict[str, str]:
    """Traditional character -> the simplified one it is a form of."""
    text = (importlib.resources.files("models") / TRADITIONAL).read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pairs = [pair for line in lines for pair in line.split()]
    return {pair[0]: pair[1] for pair in pairs}


def with_traditional(vocabulary: Sequence[str]) -> list[str]:
    """`vocabulary`, then the traditional forms of its characters that it lacks.

    They share their simplified characters' rows (`same_rows`), so that both writings of a
    query give the same vector, and no reader of the bundle needs a table of its own.
    """
    known = set(vocabulary)
    pairs = read_traditional().items()
    return [*vocabulary, *(old for old, new in pairs if new in known and old not in known)]


def same_rows(vocabulary: Sequence[str]) -> tuple[list[int], list[int]]:
    """(rows of traditional characters, rows of the simplified ones they share)."""
    number = {piece: row for row, piece in enumerate(vocabulary)}
    pairs = [
        (number[old], number[new])
        for old, new in read_traditional().items()
        if old in number and new in number
    ]
    return [old for old, _ in pairs], [new for _, new in pairs]


def is_chinese(piece: str) -> bool:
    """Whether a piece is one character of Chinese writing."""
    return len(piece) == 1 and unicodedata.name(piece, "").startswith("CJK UNIFIED")


def choose(
    whole: Sequence[str],
    english: Iterable[str],
    chinese: Iterable[str],
    *,
    frequent: int = FREQUENT,
) -> list[str]:
    """The pieces to keep of MiniLM's, then the Chinese characters of `chinese`.

    A piece stays if it is frequent, short, a symbol, or occurs in `english` once that is cut
    into MiniLM's own pieces. Order is kept, so that [PAD] is 0.
    """
    tokenizer = WordPieceTokenizer(whole, context_length=512)
    used = {number for text in english for number in tokenizer.encode(text).tolist()}
    kept = [
        piece
        for number, piece in enumerate(whole)
        if _possible(piece) and (number in used or number < frequent or _short(piece))
    ]
    counts = Counter(word for text in chinese for word in words_of(text) if is_chinese(word))
    known = set(kept)
    characters = [word for word, count in counts.most_common() if count >= MIN_COUNT]
    marks = ["，", "。", "、", "！", "？", "：", "“", "”", "（", "）"]
    return kept + [piece for piece in [*marks, *characters] if piece not in known]


def _possible(piece: str) -> bool:
    """ASCII, punctuation and symbols; the rest MiniLM has not learned to read."""
    bare = piece.removeprefix("##")
    return not piece.startswith("[unused") and all(
        char.isascii() or unicodedata.category(char)[0] in "PS" for char in bare
    )


def _short(piece: str) -> bool:
    return len(piece.removeprefix("##")) <= SHORT
