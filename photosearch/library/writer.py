"""Store and index behind one writer.

A commit is one transaction; the index in memory follows it. Searches see the
library as committed: what the index proposes is joined with the locations of
the moment, and what has none is never shown.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from photosearch import extras, metadata
from photosearch.errors import LibraryDamaged, PhotosearchError
from photosearch.index import cells, hnsw
from photosearch.index.exact import MAX_ID
from photosearch.index.neighbours import CELLS_FROM_BYTES, GRAPH_FROM_BYTES
from photosearch.library.changes import Changes
from photosearch.library.opening import open_index, require_sound
from photosearch.library.reader import LibraryReader
from photosearch.library.sizes import Sizes
from photosearch.library.succession import Succession
from photosearch.places import EDITION, towns
from photosearch.store import (
    embeddings,
    facts,
    folders,
    graphs,
    grouping,
    hiding,
    names,
    photos,
    places,
    schema,
)
from photosearch.store.connection import (
    checkpoint,
    named_damage,
    open_writer,
    transaction,
    unless_held,
)
from photosearch.types import Facts, Location, Root, Stamp, Vector

log = logging.getLogger(__name__)

# A photo without a location is kept this long: long enough for a move between
# drives to arrive, short enough that deleting a photo soon deletes what we know of it.
ORPHAN_GRACE_NS: Final = 24 * 3600 * 1_000_000_000
KEEP_AFTER: Final = 4096  # changes since cells or graph were last kept, or a tenth of the library
FOREVER_NS: Final = (1 << 63) - 1
NO_VECTOR: Final = "the model could make nothing of it"


class Library:
    """The writer. One per home (the caller holds the home's lock), used by one thread at a time.

    True between calls: the index holds exactly the embedded photos of this space
    that have a location.
    """

    def __init__(
        self,
        file: Path,
        *,
        space: str,
        dim: int,
        bundle: str,
        graph_from: int = GRAPH_FROM_BYTES,
        cells_from: int = CELLS_FROM_BYTES,
    ) -> None:
        self.file = file
        self.reader = LibraryReader(file)
        self.space = space
        self.dim = dim
        self._graph_from = graph_from
        self._cells_from = cells_from
        self._rested = False  # nothing was written since the WAL was emptied
        self._sound = False  # the file was looked through
        self._sizes = Sizes(lambda: photos.sizes(self._db))
        with named_damage(file):
            self._db = open_writer(file)
            try:
                schema.migrate(self._db, file)
                self._space_id = self._open_space(bundle)
                self._open_index()
            except BaseException:
                self._db.close()
                raise

    def _open_space(self, bundle: str) -> int:
        found = embeddings.space(self._db, self.space)
        if found:
            return found[0]
        with self._writing():
            return embeddings.add_space(self._db, self.space, self.dim, bundle)

    def _open_index(self) -> None:
        """Load the index of the space that answers."""
        self._changed = 0  # in the index, since cells or graph were kept
        self._graph_in_file = True  # until looked for
        self._made_kept = 0  # of the cells and graphs that were made, up to which
        self.index = open_index(
            self._db,
            self.file,
            self._space_id,
            self.dim,
            graph_from=self._graph_from,
            cells_from=self._cells_from,
        )
        self._drop_unsound()

    @contextlib.contextmanager
    def _writing(self, *, deletes: bool = True) -> Iterator[None]:
        """One transaction, in a file that was looked through before the first. Where it `deletes`
        photos or their rows, no vector is left behind."""
        with named_damage(self.file):
            self._look_through()
            with transaction(self._db):
                yield
                if deletes:
                    embeddings.scrub(self._db)

    def _look_through(self) -> None:
        """Refuse a damaged file before the first write to it."""
        if not self._sound:
            require_sound(self._db, self.file)
            self._sound = True

    # --- reading, on the writer's connection --------------------------------------------------

    def roots(self) -> list[Root]:
        with named_damage(self.file):
            return photos.roots(self._db)

    def devices(self, root_id: int) -> set[int]:
        """The devices that a root's files were on."""
        with named_damage(self.file):
            return photos.devices(self._db, root_id)

    def count_in(self, root_id: int) -> int:
        """Files known in a root."""
        with named_damage(self.file):
            return photos.count_in(self._db, root_id)

    def known_under(self, root_id: int, folder: bytes) -> dict[bytes, Location]:
        with named_damage(self.file):
            return photos.locations_under(self._db, root_id, folder)

    def remembered(self, root_id: int, under: bytes) -> dict[bytes, folders.Row]:
        """What each folder looked like when the library last agreed with the disk on it."""
        with named_damage(self.file):
            return folders.folders(self._db, root_id, under)

    def known_in(
        self, root_id: int, folder: bytes, visited: Iterable[bytes]
    ) -> dict[bytes, Location]:
        """What is known directly in a folder, and in those below it that were not visited."""
        with named_damage(self.file):
            return folders.locations_in(self._db, root_id, folder, visited)

    def known(self, root_id: int, path: bytes) -> Location | None:
        with named_damage(self.file):
            return photos.location(self._db, root_id, path)

    def rejected_for(self, root_id: int, reason: str) -> list[bytes]:
        """Paths in a root that could not be used for this very reason."""
        with named_damage(self.file):
            return photos.paths_rejected_for(self._db, root_id, reason)

    def unembedded(self, root_id: int) -> list[tuple[bytes, Stamp]]:
        with named_damage(self.file):
            return embeddings.unembedded(self._db, root_id, self._space_id)

    def without_facts(self, root_id: int) -> list[tuple[bytes, Stamp]]:
        """One location of each photo whose file this program has not asked yet."""
        with named_damage(self.file):
            return facts.without_facts(self._db, root_id, metadata.READER)

    def photos_beside(self, root_id: int, sidecars: Iterable[bytes]) -> set[int]:
        """Photos that these XMP files belong to."""
        with named_damage(self.file):
            found = (facts.photos_beside(self._db, root_id, path) for path in sidecars)
            return set().union(*found)

    def told_beside(self, photo_ids: Iterable[int]) -> set[int]:
        """Those of these photos whose facts were read with an XMP file."""
        with named_damage(self.file):
            return facts.told_beside(self._db, sorted(set(photo_ids)))

    def beside(self, photo_id: int) -> bytes | None:
        """Digest of the XMP file that a photo's facts were read with."""
        with named_damage(self.file):
            return facts.beside(self._db, photo_id)

    def online_places(self, photo_id: int) -> list[tuple[Root, bytes]]:
        """Where a photo lies in roots that are there, in order of root and path."""
        with named_damage(self.file):
            return photos.online_places(self._db, photo_id)

    def without_texts(self, limit: int) -> list[tuple[str, int]]:
        """Absolute path and id of a few pictures in which nobody has looked for text yet."""
        with named_damage(self.file):
            rows = facts.without_texts(self._db, extras.OCR_READER, limit)
        return [(photos.join(root, path), photo_id) for root, path, photo_id in rows]

    def put_texts(self, texts: Mapping[int, str]) -> None:
        """Store what is written in these pictures."""
        if texts:
            with self._writing():
                facts.put_texts(self._db, texts, reader=extras.OCR_READER)
            self._rested = False

    def photo_at_stamp(self, stamp: Stamp) -> int | None:
        """The embedded photo that another path holds under this very file id, size and time."""
        with named_damage(self.file):
            photo_id = photos.photo_at_stamp(self._db, stamp)
            return photo_id if self._embedded(photo_id) else None

    def other_names(self, root_id: int, stamp: Stamp) -> list[bytes]:
        """Paths known in a root for one and the same file, by its device and inode."""
        with named_damage(self.file):
            return photos.other_names(self._db, root_id, stamp)

    def may_know_size(self, size_bytes: int) -> bool:
        """Whether a photo may have this size. If none has, a file of this size is surely new."""
        with named_damage(self.file):
            return size_bytes in self._sizes

    def photo_with_hash(self, content_hash: bytes) -> int | None:
        """The embedded photo with these bytes."""
        with named_damage(self.file):
            photo_id = photos.photo_with_hash(self._db, content_hash)
            return photo_id if self._embedded(photo_id) else None

    def _embedded(self, photo_id: int | None) -> bool:
        return photo_id is not None and embeddings.exists(self._db, photo_id, self._space_id)

    # --- writing ------------------------------------------------------------------------------

    def add_root(self, path: str) -> Root:
        """Remember a folder; one that is known is not written again."""
        known = next((root for root in self.roots() if root.path == path), None)
        if known is not None:
            return known
        with self._writing():
            root_id = photos.add_root(self._db, path)
        return next(root for root in self.roots() if root.root_id == root_id)

    def move_root(self, root_id: int, path: str) -> None:
        """Note that a folder lies elsewhere. Raises where that is another library's folder."""
        taken = {root.path: root.root_id for root in self.roots()}
        if taken.get(path, root_id) != root_id:
            raise PhotosearchError(f"{path} is a library itself. Forget one of the two first.")
        with self._writing():
            photos.move_root(self._db, root_id, path)

    def set_offline(self, root_id: int, offline: bool) -> None:
        with self._writing():
            photos.set_offline(self._db, root_id, offline)

    def remember_folders(
        self, root_id: int, seen: Mapping[bytes, folders.Row], gone: Iterable[bytes]
    ) -> None:
        """Library and disk agree on these folders; others are there no more."""
        if seen or gone:
            with self._writing():
                folders.drop_folders(self._db, root_id, gone)
                folders.put_folders(self._db, root_id, seen)

    def commit(self, changes: Changes, *, now_ns: int) -> None:
        """One transaction: photos, embeddings, locations, deletions. Then the index follows."""
        if not changes:
            return
        with self._writing(deletes=False):  # a photo without a place is kept for its grace
            touched, new, vectors = self._write(changes)
            orphans = photos.mark_orphans(self._db, sorted(touched - new), now_ns)
        self._follow(touched, set(orphans), vectors)
        self._rested = False

    def _write(self, changes: Changes) -> tuple[set[int], set[int], dict[int, Vector]]:
        """Apply changes; returns the photos that gained or lost a location, those of them that are
        new and surely have one, and the vectors of those that came."""
        db, root_id = self._db, changes.root_id
        paths = [path for new in changes.embedded for path, _ in new.places]
        paths += [path for path, _, _ in changes.located]
        paths += [path for path, _, _ in changes.rejected]
        folders.drop_folders(db, root_id, folders.above([*paths, *changes.forgotten]))
        before = (photos.holder(db, root_id, path) for path in [*paths, *changes.forgotten])
        touched = {photo_id for photo_id in before if photo_id is not None}
        places: list[Location] = []
        vectors: dict[int, Vector] = {}
        added: set[int] = set()
        changed: list[int] = []
        for new in changes.embedded:
            if not embeddings.is_unit(new.vector):  # it would spoil every comparison
                places += [Location(root_id, p, stamp, None, NO_VECTOR) for p, stamp in new.places]
                continue
            size_bytes = new.places[0][1].size_bytes
            photo_id, is_new = photos.add_photo(
                db,
                content_hash=new.content_hash,
                size_bytes=size_bytes,
                format=new.format,
                width_px=new.width_px,
                height_px=new.height_px,
                taken=new.taken,
                colour=new.colour,
            )
            if photo_id > MAX_ID:  # ids are given in order: the file's counter is damaged
                raise LibraryDamaged(self.file, f"photo id {photo_id} is out of range")
            if is_new:
                added.add(photo_id)
            self._sizes.add(size_bytes)
            if touched and photo_id not in touched:  # new bytes, and paths that held others
                for path, _ in new.places:
                    hiding.hide_edit(db, root_id, path, photo_id)
            vectors[photo_id] = new.vector
            if new.facts is not None:
                self._tell(photo_id, new.facts)
                changed.append(photo_id)
            places += [Location(root_id, path, stamp, photo_id, None) for path, stamp in new.places]
        places += [
            Location(root_id, path, stamp, photo_id, None)
            for path, stamp, photo_id in changes.located
        ]
        touched.update(place.photo_id for place in places if place.photo_id is not None)
        places += [
            Location(root_id, path, stamp, None, reason) for path, stamp, reason in changes.rejected
        ]
        embeddings.add(db, self._space_id, vectors, new=added)
        photos.put_locations(db, places)
        for path in changes.forgotten:
            photos.delete_location(db, root_id, path)
        for photo_id, told, colour in changes.told:
            self._tell(photo_id, told)
            photos.set_colour(db, photo_id, colour)
            changed.append(photo_id)
        for photo_id in changed:  # now that all have their locations
            grouping.regroup(db, photo_id)
        if changes.forgotten or len(set(paths)) < len(paths):
            added = set()  # one may have lost its only place again
        return touched, added, vectors

    def _tell(self, photo_id: int, told: Facts) -> None:
        """Store a photo's facts, its place by name."""
        place = ""
        if told.latitude is not None and told.longitude is not None:
            if places.edition(self._db) != EDITION:  # here, so that only who needs them has them
                places.fill(self._db, towns(), EDITION)
            place = places.describe(self._db, told.latitude, told.longitude)
        facts.put_facts(self._db, photo_id, told, place=place, reader=metadata.READER)

    def _follow(self, touched: set[int], orphans: set[int], vectors: dict[int, Vector]) -> None:
        """Bring the index in memory to what was just committed."""
        for photo_id in orphans:
            self.index.remove(photo_id)
        for photo_id in touched - orphans:
            if photo_id not in self.index.exact:
                vector = vectors.get(photo_id)
                if vector is None:
                    vector = embeddings.of_photo(self._db, photo_id, self._space_id)
                if vector is not None and vector.shape == (self.dim,):
                    self.index.add(photo_id, vector)
        self._changed += len(touched)

    def hide(self, photo_ids: Iterable[int]) -> list[int]:
        """Leave photos out of every answer; returns those that were not hidden before."""
        with self._writing():
            found = hiding.hide(self._db, photo_ids)
        self._rested = False
        return found

    def unhide(self, photo_ids: Iterable[int]) -> list[int]:
        """Let photos be found again; returns those that were hidden."""
        with self._writing():
            found = hiding.unhide(self._db, photo_ids)
        self._rested = False
        return found

    def purge_orphans(self, *, before_ns: int) -> list[bytes]:
        """Delete what is known of photos that have been gone since before this time.

        Returns their content hashes, whose thumbnails should go too.
        """
        with self._writing():
            gone = photos.purge_orphans(self._db, before_ns)
        if gone:
            self._rested = False
            self._made_kept = -1  # the cells that are kept were made with their vectors too
        return gone

    def clear_rejected(self, root_id: int, under: bytes = b"") -> list[bytes]:
        """Make the next look read again the files there that could not be used."""
        with self._writing():
            cleared = photos.clear_rejected(self._db, root_id, under)
            touched = {path.rpartition(b"/")[0] for path in cleared}
            folders.drop_folders(self._db, root_id, touched)
        return cleared

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
        with self._writing():
            held = photos.delete_root(self._db, root_id, now_ns)
            gone = photos.purge_orphans(self._db, FOREVER_NS)
            graphs.drop_graphs(self._db, self._space_id)
            orphans = held - photos.existing(self._db, held)
        self._follow(held, orphans, {})
        self.index.cleanse()
        self._graph_in_file = False
        self._made_kept = -1  # what is left of them is kept anew
        with named_damage(self.file):
            self._rested = checkpoint(self._db)
        return len(gone)

    def _drop_unsound(self) -> None:
        """Delete vectors that cannot have been written by us: their photos are read again."""
        if embeddings.count(self._db, self._space_id) == len(self.index):
            return
        found = embeddings.unsound(self._db, self._space_id, self.dim)
        log.error("library.unsound_vectors count=%d", len(found))
        with self._writing():
            embeddings.delete(self._db, self._space_id, found)

    # --- another space ------------------------------------------------------------------------

    def begin_succession(self, *, space: str, dim: int, bundle: str) -> Succession:
        """Start, or go on with, the move to another space. This one answers meanwhile."""
        assert space != self.space, space
        return Succession(self._db, self.file, space=space, dim=dim, bundle=bundle)

    def take_over(self, succession: Succession) -> None:
        """The other space answers from now on, and this one is deleted: one transaction."""
        with self._writing():
            for space_id in embeddings.spaces_but(self._db, succession.space_id):
                embeddings.delete_space(self._db, space_id)
        with named_damage(self.file):
            self.space, self.dim = succession.space, succession.dim
            self._space_id = succession.space_id
            self._open_index()
        self._rested = False

    def drop_other_spaces(self) -> None:
        """Delete the vectors of every other space: of a move that was given up."""
        with named_damage(self.file):
            others = embeddings.spaces_but(self._db, self._space_id)
        if not others:
            return  # writing looks through the whole file first: 0.2 s on the way to an answer
        with self._writing():
            for space_id in others:
                embeddings.delete_space(self._db, space_id)

    # --- when there is nothing else to do -----------------------------------------------------

    def rest(self) -> None:
        """Index the names that wait for it, and empty the WAL, if anything was written since it
        was last emptied."""
        if not self._rested:
            with named_damage(self.file):
                if names.are_waiting(self._db):
                    self._look_through()
                    with unless_held(self._db), transaction(self._db):
                        names.index_waiting(self._db)
                self._rested = checkpoint(self._db)

    def tend_graph(self, *, threads: int) -> bool:
        """Do about a second's work on cells and graph where it pays: take up the graph that was
        kept, make them, bring them up to date, keep them. True while there may be more to do."""
        if self.index.wants_graph and self._graph_in_file:
            self._graph_in_file = False
            with named_damage(self.file):
                kept = graphs.load_graph(self._db, self._space_id, hnsw.layout(self.dim))
            if kept is not None and self.index.load_graph(kept):
                return True
        if self.index.tend(threads=threads):
            return True
        made = self.index.graphs_built + self.index.cells_made
        if made > self._made_kept or self._changed >= max(KEEP_AFTER, len(self.index) // 10):
            self._made_kept, self._changed = made, 0
            self._keep(hnsw.layout(self.dim), self.index.graph_bytes())
            self._keep(cells.layout(self.dim), self.index.cells_bytes())
        return False

    def _keep(self, layout: str, data: bytes | None) -> None:
        if data is not None:
            with named_damage(self.file):
                graphs.save_graph(self._db, self._space_id, layout, data)
            self._rested = False

    def close(self) -> None:
        self.reader.close()
        self._db.close()
