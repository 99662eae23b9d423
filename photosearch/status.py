"""What a library holds, with or without a daemon beside it."""

from __future__ import annotations

from dataclasses import replace

from photosearch import __version__, protocol
from photosearch.bundle import Bundle
from photosearch.home import Home, find_owner, owner_command
from photosearch.library import LibraryReader, size_bytes
from photosearch.thumbnails import Thumbnails

IDLE = protocol.IndexingMessage("idle", 0, 0, 0.0, None)


def library_status(
    reader: LibraryReader | None,
    place: Home,
    bundle: Bundle,
    *,
    searchable: int | None = None,
    thumbnail_bytes: int | None = None,
) -> protocol.StatusReply:
    """The status of a home nobody serves; a daemon knows how many photos its index holds and
    how large the thumbnails were a while ago, and replaces what it knows better."""
    space = bundle.space if searchable is None else None
    counts = reader.counts(space) if reader else None
    roots = reader.roots() if reader else []
    return protocol.StatusReply(
        running=False,
        pid=None,
        version=__version__,
        libraries=[
            protocol.LibraryMessage(root.path, root.offline, root.root_id) for root in roots
        ],
        photos=counts.photos if counts else 0,
        searchable=searchable if searchable is not None else counts.embedded if counts else 0,
        locations=counts.locations if counts else 0,
        failed=counts.rejected if counts else 0,
        queue=0,
        indexing=_indexing(place),
        bundle=bundle.name,
        space=bundle.space,
        index="none",
        hidden=reader.hidden() if reader else 0,
        library_bytes=size_bytes(place.library),
        thumbnail_bytes=(
            Thumbnails(place.thumbnails).size_bytes()
            if thumbnail_bytes is None
            else thumbnail_bytes
        ),
    )


def _indexing(place: Home) -> protocol.IndexingMessage:
    """Whether some process, such as `index`, is at work here; how far it is it keeps to itself."""
    owner = find_owner(place)
    if owner is None:
        return IDLE
    command = owner_command(place)
    who = f"{command}, process {owner}" if command else f"process {owner}"
    return replace(IDLE, state="working", reason=who)
