"""In words, why a photo was found."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from photosearch.conditions import Condition, Group, NameHas
from photosearch.fusion import Evidence
from photosearch.query import Query
from photosearch.ranking import Level
from photosearch.store.photos import Place


def meant(
    query: Query, level: Level, named: bool, unwritten: Sequence[str], *, looked_like: bool
) -> list[str]:
    """In words, what the photo shows of what was asked."""
    reasons: list[str] = []
    if not query.text or (named and level in ("no telling", "below")):
        pass  # nothing says that a photo found by its name shows anything
    elif level in ("no telling", "shown"):
        reasons.append(f"shows {query.text}")
    elif level == "below":
        reasons.append(f"resembles only faintly: {query.text}")
    elif unwritten:
        reasons.append(f"shows {' '.join(unwritten)}")
    if looked_like:
        reasons.append("looks like the chosen photo")
    return reasons


def written_in_paths(known: Evidence, ids: Sequence[int]) -> list[Group]:
    """Of words that are written in paths, conditions that say which of a photo's copies to show."""
    return [
        Group((NameHas(mention.word, ""),))
        for mention in known.mentions
        if mention.photos
        and any(
            "file name" in (where := mention.photos.get(i, ())) or "folder" in where for i in ids
        )
    ]


def reason(condition: Condition, place: Place) -> str:
    """In words, that the photo meets a condition."""
    if not isinstance(condition, NameHas) or condition.label:
        return condition.label
    name = place.path.replace("\\", "/").rsplit("/", 1)[-1]
    where = "file name" if _folded(condition.text) in _folded(name) else "folder"
    return f"{where} has {condition.text}"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
