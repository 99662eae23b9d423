"""CLIP's tokenizer: byte pairs over lower-cased words (Radford et al. 2021, arXiv:2103.00020).

For bundles made from OpenCLIP models; the reference is `SimpleTokenizer` in
OpenCLIP, which the tests compare with on every caption we have. Of its cleaning
one thing is left out: ftfy's repair of text decoded with the wrong encoding,
which nobody types into a search box.
"""

from __future__ import annotations

import functools
import html
import itertools
import string
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from photosearch.errors import BundleError

START: Final = "<start_of_text>"
END: Final = "<end_of_text>"
CONTRACTIONS: Final = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
END_OF_WORD: Final = "</w>"
MERGES: Final = 49152 - 256 - 2  # of the file's; the vocabulary has no room for more
MAX_CACHED_WORDS: Final = 10_000

_QUOTES: Final = {
    **dict.fromkeys((0x02BC, *range(0x2018, 0x201C)), "'"),
    **dict.fromkeys(range(0x201C, 0x2020), '"'),
}
_LIGATURES: Final = {
    0x0132: "IJ", 0x0133: "ij", 0x0149: "ʼn", 0x01F1: "DZ", 0x01F2: "Dz", 0x01F3: "dz",
    0x01C4: "DŽ", 0x01C5: "Dž", 0x01C6: "dž", 0x01C7: "LJ", 0x01C8: "Lj", 0x01C9: "lj",
    0x01CA: "NJ", 0x01CB: "Nj", 0x01CC: "nj", 0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl",
    0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "ſt", 0xFB06: "st",
}  # fmt: skip
_REMOVED: Final = (range(0x09), (0x0B,), range(0x0E, 0x20), (0x7F, 0xFEFF), range(0x206A, 0x2070))
_CONTROLS: Final = {point: None for part in (*_REMOVED, range(0xFFF9, 0xFFFD)) for point in part}


class ClipTokenizer:
    """True between calls: a row is START, pieces, END, then 0 up to the whole context."""

    def __init__(self, merges: Sequence[tuple[str, str]], *, context_length: int) -> None:
        letters = list(_bytes_as_letters().values())
        pieces = [
            *letters,
            *(letter + END_OF_WORD for letter in letters),
            *(first + second for first, second in merges),
            START,
            END,
        ]
        self._ids = {piece: number for number, piece in enumerate(pieces)}
        self._ranks = {merge: rank for rank, merge in enumerate(merges)}
        self._pieces = functools.lru_cache(MAX_CACHED_WORDS)(self._merged)
        self.context_length = context_length
        self.pads_to_longest = False  # padding is attended to, or counted from the end
        self.pad_id = 0

    @classmethod
    def from_file(cls, file: Path, *, context_length: int) -> ClipTokenizer:
        """Read the list of merges. BundleError for another kind of file."""
        try:
            return cls.from_text(file.read_text(encoding="utf-8"), context_length=context_length)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise BundleError(f"{file}: not a list of byte pairs ({error})") from error

    @classmethod
    def from_text(cls, text: str, *, context_length: int) -> ClipTokenizer:
        """A line of version, then two pieces a line, best first. ValueError for anything else."""
        pairs: list[tuple[str, str]] = []
        for line in text.split("\n")[1 : MERGES + 1]:
            if line.strip():
                first, second = line.split()
                pairs.append((first, second))
        if not pairs:
            raise ValueError("it lists none")
        return cls(pairs, context_length=context_length)

    def encode(self, text: str) -> NDArray[np.int64]:
        """One text -> (L,), L <= context_length, without padding."""
        ids = [self._ids[START]]
        letters = _bytes_as_letters()
        for word in _words(cleaned(text).lower()):
            if word in (START, END):
                ids.append(self._ids[word])
                continue
            spelled = "".join(letters[byte] for byte in word.encode("utf-8", "replace"))
            ids.extend(self._ids[piece] for piece in self._pieces(spelled))
            if len(ids) >= self.context_length:
                break
        return np.asarray([*ids[: self.context_length - 1], self._ids[END]], dtype=np.int64)

    def batch(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Texts -> (B, context_length)."""
        padded = np.full((len(texts), self.context_length), self.pad_id, dtype=np.int64)
        for number, text in enumerate(texts):
            row = self.encode(text)
            padded[number, : len(row)] = row
        return padded

    def _merged(self, word: str) -> tuple[str, ...]:
        """Join the best pair until none is left; the last letter carries the word's end."""
        parts = [*word[:-1], word[-1] + END_OF_WORD]
        while len(parts) > 1:
            pairs = set(itertools.pairwise(parts))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            joined: list[str] = []
            position = 0
            while position < len(parts):
                if tuple(parts[position : position + 2]) == best:
                    joined.append(best[0] + best[1])
                    position += 2
                else:
                    joined.append(parts[position])
                    position += 1
            parts = joined
        return tuple(parts)


def cleaned(text: str) -> str:
    """Straight quotes, no ligatures, plain widths, HTML entities resolved, single spaces."""
    fixed = html.unescape(text) if "<" not in text else text
    fixed = fixed.translate(_LIGATURES)
    fixed = "".join(_plain_width(char) for char in fixed)
    fixed = unicodedata.normalize("NFC", fixed.translate(_QUOTES).translate(_CONTROLS))
    return " ".join(html.unescape(html.unescape(fixed)).split())


def canonical(text: str) -> str:
    """As SigLIP was trained: no ASCII punctuation, lower case."""
    bare = cleaned(text).replace("_", " ").translate(str.maketrans("", "", string.punctuation))
    return " ".join(bare.lower().split())


def _plain_width(char: str) -> str:
    wide = "\uff01" <= char <= "\uffef" or char == "\u3000"
    return unicodedata.normalize("NFKC", char) if wide else char


def _words(text: str) -> Iterator[str]:
    """Contractions, runs of letters, single digits, runs of anything else but space."""
    position = 0
    while position < len(text):
        rest = next((w for w in (START, END, *CONTRACTIONS) if text.startswith(w, position)), None)
        end = position + (len(rest) if rest else 1)
        kind = _kind(text[position])
        if rest is None and kind in ("L", ""):
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        if rest is not None or kind != " ":
            yield text[position:end]
        position = end


def _kind(char: str) -> str:
    """L letter, N number, " " space, "" anything else."""
    if char.isspace():
        return " "
    category = unicodedata.category(char)[0]
    return category if category in "LN" else ""


@functools.cache
def _bytes_as_letters() -> dict[int, str]:
    """A printable letter for each byte; those that are none get one from U+0100 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in plain}
    others = [byte for byte in range(256) if byte not in letters]
    return letters | {byte: chr(256 + number) for number, byte in enumerate(others)}
