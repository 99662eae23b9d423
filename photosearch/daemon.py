"""The daemon: owns the encoder, the library and the indexer, and answers the API."""

from __future__ import annotations

import datetime
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Final

from photosearch import home, network, opener, protocol
from photosearch.bundle import Bundle, load_background
from photosearch.decode import PREVIEW_PX, DecodePool, Picture, Task
from photosearch.doctor import TEXTS, Subject, examine
from photosearch.encoder import Encoder
from photosearch.errors import RootMissing
from photosearch.examples import MAX_EXAMPLES, Examples, Tried
from photosearch.formats import THUMBNAIL_PX
from photosearch.history import History
from photosearch.home import Home
from photosearch.indexer import Indexer
from photosearch.ingest import forget_library
from photosearch.library import Library, size_bytes
from photosearch.moving import Bundles
from photosearch.query import MAX_QUERY_CHARS, parse
from photosearch.roots import require_folders
from photosearch.search import Search
from photosearch.sessions import Sessions
from photosearch.settings import Settings, save_setting
from photosearch.status import library_status
from photosearch.store.photos import Place, join
from photosearch.store.vocabulary import Vocabulary
from photosearch.suggest import suggest
from photosearch.thumbnails import Thumbnails

log = logging.getLogger(__name__)

VOCABULARY_SECONDS: Final = 60.0  # between two readings of the words to suggest


@dataclass(frozen=True)
class Opened:
    """A file to send: where it is, and the type its bytes were found to have."""

    path: Path
    media_type: str


@dataclass(frozen=True)
class Shown:
    """A thumbnail, and whether it is what this photo in this size will always look like."""

    webp: bytes
    is_final: bool = True


class Daemon:
    """What the API serves. Its indexing thread is the only writer."""

    def __init__(
        self,
        place: Home,
        settings: Settings,
        bundle: Bundle,
        encoder: Encoder,
        library: Library,
        *,
        bundle_folders: Sequence[Path] = (),
    ) -> None:
        self.home = place
        self.settings = settings
        self.bundle = bundle
        self.library = library
        self.encoder = encoder
        self.sessions = Sessions(home.require_token(place))
        self.version = 0  # grows with every change worth telling the page
        self.on_stop: Callable[[], None] = lambda: None
        self.is_to_erase = False  # when it has stopped
        self._search = Search(encoder, library.index, library.reader, load_background(bundle))
        self._thumbnails = Thumbnails(place.thumbnails)
        self.indexer = Indexer(
            library, encoder, self._thumbnails, settings, on_change=self._changed
        )
        self.bundles = Bundles(self, place, settings, library, self.indexer, bundle_folders)
        self.history = History(place.history)
        self._vocabulary = (-1, float("-inf"), Vocabulary())  # of which version, read when
        self._examples = Examples(library.reader, self._try_example)
        self._started = time.monotonic()
        self._settings_lock = threading.Lock()
        self._previews = DecodePool(workers=1)
        self._previews_lock = threading.Lock()
        self._thumbnail_bytes = (float("-inf"), 0)  # measured when, and what

    # --- life ---------------------------------------------------------------------------------

    @property
    def stopping(self) -> threading.Event:
        return self.indexer.stopping

    def start(self) -> None:
        self.indexer.start()

    def stop(self) -> None:
        """End the indexing thread after the batch in hand, then let go of everything."""
        self.indexer.stop()
        with self._previews_lock:
            self._previews.close()
        self.library.close()

    def answer_with(self, bundle: Bundle, encoder: Encoder) -> None:
        """Ask with another bundle from now on; a search that has begun ends as it began."""
        search = Search(encoder, self.library.index, self.library.reader, load_background(bundle))
        self.bundle, self.encoder, self._search = bundle, encoder, search
        self._changed()

    def _changed(self) -> None:
        self.version += 1

    def request_stop(self) -> None:
        self.on_stop()

    def erase(self) -> None:
        """Stop, and let everything that is kept of the photos be deleted then."""
        roots = [root.path for root in self.library.reader.roots()]
        home.require_no_photos_inside(self.home, roots)
        self.is_to_erase = True
        self.request_stop()

    # --- what the API asks --------------------------------------------------------------------

    def search(
        self, *, q: str, k: int, offset: int, show_all: bool, like: int | None
    ) -> protocol.SearchReply:
        started = time.perf_counter()
        query = parse(q, now=datetime.datetime.now(datetime.UTC).astimezone(), like_photo_id=like)
        if query.finds_nothing_by_itself:
            results = self._search.latest(k=k, offset=offset)
        else:
            results = self._search.run(query, k=k, offset=offset, show_all=show_all)
        return protocol.SearchReply(
            query=q,
            hits=list(results.hits),
            more=results.more,
            hidden=results.hidden,
            cutoff=results.cutoff,
            total_photos=len(self.library.index),
            milliseconds=round((time.perf_counter() - started) * 1000, 2),
            chips=[protocol.Chip(**asdict(token)) for token in query.tokens],
            notes=list(results.notes or query.notes),
        )

    def place(self, photo_id: int) -> Place | None:
        return self.library.reader.places([photo_id]).get(photo_id)

    def suggestions(self, typed: str, k: int) -> list[protocol.SuggestionMessage]:
        """Ways to go on typing: past searches, and words of this library."""
        typed = typed[:MAX_QUERY_CHARS]
        found = suggest(typed, history=self.history.entries(), words=self._words(), k=k)
        return [protocol.SuggestionMessage(each.text, each.kind) for each in found]

    def _words(self) -> Vocabulary:
        """Read anew when the library has changed and a minute has passed."""
        version, when, words = self._vocabulary
        if version != self.version and time.monotonic() - when > VOCABULARY_SECONDS:
            words = self.library.reader.vocabulary()
            self._vocabulary = (self.version, time.monotonic(), words)
        return words

    def remember(self, query: str) -> None:
        if self.settings.history:
            self.history.add(query)

    def group(self, photo_id: int) -> list[protocol.PhotoReply]:
        """The photos that this one is shown for; none where there is no such photo."""
        ids = self.library.reader.group_members(photo_id)
        found = (self.photo(member) for member in ids)
        return [reply for reply in found if reply is not None]

    def hide(self, photo_id: int, *, hidden: bool, similar: bool) -> protocol.HideReply | None:
        """Hide a photo from search or let it be found again, with `similar` all that it is shown
        for. None where there is no such photo. The file is not touched."""
        if self.place(photo_id) is None:
            return None
        ids = self.library.reader.group_members(photo_id) if similar else [photo_id]
        return self.hide_all(ids, hidden=hidden)

    def hide_all(self, photo_ids: Sequence[int], *, hidden: bool) -> protocol.HideReply:
        """Hide these photos or let them be found again; those that are not there are passed
        over."""
        change = self.library.hide if hidden else self.library.unhide
        changed: list[int] = []

        def act() -> int:
            changed.extend(change(photo_ids))
            return len(changed)

        self.indexer.order(act)
        self._vocabulary = (-1, float("-inf"), Vocabulary())  # no word of a hidden one is offered
        self._changed()
        return protocol.HideReply(changed)

    def photo(self, photo_id: int) -> protocol.PhotoReply | None:
        place = self.place(photo_id)
        if place is None:
            return None
        photo = place.photo
        return protocol.PhotoReply(
            photo_id=photo_id,
            path=place.path,
            taken=photo.taken,
            width_px=photo.width_px,
            height_px=photo.height_px,
            format=photo.format,
            offline=place.offline,
            place=place.town,
            hidden=place.hidden,
        )

    def thumbnail(self, photo_id: int, side_px: int) -> Shown | None:
        """From the cache up to THUMBNAIL_PX, else made now from the original. Where that is away
        (its drive is), the small one stands in for a larger; where it holds something else by
        now, that is shown until the index has followed. A link that leads out of the library is
        not away: nothing is shown for it."""
        place = self.place(photo_id)
        if place is None:
            return None
        small = side_px <= THUMBNAIL_PX
        if small and (found := self._thumbnails.find(place.photo.content_hash)) is not None:
            return Shown(found)
        if self.original(photo_id) is None:
            is_away = not small and not os.path.lexists(place.path)
            found = self._thumbnails.find(place.photo.content_hash) if is_away else None
            return None if found is None else Shown(found, is_final=False)
        wanted = THUMBNAIL_PX if small else min(side_px, PREVIEW_PX)
        with self._previews_lock:
            outcome = self._previews.one(Task(b"", place.path, None, side_px=wanted))
        if not isinstance(outcome, Picture):
            return None
        is_same = outcome.content_hash == place.photo.content_hash
        if small and is_same:
            self._thumbnails.put(outcome.content_hash, outcome.picture)
        return Shown(outcome.picture, is_final=is_same)

    def original(self, photo_id: int) -> Opened | None:
        """The file itself, if it is still a regular file inside one of the libraries."""
        place = self.place(photo_id)
        if place is None:
            return None
        path = Path(place.path)
        try:
            real = path.resolve(strict=True)
            roots = [Path(root.path).resolve() for root in self.library.reader.roots()]
        except (OSError, RuntimeError):
            return None
        if not real.is_file() or not any(real.is_relative_to(root) for root in roots):
            return None
        return Opened(real, MEDIA_TYPES.get(place.photo.format, "application/octet-stream"))

    def open(self, photo_id: int, *, reveal: bool) -> bool:
        opened = self.original(photo_id)
        if opened is None:
            return False
        if reveal:
            opener.reveal_photo(str(opened.path))
        else:
            opener.open_photo(str(opened.path))
        return True

    def status(self) -> protocol.StatusReply:
        # What a search answers from now; the index follows a commit a moment later.
        searchable = len(self.library.index)
        return replace(
            library_status(
                self.library.reader,
                self.home,
                self.bundle,
                searchable=searchable,
                thumbnail_bytes=self._measured_thumbnails(),
            ),
            running=True,
            pid=os.getpid(),
            queue=len(self.indexer.hints),
            indexing=self.indexer.indexing(),
            index=self.library.index.kind,
            moving=self.bundles.moving(),
        )

    def rejected(self) -> list[protocol.RejectedMessage]:
        return [
            protocol.RejectedMessage(join(os.fsencode(root.path), place.path), place.rejected or "")
            for root, place in self.library.reader.rejected()
        ]

    def retry(self, library: int, under: str) -> protocol.RetryReply | None:
        """Read files that could not be used again, now: all, those of one root, or below a path
        in it. None where there is no such library."""
        roots = [r for r in self.library.reader.roots() if library in (0, r.root_id)]
        if library and not roots:
            return None

        def clear() -> int:
            cleared = 0
            for root in roots:
                paths = self.library.clear_rejected(root.root_id, os.fsencode(under))
                for path in paths:
                    self.indexer.hints.path(root.root_id, path, delay=0.0)
                cleared += len(paths)
            return cleared

        return protocol.RetryReply(self.indexer.order(clear))

    def add_library(self, path: str) -> protocol.LibraryMessage:
        """Take a folder of photos into the library; it is indexed from now on."""
        if not os.path.isabs(os.path.expanduser(path)) or "\0" in path:
            raise RootMissing(f"{path}: type the whole path of a folder.")
        (folder,) = require_folders([path])
        root_id = self.indexer.order(lambda: self.library.add_root(folder).root_id)
        self.indexer.hints.sweep(root_id)
        self._changed()
        root = next(root for root in self.library.reader.roots() if root.root_id == root_id)
        return protocol.LibraryMessage(root.path, root.offline, root.root_id)

    def relocate(self, library: int, path: str) -> protocol.LibraryMessage | None:
        """A library's folder lies elsewhere now: its photos are looked for there, and known
        again without being read. None where there is no such library."""
        if library not in {root.root_id for root in self.library.reader.roots()}:
            return None
        if not os.path.isabs(os.path.expanduser(path)) or "\0" in path:
            raise RootMissing(f"{path}: type the whole path of a folder.")
        (folder,) = require_folders([path])

        def move() -> int:
            self.indexer.forget(library)
            self.library.move_root(library, folder)
            return 0

        self.indexer.order(move)
        self.indexer.hints.sweep(library)
        self._changed()
        return protocol.LibraryMessage(folder, False, library)

    def forget(self, library: int) -> protocol.ForgetReply | None:
        """Drop a root with all that is known of its photos; the photos stay. None where there
        is no such library."""
        if library not in {root.root_id for root in self.library.reader.roots()}:
            return None

        def drop() -> int:
            self.indexer.forget(library)
            forgotten = forget_library(self.library, self._thumbnails, library)
            self.version += 1
            return forgotten

        return protocol.ForgetReply(self.indexer.order(drop))

    def examples(self) -> list[protocol.ExampleMessage]:
        """Searches worth trying, each of which finds something here."""
        found = self._examples.of(len(self.library.index))
        return [protocol.ExampleMessage(each.query, each.photo_id) for each in found]

    def _try_example(self, query: str) -> Tried:
        answer = self.search(q=query, k=MAX_EXAMPLES, offset=0, show_all=False, like=None)
        hits = [hit for hit in answer.hits if hit.relevant]
        return Tried(hits, hits[0].score - (answer.cutoff or 0.0) if hits else 0.0)

    def known_settings(self) -> list[protocol.SettingMessage]:
        return [
            protocol.SettingMessage(
                name=field.name,
                value=int(getattr(self.settings, field.name)),
                default=int(getattr(Settings(), field.name)),
                low=Settings.RANGES.get(field.name, (0, 1))[0],
                high=Settings.RANGES.get(field.name, (0, 1))[1],
                switch=isinstance(getattr(self.settings, field.name), bool),
            )
            for field in fields(Settings)
            if field.name not in Settings.AT_START
        ]

    def change_setting(self, name: str, value: int) -> list[protocol.SettingMessage]:
        """Write one setting to config.toml and act on it from now on."""
        is_switch = isinstance(getattr(self.settings, name, value), bool)
        with self._settings_lock:
            self.settings = save_setting(
                self.home.settings, name, bool(value) if is_switch else value
            )
            self.indexer.apply(self.settings)
            if not self.settings.history:
                self.history.clear()
        return self.known_settings()

    def privacy(self) -> protocol.PrivacyReply:
        """What goes out of this computer, counted: nothing."""
        counted = network.traffic()
        return protocol.PrivacyReply(
            open_outside=counted.open_outside,
            listening_outside=counted.listening_outside,
            attempts_outside=counted.attempts_outside,
            seconds=round(time.monotonic() - self._started, 1),
            home=str(self.home.directory),
            library_bytes=size_bytes(self.home.library),
            thumbnail_bytes=self._measured_thumbnails(seconds=0.0),
            log_bytes=sum(
                file.stat().st_size for file in self.home.directory.glob("photosearch.log*")
            ),
        )

    def doctor(self) -> protocol.DoctorReply:
        """Examine the library with the index that answers now."""
        subject = Subject(
            place=self.home,
            reader=self.library.reader,
            space=self.bundle.space,
            dim=self.bundle.dim,
            bundle=self.bundle.name,
            index=self.library.index,
            texts=self.encoder.texts(TEXTS),
            running=True,
        )
        return examine(subject)

    def _measured_thumbnails(self, *, seconds: float = 60.0) -> int:
        """Walking the cache is slow, and where nobody looks closely an older size will do."""
        when, size = self._thumbnail_bytes
        if time.monotonic() - when > seconds:
            size = self._thumbnails.size_bytes()
            self._thumbnail_bytes = (time.monotonic(), size)
        return size


MEDIA_TYPES: Final = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "GIF": "image/gif",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "HEIF": "image/heif",
}
