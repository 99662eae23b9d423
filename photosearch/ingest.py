"""Paths -> committed photos: scan, plan, identify, decode, embed, commit.

Everything enters here: the scan at start, the periodic sweep and the paths that
events name. Files are identified as cheaply as possible: by file id, then by
hash, and only bytes never seen are decoded.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from photosearch import scan
from photosearch.asking import Asker
from photosearch.decode import NO_PERMISSION, DecodePool, Picture, Rejected, Task, hash_file
from photosearch.encoder import Encoder
from photosearch.library import ORPHAN_GRACE_NS, Changes, Embedded, Library
from photosearch.pace import Throttle
from photosearch.preprocess import normalise
from photosearch.reconcile import SETTLE_NS, Plan, plan
from photosearch.roots import is_bare
from photosearch.store.folders import above
from photosearch.store.photos import UNREAD, join
from photosearch.thumbnails import Thumbnails
from photosearch.types import Location, Preprocess, Root, Stamp

log = logging.getLogger(__name__)

BATCH: Final = 16  # photos embedded and committed together: what a kill loses at most
MAX_BATCH_SECONDS: Final = 3.0  # slow decoding must not keep finished photos from being searched
COMMIT_PATHS: Final = 2000  # paths in one transaction where nothing is decoded
MANY: Final = 20  # photos in a root: where more than half of them go at once, it is told
MAX_PROBLEMS: Final = 20  # named in full to whoever started the run


@dataclass
class Totals:
    """What one run did, in files."""

    seen: int = 0
    added: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    failed: int = 0
    unchanged: int = 0
    waiting: int = 0  # still being written when the run ended
    decoded: int = 0
    to_read: int = 0  # planned; with the counts above it gives progress
    seconds: float = 0.0
    problems: list[tuple[str, str]] = field(default_factory=list)  # the first few: path, reason
    vanished: dict[str, tuple[int, int]] = field(default_factory=dict)  # root: gone, of how many
    unreadable: dict[str, str] = field(default_factory=dict)  # folders, with the reason

    @property
    def done(self) -> int:
        return self.added + self.updated + self.moved + self.failed

    @property
    def photos_per_second(self) -> float:
        return self.done / self.seconds if self.seconds > 0 else 0.0


@dataclass
class _Work:
    """One root's plan while it is carried out."""

    root: Root
    known: Mapping[bytes, Location]
    gone: dict[int, list[bytes]]  # photo -> forgotten paths it had, not yet matched to a new one
    totals: Totals
    waiting: list[bytes] = field(default_factory=list)
    found: set[int] = field(default_factory=set)  # photos known already that got a new place


class Ingest:
    """Carries out plans. Used by one thread, the one that owns the library."""

    def __init__(
        self,
        library: Library,
        encoder: Encoder,
        pool: DecodePool,
        thumbnails: Thumbnails,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        settle_ns: int = SETTLE_NS,
        on_progress: Callable[[Totals], None] = lambda totals: None,
        should_stop: Callable[[], bool] = lambda: False,
        throttle: Throttle | None = None,
    ) -> None:
        self._library = library
        self._encoder = encoder
        self._pool = pool
        self._thumbnails = thumbnails
        self._clock_ns = clock_ns
        self._settle_ns = settle_ns
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._asker = Asker(library, pool, thumbnails, clock_ns=clock_ns, should_stop=should_stop)
        self.throttle = throttle or Throttle(max_cpu=100, threads=1, cores=1)
        self.inodes: dict[int, frozenset[int]] = {}  # of the folders a root's last scan met
        self._complete: set[int] = set()  # roots in which no photo lacks anything

    def sync(self, root: Root, totals: Totals, *, under: bytes = b"") -> list[bytes]:
        """Make the library equal to the disk for a root, or for one folder in it.

        Returns the paths that are still being written, for the caller to look at
        again. A root that is missing is marked offline and keeps its photos.
        """
        remembered = {
            path: scan.Folder(*row)
            for path, row in self._library.remembered(root.root_id, under).items()
        }
        tree = scan.scan(root.path, under=under, known=remembered)
        if not under:
            self.inodes[root.root_id] = frozenset(tree.inodes - {0})
        known = self._known(root, under, tree)
        if b"" in tree.unreadable or (not tree.seen and self._is_bare(root)):
            self._set_offline(root, True)
            return []
        if under in tree.unreadable and not os.path.isdir(root.path):
            self._set_offline(root, True)
            return []
        self._set_offline(root, False)
        unreadable = tuple(folder for folder in tree.unreadable if self._still_there(root, folder))
        for folder in unreadable:
            totals.unreadable[self._absolute(root, folder)] = tree.unreadable[folder]
        todo = plan(
            known,
            tree.files,
            self._clock_ns(),
            unreadable=unreadable,
            settle_ns=self._settle_ns,
        )
        totals.seen += tree.seen
        totals.unchanged += tree.seen - len(tree.files)
        removed = totals.removed
        work = self._carry_out(root, known, todo, totals)
        self._tell_if_most_went(root, totals, totals.removed - removed)
        had = {place.photo_id for place in known.values() if place.photo_id is not None}
        suspects = self._library.told_beside(had | work.found)
        waiting = work.waiting + self._follow_sidecars(root, tree.sidecars, suspects, totals)
        if not self._should_stop():
            self._remember(root, under, tree, waiting, remembered)
        if not under and not self._should_stop():
            waiting += self._try_refused(root, totals)
        if not under:
            self._catch_up(root, totals)
        return waiting

    def _tell_if_most_went(self, root: Root, totals: Totals, gone: int) -> None:
        """Say aloud that a root lost most of its photos at once: someone may not have meant it."""
        if gone * 2 < MANY:
            return
        had = self._library.count_in(root.root_id) + gone
        if had >= MANY and gone * 2 > had:
            log.warning("ingest.most_vanished path=%r gone=%d of=%d", root.path, gone, had)
            totals.vanished[root.path] = (gone, had)

    def _known(self, root: Root, under: bytes, tree: scan.Tree) -> Mapping[bytes, Location]:
        """What is known of the folders that look different, and of those that are gone."""
        if under in tree.unreadable or not tree.seen:
            return self._library.known_under(root.root_id, under)
        visited = tree.same.keys() | tree.changed.keys()
        known: dict[bytes, Location] = {}
        for folder in tree.changed:
            known.update(self._library.known_in(root.root_id, folder, visited))
        return known

    def _remember(
        self,
        root: Root,
        under: bytes,
        tree: scan.Tree,
        waiting: Sequence[bytes],
        remembered: Mapping[bytes, scan.Folder],
    ) -> None:
        """Note how the folders look on which library and disk now agree."""
        open_ends = {path.rpartition(b"/")[0] for path in waiting}
        agreed = {
            path: (folder.inode, folder.files, folder.digest)
            for path, folder in tree.changed.items()
            if folder is not None and path not in open_ends
        }
        # What holds a folder that changed was dropped with it, and looks as it did.
        holding = above(tree.changed)
        agreed |= {
            path: (folder.inode, folder.files, folder.digest)
            for path, folder in tree.same.items()
            if path in holding
        }
        kept = tree.same.keys() | agreed.keys()
        gone = [path for path in remembered if path not in kept]
        self._library.remember_folders(root.root_id, agreed, gone)

    def _catch_up(self, root: Root, totals: Totals) -> None:
        """What older bundles and programs left undone; looked for until none is left, since
        what this one commits is complete."""
        if root.root_id in self._complete:
            return
        self._embed_missing(root, totals)
        self._asker.ask_unread(root)
        if not self._should_stop():
            self._complete.add(root.root_id)

    def _try_refused(self, root: Root, totals: Totals) -> list[bytes]:
        """Read what could not be for want of permission, where there is one now: giving it
        changes neither size nor time, and no folder's listing."""
        refused = self._library.rejected_for(root.root_id, NO_PERMISSION)
        allowed = [path for path in refused if _may_read(self._absolute(root, path))]
        if not allowed:
            return []
        seen = totals.seen
        waiting = self.look_at(root, allowed, totals)
        totals.seen = seen  # the sweep has met them
        totals.unchanged -= len(allowed)
        return waiting

    def look_at(self, root: Root, paths: Iterable[bytes], totals: Totals) -> list[bytes]:
        """The same for a handful of paths that events named."""
        if not os.path.isdir(root.path):
            self._set_offline(root, True)
            return []
        known: dict[bytes, Location] = {}
        on_disk: dict[bytes, Stamp] = {}
        sidecars: dict[bytes, Stamp | None] = {}
        pending, looked = set(paths), set[bytes]()
        while pending:
            path = pending.pop()
            looked.add(path)
            if not scan.is_watched_path(path):
                pending |= self._other_names(root, path) - looked
                continue
            try:
                stamp = scan.look(root.path, path)
            except OSError as error:
                log.warning("ingest.unreadable path=%r reason=%s", path, error.strerror)
                continue
            if scan.is_sidecar_name(path.rpartition(b"/")[2]):
                sidecars[path] = stamp
                continue
            if (place := self._library.known(root.root_id, path)) is not None:
                if place.rejected == NO_PERMISSION and _may_read(self._absolute(root, path)):
                    place = replace(place, stamp=replace(place.stamp, size_bytes=UNREAD))
                known[path] = place
            if stamp is not None:
                on_disk[path] = stamp
                # A file that is written to by one of its names is told by that name alone.
                pending |= set(self._library.other_names(root.root_id, stamp)) - looked
            else:
                pending |= self._other_names(root, path) - looked
        todo = plan(known, on_disk, self._clock_ns(), settle_ns=self._settle_ns)
        if todo.forget and self._is_bare(root):  # the last events of a drive that goes
            self._set_offline(root, True)
            return []
        totals.seen += len(on_disk)
        waiting = self._carry_out(root, known, todo, totals).waiting
        now = (self._library.known(root.root_id, path) for path in on_disk)
        places = [*known.values(), *(place for place in now if place is not None)]
        touched = {place.photo_id for place in places if place.photo_id is not None}
        return waiting + self._follow_sidecars(root, sidecars, touched, totals)

    def _other_names(self, root: Root, path: bytes) -> set[bytes]:
        """Known paths of a file whose name here is no photo's, or in a folder left alone."""
        stamp = scan.linked(self._absolute(root, path))
        return set() if stamp is None else set(self._library.other_names(root.root_id, stamp))

    def _follow_sidecars(
        self,
        root: Root,
        sidecars: Mapping[bytes, Stamp | None],
        suspects: Iterable[int],
        totals: Totals,
    ) -> list[bytes]:
        waiting = self._asker.follow_sidecars(root, sidecars, suspects, settle_ns=self._settle_ns)
        totals.waiting += len(waiting)
        return waiting

    def purge(self) -> None:
        """Drop what is known of photos that have been gone for longer than the grace."""
        for digest in self._library.purge_orphans(before_ns=self._clock_ns() - ORPHAN_GRACE_NS):
            self._thumbnails.remove(digest)

    # --- one plan -----------------------------------------------------------------------------

    def _carry_out(
        self, root: Root, known: Mapping[bytes, Location], todo: Plan, totals: Totals
    ) -> _Work:
        gone: dict[int, list[bytes]] = {}
        for path in todo.forget:
            if (photo_id := known[path].photo_id) is not None:
                gone.setdefault(photo_id, []).append(path)
        work = _Work(root, known, gone, totals, list(todo.wait))
        totals.unchanged += todo.unchanged
        totals.to_read += len(todo.read)
        unread = self._identify(work, todo)
        self._decode(work, unread)
        self._on_progress(totals)
        totals.waiting += len(work.waiting)
        return work

    def _identify(self, work: _Work, todo: Plan) -> list[tuple[bytes, Stamp]]:
        """Commit what needs no decoding: moves, copies and deletions. Returns the rest."""
        changes = Changes(work.root.root_id)
        unread: list[tuple[bytes, Stamp]] = []
        for path, stamp in todo.read:
            if self._should_stop():
                break
            photo_id = self._library.photo_at_stamp(stamp) or self._known_bytes(work, path, stamp)
            if photo_id is None:
                unread.append((path, stamp))
                continue
            self._count(work, path, photo_id)
            work.found.add(photo_id)
            changes.located.append((path, stamp, photo_id))
            if len(changes.located) >= COMMIT_PATHS:
                changes = self._commit(changes)
        # Old paths go only now, together with the last new ones: until here they were
        # what a moved photo was known by.
        changes.forgotten.extend(todo.forget)
        self._commit(changes)
        work.totals.removed += len(todo.forget) - sum(
            1 for path in todo.forget if self._was_moved(work, path)
        )
        return unread

    def _known_bytes(self, work: _Work, path: bytes, stamp: Stamp) -> int | None:
        """The photo with this file's bytes, if a photo of its size is known at all."""
        if not self._library.may_know_size(stamp.size_bytes):
            return None
        try:
            digest = hash_file(self._absolute(work.root, path))
            if scan.look(work.root.path, path) != stamp:
                return None  # it changed under us: the decoder looks again
        except OSError:
            return None  # the decoder names the reason
        return self._library.photo_with_hash(digest)

    def _decode(self, work: _Work, unread: Sequence[tuple[bytes, Stamp]]) -> None:
        """Decode, embed and commit in batches, newest first."""
        stamps = dict(unread)
        changes = Changes(work.root.root_id)
        ready: list[tuple[bytes, Picture]] = []
        since = time.monotonic()
        self.throttle.begin()
        for task, outcome in self._pool.run(
            self._tasks(work.root, unread, self._encoder.preprocess)
        ):
            if isinstance(outcome, Picture):
                ready.append((task.key, outcome))
                work.totals.decoded += 1
            elif not isinstance(outcome, Rejected):
                raise AssertionError("nobody asked for text here")
            elif outcome.transient:
                work.waiting.append(task.key)
            else:
                self._reject(work, changes, task.key, stamps[task.key], outcome)
            if len(ready) >= BATCH or time.monotonic() - since > MAX_BATCH_SECONDS:
                changes = self._embed(work, changes, ready)
                ready = []
                self._on_progress(work.totals)
                self.throttle.rest()
                since = time.monotonic()
        self._embed(work, changes, ready)

    def _tasks(
        self, root: Root, unread: Sequence[tuple[bytes, Stamp]], how: Preprocess | None
    ) -> Iterator[Task]:
        for path, _ in unread:
            if self._should_stop():
                return
            yield Task(path, self._absolute(root, path), how)

    def _embed(
        self, work: _Work, changes: Changes, ready: Sequence[tuple[bytes, Picture]]
    ) -> Changes:
        """One forward pass over the distinct bytes of a batch, one transaction, a fresh batch."""
        places: dict[bytes, list[tuple[bytes, Stamp]]] = {}
        pictures: dict[bytes, Picture] = {}
        for path, picture in ready:
            photo_id = self._library.photo_with_hash(picture.content_hash)
            self._count(work, path, photo_id)
            if photo_id is not None:  # an earlier batch held the same bytes
                work.found.add(photo_id)
                changes.located.append((path, picture.stamp, photo_id))
                continue
            pictures[picture.content_hash] = picture
            places.setdefault(picture.content_hash, []).append((path, picture.stamp))
        if pictures:
            pixels = np.stack([picture.pixels for picture in pictures.values()])
            vectors = self._encoder.images(normalise(pixels, self._encoder.preprocess))
            assert vectors.shape == (len(pictures), self._library.dim), vectors.shape
            for (digest, picture), vector in zip(pictures.items(), vectors, strict=True):
                self._thumbnails.put(digest, picture.picture)
                changes.embedded.append(
                    Embedded(
                        digest,
                        picture.format,
                        picture.width_px,
                        picture.height_px,
                        picture.facts.taken,
                        vector,
                        tuple(places[digest]),
                        picture.colour,
                        picture.facts,
                    )
                )
        return self._commit(changes)

    def _embed_missing(self, root: Root, totals: Totals) -> None:
        """Photos known from another bundle: their bytes have no vector in this space yet."""
        missing = self._library.unembedded(root.root_id)
        if missing:
            work = _Work(root, {}, {}, replace(totals))  # re-embedding changes no count
            self._decode(work, missing)

    def _commit(self, changes: Changes) -> Changes:
        self._library.commit(changes, now_ns=self._clock_ns())
        return Changes(changes.root_id)

    # --- small things -------------------------------------------------------------------------

    def _reject(
        self, work: _Work, changes: Changes, path: bytes, stamp: Stamp, outcome: Rejected
    ) -> None:
        log.warning("ingest.rejected path=%r reason=%s", path, outcome.reason)
        changes.rejected.append((path, stamp, outcome.reason))
        work.totals.failed += 1
        if len(work.totals.problems) < MAX_PROBLEMS:
            work.totals.problems.append((self._absolute(work.root, path), outcome.reason))

    def _count(self, work: _Work, path: bytes, photo_id: int | None) -> None:
        """Added, updated or moved: by what was known of the path, and of the photo."""
        if path in work.known:
            work.totals.updated += 1
        elif photo_id is not None and work.gone.get(photo_id):
            work.gone[photo_id].pop()
            work.totals.moved += 1
        else:
            work.totals.added += 1

    def _was_moved(self, work: _Work, path: bytes) -> bool:
        photo_id = work.known[path].photo_id
        return photo_id is not None and path not in work.gone.get(photo_id, [])

    def _set_offline(self, root: Root, offline: bool) -> None:
        """Note a root's coming and going; the given Root may be older than the note."""
        for now in self._library.roots():
            if now.root_id == root.root_id and now.offline != offline:
                log.warning("root.%s path=%r", "offline" if offline else "online", root.path)
                self._library.set_offline(root.root_id, offline)

    def _is_bare(self, root: Root) -> bool:
        return is_bare(root, self._library.devices)

    def _still_there(self, root: Root, folder: bytes) -> bool:
        """An unreadable folder, as against one that was deleted while we walked. What lies in a
        folder that may be listed and not entered is there as far as anyone can tell."""
        try:
            os.lstat(self._absolute(root, folder))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def _absolute(self, root: Root, path: bytes) -> str:
        return join(os.fsencode(root.path), path)


def _may_read(path: str) -> bool:
    """Whether a file can be opened; no list of permissions tells that of every system."""
    try:
        os.close(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)))
    except OSError:
        return False
    return True


def forget_library(library: Library, thumbnails: Thumbnails, root_id: int) -> int:
    """Drop a root and what is known of its photos; returns how many went. Thumbnails go
    first and last: killed in between, at worst some of a kept photo's are made anew."""
    digests = library.hashes_only_in(root_id)
    for digest in digests:
        thumbnails.remove(digest)
    forgotten = library.forget_root(root_id, now_ns=time.time_ns())
    for digest in digests:
        thumbnails.remove(digest)
    return forgotten
