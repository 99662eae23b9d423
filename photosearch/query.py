"""What was typed -> Query. Pure and total: no string is an error."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

MAX_QUERY_CHARS: Final = 1000


@dataclass(frozen=True)
class Query:
    """What to look for. The query language of the contract grows here."""

    text: str  # the words whose meaning is searched; "" for none
    like_photo_id: int | None = None  # more like this photo of the library


def parse(typed: str, *, like_photo_id: int | None = None) -> Query:
    """Collapse white space and drop what is not text; longer input is cut at MAX_QUERY_CHARS."""
    clean = "".join(
        " " if unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn") else char
        for char in typed[:MAX_QUERY_CHARS]
    )
    return Query(" ".join(clean.split()), like_photo_id)
