"""Sweeps go by what folders looked like, and are never fooled by it."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from workbench import Bench, jpeg

from photosearch import scan
from photosearch.ingest import Totals
from photosearch.library import Library


@pytest.fixture
def tree(bench: Bench) -> Bench:
    for number, name in enumerate(("a.jpg", "one/b.jpg", "one/deep/c.jpg", "two/d.jpg")):
        bench.write(name, jpeg(number))
    bench.write("two/bad.jpg", b"no photo")
    bench.sync()
    return bench


def test_an_unchanged_folder_costs_no_look_into_the_library(
    tree: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object) -> object:
        raise AssertionError("rows were compared")

    monkeypatch.setattr(Library, "known_in", never)
    monkeypatch.setattr(Library, "known_under", never)
    totals = tree.sync()
    assert (totals.seen, totals.unchanged, totals.failed) == (5, 5, 0)


def test_one_changed_folder_costs_that_folder(tree: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    real = Library.known_in

    def noted(library: Library, root_id: int, folder: bytes, visited: object) -> object:
        compared.append(folder)
        return real(library, root_id, folder, visited)  # type: ignore[arg-type]

    monkeypatch.setattr(Library, "known_in", noted)
    tree.write("one/deep/new.jpg", jpeg(7))
    assert tree.sync().added == 1
    assert compared == [b"one/deep"]
    compared.clear()
    assert tree.sync().unchanged == 6
    assert compared == []


def test_what_is_put_back_as_it_was_is_missed_by_no_sweep(tree: Bench, tmp_path: Path) -> None:
    """The folder looks as it did, but the library has followed events in between."""
    away = tmp_path / "away.jpg"
    (tree.disk / "one" / "b.jpg").rename(away)
    tree.ingest.look_at(tree.root, [b"one/b.jpg"], Totals())
    assert "one/b.jpg" not in tree.paths()
    away.rename(tree.disk / "one" / "b.jpg")
    tree.sync()
    assert "one/b.jpg" in tree.paths()


def test_a_folder_that_goes_takes_all_below_it(tree: Bench) -> None:
    shutil.rmtree(tree.disk / "one")
    assert tree.sync().removed == 2
    assert tree.paths() == {"a.jpg", "two/d.jpg"}
    assert set(tree.library.remembered(tree.root.root_id, b"")) == {b"", b"two"}


@pytest.mark.parametrize("by", ["folder", "path"])
def test_a_folder_that_came_by_an_event_and_went_without_one_leaves_no_ghost(
    tree: Bench, by: str
) -> None:
    """Between two sweeps: what holds it looks to the second as it did to the first."""
    tree.write("one/new/in/e.jpg", jpeg(9))
    if by == "folder":
        tree.ingest.sync(tree.root, Totals(), under=b"one/new")
    else:
        tree.ingest.look_at(tree.root, [b"one/new/in/e.jpg"], Totals())
    assert tree.library.known(tree.root.root_id, b"one/new/in/e.jpg") is not None
    shutil.rmtree(tree.disk / "one/new")
    assert tree.sync().removed == 1
    assert tree.library.known(tree.root.root_id, b"one/new/in/e.jpg") is None


def test_a_mark_put_into_a_folder_takes_it_out(tree: Bench) -> None:
    (tree.disk / "one" / ".nomedia").touch()
    tree.sync()
    assert tree.paths() == {"a.jpg", "two/d.jpg"}
    (tree.disk / "one" / ".nomedia").unlink()
    tree.sync()
    assert tree.paths() == {"a.jpg", "one/b.jpg", "one/deep/c.jpg", "two/d.jpg"}


def test_an_edit_that_leaves_the_folder_alone_is_seen(tree: Bench) -> None:
    """A file written in place changes no time of its folder's."""
    folder = os.stat(tree.disk / "one")
    with (tree.disk / "one" / "b.jpg").open("r+b") as stream:
        stream.write(jpeg(9))
        stream.truncate()
    os.utime(tree.disk / "one", ns=(folder.st_atime_ns, folder.st_mtime_ns))
    assert tree.sync().updated == 1


def test_what_was_cleared_is_read_again(tree: Bench) -> None:
    tree.library.clear_rejected(tree.root.root_id)
    assert tree.sync().failed == 1


def test_files_that_wait_keep_their_folder_open(tree: Bench) -> None:
    tree.write("one/b.jpg", jpeg(8))
    tree.ingest._settle_ns = 10**15
    assert tree.ingest.sync(tree.root, Totals()) == [b"one/b.jpg"]
    tree.ingest._settle_ns = 0
    assert tree.sync().updated == 1


def test_a_run_that_is_stopped_remembers_nothing_it_did_not_finish(tree: Bench) -> None:
    tree.write("one/new.jpg", jpeg(8))
    tree.ingest._should_stop = lambda: True
    tree.ingest.sync(tree.root, Totals())
    tree.ingest._should_stop = lambda: False
    assert tree.sync().added == 1


def test_a_folder_that_became_a_link_is_gone(tree: Bench, tmp_path: Path) -> None:
    (tree.disk / "one").rename(tmp_path / "elsewhere")
    (tree.disk / "one").symlink_to(tmp_path / "elsewhere")
    tree.sync()
    assert tree.paths() == {"a.jpg", "two/d.jpg"}


def test_any_history_of_operations_ends_with_the_disk(bench: Bench) -> None:
    """Small hints and sweeps of folders in between, and the same as a scan at the end."""
    rng = random.Random(5)
    folders = ["", "a", "a/b", "a/bc", "c", "c/d/e"]
    for _ in range(300):
        folder = bench.disk / rng.choice(folders)
        name = f"{rng.randrange(4)}.jpg"
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted(bench.disk.rglob("*.jpg"))
        match rng.randrange(7):
            case 0 | 1:
                (folder / name).write_bytes(jpeg(rng.randrange(6)))
            case 2 if files:
                rng.choice(files).unlink()
            case 3 if files:
                rng.choice(files).rename(folder / name)
            case 4 if folder != bench.disk:
                shutil.rmtree(folder)
            case 5:
                under = os.fsencode(rng.choice(folders))
                bench.ingest.sync(bench.root, Totals(), under=under)
            case 6:
                path = os.fsencode(f"{rng.choice(folders)}/{name}".lstrip("/"))
                bench.ingest.look_at(bench.root, [path], Totals())
        if rng.random() < 0.1:
            bench.sync()
            assert bench.paths() == on_disk(bench)
    bench.sync()
    assert bench.paths() == on_disk(bench)


def on_disk(bench: Bench) -> set[str]:
    return {path.decode() for path in scan.scan(str(bench.disk)).files}
