"""A library moves to another space: filled in the background while the old one answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from photosearch.store import embeddings, photos
from photosearch.store.connection import Connection, named_damage, transaction
from photosearch.types import Stamp, Vector


class Succession:
    """The space to come. Used by the writer's thread, on the writer's connection.

    True between calls, and after a crash at any point: the old space is whole and
    answers; each photo's vector in the new one is whole or not there. Until the
    library takes it over, all of it can be dropped.
    """

    def __init__(self, db: Connection, file: Path, *, space: str, dim: int, bundle: str) -> None:
        self.space = space
        self.dim = dim
        self.bundle = bundle
        self._db = db
        self._file = file
        with named_damage(file), transaction(db):
            self.space_id = embeddings.add_space(db, space, dim, bundle)

    def missing(self, root_id: int) -> list[tuple[bytes, Stamp]]:
        """One location of each photo of a root that has no vector yet, newest first."""
        with named_damage(self._file):
            return embeddings.unembedded(self._db, root_id, self.space_id)

    def missing_by_root(self) -> dict[int, int]:
        with named_damage(self._file):
            return embeddings.missing_by_root(self._db, self.space_id)

    def done(self) -> int:
        """How many of the library's photos have a vector."""
        with named_damage(self._file):
            return embeddings.count(self._db, self.space_id)

    def add(self, vectors: Mapping[bytes, Vector]) -> int:
        """Store vectors by content hash, in one transaction; returns how many photos got one.

        Bytes that the library does not know, or a vector that is no unit vector,
        are left out.
        """
        with named_damage(self._file), transaction(self._db):
            found: dict[int, Vector] = {}
            for content_hash, vector in vectors.items():
                photo_id = photos.photo_with_hash(self._db, content_hash)
                if photo_id is not None and embeddings.is_unit(vector):
                    found[photo_id] = vector
            embeddings.add(self._db, self.space_id, found)
        return len(found)

    def drop(self) -> None:
        """Roll back: forget the space to come."""
        with named_damage(self._file), transaction(self._db):
            embeddings.delete_space(self._db, self.space_id)
