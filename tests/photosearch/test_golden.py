"""Libraries written by released programs are kept for ever: today's code opens and searches them.

To add one when a release changes the schema:
`python -m tests.photosearch.test_golden` from the checkout's root, once.
"""

from __future__ import annotations

import lzma
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from photosearch.library import Changes, Embedded, Library, open_library_reader
from photosearch.store import schema
from photosearch.store.connection import open_writer
from photosearch.types import Facts, Stamp

FOLDER = Path(__file__).parent.parent / "data" / "libraries"
DIM = 4
VECTORS = np.eye(DIM, dtype=np.float32)
SPACE = "golden-space"
FACTS = Facts(taken="2019-07-14T18:30:05", camera="Apple iPhone 12", caption="A dog", iso=800)


def write_golden(file: Path) -> None:
    """Three photos in two places, one rejected file, in a root that is not there."""
    library = Library(file, space=SPACE, dim=DIM, bundle="golden")
    root = library.add_root("/golden/photos")
    changes = Changes(root.root_id)
    for number in range(3):
        places = [(f"{number}.jpg".encode(), Stamp(100 + number, 10**18, 1, 10 + number))]
        if number == 0:
            places.append((b"copy/\xff.jpg", Stamp(100, 10**18, 1, 50)))
        changes.embedded.append(
            Embedded(
                bytes([number]) * 32, "JPEG", 40, 30, "2019-07-14T18:30:05", VECTORS[number],
                tuple(places), 0x102030, FACTS,
            )
        )  # fmt: skip
    changes.rejected.append((b"bad.jpg", Stamp(5, 10**18, 1, 60), "damaged: cut short"))
    library.commit(changes, now_ns=10**18)
    library.close()
    db = open_writer(file)
    db.execute("PRAGMA journal_mode = DELETE")  # one file, without its journal
    db.close()


GOLDEN = sorted(FOLDER.glob("v*.db*"))  # from v5 on compressed: most of a page is zeros


def unpack(golden: Path, file: Path) -> None:
    if golden.suffix == ".xz":
        file.write_bytes(lzma.decompress(golden.read_bytes()))
    else:
        shutil.copy(golden, file)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda file: file.name.split(".")[0])
def test_a_library_of_every_released_schema_opens_and_answers(golden: Path, tmp_path: Path) -> None:
    file = tmp_path / "library.db"
    unpack(golden, file)
    library = Library(file, space=SPACE, dim=DIM, bundle="golden")
    try:
        ids = [library.index.search(VECTORS[number], 1)[0].item() for number in range(3)]
        places = library.reader.places(ids)
        assert [places[photo_id].path for photo_id in ids] == [
            f"/golden/photos/{number}.jpg" for number in range(3)
        ]
        assert places[ids[0]].photo.taken == "2019-07-14T18:30:05"
        version = int(golden.name.split(".")[0][1:])
        knows_colours = version >= 4
        assert places[ids[0]].photo.colour == (0x102030 if knows_colours else None)
        told = library.reader.facts(ids)
        assert told[ids[1]].facts.camera == "Apple iPhone 12" if version >= 5 else not told
        known = library.known_under(1, b"")
        assert known[b"copy/\xff.jpg"].photo_id == ids[0]
        assert known[b"bad.jpg"].rejected == "damaged: cut short"
    finally:
        library.close()


def test_a_reader_brings_an_older_library_up_to_date_first(tmp_path: Path) -> None:
    file = tmp_path / "library.db"
    db = open_writer(file)
    schema.MIGRATIONS[0](db)
    db.execute("PRAGMA user_version = 1")
    db.close()
    reader = open_library_reader(file)
    assert reader is not None
    assert reader.schema_is_current()
    reader.close()


def test_there_is_a_golden_library_of_the_newest_schema() -> None:
    assert list(FOLDER.glob(f"v{len(schema.MIGRATIONS)}.db*"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "library.db"
        write_golden(made)
        packed = FOLDER / f"v{len(schema.MIGRATIONS)}.db.xz"
        packed.write_bytes(lzma.compress(made.read_bytes()))
