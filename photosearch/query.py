"""What was typed -> Query. Pure and total: no string is an error.

docs/query-language.md holds the grammar. In short: pieces.py cuts the text at
white space (a quotation keeps its white space), a piece is a word, a quotation
or `key:value`, each perhaps after "-"; then words that make up a date are taken
together, and what is left is searched by its meaning. A piece that looks like a
filter and is none becomes words, and its token says why.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

from photosearch.conditions import Condition, Group, NameHas, Part, Says, TakenEvery, TakenIn
from photosearch.dates import (
    MAX_WORDS,
    Found,
    find_bound,
    find_date,
    looks_like_a_date,
)
from photosearch.language import ENGLISH, Language, language_of
from photosearch.pieces import Piece, clean_text, joined, parted, pieces_of
from photosearch.values import conditions_of, find_distance_km, find_place
from photosearch.wording import MIN_LETTERS, folded, has_bytes, is_file_name, is_han, parts

MAX_QUERY_CHARS: Final = 1000
MAX_FILTERS: Final = 24  # conditions and negatives; each costs a look at every photo
MAX_WRITTEN_WORDS: Final = 12  # looked for in what is written; each costs a few look-ups
UNKNOWN_EXAMPLE: Final = "the photo to look like is not in the library; name it by its number"
MAX_ID: Final = (1 << 63) - 1
SAYS: Final[tuple[tuple[Part, str], ...]] = (
    ("caption", "caption"),
    ("keyword", "keyword"),
    ("place", "place"),
    ("picture", "the text in the picture"),
)

_PUNCTUATION: Final = ".,;:!?'()[]{}<>*/\\|-_+=&%$#@~`，。；：！？、（）《》【】…"


@dataclass(frozen=True)
class Token:
    """A stretch of what was typed, and what it was taken for."""

    kind: str  # words, name, less, exact, date, or a filter's name as before its colon
    text: str  # as it could be typed again
    start: int  # in characters (code points) of what was typed
    end: int  # exclusive
    note: str = ""  # why it is not what it looks like, or why it finds nothing


@dataclass(frozen=True)
class Query:
    """What to look for. Equal queries find the same, however they were typed."""

    text: str = ""  # the words whose meaning is searched; "" for none
    like_photo_id: int | None = None  # more like this photo of the library
    like_path: str | None = None  # or like this file, its path as it was given
    less: tuple[str, ...] = ()  # meanings to keep away from
    names: tuple[str, ...] = ()  # of the words, those that look like file names
    # Of the others, those that may be written on a photo as well; of `text` and its language.
    words: tuple[str, ...] = field(default=(), compare=False)
    groups: tuple[Group, ...] = ()  # each must hold
    by_date: bool = False
    notes: tuple[str, ...] = ()  # what the user should know about how this was understood
    tokens: tuple[Token, ...] = field(default=(), compare=False)

    @property
    def only_names(self) -> bool:
        """Whether every word looks like a file name."""
        return bool(self.names) and self.text.split(" ") == list(self.names)

    @property
    def finds_nothing_by_itself(self) -> bool:
        """Whether nothing is asked but, perhaps, an order: the newest photos answer it."""
        asked = self.text or self.like_photo_id is not None or self.like_path is not None
        return not (asked or self.less or self.groups)


def parse(
    typed: str,
    *,
    now: datetime.datetime,
    like_photo_id: int | None = None,
    language: Language | None = None,
) -> Query:
    """Understand what was typed at `now`, a moment in the user's zone.

    Longer input is cut at MAX_QUERY_CHARS. `like_photo_id` goes before any like: typed.
    Without a language, the script of what was typed says which table it is read by.
    """
    assert now.tzinfo is not None, "only an aware time says which day it is for the user"
    clean = clean_text(typed[:MAX_QUERY_CHARS])
    table = language_of(clean) if language is None else language
    pieces = pieces_of(clean)
    if table.joined:
        pieces = [part for piece in pieces for part in parted(piece, now.date(), table)]
    draft = _Draft(pieces, table, now.date(), like_photo_id)
    position = 0
    while position < len(draft.pieces):
        position += draft.take(position)
    if len(typed) > MAX_QUERY_CHARS:
        draft.notes.append(f"only the first {MAX_QUERY_CHARS} characters were read")
    return draft.query()


def render(query: Query) -> str:
    """What could be typed to get this query again, by the same language on the same day."""
    parts: list[str] = []
    for number, token in enumerate(query.tokens):
        if number and token.start > query.tokens[number - 1].end:
            parts.append(" ")
        parts.append(token.text)
    return "".join(parts)


class _Draft:
    """A query while its pieces are read from left to right."""

    def __init__(
        self,
        pieces: Sequence[Piece],
        language: Language,
        today: datetime.date,
        like_photo_id: int | None,
    ) -> None:
        self.pieces = pieces
        self.notes: list[str] = []
        self._language = language
        self._today = today
        self._words: list[str] = []
        self._names: list[str] = []
        self._less: list[str] = []
        self._like_photo_id = like_photo_id
        self._like_path: str | None = None
        self._options: dict[tuple[Hashable, bool], list[Condition]] = {}
        self._filters = 0
        self._by_date = False
        self._tokens: list[Token] = []
        self._within = self._distance()

    def query(self) -> Query:
        return Query(
            text=" ".join(self._words),
            like_photo_id=self._like_photo_id,
            like_path=self._like_path,
            less=tuple(self._less),
            names=tuple(self._names),
            words=_words_of(self._words, self._names, self._language),
            groups=tuple(
                Group(tuple(options), negative) for (_, negative), options in self._options.items()
            ),
            by_date=self._by_date,
            notes=tuple(dict.fromkeys(self.notes)),
            tokens=tuple(self._tokens),
        )

    def take(self, position: int) -> int:
        """Read the piece at `position`, and those that belong to it; returns how many."""
        piece = self.pieces[position]
        if self._has_no_value(piece):
            self._leave_out(piece)
        elif piece.open_quote:
            self._to_words(piece, "its quotation mark is never closed")
        elif piece.key is not None:
            self._take_key(piece)
        elif piece.quoted:
            self._take_exact(piece)
        elif piece.minus:
            self._take_less(piece)
        else:
            return self._take_plain(position)
        return 1

    # --- words ----------------------------------------------------------------------------------

    def _take_plain(self, position: int) -> int:
        piece = self.pieces[position]
        if (used := self._take_date(position)) > 0:
            return used
        if looks_like_a_date(piece.value):
            self._to_words(piece, "this is no date")
        elif is_file_name(piece.value):
            self._words.append(piece.value)
            self._names.append(piece.value)
            self._token("name", piece)
        else:
            self._words.append(piece.value)
            self._join_words(piece)
        return 1

    def _join_words(self, piece: Piece) -> None:
        """Words in a row are one token."""
        last = self._tokens[-1] if self._tokens else None
        if last is not None and last.kind == "words" and not last.note and last.end < piece.start:
            text = f"{last.text} {piece.text}"
            self._tokens[-1] = Token("words", text, last.start, piece.end)
        else:
            self._token("words", piece)

    def _to_words(self, piece: Piece, reason: str) -> None:
        """What looks like a filter and is none."""
        self.notes.append(f"{piece.text} is taken as words: {reason}")
        word = piece.text.replace('"', "").strip()
        if word:
            self._words.append(" ".join(word.split()))
        self._token("words", piece, reason)

    def _has_no_value(self, piece: Piece) -> bool:
        """Whether it is a filter's key alone, as while it is being typed."""
        if piece.key is not None:
            return piece.key in self._language.keys and not piece.value.strip()
        key = piece.value[:-1].lower()
        return not piece.quoted and key in self._language.keys and piece.value[-1] in ":："

    def _leave_out(self, piece: Piece) -> None:
        """A key alone means nothing: neither a filter nor something to see."""
        key = piece.text.strip('-"')
        reason = f"{key} has no value"
        self.notes.append(f"{reason} and is left out: write the value right behind it")
        self._token("words", piece, reason)

    def _token(self, kind: str, piece: Piece, note: str = "") -> None:
        self._tokens.append(Token(kind, piece.text, piece.start, piece.end, note))

    def _take_less(self, piece: Piece) -> None:
        if piece.value[0].isdigit():
            date = find_date([piece.value], today=self._today, language=self._language)
            if date is not None:
                self._add_date(piece, date, negative=True)
                return
        if piece.value.startswith("-"):
            self._words.append(piece.text)
            self._join_words(piece)
        elif piece.value in self._less:
            self._token("less", piece)
        elif self._room_for(piece):
            self._less.append(piece.value)
            self._token("less", piece)

    def _take_exact(self, piece: Piece) -> None:
        text = piece.value
        if not text.strip():
            nothing = "there is nothing between the quotation marks"
            self.notes.append(nothing)
            self._token("words", piece, nothing)
            return
        if self._room_for(piece):
            self._put(("exact", text), piece.minus, NameHas(text, ""))
            for part, where in SAYS:
                said = Says(part, text, f"{where} has {text}")
                self._put(("exact", text), piece.minus, said)
            self._token("exact", piece)

    # --- dates ----------------------------------------------------------------------------------

    def _take_date(self, position: int) -> int:
        """Read a date from the pieces at `position`; returns how many, 0 where there is none."""
        words: list[str] = []
        for piece in self.pieces[position : position + MAX_WORDS]:
            if not piece.plain or piece.open_quote:
                break
            words.append(piece.value.lower())
        found = find_date(words, today=self._today, language=self._language)
        if found is None:
            return 0
        used = self.pieces[position : position + found.words]
        text = joined(used)
        whole = Piece(used[0].start, used[-1].end, text, False, None, text, False)
        self._add_date(whole, found, negative=False)
        return found.words

    def _add_date(self, piece: Piece, date: Found, *, negative: bool) -> None:
        if self._room_for(piece, len(date.conditions)):
            for condition in date.conditions:
                self._put(_date_group(condition, date.bounds), negative, condition)
            self._token("date", piece)

    # --- key:value ------------------------------------------------------------------------------

    def _take_key(self, piece: Piece) -> None:
        key = self._language.keys.get(piece.key or "")
        if key is None and not piece.text.removeprefix("-").lower().startswith(f"{piece.key}:"):
            self._words.append(" ".join(piece.text.replace('"', "").split()))  # Chinese's own colon
            self._join_words(piece)
        elif key is None:
            self._to_words(piece, f"there is no filter {piece.key}:")
        elif key in ("like", "sort", "within"):
            if piece.minus:
                self._to_words(piece, f"{key}: cannot be excluded")
            elif key == "like":
                self._take_like(piece)
            elif key == "sort":
                self._take_sort(piece)
            else:
                self._take_within(piece)
        elif key in ("before", "after"):
            self._take_bound(key, piece)
        else:
            self._take_filter(key, piece)

    def _take_like(self, piece: Piece) -> None:
        value = piece.value.strip()
        if self._like_photo_id is not None or self._like_path is not None:
            self._to_words(piece, "only one photo can be the example")
        elif value.isascii() and value.isdigit():
            if len(value) > 19 or not 1 <= int(value) <= MAX_ID:
                self._to_words(piece, "no photo has this number")
                return
            self._like_photo_id = int(value)
            self._token("like", piece)
        elif value:
            self._like_path = value
            self._token("like", piece)
        else:
            self._to_words(piece, "like: needs a photo")

    def _take_sort(self, piece: Piece) -> None:
        if self._language.sorts.get(piece.value.lower()) is None:
            self._to_words(piece, "results can be sorted by date only")
            return
        self._by_date = True
        self._token("sort", piece)

    def _take_within(self, piece: Piece) -> None:
        if self._within is None or self._within[0] is not piece:
            self._to_words(piece, "within: needs one distance, as 20km, and a near: beside it")
            return
        self._token("within", piece)

    def _distance(self) -> tuple[Piece, float] | None:
        """The first good within:, if there is a good near: for it."""
        keys = [(self._language.keys.get(piece.key or ""), piece) for piece in self.pieces]
        if not any(key == "near" and find_place(piece.value) is not None for key, piece in keys):
            return None
        for key, piece in keys:
            if key == "within" and not piece.minus:
                distance = find_distance_km(piece.value)
                if distance is not None:
                    return piece, distance
        return None

    def _take_bound(self, key: str, piece: Piece) -> None:
        condition = find_bound(key, piece.value, today=self._today, language=self._language)
        if condition is None:
            self._to_words(piece, f"{key}: needs a date, as 2019 or 2019-07-14")
        else:
            self._add(piece, key, condition, group=condition)

    def _take_filter(self, key: str, piece: Piece) -> None:
        value = " ".join(piece.value.split())
        within = None if self._within is None else self._within[1]
        conditions, problem = conditions_of(key, value, within, self._language)
        if problem:
            self._to_words(piece, problem)
            return
        if not self._room_for(piece):
            return
        group: Hashable = (key, value.lower()) if key == "is" else key
        for condition in conditions:
            self._put(group, piece.minus, condition)
        self._token(key, piece)

    # --- what is collected ----------------------------------------------------------------------

    def _add(self, piece: Piece, kind: str, condition: Condition, *, group: Hashable) -> None:
        if self._room_for(piece):
            self._put(group, piece.minus, condition)
            self._token(kind, piece)

    def _put(self, group: Hashable, negative: bool, condition: Condition) -> None:
        options = self._options.setdefault((group, negative), [])
        if condition not in options:
            options.append(condition)

    def _room_for(self, piece: Piece, count: int = 1) -> bool:
        """Whether there may be one more filter; where not, the piece becomes words."""
        if self._filters + count > MAX_FILTERS:
            self._to_words(piece, f"more than {MAX_FILTERS} filters")
            return False
        self._filters += count
        return True


def _words_of(words: Sequence[str], names: Sequence[str], language: Language) -> tuple[str, ...]:
    """Each word once that is worth looking for in what is written: neither small nor a name."""
    found: dict[str, None] = {}
    for word in " ".join(word for word in words if word not in names).split():
        pieces = [word]
        if language.joined and is_han(word):
            pieces = re.split("|".join(map(re.escape, language.of - ENGLISH.of)), word)
        for piece in pieces:
            bare = folded(piece.strip(_PUNCTUATION))
            enough = 2 if is_han(bare) else MIN_LETTERS
            known = bare in language.small or has_bytes(bare)
            if len(bare) >= enough and not known and parts(bare):
                found.setdefault(bare)
    return tuple(found)[:MAX_WRITTEN_WORDS]


def _date_group(condition: TakenIn | TakenEvery, bounds: bool) -> Hashable:
    """Dates of one kind widen each other, "2018 2019"; of two kinds they narrow, "sunday 2019"."""
    if isinstance(condition, TakenIn):
        return condition if bounds else "date"
    return "weekday" if condition.weekday is not None else "month"
