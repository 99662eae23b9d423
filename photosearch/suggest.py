"""What the end of a query could become: searches made before, and words of this library. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from photosearch.language import ENGLISH, language_of
from photosearch.store.vocabulary import Vocabulary
from photosearch.values import TYPES

MAX_SUGGESTIONS: Final = 20


@dataclass(frozen=True)
class Suggestion:
    """A whole query to take over, and where it comes from."""

    text: str
    kind: str  # history, folder, place, camera, lens, keyword, year or filter


def suggest(
    typed: str, *, history: Sequence[str], words: Vocabulary, k: int = 8
) -> list[Suggestion]:
    """At most k ways to go on, history first. With nothing typed: the last searches alone."""
    found: dict[str, Suggestion] = {}
    for suggestion in _all(typed, history, words):
        if suggestion.text != typed:
            found.setdefault(_folded(suggestion.text), suggestion)
        if len(found) >= min(k, MAX_SUGGESTIONS):
            break
    return list(found.values())


def _all(typed: str, history: Sequence[str], words: Vocabulary) -> Iterator[Suggestion]:
    for entry in history:
        if _folded(entry).startswith(_folded(typed.lstrip())):
            yield Suggestion(entry, "history")
    before, last = _last_piece(typed)
    if not last:
        return
    language = language_of(typed)
    key, colon, value = last.partition(":")
    minus = key[:1] if key.startswith("-") else ""
    if colon:
        for kind, full in _values(language.keys.get(key.removeprefix("-").lower(), ""), words):
            if _begins(full, value.strip('"')):
                yield Suggestion(f"{before}{key}:{_quoted(full)}", kind)
        return
    bare = last.removeprefix("-").strip('"')
    if not bare:
        return
    for name in language.keys:
        if name.startswith(bare.lower()):
            yield Suggestion(f"{before}{minus}{name}:", "filter")
    for kind, prefix, texts in (
        ("year", "", words.years),
        ("folder", "in:", words.folders),
        ("place", "near:", words.places),
        ("keyword", "", words.keywords),
        ("camera", "camera:", words.cameras),
        ("lens", "lens:", words.lenses),
    ):
        for text in texts:
            if _begins(text, bare):
                value = f'"{text}"' if kind == "keyword" else _quoted(text)
                yield Suggestion(f"{before}{minus}{prefix}{value}", kind)


def _values(key: str, words: Vocabulary) -> Iterator[tuple[str, str]]:
    """(kind, value) of everything that may stand behind a key."""
    listed: Mapping[str, tuple[str, Sequence[str]]] = {
        "in": ("folder", words.folders),
        "near": ("place", words.places),
        "camera": ("camera", words.cameras),
        "lens": ("lens", words.lenses),
        "type": ("filter", tuple(TYPES)),
        "is": ("filter", tuple(ENGLISH.kinds)),
        "sort": ("filter", ("date",)),
        "before": ("year", words.years),
        "after": ("year", words.years),
    }
    kind, texts = listed.get(key, ("", ()))
    for text in texts:
        yield kind, text


def _last_piece(typed: str) -> tuple[str, str]:
    """What comes before the piece being typed, and that piece; white space in quotations holds."""
    quoted, start = False, 0
    for position, char in enumerate(typed):
        if char == '"':
            quoted = not quoted
        elif char.isspace() and not quoted:
            start = position + 1
    return typed[:start], typed[start:]


def _begins(text: str, typed: str) -> bool:
    """Whether the text, or a word in it, begins so."""
    folded, wanted = _folded(text), _folded(typed)
    return folded.startswith(wanted) or f" {wanted}" in folded


def _quoted(text: str) -> str:
    plain = text.replace('"', " ")
    return f'"{plain}"' if any(char.isspace() for char in plain) else plain


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
