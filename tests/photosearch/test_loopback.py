"""Nothing but loopback: no connection leaves the machine, nothing is written but the home."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_program import APP, CHECKOUT, START_SECONDS, Program, painted_disk, program, toy, within  # noqa: F401


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/net")
def test_the_daemon_listens_on_loopback_alone(painted_disk: Program) -> None:
    served = painted_disk.serve("--library", str(painted_disk.disk))
    served.settle(3)
    served.find("red")
    mine = sockets_of(served.process.pid)
    listening = []
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[9] in mine:
                listening.append((table, parts[1].split(":")[0]))
    assert listening
    assert set(listening) == {("tcp", "0100007F")}  # 127.0.0.1


def sockets_of(pid: int) -> set[str]:
    """Inodes of the sockets a process and its children hold."""
    found: set[str] = set()
    for process in (pid, *children_of(pid)):
        for entry in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = os.readlink(entry)
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(c) for task in tasks for c in (task / "children").read_text().split()]


GUARDED = """
import socket, sys
def refuse(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"):
        address = args[1] if len(args) > 1 else None
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost"):
            print("ESCAPED", event, address, file=sys.stderr, flush=True)
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        if args[0] not in (None, "127.0.0.1", "localhost"):
            print("ESCAPED", event, args, file=sys.stderr, flush=True)
sys.addaudithook(refuse)
sys.argv = sys.argv[1:]
from photosearch.cli import main
sys.exit(main())
"""


def test_no_socket_but_loopback_is_ever_opened(painted_disk: Program) -> None:
    """An audit hook, which nothing in the process can remove, watches every command."""
    guard = [sys.executable, "-c", GUARDED, "photosearch"]
    shared = ["--home", str(painted_disk.home), "--bundle", str(painted_disk.bundle)]

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*guard, *shared, *args], capture_output=True, text=True, timeout=60, cwd=CHECKOUT
        )

    said = run("index", "--library", str(painted_disk.disk)).stderr
    said += run("search", "red").stderr
    command = [*guard, *shared, "serve", "--no-open"]
    serving = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT)
    painted_disk.started.append(serving)
    within(START_SECONDS, lambda: (painted_disk.home / "run.json").exists())
    for args in (["search", "red"], ["status"], ["stop"]):
        done = run(*args)
        assert done.returncode == 0, done.stderr
        said += done.stderr
    said += serving.communicate(timeout=20)[1]
    assert "ESCAPED" not in said


def test_nothing_is_written_but_the_home(painted_disk: Program, tmp_path: Path) -> None:
    """Previously the runtime left a device id and a telemetry database in the user's cache."""
    user = tmp_path / "user"
    user.mkdir()
    env = {**os.environ, "HOME": str(user), "USERPROFILE": str(user)}
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "PHOTOSEARCH_HOME"):
        env.pop(name, None)
    painted_disk.run("index", "--library", str(painted_disk.disk), env=env)
    painted_disk.run("search", "red", env=env)
    assert list(user.rglob("*")) == []


def test_the_runtime_has_no_way_to_reach_a_network() -> None:
    """An audit hook sees Python's sockets alone; a compiled library must not import any."""
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    programs = [
        file
        for file in Path(spec.origin).parent.rglob("*")
        if file.suffix in (".so", ".dylib", ".dll", ".pyd") or ".so." in file.name
    ]
    assert programs
    for each in programs:
        data = each.read_bytes()
        for name in (b"\0getaddrinfo\0", b"\0_getaddrinfo\0", b"curl_easy_init", b"WinHttpOpen"):
            assert name not in data, (each.name, name)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("unshare") is None,
    reason="needs network namespaces",
)
def test_everything_works_where_there_is_no_network_at_all(painted_disk: Program) -> None:
    alone = ["unshare", "-rn", "sh", "-c", 'ip link set lo up 2>/dev/null; exec "$@"', "sh"]
    probe = subprocess.run([*alone, "true"], capture_output=True)
    if probe.returncode:
        pytest.skip("this system does not let us make a network namespace")
    shared = ["--home", str(painted_disk.home), "--bundle", str(painted_disk.bundle)]
    index = [*APP, *shared, "index", "--library", str(painted_disk.disk)]
    done = subprocess.run([*alone, *index], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    search = [*APP, *shared, "search", "red"]
    done = subprocess.run([*alone, *search], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[0].endswith("red.jpg")
