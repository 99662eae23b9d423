"""Fixtures of the product's tests, made of what workbench.py, desk.py, pages.py and
stand.py hold."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from workbench import Bench, jpeg, make_ingest, open_fake_library

from photosearch.decode import DecodePool
from photosearch.runtimes.fake import FakeEncoder

if TYPE_CHECKING:
    from desk import Desk
    from pages import Daemon as PageDaemon
    from pages import Opener
    from playwright.sync_api import Browser
    from pytestqt.qtbot import QtBot
    from stand import Stand

    from photosearch.desktop.bar import Bar

pytest.register_assert_rewrite("reading")  # what it checks is to be told as a test's own


@pytest.fixture(scope="session")
def pool() -> Iterator[DecodePool]:
    """Two decode workers for the whole run: starting them is the slow part."""
    made = DecodePool(workers=2, max_seconds=20.0)
    yield made
    made.close()


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


# --- for the tests of the native bar: see stand.py --------------------------------------------


@pytest.fixture
def stand() -> Stand:
    from stand import Stand

    return Stand()


@pytest.fixture(autouse=True)
def _windows_end_where_they_were_made(request: pytest.FixtureRequest) -> Iterator[None]:
    """A window that is garbage is destroyed by whichever thread collects it; Qt survives that on
    its own thread alone. So the threads of a bar under test collect nothing, and what is left of
    the last one is left alone by the tests that follow."""
    if not request.module.__name__.startswith("test_bar"):
        yield
        return
    gc.unfreeze()
    gc.collect()
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


@pytest.fixture
def bar(qtbot: QtBot, stand: Stand) -> Iterator[Bar]:
    from PySide6.QtGui import QGuiApplication
    from stand import WAIT_MS

    from photosearch.desktop.bar import Bar

    made = Bar(stand)
    qtbot.addWidget(made, before_close_func=lambda each: each.close_down())
    made.appear()
    qtbot.waitUntil(lambda: len(made.photos.hits) == 24, timeout=WAIT_MS)
    yield made
    # Where there is no window system, the clipboard is a static object of Qt's: it deletes what
    # was copied after Python has ended, which crashes, since Python made it. On X11 it ends with
    # the application, before Python does.
    QGuiApplication.clipboard().clear()


@pytest.fixture
def type_in(bar: Bar, qtbot: QtBot) -> Callable[[str], None]:
    """Type and wait until the answer to it is shown."""
    from stand import WAIT_MS

    def typed(text: str) -> None:
        bar.box.clear()
        qtbot.keyClicks(bar.box, text)
        qtbot.waitUntil(lambda: bar._question.text == text.strip(), timeout=WAIT_MS)

    return typed
