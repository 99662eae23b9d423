"""Store and index behind one writer.

A commit is one transaction; the index in memory follows it. Searches see the
library as committed: what the index proposes is joined with the locations of
the moment, and what has none is never shown.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from photosearch import metadata
from photosearch.conditions import Condition, Group
from photosearch.errors import LibraryDamaged, PhotosearchError
from photosearch.index.exact import MAX_ID
from photosearch.index.hnsw import layout
from photosearch.index.neighbours import GRAPH_FROM_BYTES, Index
from photosearch.store import facts, filters, graphs, photos, schema
from photosearch.store.connection import (
    Connection,
    backup,
    checkpoint,
    named_damage,
    open_reader,
    open_writer,
    problems,
    rows_by_table,
    snapshot,
    transaction,
)
from photosearch.store.facts import Told
from photosearch.store.photos import Counts, Place
from photosearch.types import Facts, Ids, Location, Photo, Root, Stamp, Vector

log = logging.getLogger(__name__)

# A photo without a location is kept this long: long enough for a move between
# drives to arrive, short enough that deleting a photo soon deletes what we know of it.
ORPHAN_GRACE_NS: Final = 24 * 3600 * 1_000_000_000
SAVE_GRAPH_AFTER: Final = 4096  # changes since the graph was last saved, or a tenth of it
FOREVER_NS: Final = (1 << 63) - 1
NO_VECTOR: Final = "the model could make nothing of it"


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
    facts: Facts | None = None  # None: the file is asked later


@dataclass
class Changes:
    """What one transaction does to one root."""

    root_id: int
    embedded: list[Embedded] = field(default_factory=list)
    located: list[tuple[bytes, Stamp, int]] = field(default_factory=list)  # path, stamp, photo
    rejected: list[tuple[bytes, Stamp, str]] = field(default_factory=list)  # path, stamp, reason
    forgotten: list[bytes] = field(default_factory=list)
    told: dict[int, Facts] = field(default_factory=dict)  # by photo, of photos known already

    def __bool__(self) -> bool:
        return bool(self.embedded or self.located or self.rejected or self.forgotten or self.told)


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

    def places(self, photo_ids: Sequence[int]) -> dict[int, Place]:
        with self.reading() as db:
            return photos.places(db, photo_ids)

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

    def places_matching(
        self, photo_ids: Sequence[int], groups: Sequence[Group]
    ) -> dict[int, Place]:
        with self.reading() as db, snapshot(db):
            return filters.places_matching(db, photo_ids, groups)

    def photo_at(self, path: str) -> int | None:
        with self.reading() as db:
            return filters.photo_at(db, path)

    def rejected(self) -> list[tuple[Root, Location]]:
        with self.reading() as db, snapshot(db):
            return photos.rejected(db)

    def counts(self, space: str) -> Counts:
        with self.reading() as db, snapshot(db):
            found = photos.space(db, space)
            return photos.counts(db, found[0] if found else None)

    def other_spaces(self, space: str) -> list[str]:
        with self.reading() as db:
            return photos.other_spaces(db, space)

    def load_index(self, space: str, dim: int) -> Index:
        """Every located photo's vector in this space; for a process without the writer."""
        with self.reading() as db, snapshot(db):
            _require_sound(db, self.file)
            found = photos.space(db, space)
            return _open_index(db, self.file, found[0] if found else -1, dim)

    def load_graph(self, index: Index, space: str) -> bool:
        """Let the index take up the graph kept for this space, if there is a sound one."""
        with self.reading() as db, snapshot(db):
            found = photos.space(db, space)
            kept = graphs.load_graph(db, found[0], layout(index.exact.dim)) if found else None
        return kept is not None and index.load_graph(kept)

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
            found = photos.space(db, space)
            return photos.unsound_embeddings(db, found[0], dim) if found else []

    def unembedded_paths(self, space: str) -> list[str]:
        """Absolute paths of the photos that have no vector in this space."""
        with self.reading() as db, snapshot(db):
            found = photos.space(db, space)
            places = photos.unembedded_places(db, found[0] if found else -1)
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
                _move_into_place(part, target)
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


class Library:
    """The writer. One per home (the caller holds the home's lock), used by one thread at a time.

    True between calls: the index holds exactly the embedded photos of this space
    that have a location.
    """

    def __init__(
        self, file: Path, *, space: str, dim: int, bundle: str, graph_from: int = GRAPH_FROM_BYTES
    ) -> None:
        self.file = file
        self.reader = LibraryReader(file)
        self.space = space
        self.dim = dim
        self._unsaved = 0  # index changes since the graph was saved
        self._graph_kept = True  # until looked for: a graph may lie in the file
        self._graphs_kept = 0  # of those built, up to which
        self._rested = False  # nothing was written since the WAL was emptied
        with named_damage(file):
            self._db = open_writer(file)
            try:
                schema.migrate(self._db, file)
                _require_sound(self._db, file)
                with transaction(self._db):
                    self._space_id = photos.add_space(self._db, space, dim, bundle)
                self.index = _open_index(self._db, file, self._space_id, dim, graph_from=graph_from)
                self._drop_unsound()
            except BaseException:
                self._db.close()
                raise

    # --- reading, on the writer's connection --------------------------------------------------

    def roots(self) -> list[Root]:
        with named_damage(self.file):
            return photos.roots(self._db)

    def known_under(self, root_id: int, folder: bytes) -> dict[bytes, Location]:
        with named_damage(self.file):
            return photos.locations_under(self._db, root_id, folder)

    def known(self, root_id: int, path: bytes) -> Location | None:
        with named_damage(self.file):
            return photos.location(self._db, root_id, path)

    def unembedded(self, root_id: int) -> list[tuple[bytes, Stamp]]:
        with named_damage(self.file):
            return photos.unembedded(self._db, root_id, self._space_id)

    def without_facts(self, root_id: int) -> list[tuple[bytes, Stamp]]:
        """One location of each photo whose file this program has not asked yet."""
        with named_damage(self.file):
            return facts.without_facts(self._db, root_id, metadata.READER)

    def photo_at_stamp(self, stamp: Stamp) -> int | None:
        """The embedded photo that another path holds under this very file id, size and time."""
        with named_damage(self.file):
            photo_id = photos.photo_at_stamp(self._db, stamp)
            return photo_id if self._embedded(photo_id) else None

    def may_know_size(self, size_bytes: int) -> bool:
        with named_damage(self.file):
            return photos.photo_of_size(self._db, size_bytes)

    def photo_with_hash(self, content_hash: bytes) -> int | None:
        """The embedded photo with these bytes."""
        with named_damage(self.file):
            photo_id = photos.photo_with_hash(self._db, content_hash)
            return photo_id if self._embedded(photo_id) else None

    def _embedded(self, photo_id: int | None) -> bool:
        return photo_id is not None and photos.has_embedding(self._db, photo_id, self._space_id)

    # --- writing ------------------------------------------------------------------------------

    def add_root(self, path: str) -> Root:
        with named_damage(self.file):
            with transaction(self._db):
                root_id = photos.add_root(self._db, path)
        return next(root for root in self.roots() if root.root_id == root_id)

    def set_offline(self, root_id: int, offline: bool) -> None:
        with named_damage(self.file), transaction(self._db):
            photos.set_offline(self._db, root_id, offline)

    def commit(self, changes: Changes, *, now_ns: int) -> None:
        """One transaction: photos, embeddings, locations, deletions. Then the index follows."""
        if not changes:
            return
        with named_damage(self.file):
            with transaction(self._db):
                touched = self._write(changes)
                orphans = photos.mark_orphans(self._db, sorted(touched), now_ns)
        self._follow(touched, set(orphans))
        self._rested = False

    def _write(self, changes: Changes) -> set[int]:
        """Apply changes; returns the photos that gained or lost a location."""
        db, root_id = self._db, changes.root_id
        paths = [path for new in changes.embedded for path, _ in new.places]
        paths += [path for path, _, _ in changes.located]
        paths += [path for path, _, _ in changes.rejected]
        before = (photos.location(db, root_id, path) for path in [*paths, *changes.forgotten])
        touched = {place.photo_id for place in before if place and place.photo_id is not None}
        places: list[Location] = []
        vectors: dict[int, Vector] = {}
        for new in changes.embedded:
            if not photos.are_unit(new.vector[None, :])[0]:  # it would spoil every comparison
                places += [Location(root_id, p, stamp, None, NO_VECTOR) for p, stamp in new.places]
                continue
            photo_id = photos.add_photo(
                db,
                content_hash=new.content_hash,
                size_bytes=new.places[0][1].size_bytes,
                format=new.format,
                width_px=new.width_px,
                height_px=new.height_px,
                taken=new.taken,
            )
            if photo_id > MAX_ID:  # ids are given in order: the file's counter is damaged
                raise LibraryDamaged(self.file, f"photo id {photo_id} is out of range")
            vectors[photo_id] = new.vector
            if new.facts is not None:
                self._tell(photo_id, new.facts)
            places += [Location(root_id, path, stamp, photo_id, None) for path, stamp in new.places]
        places += [
            Location(root_id, path, stamp, photo_id, None)
            for path, stamp, photo_id in changes.located
        ]
        touched.update(place.photo_id for place in places if place.photo_id is not None)
        places += [
            Location(root_id, path, stamp, None, reason) for path, stamp, reason in changes.rejected
        ]
        photos.add_embeddings(db, self._space_id, vectors)
        photos.put_locations(db, places)
        for path in changes.forgotten:
            photos.delete_location(db, root_id, path)
        for photo_id, told in changes.told.items():
            self._tell(photo_id, told)
        return touched

    def _tell(self, photo_id: int, told: Facts) -> None:
        """Store a photo's facts, its place by name."""
        place = ""
        facts.put_facts(self._db, photo_id, told, place=place, reader=metadata.READER)

    def _follow(self, touched: set[int], orphans: set[int]) -> None:
        """Bring the index in memory to what was just committed."""
        for photo_id in orphans:
            self.index.remove(photo_id)
        for photo_id in touched - orphans:
            if photo_id not in self.index.exact:
                vector = photos.embedding(self._db, photo_id, self._space_id)
                if vector is not None and vector.shape == (self.dim,):
                    self.index.add(photo_id, vector)
        self._unsaved += len(touched)

    def purge_orphans(self, *, before_ns: int) -> list[bytes]:
        """Delete what is known of photos that have been gone since before this time.

        Returns their content hashes, whose thumbnails should go too.
        """
        with named_damage(self.file), transaction(self._db):
            gone = photos.purge_orphans(self._db, before_ns)
        self._rested = self._rested and not gone
        return gone

    def clear_rejected(self, root_id: int, under: bytes = b"") -> list[bytes]:
        """Make the next look read again the files there that could not be used."""
        with named_damage(self.file), transaction(self._db):
            return photos.clear_rejected(self._db, root_id, under)

    def hashes_only_in(self, root_id: int) -> list[bytes]:
        """Content hashes of the photos that forgetting this root would delete."""
        with named_damage(self.file):
            return photos.orphan_hashes(self._db, root_id)

    def forget_root(self, root_id: int, *, now_ns: int) -> int:
        """Forget a root and, at once, every photo that lies nowhere else: rows, vectors and
        graph, out of the file and its journal. Returns how many photos that was.

        Photos still in their grace (gone from every root) go too: whose they were is
        not known any more, and who forgets a library expects nothing of it to stay.
        """
        with named_damage(self.file):
            with transaction(self._db):
                held = photos.delete_root(self._db, root_id, now_ns)
                gone = photos.purge_orphans(self._db, FOREVER_NS)
                graphs.drop_graphs(self._db, self._space_id)
                orphans = held - photos.existing(self._db, held)
            self._follow(held, orphans)
            self._graph_kept = False
            self._graphs_kept = -1  # what is left of it is kept anew
            self._rested = checkpoint(self._db)
        return len(gone)

    def _drop_unsound(self) -> None:
        """Delete vectors that cannot have been written by us: their photos are read again."""
        if photos.count_embeddings(self._db, self._space_id) == len(self.index):
            return
        found = photos.unsound_embeddings(self._db, self._space_id, self.dim)
        log.error("library.unsound_vectors count=%d", len(found))
        with transaction(self._db):
            photos.delete_embeddings(self._db, self._space_id, found)

    # --- when there is nothing else to do -----------------------------------------------------

    def rest(self) -> None:
        """Empty the WAL, if anything was written since it was last emptied."""
        if not self._rested:
            with named_damage(self.file):
                self._rested = checkpoint(self._db)

    def tend_graph(self, *, threads: int) -> bool:
        """Do about a second's work on the graph where it pays: take up the one that was kept,
        build, merge, keep. True while there may be more to do."""
        if self.index.wants_graph and self._graph_kept:
            self._graph_kept = False
            with named_damage(self.file):
                kept = graphs.load_graph(self._db, self._space_id, layout(self.dim))
            if kept is not None and self.index.load_graph(kept):
                return True
        if self.index.tend(threads=threads):
            return True
        new = self.index.graphs_built > self._graphs_kept
        if not new and self._unsaved < max(SAVE_GRAPH_AFTER, len(self.index) // 10):
            return False
        self._graphs_kept, self._unsaved = self.index.graphs_built, 0
        saved = self.index.graph_bytes()
        if saved is not None:
            with named_damage(self.file):
                graphs.save_graph(self._db, self._space_id, layout(self.dim), saved)
            self._rested = False
        return False

    def close(self) -> None:
        self.reader.close()
        self._db.close()


def _open_index(
    db: Connection, file: Path, space_id: int, dim: int, *, graph_from: int = GRAPH_FROM_BYTES
) -> Index:
    ids, rows = photos.embeddings(db, space_id, dim)
    if len(ids) and not 0 <= int(ids[0]) <= int(ids[-1]) <= MAX_ID:
        raise LibraryDamaged(file, f"photo id {ids[-1]} is out of range")
    return Index(ids, rows, graph_from_bytes=graph_from)


def _require_sound(db: Connection, file: Path) -> None:
    """Refuse a damaged file by name, before anything is answered from it.

    quick_check reads every page and every record's types; the second looks at what
    a wrong photo could come from, the index by which a photo's location is found.
    0.13 s together at 100,000 photos; `doctor` runs the full check.
    """
    for check in ("quick_check(1)", "integrity_check(locations)"):
        found = db.execute(f"PRAGMA {check}").fetchone()[0]
        if found != "ok":
            raise LibraryDamaged(file, str(found))


def _move_into_place(part: Path, target: Path) -> None:
    """Give a finished file its name, which must be free, and sync the folder."""
    try:
        os.link(part, target)  # fails where the name is taken; a rename would replace
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        os.rename(part, target)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def size_bytes(file: Path) -> int:
    """Bytes on disk of the library with its journal."""
    total = 0
    for name in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        if os.path.exists(name):
            total += os.path.getsize(name)
    return total
