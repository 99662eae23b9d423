"""What the product's tests share: a library on a fake encoder, and photos made on the spot."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from photosearch.decode import DecodePool
from photosearch.ingest import Ingest, Totals
from photosearch.library import Library
from photosearch.runtimes.fake import FakeEncoder
from photosearch.thumbnails import Thumbnails
from photosearch.types import Root

if TYPE_CHECKING:
    from desk import Desk
    from pages import Daemon as PageDaemon
    from pages import Opener
    from playwright.sync_api import Browser


def picture(seed: int, *, width: int = 64, height: int = 48) -> Image.Image:
    """A picture of smooth colour, different for every seed, and the same each time."""
    coarse = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(seed: int, **size: int) -> bytes:
    file = io.BytesIO()
    picture(seed, **size).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.fixture(scope="session")
def pool() -> Iterator[DecodePool]:
    """Two decode workers for the whole run: starting them is the slow part."""
    made = DecodePool(workers=2, max_seconds=20.0)
    yield made
    made.close()


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


BenchMaker = Callable[[], Bench]


@pytest.fixture
def bench(tmp_path: Path, pool: DecodePool) -> Iterator[Bench]:
    home, disk = tmp_path / "home", tmp_path / "photos"
    home.mkdir()
    disk.mkdir()
    encoder = FakeEncoder()
    library = open_fake_library(home, encoder)
    ingest = make_ingest(library, encoder, pool, home)
    yield Bench(home, disk, encoder, library, ingest, library.add_root(str(disk)))
    library.close()


def open_fake_library(home: Path, encoder: FakeEncoder) -> Library:
    return Library(home / "library.db", space=encoder.space, dim=encoder.dim, bundle="fake")


def make_ingest(library: Library, encoder: FakeEncoder, pool: DecodePool, home: Path) -> Ingest:
    """Files count as settled at once: tests write them whole."""
    return Ingest(library, encoder, pool, Thumbnails(home / "thumbnails"), settle_ns=0)


@pytest.fixture
def desk(bench: Bench, tmp_path: Path) -> Iterator[Desk]:
    """Six photos and a file that is none, behind the API."""
    from desk import BASE, PORT, Desk, fake_bundle
    from starlette.testclient import TestClient

    from photosearch.api import create_app
    from photosearch.daemon import Daemon
    from photosearch.home import Home
    from photosearch.settings import Settings

    for number in range(6):
        bench.write(f"{number}.jpg", jpeg(number, width=800, height=600))
    bench.write("bad.jpg", b"no photo")
    bench.sync()
    made = Daemon(
        Home(bench.home), Settings(), fake_bundle(tmp_path, bench), bench.encoder, bench.library
    )
    yield Desk(made, TestClient(create_app(made, PORT), base_url=BASE), bench)
    made._previews.close()


# --- for the tests of the page: see pages.py --------------------------------------------------


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import toy

    made: Path = toy.make_toy_bundle(tmp_path_factory.mktemp("bundle"))
    return made


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory, toy_bundle: Path) -> Iterator[PageDaemon]:
    """One for all tests of the page: they leave its photos as they found them."""
    import pages

    disk = tmp_path_factory.mktemp("photos")
    pages.write_library(disk)
    running = pages.start_daemon(tmp_path_factory.mktemp("home"), disk, bundle=toy_bundle)
    try:
        running.wait_until_indexed(pages.REDS + pages.GREENS)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for each file of tests: where playwright runs, no other event loop may."""
    import pages
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        launched = tool.chromium.launch(executable_path=pages.CHROMIUM, args=pages.ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Browser, daemon: PageDaemon) -> Iterator[Opener]:
    import pages

    yield from pages.opening(browser, daemon)
