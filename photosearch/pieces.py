"""What was typed, cut into pieces: words, quotations and key:value, as they stand there."""

from __future__ import annotations

import datetime
import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from photosearch.dates import find_joined
from photosearch.language import Language
from photosearch.wording import is_byte

_PIECE: Final = re.compile(
    r'(?P<minus>-)?(?:(?P<key>[^\W\d_]+)[:：])?(?:"(?P<quoted>[^"]*)"|(?P<bare>[^ ]+))'
)


def clean_text(text: str) -> str:
    """Character for character, so that spans stay true: no controls, one kind of white space,
    straight quotation marks for those that keyboards put in their place. Bytes of a name that
    are no UTF-8 stay, as the surrogates that stand for them."""
    return "".join(
        char
        if is_byte(char)
        else " "
        if char.isspace() or unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn")
        else '"'
        if char in "“”„‟"
        else char
        for char in text
    )


@dataclass(frozen=True)
class Piece:
    """A word, a quotation or key:value, as typed."""

    start: int
    end: int
    text: str
    minus: bool
    key: str | None
    value: str  # without minus, key and quotation marks
    quoted: bool

    @property
    def plain(self) -> bool:
        return not (self.minus or self.quoted or self.key is not None)

    @property
    def open_quote(self) -> bool:
        return not self.quoted and self.value.startswith('"')


def pieces_of(clean: str) -> list[Piece]:
    found: list[Piece] = []
    position = 0
    while True:
        while position < len(clean) and clean[position] == " ":
            position += 1
        match = _PIECE.match(clean, position)
        if match is None:  # the end: any other character starts a bare piece
            return found
        minus, key, quoted, bare = match.group("minus", "key", "quoted", "bare")
        found.append(
            Piece(
                match.start(),
                match.end(),
                match.group(),
                minus is not None,
                key.lower() if key is not None else None,
                bare if quoted is None else quoted,
                quoted is not None,
            )
        )
        position = match.end()


def joined(pieces: Sequence[Piece]) -> str:
    """Their texts, with a space where there was white space."""
    text = pieces[0].text
    for one, other in itertools.pairwise(pieces):
        text += f" {other.text}" if other.start > one.end else other.text
    return text


def parted(piece: Piece, today: datetime.date, language: Language) -> list[Piece]:
    """A piece of joined words as several, where words of a date stand in it: 去年|的|海滩."""
    if not piece.plain or piece.open_quote or piece.text.isascii():
        return [piece]
    edges = {0, len(piece.text)}
    for span in find_joined(piece.text.lower(), today=today, language=language):
        edges.update(span)
    cuts = sorted(edges)
    if len(cuts) == 2 or len(piece.text.lower()) != len(piece.text):
        return [piece]
    return [
        Piece(
            piece.start + start,
            piece.start + end,
            piece.text[start:end],
            False,
            None,
            piece.text[start:end],
            False,
        )
        for start, end in itertools.pairwise(cuts)
    ]
