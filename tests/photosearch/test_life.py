"""From start at login to gone without a trace: one instance, logs, upgrades, delete-data."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_golden import GOLDEN, unpack
from test_program import (  # noqa: F401
    APP,
    CHECKOUT,
    Program,
    indexed,
    own_home,
    painted_disk,
    program,
    toy,
)

from photosearch import home, presence, serve
from photosearch.erase import erase
from photosearch.errors import HomeInUse, PhotosearchError
from photosearch.home import Home
from photosearch.presence import Door, understand
from photosearch.store import schema


def fingerprints(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file below."""
    return {
        str(file.relative_to(folder)): (
            hashlib.sha256(file.read_bytes()).hexdigest(),
            file.stat().st_mtime_ns,
        )
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


# --- delete-data ------------------------------------------------------------------------------


def test_everything_of_ours_goes_and_no_photo(painted_disk: Program) -> None:  # noqa: F811
    """Made by the program itself, so that a file it keeps one day is not forgotten here."""
    photos = fingerprints(painted_disk.disk)
    served = painted_disk.serve("--library", str(painted_disk.disk))
    served.settle(3)
    painted_disk.run("stop")
    (painted_disk.home / "config.toml").write_text("max_cpu = 50\n")
    shutil.copytree(painted_disk.bundle, painted_disk.home / "bundles" / "toy")
    painted_disk.run("bundle", "use", "toy")
    assert (painted_disk.home / "chosen-bundle").exists()
    assert list((painted_disk.home / "thumbnails").rglob("*.webp"))
    done = painted_disk.run("delete-data", "--yes")
    assert "Your photos were not touched" in done.stderr
    assert not painted_disk.home.exists()
    assert fingerprints(painted_disk.disk) == photos
    painted_disk.index()  # and one may begin again
    assert painted_disk.find("red")


def test_a_running_daemon_is_named_and_nothing_is_deleted(
    painted_disk: Program,  # noqa: F811
) -> None:
    served = painted_disk.serve("--library", str(painted_disk.disk))
    served.settle(3)
    done = painted_disk.run("delete-data", "--yes", check=4)
    assert f"process {served.process.pid}" in done.stderr
    assert served.status()["searchable"] == 3
    painted_disk.run("delete-data", "--yes", "--stop")
    assert served.process.wait(timeout=20) == 0
    assert not painted_disk.home.exists()


def test_it_asks_and_only_delete_means_delete(own_home: Program) -> None:  # noqa: F811
    for answer in ("", "y\n", "no\n"):
        done = ask(own_home, answer)
        assert done[0] == 2 and "nothing was deleted" in done[1], done
        assert (own_home.home / "library.db").exists()
    assert ask(own_home, "delete\n")[0] == 0
    assert not own_home.home.exists()


def ask(program: Program, answer: str) -> tuple[int, str]:  # noqa: F811
    """Run delete-data on a terminal of its own and type an answer."""
    import pty

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*APP, "--home", str(program.home), "delete-data"],
        stdin=follower,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(follower)
    os.write(leader, answer.encode() or b"\x04")
    _, said = process.communicate(timeout=60)
    os.close(leader)
    return process.returncode, said


def test_where_nobody_can_answer_it_wants_yes(own_home: Program) -> None:  # noqa: F811
    done = own_home.run("delete-data", check=2, stdin=subprocess.DEVNULL)
    assert "--yes" in done.stderr
    assert (own_home.home / "library.db").exists()


def test_a_home_among_the_photos_loses_only_what_is_ours(tmp_path: Path) -> None:
    """The hostile case: someone's --home is their folder of photos, with names like ours."""
    place = Home(tmp_path)
    theirs = {
        "beach.jpg": b"photo",
        "thumbnails/holiday.webp": b"photo",
        "thumbnails/ab/cover.webp": b"photo",
        "thumbnails/ab/" + "f" * 64 + ".jpg": b"photo",
        "bundles/wedding/a.jpg": b"photo",
        "library.db.bak": b"theirs",
    }
    ours = ["library.db", "token", "thumbnails/ab/" + "0a" * 32 + ".webp"]
    for name in [*theirs, *ours]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(theirs.get(name, b"ours"))
    erased = erase(place)
    assert {name: (tmp_path / name).read_bytes() for name in theirs} == theirs
    assert not [name for name in ours if (tmp_path / name).exists()]
    assert {file.name for file in erased.left} == {
        "beach.jpg", "thumbnails", "bundles", "library.db.bak",
    }  # fmt: skip


def test_links_are_not_followed(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / ("0" * 64 + ".webp")).write_bytes(b"photo")
    (photos / "manifest.json").write_bytes(b"theirs")
    place = Home(tmp_path / "home")
    place.thumbnails.mkdir(parents=True)
    (place.thumbnails / "00").symlink_to(photos)
    place.bundles.mkdir()
    (place.bundles / "mine").symlink_to(photos)
    place.log.symlink_to(photos / "manifest.json")
    erase(place)
    assert len(list(photos.iterdir())) == 2
    assert not place.log.is_symlink()
    shutil.rmtree(place.directory)
    place.directory.mkdir()
    place.thumbnails.symlink_to(photos)
    place.library.touch()
    with pytest.raises(PhotosearchError, match="is a link"):
        erase(place)
    assert place.library.exists()  # all or nothing
    assert len(list(photos.iterdir())) == 2


def test_a_home_in_use_is_refused(tmp_path: Path) -> None:
    place = Home(tmp_path / "home")
    with home.owned(place):
        place.library.touch()
        with pytest.raises(HomeInUse):
            erase(place)
        assert place.library.exists()


def test_bundles_made_here_go_and_are_counted(tmp_path: Path) -> None:
    place = Home(tmp_path)
    (place.bundles / "mine" / "index").mkdir(parents=True)
    (place.bundles / "mine" / "manifest.json").write_bytes(b"{}")
    (place.bundles / "mine" / "index" / "ids").write_bytes(b"12345")
    erased = erase(place)
    assert not tmp_path.exists()
    assert (erased.files, erased.size_bytes) == (4, 7)  # and the lock, and .nomedia


def test_a_library_of_our_own_thumbnails_is_left(own_home: Program) -> None:  # noqa: F811
    inside = own_home.home / "thumbnails" / "mine"
    inside.mkdir()
    own_home.run("index", "--library", str(inside))
    done = own_home.run("delete-data", "--yes", check=3)
    assert str(inside) in done.stderr and "forget" in done.stderr


def test_nothing_there_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [*APP, "--home", str(tmp_path / "none"), "delete-data", "--yes"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert "there is no data here" in done.stderr


# --- service, as a command --------------------------------------------------------------------


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systemd's files")


def fake_systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, does: str = "") -> Path:
    """A systemctl of our own, which writes down what it is told; returns where."""
    told = tmp_path / "told"
    fake = tmp_path / "bin" / "systemctl"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$@" >> {told}\n{does}\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return told


@linux
def test_service_commands(
    painted_disk: Program,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = fake_systemctl(tmp_path, monkeypatch)
    assert "no library yet" in painted_disk.run("service", "install", check=2).stderr
    painted_disk.index()
    painted_disk.run("service", "install")
    (unit,) = (tmp_path / "config" / "systemd" / "user").iterdir()
    assert str(painted_disk.home) in unit.read_text()
    assert told.read_text().splitlines() == [
        "--user daemon-reload",
        f"--user enable --now {unit.name}",
    ]
    status = painted_disk.run("service", "status").stdout
    assert status.startswith("installed\tyes") and "state\trunning" in status
    painted_disk.run("service", "uninstall")
    assert not unit.exists()
    assert painted_disk.run("service", "status").stdout.startswith("installed\tno")


@linux
def test_what_starts_at_login_goes_with_the_data_and_no_other_homes(
    own_home: Program,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = fake_systemctl(tmp_path, monkeypatch)
    own_home.run("service", "install")
    (unit,) = (tmp_path / "config" / "systemd" / "user").iterdir()
    other = unit.with_name("photosearch.service")
    other.write_text('[Service]\nExecStart="python" "--home" "/elsewhere" "serve"\n')
    told.unlink()
    done = own_home.run("delete-data", "--yes")
    assert not own_home.home.exists() and not unit.exists() and other.exists()
    assert "does not start at login any more" in done.stderr
    assert told.read_text().splitlines() == [
        f"--user stop {unit.name}",
        f"--user disable {unit.name}",
        "--user daemon-reload",
    ]
    # The name is the same, the home another's: it is left alone.
    own_home.index()
    unit.write_bytes(other.read_bytes())
    own_home.run("delete-data", "--yes")
    assert unit.exists() and not own_home.home.exists()


@linux
def test_a_system_that_refuses_does_not_keep_the_data(
    own_home: Program,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_systemctl(tmp_path, monkeypatch)
    own_home.run("service", "install")
    (tmp_path / "bin" / "systemctl").write_text("#!/bin/sh\necho no bus >&2; exit 1\n")
    done = own_home.run("delete-data", "--yes")
    assert not own_home.home.exists()
    assert "disable" in done.stderr and "no bus" in done.stderr and "by hand" in done.stderr
    assert "any more" not in done.stderr


@linux
def test_a_daemon_that_is_the_service_deletes_everything_and_ends_by_itself(
    own_home: Program,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """systemd ends it at once when told to stop the service, whatever it is doing."""
    deadly = 'case "$*" in *--now*|*stop*) kill -9 $PPID;; esac'
    told = fake_systemctl(tmp_path, monkeypatch, does=deadly)
    own_home.run("service", "install", check=None)  # enable --now: it ends the installer
    (unit,) = (tmp_path / "config" / "systemd" / "user").iterdir()
    served = own_home.serve()
    served.settle(3)
    told.unlink()
    request = urllib.request.Request(
        f"{served.url}api/v1/delete-data?confirm=delete",
        headers={"Authorization": f"Bearer {served.token}"},
        method="POST",
    )
    assert urllib.request.urlopen(request, timeout=30).status == 200
    assert served.process.wait(timeout=30) == 0  # with success: it is not started again
    assert not own_home.home.exists() and not unit.exists()
    assert told.read_text().splitlines() == [
        f"--user disable {unit.name}",
        "--user daemon-reload",
    ]


# --- the log ----------------------------------------------------------------------------------


@pytest.fixture
def quiet_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("photosearch")
    before, level = list(logger.handlers), logger.level
    logger.setLevel(logging.INFO)
    yield logger
    for handler in [each for each in logger.handlers if each not in before]:
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)


def test_the_log_is_rotated_and_never_grows_without_end(
    tmp_path: Path, quiet_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "LOG_BYTES", 20_000)
    place = Home(tmp_path)
    serve.log_to_file(place.log)
    for number in range(2_000):
        quiet_logger.info(
            "test.line number=%05d of a log that has been written to for years", number
        )
    kept = sorted(tmp_path.iterdir())
    assert [file.name for file in kept] == [
        "photosearch.log", "photosearch.log.1", "photosearch.log.2",
    ]  # fmt: skip
    assert all(file.stat().st_size <= 20_000 for file in kept)
    assert "number=01999" in place.log.read_text()  # the newest is in the file without a number
    erase(place)
    assert not tmp_path.exists()


# --- upgrades ---------------------------------------------------------------------------------


def version_of(golden: Path) -> int:
    return int(golden.name.split(".")[0][1:])


def test_upgrades_are_tried_from_every_schema_but_the_first() -> None:
    """Also the newest one's predecessor, which is what most people upgrade from."""
    assert sorted(map(version_of, GOLDEN)) == list(range(2, len(schema.MIGRATIONS) + 1))


def upgrades() -> list[Any]:
    """From the oldest and the newest; the others are slow: test_golden.py opens every library,
    and what else a home holds does not depend on its schema."""
    ends = (min(GOLDEN, key=version_of), max(GOLDEN, key=version_of))
    return [
        pytest.param(
            file, id=f"v{version_of(file)}", marks=[] if file in ends else pytest.mark.slow
        )
        for file in GOLDEN
    ]


@pytest.mark.parametrize("golden", upgrades())
def test_an_upgrade_keeps_what_an_older_version_left(
    golden: Path,
    program: Program,  # noqa: F811
) -> None:
    """A home as an older program left it: library, token, settings, thumbnails."""
    import sqlite3

    program.home.mkdir(mode=0o700)
    library = program.home / "library.db"
    unpack(golden, library)
    token = "5" * 64
    home.write_private(program.home / "token", token)
    (program.home / "config.toml").write_text("max_cpu = 37\nsweep_minutes = 11\n")
    thumbnail = program.home / "thumbnails" / "ab" / f"{'ab' * 32}.webp"
    thumbnail.parent.mkdir(parents=True)
    thumbnail.write_bytes(b"picture")
    with sqlite3.connect(library) as db:
        (photos,) = db.execute("SELECT count(*) FROM photos").fetchone()
        roots = [row[0] for row in db.execute("SELECT CAST(path AS TEXT) FROM roots")]
    served = program.serve()  # needs no --library: it remembers
    status = served.status()
    assert status["photos"] == photos > 0
    assert [each["path"] for each in status["libraries"]] == roots
    assert served.token == token  # open pages and launchers stay signed in
    program.run("stop")
    assert (program.home / "config.toml").read_text().startswith("max_cpu = 37\n")
    assert thumbnail.read_bytes() == b"picture"
    after = json.loads(program.run("status", "--json").stdout)
    assert after["photos"] == photos


# --- one instance, and the door of the native bar ---------------------------------------------


def answering(place: Home, *, secret: str = "s3cret") -> tuple[list[str], threading.Thread]:
    """A stand-in for the bar: takes one line at its door, as instance.py does."""
    listener = socket.create_server(("127.0.0.1", 0))
    presence.announce(place, Door(os.getpid(), listener.getsockname()[1], secret))
    heard: list[str] = []

    def take() -> None:
        with listener, listener.accept()[0] as line:
            wish = understand(line.makefile("rb").readline(presence.MAX_LINE), secret)
            if wish is not None:
                heard.append(wish)
                line.sendall(presence.OK)

    thread = threading.Thread(target=take)
    thread.start()
    return heard, thread


def test_open_shows_the_bar_that_runs(tmp_path: Path) -> None:
    place = Home(tmp_path)
    heard, thread = answering(place)
    done = subprocess.run([*APP, "--home", str(tmp_path), "open"], timeout=60)
    thread.join(timeout=30)
    assert (done.returncode, heard) == (0, ["show"])
    assert place.bar.stat().st_mode & 0o777 == 0o600 or os.name == "nt"


def test_stop_ends_the_bar_too(painted_disk: Program) -> None:  # noqa: F811
    served = painted_disk.serve("--library", str(painted_disk.disk))
    heard, thread = answering(Home(painted_disk.home))
    painted_disk.run("stop")
    thread.join(timeout=30)
    assert heard == ["quit"]
    assert served.process.wait(timeout=20) == 0


def test_a_bar_that_died_is_no_bar(tmp_path: Path) -> None:
    place = Home(tmp_path)
    assert not presence.tell(place, "show")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    presence.announce(place, Door(1, port, "x"))
    assert not presence.tell(place, "show")
    for damaged in ("", "{", "[]", '{"pid": 1, "port": "x", "secret": ""}', '{"pid":1,"port":-4}'):
        place.bar.write_text(damaged)
        assert not presence.tell(place, "show")


@pytest.mark.parametrize(
    ("line", "wish"),
    [
        (b"s3cret show\n", "show"),
        (b"s3cret quit\n", "quit"),
        (b"s3cret  show\n", None),
        (b"s3cret erase\n", None),
        (b"guess show\n", None),
        (b"GET / HTTP/1.1\r\n", None),
        ("sécret show\n".encode(), None),
        (b"", None),
    ],
)
def test_the_door_opens_only_with_its_secret(line: bytes, wish: str | None) -> None:
    assert understand(line, "s3cret") == wish


def test_a_door_that_says_nothing_does_not_hold_anyone_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        presence.announce(Home(tmp_path), Door(1, silent.getsockname()[1], "x"))
        began = time.monotonic()
        assert not presence.tell(Home(tmp_path), "show")
        assert time.monotonic() - began < 10
