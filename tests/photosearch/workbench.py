"""What the product's tests share: a library on a fake encoder, and photos made on the spot."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from photosearch.decode import DecodePool
from photosearch.ingest import Ingest, Totals
from photosearch.library import Library
from photosearch.runtimes.fake import FakeEncoder
from photosearch.thumbnails import Thumbnails
from photosearch.types import Root


def picture(seed: int, *, width: int = 64, height: int = 48) -> Image.Image:
    """A picture of smooth colour, different for every seed, and the same each time."""
    coarse = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(seed: int, **size: int) -> bytes:
    file = io.BytesIO()
    picture(seed, **size).save(file, "JPEG", quality=90)
    return file.getvalue()


@dataclass
class Bench:
    """A library with its disk, its encoder and its ingest; settles at once."""

    home: Path
    disk: Path
    encoder: FakeEncoder
    library: Library
    ingest: Ingest
    root: Root

    def sync(self) -> Totals:
        totals = Totals()
        assert self.ingest.sync(self.root, totals) == []
        self.library.index.exact.check()
        return totals

    def write(self, name: str, data: bytes) -> Path:
        file = self.disk / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def paths(self) -> set[str]:
        """What the library says is on disk, usable photos only."""
        known = self.library.known_under(self.root.root_id, b"")
        return {path.decode() for path, place in known.items() if place.photo_id is not None}

    def rejected(self) -> dict[str, str]:
        known = self.library.known_under(self.root.root_id, b"")
        return {path.decode(): place.rejected for path, place in known.items() if place.rejected}


def open_fake_library(home: Path, encoder: FakeEncoder) -> Library:
    return Library(home / "library.db", space=encoder.space, dim=encoder.dim, bundle="fake")


def make_ingest(library: Library, encoder: FakeEncoder, pool: DecodePool, home: Path) -> Ingest:
    """Files count as settled at once: tests write them whole."""
    return Ingest(library, encoder, pool, Thumbnails(home / "thumbnails"), settle_ns=0)


def spaces(library: Library) -> dict[str, int]:
    """How many vectors each space of the file holds."""
    with library.reader.reading() as db:
        return dict(
            db.execute(
                "SELECT name, (SELECT count(*) FROM embeddings WHERE space_id = s.id) FROM spaces s"
            ).fetchall()
        )
