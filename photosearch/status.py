"""What a library holds, with or without a daemon beside it."""

from __future__ import annotations

from photosearch import __version__, protocol
from photosearch.bundle import Bundle
from photosearch.home import Home
from photosearch.library import LibraryReader, size_bytes

IDLE = protocol.IndexingMessage("idle", 0, 0, 0.0, None)


def library_status(
    reader: LibraryReader | None, place: Home, bundle: Bundle
) -> protocol.StatusReply:
    """The status of a home nobody serves; a daemon replaces what it knows better."""
    counts = reader.counts(bundle.space) if reader else None
    roots = reader.roots() if reader else []
    return protocol.StatusReply(
        running=False,
        pid=None,
        version=__version__,
        libraries=[
            protocol.LibraryMessage(root.path, root.offline, root.root_id) for root in roots
        ],
        photos=counts.photos if counts else 0,
        searchable=counts.embedded if counts else 0,
        locations=counts.locations if counts else 0,
        failed=counts.rejected if counts else 0,
        queue=0,
        indexing=IDLE,
        bundle=bundle.name,
        space=bundle.space,
        index="none",
        library_bytes=size_bytes(place.library),
        thumbnail_bytes=0,
    )
