"""The messages between the daemon and its clients: JSON objects of these shapes.

Plain dataclasses, so that a client costs no import; openapi.py derives
the schema from the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from photosearch.types import Hit

API: str = "/api/v1"
MAX_IDS: Final = 1000  # in one request's address, which the daemon reads up to 32 KB of


@dataclass(frozen=True)
class Chip:
    """A stretch of the query, and what it was taken for (docs/query-language.md)."""

    kind: str
    text: str  # as it could be typed again
    start: int  # in code points of the query, not in UTF-16 units
    end: int  # exclusive
    note: str  # "" where there is nothing to say


@dataclass(frozen=True)
class SearchReply:
    """Ranked hits for one query."""

    query: str
    hits: list[Hit]
    more: bool  # further hits follow at a larger offset
    hidden: int  # matches left out because they lie below the relevance cut-off
    cutoff: float | None
    total_photos: int  # searchable in the library
    milliseconds: float  # spent answering
    chips: list[Chip]  # the query in parts, in the order they were typed
    notes: list[str]  # what was not understood, or cannot be answered, in words


@dataclass(frozen=True)
class SuggestionMessage:
    """A way to go on with what is being typed."""

    text: str  # the whole query to take over
    kind: str  # history, folder, place, camera, lens, keyword, year or filter


@dataclass(frozen=True)
class PhotoReply:
    """What is known of one photo."""

    photo_id: int
    path: str
    taken: str | None
    width_px: int
    height_px: int
    format: str
    offline: bool
    place: str = ""  # where it was taken, by name
    hidden: bool = False  # by its owner: found only by `is:hidden`


@dataclass(frozen=True)
class LibraryMessage:
    """One root."""

    path: str
    offline: bool
    id: int


@dataclass(frozen=True)
class RejectedMessage:
    """One file that could not be used."""

    path: str
    reason: str


@dataclass(frozen=True)
class IndexingMessage:
    """What the daemon is doing about new and changed photos."""

    state: str  # idle, working or paused
    done: int  # of the current run
    to_do: int  # of the current run, done ones included; 0 while the disk is still being listed
    photos_per_second: float
    eta_seconds: float | None
    # Why it is paused, where the user did not ask for it: "on battery". Without a daemon, who is
    # at work: "index, process 4711".
    reason: str = ""


@dataclass(frozen=True)
class MovingMessage:
    """The move of a library to another bundle, while the old one answers."""

    bundle: str  # the one to come
    done: int  # photos that are ready for it
    to_do: int  # photos that are not
    waiting_for: list[str]  # folders that are offline and hold some of them


@dataclass(frozen=True)
class BundleMessage:
    """A model at hand."""

    name: str
    version: str
    bytes: int


@dataclass(frozen=True)
class BundlesReply:
    """The models at hand, which of them answers, and which is to come."""

    bundles: list[BundleMessage]
    answering: str
    moving: MovingMessage | None


@dataclass(frozen=True)
class StatusReply:
    """The library and the daemon at one moment."""

    running: bool
    pid: int | None
    version: str
    libraries: list[LibraryMessage]
    photos: int  # distinct photos with a location
    searchable: int  # of those, with an embedding in the current space
    locations: int
    failed: int
    queue: int
    indexing: IndexingMessage
    bundle: str
    space: str
    index: str  # exact or hnsw
    library_bytes: int
    thumbnail_bytes: int
    moving: MovingMessage | None = None
    hidden: int = 0  # photos left out of every search until `is:hidden` asks for them


@dataclass(frozen=True)
class HideReply:
    """Which photos are hidden now and were not, or the other way round."""

    photos: list[int]


@dataclass(frozen=True)
class RetryReply:
    """How many files are read again."""

    files: int


@dataclass(frozen=True)
class ForgetReply:
    """How many photos were in no other library, and are forgotten."""

    photos: int


@dataclass(frozen=True)
class FindingMessage:
    """The outcome of one of doctor's checks."""

    check: str  # database, vectors, libraries, folders, watch, index, disk or photos
    ok: bool  # nothing for the user to do
    found: str
    advice: str  # what to do about it; empty where nothing


@dataclass(frozen=True)
class UnsearchableMessage:
    """A photo file that no search finds, or a folder that cannot be looked into; why, and what to
    do about it."""

    path: str
    reason: str
    advice: str


@dataclass(frozen=True)
class DoctorReply:
    """Everything doctor found. Healthy: nothing needs the user."""

    healthy: bool
    findings: list[FindingMessage]
    unsearchable: list[UnsearchableMessage]


@dataclass(frozen=True)
class ExampleMessage:
    """A search that finds something in this library."""

    query: str
    photo_id: int  # one it finds


@dataclass(frozen=True)
class SettingMessage:
    """One of config.toml's settings. A switch has the range 0..1."""

    name: str
    value: int
    default: int
    low: int
    high: int
    switch: bool


@dataclass(frozen=True)
class PrivacyReply:
    """What the daemon has to do with other computers, counted, and where it keeps things."""

    open_outside: int | None  # connections to other computers now; None: the system does not say
    listening_outside: int | None  # sockets that other computers could reach
    attempts_outside: int  # to connect, send or resolve a name, since the daemon started
    seconds: float  # since then
    home: str
    library_bytes: int
    thumbnail_bytes: int
    log_bytes: int


@dataclass(frozen=True)
class LoginRequest:
    """Exchange a one-time code, or the home's token, for a session cookie."""

    code: str


@dataclass(frozen=True)
class Done:
    """The answer to a request that only does something."""

    ok: bool = True


@dataclass(frozen=True)
class CodeReply:
    """A code that opens one session, once, within a minute."""

    code: str


@dataclass(frozen=True)
class ErrorBody:
    """What went wrong, and what to do next."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True)
class ErrorReply:
    error: ErrorBody
