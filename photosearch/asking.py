"""Ask the files of known photos again what they say: facts and thumbnail, no embedding.

For libraries of older programs, which asked less, and for photos whose XMP file came,
changed or went.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from photosearch import sidecar
from photosearch.decode import DecodePool, Picture, Rejected, Task
from photosearch.library import Changes, Library
from photosearch.store.photos import join
from photosearch.thumbnails import Thumbnails
from photosearch.types import Facts, Root, Stamp

BATCH: Final = 16  # photos told in one transaction


class Asker:
    """Used by the thread that owns the library."""

    def __init__(
        self,
        library: Library,
        pool: DecodePool,
        thumbnails: Thumbnails,
        *,
        clock_ns: Callable[[], int],
        should_stop: Callable[[], bool],
    ) -> None:
        self._library = library
        self._pool = pool
        self._thumbnails = thumbnails
        self._clock_ns = clock_ns
        self._should_stop = should_stop

    def ask_unread(self, root: Root) -> None:
        """Photos of an older library, whose files were never asked what this program reads now.
        One that cannot be read any more is told to say nothing, not to be asked for ever."""
        paths = [path for path, _ in self._library.without_facts(root.root_id)]
        self._ask(root, paths, give_up=True)

    def follow_sidecars(
        self,
        root: Root,
        sidecars: Mapping[bytes, Stamp | None],
        suspects: Iterable[int],
        *,
        settle_ns: int,
    ) -> list[bytes]:
        """Make photos say what the XMP files beside them say now: those that belong to these
        files (None: there is none any more), and others that may have lost or got one. Returns
        what to look at again: files still being written, and photos out of reach just now."""
        now_ns = self._clock_ns()
        waiting = [p for p, s in sidecars.items() if s and 0 <= now_ns - s.mtime_ns < settle_ns]
        settled = sidecars.keys() - set(waiting)
        photos = self._library.photos_beside(root.root_id, settled) | set(suspects)
        for photo_id in sorted(photos):
            if self._should_stop():
                break
            waiting += self._compare(root, photo_id)
        return waiting

    def _compare(self, root: Root, photo_id: int) -> list[bytes]:
        """Ask a photo again unless its sidecar is the one that it was read with: of several
        locations, by their order, that of the first which has one. Returns its paths in this
        root where one of them was not to be had: gone for good, or in a folder that will be
        back, with what lies in it."""
        places = self._library.online_places(photo_id)
        read_with = self._library.beside(photo_id)
        found: bytes | None = None
        at = places[:1]
        for place in places:
            found = sidecar.digest(sidecar.read_beside(_absolute(*place)))
            if found is not None:
                at = [place]
                break
        here = [path for there, path in places if there.root_id == root.root_id]
        if any(_is_away(_absolute(root, path)) for path in here):
            return here
        if not at or found == read_with:
            return []
        return [] if self._ask(at[0][0], [at[0][1]], give_up=False) else here

    def _ask(self, root: Root, paths: Sequence[bytes], *, give_up: bool) -> bool:
        """False where a file was not to be had just now."""
        had = True
        changes = Changes(root.root_id)
        for task, outcome in self._pool.run(self._tasks(root, paths)):
            if isinstance(outcome, Picture):
                photo_id = self._library.photo_with_hash(outcome.content_hash)
                if photo_id is not None:
                    self._thumbnails.put(outcome.content_hash, outcome.picture)
                    changes.told.append((photo_id, outcome.facts, outcome.colour))
            elif isinstance(outcome, Rejected) and outcome.transient:
                had = False
            elif isinstance(outcome, Rejected) and give_up:
                place = self._library.known(root.root_id, task.key)
                if place is not None and place.photo_id is not None:
                    changes.told.append((place.photo_id, Facts(), None))
            if len(changes.told) >= BATCH:
                changes = self._commit(changes)
        self._commit(changes)
        return had

    def _tasks(self, root: Root, paths: Iterable[bytes]) -> Iterable[Task]:
        for path in paths:
            if self._should_stop():
                return
            yield Task(path, _absolute(root, path), None)

    def _commit(self, changes: Changes) -> Changes:
        self._library.commit(changes, now_ns=self._clock_ns())
        return Changes(changes.root_id)


def _is_away(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # there, and out of reach for another reason
        return False
    return False


def _absolute(root: Root, path: bytes) -> str:
    return join(os.fsencode(root.path), path)
