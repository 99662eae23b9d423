"""The daemon as a process: what it follows, how it is stopped, what it keeps to itself."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest
from test_preprocess import png_claiming
from test_program import (  # noqa: F401
    FOLLOW_SECONDS,
    START_SECONDS,
    Program,
    painted_disk,
    posix,
    program,
    toy,
    within,
)
from toy import painted


def test_the_daemon_follows_the_disk(painted_disk: Program) -> None:
    served = painted_disk.serve("--library", str(painted_disk.disk))
    served.settle(3)
    assert served.find("red")[0] == "red.jpg"
    disk = painted_disk.disk
    (disk / "new").mkdir()
    (disk / "new" / "yellow.jpg").write_bytes(painted("yellow"))
    within(FOLLOW_SECONDS, lambda: served.find("yellow")[0] == "yellow.jpg")
    (disk / "red.jpg").rename(disk / "new" / "crimson.jpg")
    within(FOLLOW_SECONDS, lambda: served.find("red")[0] == "crimson.jpg")
    (disk / "green.jpg").write_bytes(painted("red", seed=3))
    within(FOLLOW_SECONDS, lambda: set(served.find("red")[:2]) == {"crimson.jpg", "green.jpg"})
    (disk / "blue.jpg").unlink()
    within(FOLLOW_SECONDS, lambda: "blue.jpg" not in served.find("blue"))
    (disk / "new").rename(disk.with_name("outside"))
    within(FOLLOW_SECONDS, lambda: served.find("red") == ["green.jpg"])
    assert painted_disk.find("red") == ["green.jpg"]  # the command line asks the daemon


def test_bad_files_do_not_stop_the_daemon(painted_disk: Program) -> None:
    good = painted("yellow", width=800, height=600)
    painted_disk.write("empty.jpg", b"")
    painted_disk.write("cut.jpg", good[: len(good) // 2])
    painted_disk.write("text.png", b"words, not pixels")
    painted_disk.write("wrongly-named.png", good)
    painted_disk.write("huge.png", png_claiming(60_000, 60_000))
    served = painted_disk.serve("--library", str(painted_disk.disk))
    served.settle(4)
    within(START_SECONDS, lambda: served.status()["failed"] == 4)
    assert served.find("yellow")[0] == "wrongly-named.png"
    reasons = {Path(bad["path"]).name: bad["reason"] for bad in served.get("/api/v1/rejected")}
    assert set(reasons) == {"empty.jpg", "cut.jpg", "text.png", "huge.png"}
    assert reasons["huge.png"].startswith("too large")
    (painted_disk.disk / "cut.jpg").write_bytes(good)
    within(FOLLOW_SECONDS, lambda: served.status()["failed"] == 3)


def test_a_second_process_is_told_who_owns_the_home(painted_disk: Program) -> None:
    served = painted_disk.serve("--library", str(painted_disk.disk))
    for args in (["index"], ["--no-open"]):
        done = painted_disk.run(*args, check=4)
        assert f"process {served.process.pid}" in done.stderr


def test_stop_ends_it_cleanly_and_it_remembers_its_libraries(painted_disk: Program) -> None:
    served = painted_disk.serve("--library", str(painted_disk.disk))
    served.settle(3)
    painted_disk.run("stop")
    assert served.process.wait(timeout=20) == 0
    assert not (painted_disk.home / "run.json").exists()
    again = painted_disk.serve()
    again.settle(3)


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals_end_it_cleanly(painted_disk: Program, number: int, code: int) -> None:
    served = painted_disk.serve("--library", str(painted_disk.disk))
    served.process.send_signal(number)
    assert served.process.wait(timeout=20) == code
    assert served.process.stderr is not None
    assert "Traceback" not in served.process.stderr.read()


@posix
def test_kill_9_half_way_loses_a_batch_at_most(program: Program) -> None:
    count = 200
    for number in range(count):
        program.write(f"{number:03}.jpg", painted("red", seed=number, width=640, height=480))
    kept = 0
    for _ in range(2):  # benchmarks/kill9.py kills the writer alone a thousand times
        served = program.serve("--library", str(program.disk))
        before = kept
        within(START_SECONDS, lambda: served.status()["searchable"] > before)  # noqa: B023
        answered = served.status()["searchable"]
        served.process.kill()
        served.process.wait()
        kept = json.loads(program.run("status", "--json").stdout)["searchable"]
        assert kept >= answered  # what was answered was committed
    served = program.serve("--library", str(program.disk))
    served.settle(count)
    assert served.status()["failed"] == 0


@posix
def test_files_the_program_keeps_are_its_owners_alone(painted_disk: Program) -> None:
    painted_disk.serve("--library", str(painted_disk.disk))
    home = painted_disk.home
    assert home.stat().st_mode & 0o777 == 0o700
    for name in ("token", "run.json"):
        assert (home / name).stat().st_mode & 0o777 == 0o600
    assert len((home / "token").read_text()) == 64


def test_odd_requests_leave_nothing_on_the_daemons_stderr(painted_disk: Program) -> None:
    served = painted_disk.serve("--library", str(painted_disk.disk))
    port = int(served.url.rstrip("/").rpartition(":")[2])
    upgrade = "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
    for request in ("hello", f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{upgrade}"):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(f"{request}\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 ")
    painted_disk.run("stop")
    assert served.process.communicate(timeout=30)[1] == ""


@posix
def test_a_home_that_others_may_enter_holds_nothing_they_may_read(painted_disk: Program) -> None:
    """It was there before us, so its own mode stays; all that tells of photos is private."""
    home = painted_disk.home
    home.mkdir()
    home.chmod(0o755)
    (home / "config.toml").write_text("read_text = false\n", encoding="utf-8")
    for _ in range(2):
        served = painted_disk.serve("--library", str(painted_disk.disk))
        served.settle(3)
        private = [*home.glob("library.db*"), home / "photosearch.log"]
        private += [file for file in (home / "thumbnails").rglob("*") if file.is_file()]
        assert len(private) >= 6, private
        for file in private:
            assert file.stat().st_mode & 0o777 == 0o600, file
        assert (home / "thumbnails").stat().st_mode & 0o777 == 0o700
        assert home.stat().st_mode & 0o777 == 0o755
        painted_disk.run("stop")
        served.process.wait(timeout=30)
        for file in (*home.glob("library.db*"), home / "photosearch.log"):
            file.chmod(0o644)  # as earlier versions made them
        (home / "thumbnails").chmod(0o755)


def test_the_query_is_never_logged(painted_disk: Program) -> None:
    served = painted_disk.serve("--library", str(painted_disk.disk), "-v")
    served.settle(3)
    served.find("secret+yellow+wish")
    painted_disk.run("stop")
    _, said = served.process.communicate()
    logged = "".join(file.read_text() for file in painted_disk.home.glob("photosearch.log*"))
    assert "secret" not in logged + said


def test_a_taken_port_is_said(painted_disk: Program) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        args = ["--library", str(painted_disk.disk), "--no-open", "--port", port]
        done = painted_disk.run(*args, check=3)
    assert f"port {port} cannot be used" in done.stderr
