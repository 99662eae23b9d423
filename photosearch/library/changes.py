"""What one commit does to a library."""

from __future__ import annotations

from dataclasses import dataclass, field

from photosearch.types import Facts, Stamp, Vector


@dataclass(frozen=True)
class Embedded:
    """New image bytes with their embedding, and where they were found."""

    content_hash: bytes
    format: str
    width_px: int
    height_px: int
    taken: str | None
    vector: Vector
    places: tuple[tuple[bytes, Stamp], ...]  # paths in the root, and their stamps
    colour: int | None = None  # 0xRRGGBB
    facts: Facts | None = None  # None: the file is asked later


@dataclass
class Changes:
    """What one transaction does to one root."""

    root_id: int
    embedded: list[Embedded] = field(default_factory=list)
    located: list[tuple[bytes, Stamp, int]] = field(default_factory=list)  # path, stamp, photo
    rejected: list[tuple[bytes, Stamp, str]] = field(default_factory=list)  # path, stamp, reason
    forgotten: list[bytes] = field(default_factory=list)
    # Photos known already whose files were asked again: photo, facts, colour.
    told: list[tuple[int, Facts, int | None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.embedded or self.located or self.rejected or self.forgotten or self.told)
