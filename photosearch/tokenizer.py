"""Text -> (L,) int64.

WordPiece as BERT does it (Devlin et al. 2018, arXiv:1810.04805; the reference
is `tokenization.py` in its authors' release), uncased. It is our own because
the well-kept library for it brings an HTTP client and a model hub with it,
which a program that promises to have no network must not install; the tests
compare the two on every caption we have.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from photosearch.errors import BundleError

PAD: Final = "[PAD]"
UNKNOWN: Final = "[UNK]"
START: Final = "[CLS]"
END: Final = "[SEP]"
MAX_WORD_CHARS: Final = 100  # longer words become one [UNK], as in the reference


class Tokenizer(Protocol):
    """Text -> ids, as one text tower was trained to meet them."""

    context_length: int
    pad_id: int
    pads_to_longest: bool  # else every row is padded to the whole context

    def encode(self, text: str) -> NDArray[np.int64]:
        """One text -> (L,), L <= context_length, without padding."""
        ...

    def batch(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Texts -> (B, L), padded with `pad_id`."""
        ...


class WordPieceTokenizer:
    """Uncased WordPiece over a fixed vocabulary.

    True between calls: ids lie in 0..len(vocabulary)-1; a row is START, pieces,
    END, then PAD; no row is longer than `context_length`.
    """

    def __init__(self, vocabulary: Sequence[str], *, context_length: int) -> None:
        assert context_length >= 3, context_length
        self._ids = {piece: number for number, piece in enumerate(vocabulary)}
        missing = [name for name in (PAD, UNKNOWN, START, END) if name not in self._ids]
        if missing:
            raise BundleError(f"the vocabulary lacks the special tokens {', '.join(missing)}")
        self.context_length = context_length
        self.pads_to_longest = True
        self.pad_id = self._ids[PAD]

    @classmethod
    def from_file(cls, file: Path, *, context_length: int) -> WordPieceTokenizer:
        return cls(read_pieces(file), context_length=context_length)

    def encode(self, text: str) -> NDArray[np.int64]:
        """One text -> (L,), L <= context_length, without padding."""
        ids = [self._ids[START]]
        limit = self.context_length - 1  # END has the last place
        for word in words_of(text):
            ids.extend(self._pieces(word))
            if len(ids) >= limit:
                break
        return np.asarray([*ids[:limit], self._ids[END]], dtype=np.int64)

    def batch(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Texts -> (B, L), padded to the longest of them."""
        rows = [self.encode(text) for text in texts]
        width = max((len(row) for row in rows), default=2)
        padded = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        for number, row in enumerate(rows):
            padded[number, : len(row)] = row
        return padded

    def _pieces(self, word: str) -> list[int]:
        """Greedy longest match first; a word with an unmatched rest is UNKNOWN whole."""
        if len(word) > MAX_WORD_CHARS:
            return [self._ids[UNKNOWN]]
        pieces: list[int] = []
        start = 0
        while start < len(word):
            end = len(word)
            prefix = "##" if start else ""
            while end > start and (prefix + word[start:end]) not in self._ids:
                end -= 1
            if end == start:
                return [self._ids[UNKNOWN]]
            pieces.append(self._ids[prefix + word[start:end]])
            start = end
        return pieces


def read_pieces(file: Path) -> tuple[str, ...]:
    """Read a BERT vocab.txt: one piece a line, its id the line's number from 0."""
    lines = file.read_text(encoding="utf-8").split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    return tuple(line.rstrip("\r") for line in lines)


def words_of(text: str) -> Iterator[str]:
    """Lower-case, strip accents, split at white space, punctuation and each CJK character."""
    clean = "".join(_clean(char) for char in text)
    stripped = "".join(
        char
        for char in unicodedata.normalize("NFD", clean.lower())
        if unicodedata.category(char) != "Mn"
    )
    word = ""
    for char in stripped:
        if char.isspace() or _is_punctuation(char):
            if word:
                yield word
            word = ""
            if not char.isspace():
                yield char
        else:
            word += char
    if word:
        yield word


def _clean(char: str) -> str:
    if char in "\t\n\r" or unicodedata.category(char) == "Zs":
        return " "
    if char == "\0" or char == "\ufffd" or unicodedata.category(char).startswith("C"):
        return ""
    return f" {char} " if _is_cjk(ord(char)) else char


def _is_punctuation(char: str) -> bool:
    point = ord(char)
    ascii_symbol = (
        33 <= point <= 47 or 58 <= point <= 64 or 91 <= point <= 96 or 123 <= point <= 126
    )
    return ascii_symbol or unicodedata.category(char).startswith("P")


def _is_cjk(point: int) -> bool:
    return any(
        low <= point <= high
        for low, high in (
            (0x4E00, 0x9FFF),
            (0x3400, 0x4DBF),
            (0x20000, 0x2A6DF),
            (0x2A700, 0x2B73F),
            (0x2B740, 0x2B81F),
            (0x2B820, 0x2CEAF),
            (0xF900, 0xFAFF),
            (0x2F800, 0x2FA1F),
        )
    )
