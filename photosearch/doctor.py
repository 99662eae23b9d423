"""Examine a library: what no search finds and why, what may fail soon, what to do about it.

Reads only. Run by the daemon on the index that answers, or without one on what
the file holds.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from photosearch import protocol, scan
from photosearch.advice import advice_for
from photosearch.errors import LibraryDamaged
from photosearch.home import Home
from photosearch.index.neighbours import Index
from photosearch.library import LibraryReader, size_bytes
from photosearch.numbers import counted
from photosearch.roots import is_at_hand
from photosearch.store.photos import join
from photosearch.types import Matrix, Root

# What the index is tried with, beside the library's own photos: texts lie further from photos
# than photos do, and are the harder questions for a graph.
TEXTS: Final = (
    "people at a table", "a dog on a beach", "a red car", "mountains in winter",
    "a child playing", "a city at night", "flowers in a garden", "a plate of food",
)  # fmt: skip
PHOTO_QUERIES: Final = 24
MIN_RECALL: Final = 0.9
WATCH_SHARE: Final = 0.9  # of the system's watches; beyond it the next new folder may not fit
FREE_BYTES: Final = 512 << 20
NAMED_FOLDERS: Final = 5
INOTIFY_LIMIT: Final = Path("/proc/sys/fs/inotify/max_user_watches")

Finding = protocol.FindingMessage


@dataclass(frozen=True)
class Subject:
    """What is examined."""

    place: Home
    reader: LibraryReader
    space: str
    dim: int
    bundle: str
    index: Index | None  # None: the file is too damaged to open one
    texts: Matrix  # TEXTS embedded
    running: bool  # a daemon is at work on this library


def examine(subject: Subject) -> protocol.DoctorReply:
    """Run every check. A check that cannot run says so and is not ok."""
    findings = [check_database(subject.reader)]
    if not findings[0].ok:  # nothing else it says could be trusted
        return protocol.DoctorReply(False, findings, [])
    unsearchable = unsearchable_photos(subject)
    roots = subject.reader.roots()
    closed = closed_folders(roots, subject.reader)
    findings += [
        check_vectors(subject),
        check_libraries(roots, subject.reader),
        check_folders(closed),
        check_watches(roots),
        check_index(subject),
        check_disk(subject.place),
        check_photos(subject, unsearchable),
    ]
    unsearchable = sorted(unsearchable + closed, key=lambda item: item.path)
    return protocol.DoctorReply(all(item.ok for item in findings), findings, unsearchable)


def check_database(reader: LibraryReader) -> Finding:
    """PRAGMA integrity_check and foreign_key_check, on the whole file."""
    restore = (
        "Your photos are not affected. Stop photosearch, move library.db and the files beside it "
        "named library.db-* away (or put a backup in their place), and start it again: the "
        "library is rebuilt from the photos."
    )
    try:
        problems = reader.problems()
    except LibraryDamaged as error:
        problems = [str(error)]
    if problems:
        return Finding("database", False, f"damaged: {'; '.join(problems[:3])}", restore)
    megabytes = size_bytes(reader.file) / 1e6
    rows = ", ".join(f"{count:,} {name}" for name, count in reader.rows_by_table().items() if count)
    return Finding("database", True, f"sound, {megabytes:.1f} MB: {rows or 'empty'}", "")


def check_vectors(subject: Subject) -> Finding:
    """Vectors of the wrong length, not of unit length, or not numbers."""
    bad = subject.reader.unsound_embeddings(subject.space, subject.dim)
    if not bad:
        return Finding("vectors", True, "all are unit vectors of the right length", "")
    advice = "Start photosearch again: it drops them and reads their photos anew."
    return Finding("vectors", False, f"{len(bad):,} are damaged and left out of searches", advice)


def check_libraries(roots: list[Root], reader: LibraryReader) -> Finding:
    """Folders that cannot be listed now, or are the empty mount points of drives that are away."""
    if not roots:
        advice = "Name a folder of photos: photosearch --library DIR"
        return Finding("libraries", False, "there is none yet", advice)
    away = [root.path for root in roots if not is_at_hand(root, reader.devices)]
    if not away:
        return Finding("libraries", True, f"{len(roots)} at hand", "")
    advice = (
        "Connect the drive or share, or check the folder's permissions; its photos stay "
        "searchable meanwhile. If it is gone for good: photosearch forget DIR"
    )
    return Finding("libraries", False, f"offline: {', '.join(map(printable, away))}", advice)


FOLDER_ADVICE: Final = (
    "Give yourself the right to list and enter it. Until then new photos in it are not found; "
    "those known already stay searchable."
)


def closed_folders(roots: list[Root], reader: LibraryReader) -> list[protocol.UnsearchableMessage]:
    """Folders inside libraries at hand that cannot be looked into now, with the reason."""
    return [
        protocol.UnsearchableMessage(join(os.fsencode(root.path), folder), reason, FOLDER_ADVICE)
        for root in roots
        if is_at_hand(root, reader.devices)
        for folder, reason in sorted(scan.unreadable_folders(root.path).items())
    ]


def check_folders(closed: list[protocol.UnsearchableMessage]) -> Finding:
    """Whether every folder inside the libraries can be looked into."""
    if not closed:
        return Finding("folders", True, "all can be looked into", "")
    named = "; ".join(f"{printable(item.path)} ({item.reason})" for item in closed[:NAMED_FOLDERS])
    more = f"; and {len(closed) - NAMED_FOLDERS:,} more" if len(closed) > NAMED_FOLDERS else ""
    return Finding("folders", False, f"cannot be looked into: {named}{more}", FOLDER_ADVICE)


def check_watches(roots: list[Root]) -> Finding:
    """Linux's limit on watched folders, against how many there are and what others use."""
    if not sys.platform.startswith("linux") or not INOTIFY_LIMIT.exists():
        return Finding("watch", True, "this system sets no limit on watched folders", "")
    limit = int(INOTIFY_LIMIT.read_text())
    folders = sum(count_folders(root.path) for root in roots)
    others = watches_of_others()
    mine = counted(folders, "folder")
    found = f"{mine} to watch, {others:,} watched by other programs, limit {limit:,}"
    if folders + others <= WATCH_SHARE * limit:
        return Finding("watch", True, found, "")
    wanted = max(524_288, 2 * (folders + others))
    advice = (
        f"Raise it: sudo sysctl fs.inotify.max_user_watches={wanted}, and to keep it, put "
        f"'fs.inotify.max_user_watches={wanted}' into /etc/sysctl.d/50-photosearch.conf. Until "
        "then changes in folders left over are seen by the periodic look at every folder."
    )
    return Finding("watch", False, found, advice)


def check_index(subject: Subject) -> Finding:
    """What searches find, against exact search, on photos of the library and on texts."""
    index = subject.index
    if index is None or index.kind == "exact":
        return Finding("index", True, "exact: nothing is missed", "")
    photos = index.recall(index.sample(PHOTO_QUERIES))
    texts = index.recall(subject.texts) if len(subject.texts) else 1.0
    found = f"{index.kind}: finds {texts:.1%} of the ten best for texts, {photos:.1%} for photos"
    if min(photos, texts) >= MIN_RECALL:
        return Finding("index", True, found, "")
    return Finding(
        "index",
        False,
        found,
        "Answers are right but not complete. Please report this; deleting nothing is needed.",
    )


def check_disk(place: Home) -> Finding:
    """Room for the library to grow, and to be cleaned up in."""
    try:
        free = shutil.disk_usage(place.directory).free
    except OSError as error:
        return Finding("disk", False, f"{place.directory}: {error.strerror}", "Check the disk.")
    found = f"{free / 1e9:.1f} GB free where the library is kept"
    if free >= FREE_BYTES:
        return Finding("disk", True, found, "")
    return Finding("disk", False, found, "Free some space: with none left, new photos wait.")


def check_photos(subject: Subject, bad: list[protocol.UnsearchableMessage]) -> Finding:
    """How many of the files are searchable."""
    counts = subject.reader.counts(subject.space)
    photos, files = counted(counts.embedded, "photo"), counted(len(bad), "file is", "files are")
    found = f"{photos} searchable, {files} not"
    advices = Counter(item.advice for item in bad if item.advice)
    if not advices:
        return Finding("photos", True, found, "")
    ((most, _),) = advices.most_common(1)
    more = (
        " Others need something else: each file is listed with its own." if len(advices) > 1 else ""
    )
    return Finding("photos", False, found, most + more)


def unsearchable_photos(subject: Subject) -> list[protocol.UnsearchableMessage]:
    """Every file known that no search finds, with its reason."""
    found = [
        protocol.UnsearchableMessage(
            join(os.fsencode(root.path), place.path),
            place.rejected or "",
            advice_for(place.rejected or ""),
        )
        for root, place in subject.reader.rejected()
    ]
    # While a daemon is at work these need nobody.
    advice = "" if subject.running else "Run `photosearch index`, or start photosearch."
    waiting = f"not read by the model {subject.bundle} yet"
    for path in subject.reader.unembedded_paths(subject.space):
        found.append(protocol.UnsearchableMessage(path, waiting, advice))
    unsound = subject.reader.unsound_embeddings(subject.space, subject.dim)
    for place in subject.reader.places(unsound).values():
        found.append(
            protocol.UnsearchableMessage(
                place.path, "its vector is damaged", "Start photosearch again: it is read anew."
            )
        )
    return sorted(found, key=lambda item: item.path)


# --- small things -----------------------------------------------------------------------------


def count_folders(root: str) -> int:
    """Folders a recursive watch needs one watch each for; links are not followed."""
    return sum(1 for _ in os.walk(root))


def watches_of_others() -> int:
    """inotify watches this user's other processes hold, as far as /proc tells."""
    total = 0
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if process.stat().st_uid != os.getuid():
                continue
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) == "anon_inode:inotify":
                    info = process / "fdinfo" / descriptor.name
                    total += info.read_text().count("inotify wd:")
        except OSError:
            continue  # it ended, or it is not ours to look at
    return total


def printable(path: str) -> str:
    return path.encode("utf-8", "replace").decode()
