"""Reading a library: any number of threads and processes, beside the one that writes."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from photosearch.conditions import Condition, Group
from photosearch.errors import PhotosearchError
from photosearch.index.hnsw import layout
from photosearch.index.neighbours import Index
from photosearch.library.files import move_into_place
from photosearch.library.opening import open_index, require_sound
from photosearch.store import embeddings, facts, filters, graphs, groups, hiding, photos, schema
from photosearch.store.connection import (
    Connection,
    backup,
    named_damage,
    open_reader,
    open_writer,
    problems,
    rows_by_table,
    snapshot,
)
from photosearch.store.facts import Told
from photosearch.store.mentions import Mentions, mentions
from photosearch.store.photos import Counts, Place
from photosearch.store.truth import Said, said
from photosearch.store.vocabulary import Vocabulary, vocabulary
from photosearch.types import Ids, Location, Matrix, Photo, Root


class LibraryReader:
    """Read connections to one library file, lent to any thread and used again.

    Not one for each thread: a web server's threads come and go, and SQLite keeps
    a file descriptor open for every connection that was ever left to its thread.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._idle: list[Connection] = []
        self._closed = False
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Borrow a connection; damage to the file is named."""
        with named_damage(self.file):
            with self._lock:
                db = self._idle.pop() if self._idle else None
            if db is None:
                db = open_reader(self.file)
            try:
                yield db
            finally:
                with self._lock:
                    if self._closed:
                        db.close()
                    else:
                        self._idle.append(db)

    def roots(self) -> list[Root]:
        with self.reading() as db:
            return photos.roots(db)

    def devices(self, root_id: int) -> set[int]:
        """The devices that a root's files were on."""
        with self.reading() as db:
            return photos.devices(db, root_id)

    def places(self, photo_ids: Sequence[int]) -> dict[int, Place]:
        with self.reading() as db:
            return photos.places(db, photo_ids)

    def findable(self, photo_ids: Sequence[int], *, hidden: bool = False) -> set[int]:
        """Those of these photos that have a location and are hidden, or are not."""
        with self.reading() as db:
            return photos.findable(db, photo_ids, hidden=hidden)

    def photo(self, photo_id: int) -> Photo | None:
        with self.reading() as db:
            return photos.photo(db, photo_id)

    def facts(self, photo_ids: Sequence[int]) -> dict[int, Told]:
        """What these photos say of themselves, as far as their files were asked."""
        with self.reading() as db, snapshot(db):
            return facts.facts_of(db, photo_ids)

    def newest(self, limit: int) -> list[int]:
        with self.reading() as db:
            return photos.newest(db, limit)

    def matching(self, groups: Sequence[Group], *, newest_first: bool = False) -> Ids:
        with self.reading() as db, snapshot(db):
            return filters.matching(db, groups, newest_first=newest_first)

    def meeting(self, condition: Condition, photo_ids: Sequence[int]) -> set[int]:
        with self.reading() as db, snapshot(db):
            return filters.meeting(db, condition, photo_ids)

    def mentions(self, words: Sequence[str]) -> list[Mentions]:
        """For each word the photos that it is written on."""
        with self.reading() as db, snapshot(db):
            return mentions(db, words)

    def places_matching(
        self, photo_ids: Sequence[int], groups: Sequence[Group]
    ) -> dict[int, Place]:
        with self.reading() as db, snapshot(db):
            return filters.places_matching(db, photo_ids, groups)

    def years(self) -> list[tuple[str, int]]:
        """Years that photos were taken in, with how many, most first."""
        with self.reading() as db:
            return photos.years(db)

    def folders(self) -> list[tuple[str, int]]:
        """Names of folders inside the libraries that hold photos, with how many, most first."""
        with self.reading() as db:
            return photos.folders(db)

    def groups_of(self, photo_ids: Sequence[int]) -> dict[int, int]:
        """Photo -> group, of those of these photos that are shown as one with others."""
        with self.reading() as db:
            return groups.groups_of(db, photo_ids)

    def group_sizes(self, photo_ids: Sequence[int]) -> dict[int, int]:
        with self.reading() as db:
            return groups.sizes(db, photo_ids)

    def group_members(self, photo_id: int) -> list[int]:
        with self.reading() as db:
            return groups.members(db, photo_id)

    def hidden(self) -> int:
        """How many photos are hidden."""
        with self.reading() as db:
            return hiding.count(db)

    def vocabulary(self) -> Vocabulary:
        """Words this library can be asked by."""
        with self.reading() as db, snapshot(db):
            return vocabulary(db)

    def said(self) -> list[Said]:
        """What is said of each photo that has a location."""
        with self.reading() as db, snapshot(db):
            return said(db)

    def photo_at(self, path: str) -> int | None:
        with self.reading() as db:
            return filters.photo_at(db, path)

    def rejected(self) -> list[tuple[Root, Location]]:
        with self.reading() as db, snapshot(db):
            return photos.rejected(db)

    def counts(self, space: str | None) -> Counts:
        """How much there is. Without a space, photos with a vector are not counted: that costs
        as much again three times."""
        with self.reading() as db, snapshot(db):
            found = embeddings.space(db, space) if space is not None else None
            return photos.counts(db, found[0] if found else None)

    def other_spaces(self, space: str) -> list[str]:
        with self.reading() as db:
            return embeddings.other_spaces(db, space)

    def answering(self) -> tuple[str, int, str] | None:
        """(space, dim, bundle) that answers; None before any photo has a vector."""
        with self.reading() as db:
            return embeddings.answering(db)

    def vectors(self, space: str, dim: int) -> tuple[Ids, Matrix]:
        """Every located photo's id and vector in a space, in id order."""
        with self.reading() as db, snapshot(db):
            found = embeddings.space(db, space)
            return embeddings.load(db, found[0] if found else -1, dim)

    def load_index(self, space: str, dim: int) -> Index:
        """Every located photo's vector in this space; for a process without the writer."""
        with self.reading() as db, snapshot(db):
            found = embeddings.space(db, space)
            return open_index(db, self.file, found[0] if found else -1, dim)

    def load_graph(self, index: Index, space: str) -> bool:
        """Let the index take up the graph kept for this space, if there is a sound one."""
        with self.reading() as db, snapshot(db):
            found = embeddings.space(db, space)
            kept = graphs.load_graph(db, found[0], layout(index.exact.dim)) if found else None
        return kept is not None and index.load_graph(kept)

    def require_sound(self) -> None:
        """Look through the file for damage, and raise it by name. Not on the way to a first
        answer: every vector is checked as it is loaded, every location as it is shown."""
        with self.reading() as db, snapshot(db):
            require_sound(db, self.file)

    def problems(self) -> list[str]:
        """What SQLite finds wrong with the file; reads all of it."""
        with self.reading() as db:
            return problems(db)

    def rows_by_table(self) -> dict[str, int]:
        with self.reading() as db, snapshot(db):
            return rows_by_table(db)

    def unsound_embeddings(self, space: str, dim: int) -> list[int]:
        """Photos whose vector in this space is damaged."""
        with self.reading() as db, snapshot(db):
            found = embeddings.space(db, space)
            return embeddings.unsound(db, found[0], dim) if found else []

    def unembedded_paths(self, space: str) -> list[str]:
        """Absolute paths of the photos that have no vector in this space."""
        with self.reading() as db, snapshot(db):
            found = embeddings.space(db, space)
            places = embeddings.unembedded_places(db, found[0] if found else -1)
        return [photos.join(root, path) for root, path in places]

    def backup(self, target: Path) -> None:
        """Copy the library into a new file that appears whole, checked and synced, or not at
        all. A daemon may go on writing. Raises where the target exists."""
        if os.path.lexists(target):
            raise PhotosearchError(f"{target} exists already. Name a file that does not.")
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            try:
                with self.reading() as db:
                    backup(db, part)
                move_into_place(part, target)
            finally:
                part.unlink(missing_ok=True)
        except FileExistsError as error:
            raise PhotosearchError(
                f"{target} exists already. Name a file that does not."
            ) from error
        except OSError as error:
            raise PhotosearchError(f"{target}: cannot be written ({error.strerror}).") from error

    def schema_is_current(self) -> bool:
        with self.reading() as db:
            return schema.require_current(db, self.file)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for db in self._idle:
                db.close()
            self._idle.clear()


def open_library_reader(file: Path) -> LibraryReader | None:
    """A reader, or None where there is no library yet. Raises for damaged or newer ones."""
    if not file.exists():
        return None
    reader = LibraryReader(file)
    if reader.schema_is_current():
        return reader
    reader.close()
    migrate(file)
    return LibraryReader(file)


def migrate(file: Path) -> None:
    """Bring a library file to this program's schema."""
    with named_damage(file):
        db = open_writer(file)
        try:
            schema.migrate(db, file)
        finally:
            db.close()
