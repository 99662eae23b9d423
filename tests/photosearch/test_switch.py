"""From one bundle to another: the old space answers until the new one is whole."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from desk import fake_bundle
from toy import make_toy_bundle, painted
from workbench import Bench, jpeg, make_ingest, open_fake_library, spaces

from photosearch.bundle import Bundle, open_bundle
from photosearch.cli import main
from photosearch.daemon import Daemon
from photosearch.decode import DecodePool
from photosearch.encoder import open_encoder
from photosearch.errors import BundleError
from photosearch.home import Home
from photosearch.library import Library
from photosearch.runtimes.fake import FakeEncoder
from photosearch.settings import Settings
from photosearch.switch import Plan, Switch, plan

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
NEW = FakeEncoder(dim=8, space="new-space", side_px=24)


def new_bundle(bench: Bench, tmp_path: Path) -> Bundle:
    how = NEW.preprocess
    return replace(fake_bundle(tmp_path, bench), name="new", space=NEW.space, dim=8, preprocess=how)


def begin(bench: Bench, tmp_path: Path, pool: DecodePool) -> Switch:
    return Switch(
        bench.library,
        new_bundle(bench, tmp_path),
        FakeEncoder(dim=8, space=NEW.space, side_px=24),
        pool,
    )


# --- what to do -----------------------------------------------------------------------------------


def test_what_answers_and_what_is_to_come(bench: Bench, tmp_path: Path) -> None:
    old = fake_bundle(tmp_path, bench)
    new = new_bundle(bench, tmp_path)
    twin = replace(old, name="twin")
    stored = (old.space, old.dim, old.name)
    assert plan(None, new, [old, new]) == Plan(new, None)  # nothing embedded yet
    assert plan(stored, old, [old, new]) == Plan(old, None)
    assert plan(stored, new, [old, new]) == Plan(old, new)
    assert plan(stored, twin, [old, new, twin]) == Plan(twin, None)  # one space: no reading again
    assert plan(stored, new, [new]) == Plan(new, None)  # the old bundle is gone
    assert plan(("x", 3, "other"), new, [old, new]) == Plan(new, None)


def test_the_oldest_space_with_vectors_answers(
    bench: Bench, tmp_path: Path, pool: DecodePool
) -> None:
    assert bench.library.reader.answering() is None
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    begin(bench, tmp_path, pool).step()
    assert spaces(bench.library) == {bench.encoder.space: 1, NEW.space: 1}
    assert bench.library.reader.answering() == (bench.encoder.space, bench.encoder.dim, "fake")


# --- the move -------------------------------------------------------------------------------------


def test_the_old_space_answers_until_the_new_one_is_whole(
    bench: Bench, tmp_path: Path, pool: DecodePool
) -> None:
    for number in range(20):
        bench.write(f"{number}.jpg", jpeg(number))
    bench.sync()
    before = bench.library.index.search(bench.encoder.texts(["x"])[0], 20)[0].tolist()
    switch = begin(bench, tmp_path, pool)
    assert (switch.seen.done, switch.seen.to_do) == (0, 20)
    assert switch.step()
    assert not switch.complete
    assert 0 < switch.seen.done < 20
    bench.write("while.jpg", jpeg(500))  # added in the middle
    bench.sync()
    assert len(bench.library.index) == 21
    assert bench.library.index.search(bench.encoder.texts(["x"])[0], 21)[0].tolist() != []
    switch.run()
    assert switch.complete
    assert spaces(bench.library) == {bench.encoder.space: 21, NEW.space: 21}
    assert set(before) <= set(
        bench.library.index.search(bench.encoder.texts(["x"])[0], 21)[0].tolist()
    )
    switch.finish()
    assert spaces(bench.library) == {NEW.space: 21}
    assert bench.library.space == NEW.space
    assert len(bench.library.index) == 21
    query = switch.encoder.texts(["x"])[0]
    assert bench.library.index.search(query, 1)[0].size == 1
    assert bench.library.reader.answering() == (NEW.space, 8, "new")


def test_it_can_be_rolled_back_until_it_is_finished(
    bench: Bench, tmp_path: Path, pool: DecodePool
) -> None:
    for number in range(4):
        bench.write(f"{number}.jpg", jpeg(number))
    bench.sync()
    switch = begin(bench, tmp_path, pool)
    switch.run()
    assert switch.complete
    switch.roll_back()
    assert spaces(bench.library) == {bench.encoder.space: 4}
    assert len(bench.library.index) == 4


def test_photos_of_a_drive_that_is_away_are_waited_for(
    bench: Bench, tmp_path: Path, pool: DecodePool
) -> None:
    away = tmp_path / "drive"
    away.mkdir()
    (away / "far.jpg").write_bytes(jpeg(9))
    bench.write("near.jpg", jpeg(1))
    bench.sync()
    from photosearch.ingest import Totals

    root = bench.library.add_root(str(away))
    bench.ingest.sync(root, Totals())
    away.rename(tmp_path / "unplugged")
    switch = begin(bench, tmp_path, pool)
    switch.run()
    assert not switch.complete
    assert switch.seen.waiting_for == (str(away),)
    assert len(bench.library.index) == 2  # both are still found
    (tmp_path / "unplugged").rename(away)
    switch.run()
    assert switch.complete
    switch.finish()
    assert len(bench.library.index) == 2


def test_a_file_that_cannot_be_read_any_more_does_not_hold_it_up(
    bench: Bench, tmp_path: Path, pool: DecodePool
) -> None:
    bench.write("good.jpg", jpeg(1))
    bad = bench.write("bad.jpg", jpeg(2))
    bench.sync()
    stat = bad.stat()
    bad.write_bytes(b"x" * stat.st_size)  # the disk went bad under the same size and time
    os.utime(bad, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    switch = begin(bench, tmp_path, pool)
    switch.run()
    assert switch.complete
    switch.finish()
    assert spaces(bench.library) == {NEW.space: 1}
    # It is not forgotten in silence: the next look records why it is not searchable.
    bench.ingest = make_ingest(bench.library, switch.encoder, pool, bench.home)  # type: ignore[arg-type]
    bench.sync()
    assert list(bench.rejected()) == ["bad.jpg"]


def test_an_edit_in_the_middle_is_embedded_as_it_is_now(
    bench: Bench, tmp_path: Path, pool: DecodePool
) -> None:
    file = bench.write("a.jpg", jpeg(1))
    bench.sync()
    switch = begin(bench, tmp_path, pool)
    file.write_bytes(jpeg(2))  # other bytes, and the library does not know yet
    switch.run()
    assert spaces(bench.library)[NEW.space] == 0  # those bytes are no photo of the library
    bench.sync()
    switch.run()
    assert switch.complete
    switch.finish()
    assert len(bench.library.index) == 1


def test_a_later_start_goes_on_where_it_was(bench: Bench, tmp_path: Path, pool: DecodePool) -> None:
    for number in range(20):
        bench.write(f"{number}.jpg", jpeg(number))
    bench.sync()
    begin(bench, tmp_path, pool).step()
    done = spaces(bench.library)[NEW.space]
    assert 0 < done < 20
    bench.library.close()  # as after a crash: the next process opens what was committed
    library = open_fake_library(bench.home, bench.encoder)
    bench.library = library
    assert len(library.index) == 20
    encoder = FakeEncoder(dim=8, space=NEW.space, side_px=24)
    switch = Switch(library, new_bundle(bench, tmp_path), encoder, pool)
    assert switch.seen.done == done
    switch.run()
    assert encoder.image_calls == 20 - done  # nothing twice
    switch.finish()
    assert spaces(library) == {NEW.space: 20}


def test_what_was_given_up_is_cleared_up(bench: Bench, tmp_path: Path, pool: DecodePool) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    begin(bench, tmp_path, pool).step()
    bench.library.drop_other_spaces()
    assert spaces(bench.library) == {bench.encoder.space: 1}


# --- the program ----------------------------------------------------------------------------------


def run(home: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["--home", str(home), *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def status(home: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(home, capsys, "status", "--json")[1])
    return found


def test_use_moves_at_the_next_index_and_back_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, disk = tmp_path / "home", tmp_path / "photos"
    disk.mkdir()
    for colour in ("red", "blue"):
        (disk / f"{colour}.jpg").write_bytes(painted(colour))
    make_toy_bundle(home / "bundles", name="one")
    make_toy_bundle(home / "bundles", name="two", space="toy-turned")
    assert run(home, capsys, "bundle", "use", "one")[0] == 0
    assert run(home, capsys, "index", "--library", str(disk))[0] == 0
    assert "one answers until" in run(home, capsys, "bundle", "use", "two")[2]
    assert status(home, capsys)["bundle"] == "one"
    assert "red.jpg" in run(home, capsys, "search", "red")[1].splitlines()[0]
    # Going back before anything was done leaves all as it was.
    assert "one answers" in run(home, capsys, "bundle", "use", "one")[2]
    assert run(home, capsys, "bundle", "use", "two")[0] == 0
    code, _, said = run(home, capsys, "index")
    assert code == 0
    assert "two answers from now on" in said
    found = status(home, capsys)
    assert (found["bundle"], found["space"], found["searchable"]) == ("two", "toy-turned", 2)
    assert "blue.jpg" in run(home, capsys, "search", "blue")[1].splitlines()[0]


def test_use_of_what_is_not_there_or_damaged_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    made = make_toy_bundle(home / "bundles", name="one")
    code, _, said = run(home, capsys, "bundle", "use", "none")
    assert (code, "no bundle named none" in said) == (3, True)
    (made / "text.onnx").write_bytes(b"cut")
    code, _, said = run(home, capsys, "bundle", "use", "one")
    assert code == 3
    assert "damaged (text.onnx" in said
    assert not (home / "chosen-bundle").exists()


@dataclass
class Moving:
    """A running daemon between two bundles."""

    daemon: Daemon
    home: Path

    def best(self, text: str) -> str:
        reply = self.daemon.search(q=text, k=3, offset=0, show_all=True, like=None)
        return Path(reply.hits[0].path).name

    def until(self, condition: Callable[[], bool]) -> None:
        """Poll; whatever happens meanwhile, a search finds the right photo."""
        deadline = time.monotonic() + 60
        while not condition():
            assert self.best("red") == "red.jpg"
            assert time.monotonic() < deadline, self.daemon.bundles.reply()
            time.sleep(0.05)


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[Moving]:
    disk, place = tmp_path / "photos", Home(tmp_path / "home")
    disk.mkdir()
    for colour in ("red", "green", "blue"):
        (disk / f"{colour}.jpg").write_bytes(painted(colour))
    one = open_bundle(make_toy_bundle(place.bundles, name="one"))
    make_toy_bundle(place.bundles, name="two", space="toy-turned")
    make_toy_bundle(place.bundles, name="twin")
    library = Library(place.library, space=one.space, dim=one.dim, bundle=one.name)
    library.add_root(str(disk))
    daemon = Daemon(
        place,
        Settings(read_text=False),
        one,
        open_encoder(one, threads=1),
        library,
        bundle_folders=(place.bundles,),
    )
    daemon.bundles.begin(None)
    daemon.start()
    made = Moving(daemon, place.directory)
    try:
        deadline = time.monotonic() + 60
        while len(library.index) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        yield made
    finally:
        daemon.stop()


def test_a_running_daemon_moves_and_answers_meanwhile(moving: Moving) -> None:
    daemon = moving.daemon
    daemon.indexer.pause()  # so that the middle of it can be looked at
    reply = daemon.bundles.use("two")
    assert reply.answering == "one"
    assert reply.moving is not None
    assert (reply.moving.bundle, reply.moving.to_do) == ("two", 3)
    assert {bundle.name for bundle in reply.bundles} == {"one", "two", "twin"}
    assert daemon.status().moving == reply.moving
    assert moving.best("blue") == "blue.jpg"
    daemon.bundles.use("one")  # changed our mind
    assert daemon.bundles.moving() is None
    assert spaces(daemon.library) == {"toy-colours": 3}
    daemon.bundles.use("two")
    daemon.indexer.resume()
    moving.until(lambda: daemon.bundle.name == "two")
    assert spaces(daemon.library) == {"toy-turned": 3}
    assert (daemon.library.space, daemon.bundles.moving()) == ("toy-turned", None)
    assert [moving.best(colour) for colour in ("red", "green", "blue")] == [
        "red.jpg",
        "green.jpg",
        "blue.jpg",
    ]
    new = moving.home.parent / "photos" / "yellow.jpg"
    new.write_bytes(painted("yellow"))  # what comes after is embedded by the new bundle
    moving.until(lambda: len(daemon.library.index) == 4)
    assert moving.best("yellow") == "yellow.jpg"


def test_another_bundle_of_the_same_space_answers_at_once(moving: Moving) -> None:
    reply = moving.daemon.bundles.use("twin")
    assert (reply.answering, reply.moving) == ("twin", None)
    assert moving.best("green") == "green.jpg"


def test_a_bundle_that_is_not_there_changes_nothing(moving: Moving) -> None:
    with pytest.raises(BundleError, match="no bundle named none"):
        moving.daemon.bundles.use("none")
    (moving.home / "bundles" / "two" / "image.onnx").write_bytes(b"cut")
    with pytest.raises(BundleError, match="damaged"):
        moving.daemon.bundles.use("two")
    assert moving.daemon.bundle.name == "one"
    assert not (moving.home / "chosen-bundle").exists()


@posix
@pytest.mark.slow
def test_the_program_killed_in_the_middle_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`index` moving to another bundle, killed by the system, started again."""
    home, disk = tmp_path / "home", tmp_path / "photos"
    disk.mkdir()
    for number in range(120):
        (disk / f"{number}.jpg").write_bytes(painted("red" if number % 2 else "blue", seed=number))
    make_toy_bundle(home / "bundles", name="one")
    make_toy_bundle(home / "bundles", name="two", space="toy-turned")
    run(home, capsys, "bundle", "use", "one")
    assert run(home, capsys, "index", "--library", str(disk))[0] == 0
    run(home, capsys, "bundle", "use", "two")
    checkout = Path(__file__).parents[2]
    command = [sys.executable, "-m", "photosearch", "--home", str(home), "index"]
    child = subprocess.Popen(command, cwd=checkout, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while vectors_of(home, "toy-turned") < 16 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert vectors_of(home, "toy-turned") >= 16
    found = status(home, capsys)
    if found["bundle"] == "one":  # else it was quicker than the kill
        assert found["searchable"] == 120
        assert vectors_of(home, "toy-colours") == 120
    assert run(home, capsys, "search", "red")[0] == 0
    assert run(home, capsys, "index")[0] == 0
    assert status(home, capsys)["bundle"] == "two"
    assert (vectors_of(home, "toy-turned"), vectors_of(home, "toy-colours")) == (120, 0)


def vectors_of(home: Path, space: str) -> int:
    db = sqlite3.connect(f"{(home / 'library.db').as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        row = db.execute(
            "SELECT count(*) FROM embeddings e JOIN spaces s ON s.id = e.space_id WHERE name = ?",
            (space,),
        ).fetchone()
        return int(row[0])
    finally:
        db.close()
