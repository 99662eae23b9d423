"""Store and index behind one writer and many readers.

changes.py what a commit does · writer.py the Library · reader.py everyone else ·
succession.py the space to come ·
opening.py the index as the file has it · files.py sizes and names on disk.
"""

from photosearch.library.changes import Changes, Embedded
from photosearch.library.files import size_bytes
from photosearch.library.reader import LibraryReader, migrate, open_library_reader
from photosearch.library.succession import Succession
from photosearch.library.writer import ORPHAN_GRACE_NS, Library

__all__ = [
    "ORPHAN_GRACE_NS",
    "Changes",
    "Embedded",
    "Library",
    "LibraryReader",
    "Succession",
    "migrate",
    "open_library_reader",
    "size_bytes",
]
