"""Sample searches made from the library itself, for who does not know yet what to type.

Each is tried before it is shown, and goes with a photo that it finds: another for each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from photosearch.library import LibraryReader
from photosearch.types import Hit

MAX_EXAMPLES: Final = 4
MAX_SUBJECTS: Final = 2
RENEW_SHARE: Final = 0.1  # made anew when the library has grown or shrunk by this much

# What photos often show. Only those that this library shows are ever offered.
SUBJECTS: Final = (
    "a dog", "a cat", "flowers", "mountains", "the sea", "sunset", "snow", "a birthday cake",
    "children playing", "a bicycle", "a boat", "a bridge", "a forest", "food on a table",
    "a street at night", "a horse", "people at a table", "a waterfall", "a bird", "a car",
    "a church", "an old building", "grass", "a beach",
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A search worth trying."""

    query: str
    photo_id: int  # one it finds


@dataclass(frozen=True)
class Tried:
    """What a search found."""

    hits: Sequence[Hit]  # the first relevant ones
    margin: float  # how far the best lies above the cut-off


Find = Callable[[str], Tried]


class Examples:
    """The examples of one library, kept until it has changed a good deal."""

    def __init__(self, reader: LibraryReader, find: Find) -> None:
        self._reader = reader
        self._find = find
        self._made: tuple[int, list[Example]] = (-1, [])
        self._lock = threading.Lock()

    def of(self, photos: int) -> list[Example]:
        """Examples for a library of so many searchable photos."""
        with self._lock:
            made_at, found = self._made
            shown = {example.photo_id for example in found}
            is_shown = self._reader.findable(sorted(shown)) == shown  # none is hidden, none gone
            if abs(photos - made_at) > RENEW_SHARE * max(made_at, 1) or not is_shown:
                found = self._make() if photos else []
                self._made = (photos, found)
            return found

    def _make(self) -> list[Example]:
        found = self._subjects()
        known = {example.photo_id for example in found}
        years, folders = self._years(), self._folders()
        for query in [*years[:1], *folders[:1], *years[1:], *folders[1:]]:
            if len(found) >= MAX_EXAMPLES:
                break
            hits = self._find(query).hits
            new = next((hit.photo_id for hit in hits if hit.photo_id not in known), None)
            if new is not None:
                known.add(new)
                found.append(Example(query, new))
        return found

    def _subjects(self) -> list[Example]:
        """Those that stand out most, no two of the same photo."""
        tried = [(subject, self._find(subject)) for subject in SUBJECTS]
        tried.sort(key=lambda each: -each[1].margin)
        chosen: dict[int, Example] = {}
        for subject, found in tried:
            if found.hits:
                best = found.hits[0].photo_id
                chosen.setdefault(best, Example(subject, best))
        return list(chosen.values())[:MAX_SUBJECTS]

    def _years(self) -> list[str]:
        """The years with most photos."""
        return [year for year, _ in self._reader.years()[:2]]

    def _folders(self) -> list[str]:
        """The folders with most photos."""
        return [_in(name) for name, _ in self._reader.folders()[:3] if '"' not in name]


def _in(folder: str) -> str:
    return f"in:{folder}" if folder.isalnum() else f'in:"{folder}"'
