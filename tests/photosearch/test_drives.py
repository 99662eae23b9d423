"""Drives that go and leave their empty mount points behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_doctor import BOTH, diagnosis, failing, maybe_served
from test_program import Program, painted_disk, program, toy, within
from toy import painted
from workbench import Bench, jpeg

from photosearch.commands.index import print_totals
from photosearch.ingest import Totals
from photosearch.roots import is_at_hand

__all__ = ["painted_disk", "program", "toy"]


@pytest.fixture
def drive(program: Program) -> Iterator[Program]:
    """The library's folder is a file system of its own, as a USB drive's is."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "photosearch-test", str(program.disk)]
    if not sys.platform.startswith("linux") or shutil.which("mount") is None:
        pytest.skip("mounts a tmpfs")
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs leave to mount")
    for colour in ("red", "green", "blue"):
        program.write(f"{colour}.jpg", painted(colour))
    yield program
    subprocess.run(["umount", "-l", str(program.disk)], capture_output=True)


def unplug(program: Program) -> None:
    subprocess.run(["umount", "-l", str(program.disk)], check=True, capture_output=True)
    assert list(program.disk.iterdir()) == []  # the mount point stays


def test_indexing_an_empty_mount_point_exits_5_and_loses_nothing(drive: Program) -> None:
    drive.index()
    unplug(drive)
    for named in ([], ["--library", str(drive.disk)]):
        done = drive.run("index", *named, check=5)
        assert "its drive is not connected" in done.stderr
        assert str(drive.disk) in done.stderr
    assert drive.find("red")[0] == "red.jpg"


@BOTH
def test_doctor_names_a_drive_that_left_its_mount_point(drive: Program, running: bool) -> None:
    drive.index()
    with maybe_served(drive, running):
        unplug(drive)
        found = diagnosis(drive, 3)
        assert failing(found) == {"libraries"}
        (said,) = (item["found"] for item in found["findings"] if item["check"] == "libraries")
        assert str(drive.disk) in said


def test_the_daemon_marks_photos_of_an_unmounted_drive_and_keeps_them(drive: Program) -> None:
    drive.index()
    served = drive.serve()
    within(30.0, lambda: served.status()["indexing"]["state"] == "idle")
    unplug(drive)
    within(20.0, lambda: served.status()["libraries"][0]["offline"])
    assert served.status()["searchable"] == 3


def unmount(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files are gone, and the folder is on another device than they were on."""
    known = bench.library.known_under(bench.root.root_id, b"")
    device = next(iter(known.values())).stamp.device + 1
    real = os.stat

    def elsewhere(path: object, **options: object) -> os.stat_result:
        found = real(path, **options)  # type: ignore[arg-type]
        if isinstance(path, str | Path) and str(path) == str(bench.disk):
            return os.stat_result((*found[:2], device, *found[3:]))
        return found

    for entry in bench.disk.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    monkeypatch.setattr(os, "stat", elsewhere)


def test_the_last_events_of_a_drive_that_goes_forget_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write("trip/a.jpg", jpeg(1))
    bench.write("b.jpg", jpeg(2))
    bench.sync()
    unmount(bench, monkeypatch)
    assert not is_at_hand(bench.root, bench.library.devices)
    bench.ingest.look_at(bench.root, [b"trip/a.jpg", b"b.jpg"], Totals())
    assert bench.library.roots()[0].offline
    bench.ingest.sync(bench.root, Totals(), under=b"trip")
    assert bench.paths() == {"trip/a.jpg", "b.jpg"}


def test_a_photo_in_a_folder_below_says_that_the_drive_is_there(bench: Bench) -> None:
    bench.write("deep/er/a.jpg", jpeg(1))
    (bench.disk / "aaa").mkdir()
    bench.sync()
    assert is_at_hand(bench.root, lambda root_id: {-1})
    (bench.disk / "deep" / ".nomedia").touch()  # left alone, so nothing that tells
    assert not is_at_hand(bench.root, lambda root_id: {-1})
    assert is_at_hand(bench.root, lambda root_id: set())  # nothing was ever known


def test_a_known_library_that_is_away_is_served_offline_and_an_unknown_one_is_not(
    painted_disk: Program,
) -> None:
    painted_disk.index()
    away = painted_disk.disk.with_name("away")
    painted_disk.disk.rename(away)
    served = painted_disk.serve("--library", str(painted_disk.disk))
    within(20.0, lambda: served.status()["libraries"][0]["offline"])
    assert served.find("red")[0] == "red.jpg"
    away.rename(painted_disk.disk)
    within(20.0, lambda: not served.status()["libraries"][0]["offline"])
    painted_disk.run("stop")
    _, said = served.process.communicate(timeout=30)
    assert f"{painted_disk.disk}: does not exist" in said
    assert "marked offline, until it is back" in said
    done = painted_disk.run("--no-open", "--library", str(away), check=5)
    assert "does not exist" in done.stderr


def test_that_most_photos_went_at_once_is_told(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [bench.write(f"{number}.jpg", jpeg(number)) for number in range(24)]
    assert bench.sync().vanished == {}
    for file in files[:11]:
        file.unlink()
    assert bench.sync().vanished == {}  # less than half
    for file in files[11:]:
        file.unlink()
    assert bench.sync().vanished == {}  # 13 left: too few to tell
    for number, file in enumerate(files):
        file.write_bytes(jpeg(number))
    bench.sync()
    shutil.move(files[0], bench.disk / "moved.jpg")  # moved, so not gone
    for file in files[1:20]:
        file.unlink()
    totals = bench.sync()
    assert totals.vanished == {str(bench.disk): (19, 24)}
    print_totals(totals, as_json=False)
    assert "19 of 24 photos are not there any more" in capsys.readouterr().err
