"""The indexing thread on a fake encoder: whatever events are lost, sweeps make good."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from workbench import jpeg, open_fake_library

from photosearch import indexer as module
from photosearch.decode import DecodePool
from photosearch.indexer import Indexer
from photosearch.library import Library
from photosearch.runtimes.fake import FakeEncoder
from photosearch.settings import Settings
from photosearch.thumbnails import Thumbnails
from photosearch.types import Root

PATIENCE = 60.0


class Running:
    """A library that is watched and indexed, on a folder of its own."""

    def __init__(self, base: Path, worker: DecodePool, **settings: int) -> None:
        self.disk, self.home = base / "disk", base / "home"
        self.disk.mkdir()
        self.home.mkdir()
        self.encoder = FakeEncoder()
        self.library: Library = open_fake_library(self.home, self.encoder)
        self.root = self.library.add_root(str(self.disk))
        self.indexer = Indexer(
            self.library,
            self.encoder,
            Thumbnails(self.home / "thumbnails"),
            Settings(max_cpu=1, read_text=False, **settings),  # one worker
        )
        self.indexer._pool = self.indexer.ingest._pool = worker
        self.indexer.ingest.throttle = module.Throttle(max_cpu=100, threads=1, cores=1)
        self.indexer.ingest._settle_ns = 0

    def photos(self) -> int:
        return len(self.library.index)

    def stop(self) -> None:
        self.indexer._pool = DecodePool(workers=1)  # to close; the tests' is for the next
        self.indexer.stop()
        self.library.close()


@pytest.fixture(scope="module")
def worker() -> Iterator[DecodePool]:
    """One for all of these tests: starting it is the slow part."""
    made = DecodePool(workers=1)
    yield made
    made.close()


@pytest.fixture
def running(tmp_path: Path, worker: DecodePool) -> Iterator[Running]:
    made = Running(tmp_path, worker)
    yield made
    made.stop()


def until(holds: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < PATIENCE, "not within the time promised"
        time.sleep(0.02)


def test_new_photos_come_by_events(running: Running) -> None:
    running.indexer.start()
    until(lambda: running.root.root_id in running.indexer._swept)
    (running.disk / "sub").mkdir()
    (running.disk / "sub" / "a.jpg").write_bytes(jpeg(1))
    until(lambda: running.photos() == 1)


def test_what_no_event_told_is_found_after_sleep(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.Watcher, "watch", lambda self, root: True)  # and is deaf
    monkeypatch.setattr(module, "watched_inodes", lambda: None)
    monkeypatch.setattr(module, "ROOT_CHECK_SECONDS", 0.05)
    running.indexer.start()
    until(lambda: running.root.root_id in running.indexer._swept)
    (running.disk / "a.jpg").write_bytes(jpeg(1))
    time.sleep(0.5)
    assert running.photos() == 0  # nobody said a word
    real = time.time
    monkeypatch.setattr(module.time, "time", lambda: real() + 3600)  # an hour has passed
    until(lambda: running.photos() == 1)


@pytest.fixture
def deaf(running: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """One whose watcher hears nothing, at rest after its first sweep; sub/a.jpg is in it."""
    monkeypatch.setattr(module.Watcher, "watch", lambda self, root: True)
    monkeypatch.setattr(module, "watched_inodes", lambda: None)
    monkeypatch.setattr(module, "ROOT_CHECK_SECONDS", 0.05)
    monkeypatch.setattr(module, "GONE_SECONDS", 0.1)
    (running.disk / "sub").mkdir()
    (running.disk / "sub" / "a.jpg").write_bytes(jpeg(1))
    running.indexer.start()
    until(lambda: running.photos() == 1)
    time.sleep(0.5)
    return running


def test_a_root_that_was_away_between_two_looks_is_swept(deaf: Running) -> None:
    """Whoever looked inside while it was away marked it offline, and what was due then went."""
    (deaf.disk / "sub" / "a.jpg").unlink()
    time.sleep(0.3)
    assert deaf.photos() == 1  # nobody said a word
    deaf.indexer.order(lambda: deaf.library.set_offline(deaf.root.root_id, True) or 0)
    until(lambda: deaf.photos() == 0)
    until(lambda: not deaf.library.reader.roots()[0].offline)


def test_an_event_in_a_folder_that_is_not_there_is_a_reason_to_doubt(deaf: Running) -> None:
    """Events below a folder that moves may name where it was."""
    (deaf.disk / "sub" / "a.jpg").unlink()
    deaf.indexer.hints.path(deaf.root.root_id, b"before/a.jpg")
    until(lambda: deaf.photos() == 0)


@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="asks inotify's own lists")
@pytest.mark.parametrize("why", ["limit", "network"])
def test_a_root_without_events_is_swept_often(
    running: Running, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "limit":  # the system's limit was reached: this folder is not watched
        monkeypatch.setattr(module, "watched_inodes", lambda: set())
        monkeypatch.setattr(module.Watcher, "watch", lambda self, root: True)
    else:
        monkeypatch.setattr(module, "is_network", lambda path: True)
    monkeypatch.setattr(module, "ROOT_CHECK_SECONDS", 0.05)
    monkeypatch.setattr(module, "UNWATCHED_SECONDS", 0.2)
    monkeypatch.setattr(module, "SWEEP_SHARE", 1.0)
    (running.disk / "sub").mkdir()
    running.indexer.start()
    until(lambda: running.root.root_id in running.indexer._unwatched)
    (running.disk / "sub" / "a.jpg").write_bytes(jpeg(1))
    until(lambda: running.photos() == 1)


@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="asks inotify's own lists")
def test_a_folder_that_moved_out_is_let_go(running: Running, tmp_path: Path) -> None:
    (running.disk / "sub").mkdir()
    (running.disk / "sub" / "a.jpg").write_bytes(jpeg(1))
    running.indexer.start()
    until(lambda: running.photos() == 1)
    inode = os.stat(running.disk / "sub").st_ino
    until(lambda: inode in (module.watched_inodes() or set()))
    (running.disk / "sub").rename(tmp_path / "outside")
    until(lambda: running.photos() == 0)
    until(lambda: inode not in (module.watched_inodes() or set()))


@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="asks inotify's own lists")
def test_a_new_folder_that_is_not_watched_is_noticed_at_rest(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As watchdog may lose one that moves while it looks: no sweep is due for a quarter hour."""
    renewed: list[int] = []
    renew, watched = module.Watcher.renew, module.watched_inodes

    def count(self: module.Watcher, root: Root) -> bool:
        renewed.append(root.root_id)
        return renew(self, root)

    def deaf_until_renewed() -> set[int]:
        sub = running.disk / "sub"
        lost = {sub.stat().st_ino} if sub.exists() and not renewed else set()
        return (watched() or set()) - lost

    monkeypatch.setattr(module.Watcher, "renew", count)
    monkeypatch.setattr(module, "watched_inodes", deaf_until_renewed)
    monkeypatch.setattr(module, "GONE_SECONDS", 0.1)
    running.indexer.start()
    until(lambda: running.root.root_id in running.indexer._swept)
    (running.disk / "sub").mkdir()
    (running.disk / "sub" / "a.jpg").write_bytes(jpeg(1))
    until(lambda: renewed == [running.root.root_id])
    until(lambda: running.photos() == 1 and not running.indexer._unwatched)


@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="asks inotify's own lists")
def test_a_folder_that_left_and_returned_is_heard_after_its_old_one_was_hidden(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GONE_SECONDS", 0.1)
    running.indexer.start()
    until(lambda: running.root.root_id in running.indexer._swept)
    (running.disk / "trip/day").mkdir(parents=True)  # no sweep has met them
    (running.disk / "trip/day/a.jpg").write_bytes(jpeg(1))
    until(lambda: running.photos() == 1)
    (running.disk / "trip/day").rename(tmp_path / "outside")
    time.sleep(0.1)  # for watchdog to take it for gone, and the sweep not to come yet
    (tmp_path / "outside").rename(running.disk / "day")
    time.sleep(0.1)
    (running.disk / "trip").rename(running.disk / ".trip")
    until(lambda: not len(running.indexer.hints) and not running.indexer._restless)
    time.sleep(1.0)  # and is at rest: nothing else would look
    (running.disk / "day/b.jpg").write_bytes(jpeg(2))
    until(lambda: running.photos() == 2)


def test_on_battery_nothing_is_indexed_until_mains_are_back(
    tmp_path: Path, worker: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    discharging = [True]
    monkeypatch.setattr(module, "on_battery", lambda: discharging[0])
    monkeypatch.setattr(module, "BATTERY_SECONDS", 0.05)
    monkeypatch.setattr(module, "ROOT_CHECK_SECONDS", 0.05)
    running = Running(tmp_path, worker, pause_on_battery=True)
    try:
        (running.disk / "a.jpg").write_bytes(jpeg(1))
        running.indexer.start()
        until(lambda: running.indexer.indexing().reason == "on battery")
        assert running.indexer.indexing().state == "paused"
        time.sleep(0.3)
        assert running.photos() == 0
        discharging[0] = False
        until(lambda: running.photos() == 1)
    finally:
        running.stop()


def test_paused_is_paused_and_resumed_is_resumed(running: Running) -> None:
    running.indexer.pause()
    running.indexer.start()
    (running.disk / "a.jpg").write_bytes(jpeg(1))
    time.sleep(0.5)
    assert running.photos() == 0
    running.indexer.resume()
    until(lambda: running.photos() == 1)


def test_a_relocated_library_is_known_again_without_a_decode(
    running: Running, tmp_path: Path
) -> None:
    (running.disk / "sub").mkdir()
    (running.disk / "sub" / "a.jpg").write_bytes(jpeg(1))
    running.indexer.ingest.sync(running.root, module.Totals())
    running.disk.rename(tmp_path / "renamed")
    running.library.move_root(running.root.root_id, str(tmp_path / "renamed"))
    totals = module.Totals()
    (root,) = running.library.roots()
    running.indexer.ingest.sync(root, totals)
    assert (totals.unchanged, totals.decoded, running.encoder.image_calls) == (1, 0, 1)


def test_at_rest_the_log_is_emptied_and_thumbnails_are_kept_within_their_limit(
    tmp_path: Path, worker: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROOT_CHECK_SECONDS", 0.05)
    monkeypatch.setattr(module, "TRIM_SECONDS", 0.0)
    running = Running(tmp_path, worker, thumbnail_mb=16)
    try:
        thumbnails = running.indexer._thumbnails
        for number in range(20):
            thumbnails.put(bytes([number]) * 32, b"x" * (1 << 20))
        (running.disk / "a.jpg").write_bytes(jpeg(1))
        wal = running.home / "library.db-wal"
        assert wal.stat().st_size > 0
        running.indexer.start()
        until(lambda: running.photos() == 1)
        until(lambda: thumbnails.size_bytes() <= 16 << 20)
        until(lambda: wal.stat().st_size == 0)
    finally:
        running.stop()
