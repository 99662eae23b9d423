"""Start at login: what is written for the three systems, and what they are told."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from photosearch import program
from photosearch.errors import PhotosearchError
from photosearch.home import Home, open_home
from photosearch.service import (
    Ran,
    Service,
    install,
    open_service,
    run_command,
    service_name,
    service_status,
    take_away,
    uninstall,
)
from photosearch.service.launchd import LaunchAgent
from photosearch.service.systemd import UserUnit, quoted
from photosearch.service.windows import NAMESPACE, LogonTask

HOSTILE = ["/opt/my python/bin/python", '/a%h$HOME/"app".py', "--home", "/tmp/it's\\here; rm"]
DATA = Path(__file__).parent.parent / "data"


class System:
    """Stands for systemctl, launchctl or schtasks: writes down what it was told."""

    def __init__(self, *, fails: str = "", says: str = "", code: int = 0) -> None:
        self.told: list[list[str]] = []
        self._fails, self._says, self._code = fails, says, code

    def __call__(self, words: Sequence[str]) -> Ran:
        self.told.append(list(words))
        if self._fails and self._fails in words:
            return Ran(1, "no bus")
        return Ran(self._code, self._says)


def systemd(folder: Path, words: Sequence[str] = HOSTILE) -> Service:
    return UserUnit("photosearch", words, config=folder)


def launchd(folder: Path, words: Sequence[str] = HOSTILE) -> Service:
    return LaunchAgent("photosearch", words, log=folder / "service.log", agents=folder)


def windows(folder: Path, words: Sequence[str] = HOSTILE) -> Service:
    return LogonTask("photosearch", words, folder=folder)


Make = Callable[[Path], Service]
all_systems = pytest.mark.parametrize("make", [systemd, launchd, windows])


# --- the same on every system -----------------------------------------------------------------


@all_systems
def test_install_writes_the_file_and_tells_the_system(make: Make, tmp_path: Path) -> None:
    service, system = make(tmp_path / "deep" / "er"), System()
    install(service, system)
    assert service.file.read_bytes() == service.text()
    assert system.told == service.enable()
    install(service, system)  # again is the same as once
    assert service.file.read_bytes() == service.text()


@all_systems
def test_uninstall_stops_it_and_leaves_no_file(make: Make, tmp_path: Path) -> None:
    service, system = make(tmp_path), System()
    assert not uninstall(service, system)
    assert system.told == []
    install(service, System())
    assert uninstall(service, system)
    assert system.told == [*service.end(), *service.forget(), *service.after_removal()]
    assert not service.file.exists()


@all_systems
def test_the_daemon_in_it_takes_it_away_without_ending_itself(make: Make, tmp_path: Path) -> None:
    service, system = make(tmp_path), System()
    install(service, System())
    assert take_away(service, system, ends_now=False) == []
    assert system.told == [*service.forget(), *service.after_removal()]
    assert not service.file.exists()
    deadly = {"stop", "--now", "restart", "kill", "bootout", "unload", "remove", "/End"}
    assert not deadly & {word for words in system.told for word in words}


@all_systems
def test_what_the_system_refuses_is_left_to_be_done_by_hand(make: Make, tmp_path: Path) -> None:
    service = make(tmp_path)
    install(service, System())
    left = take_away(service, System(code=1, says="no bus"), ends_now=True)
    assert left == [
        f"`{' '.join(words)}` failed (no bus). Run it by hand." for words in service.forget()
    ]
    assert not service.file.exists()


@all_systems
def test_a_file_that_cannot_be_removed_is_named(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make(tmp_path)
    install(service, System())

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        (left,) = take_away(service, System(), ends_now=False)
        assert str(service.file) in left and "by hand" in left
        with pytest.raises(PhotosearchError, match="by hand"):
            uninstall(service, System())
    assert service.file.exists()


@all_systems
def test_a_service_knows_whose_it_is(make: Make, tmp_path: Path) -> None:
    """Names can meet: the usual home is another one under another XDG_DATA_HOME."""
    service, mine = make(tmp_path), Home(Path(HOSTILE[3]))
    theirs = Home(tmp_path / "theirs")
    if isinstance(service, LogonTask):  # its file lies in the home itself
        mine = Home(tmp_path)
    assert not service.serves(mine)  # not installed
    install(service, System())
    assert service.serves(mine) and not service.serves(theirs)
    if not isinstance(service, LogonTask):
        service.file.write_bytes(b"damaged")
        assert not service.serves(mine)


def test_a_command_that_is_not_there_is_no_accident(tmp_path: Path) -> None:
    assert run_command([str(tmp_path / "none")]).code == 127
    assert run_command([str(tmp_path)]).code == 126


@all_systems
def test_uninstall_works_where_the_system_forgot_it(make: Make, tmp_path: Path) -> None:
    service = make(tmp_path)
    install(service, System())
    assert uninstall(service, System(code=5, says="unknown unit"))
    assert not service.file.exists()


@all_systems
def test_a_system_that_refuses_is_quoted(make: Make, tmp_path: Path) -> None:
    service = make(tmp_path)
    last = service.enable()[-1]
    with pytest.raises(PhotosearchError, match="no bus") as caught:
        install(service, System(fails=last[1] if last[0] != "systemctl" else "--now"))
    assert "service uninstall" in str(caught.value)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PhotosearchError, match="cannot be written"):
        install(systemd(tmp_path / "file"), System())


@pytest.mark.parametrize(
    ("make", "says", "code", "running"),
    [
        pytest.param(systemd, "active", 0, True, id="systemd active"),
        pytest.param(systemd, "inactive", 3, False, id="systemd inactive"),
        pytest.param(launchd, "path = x\n\tstate = running\n", 0, True, id="launchd running"),
        pytest.param(launchd, "state = not running", 0, False, id="launchd waiting"),
        pytest.param(launchd, "Could not find service", 113, False, id="launchd unknown"),
        pytest.param(windows, '"PC","\\photosearch","N/A","267009"', 0, True, id="task runs"),
        pytest.param(windows, '"PC","\\photosearch","N/A","0"', 0, False, id="task ended"),
        pytest.param(systemd, "systemctl is not on this system", 127, None, id="no systemd"),
    ],
)
def test_status(make: Make, says: str, code: int, running: bool | None, tmp_path: Path) -> None:
    service = make(tmp_path)
    before = service_status(service, HOSTILE, System())
    assert (before.installed, before.running) == (False, False)
    install(service, System())
    after = service_status(service, HOSTILE, System(says=says, code=code))
    assert (after.installed, after.running) == (True, running)
    assert after.command == tuple(HOSTILE)


def test_each_system_gets_its_own_kind(tmp_path: Path) -> None:
    place = Home(tmp_path)
    assert isinstance(open_service(place, platform="linux"), UserUnit)
    assert isinstance(open_service(place, platform="darwin"), LaunchAgent)
    assert isinstance(open_service(place, platform="win32"), LogonTask)


def test_another_home_is_another_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PHOTOSEARCH_HOME", raising=False)
    names = {service_name(Home(tmp_path / name)) for name in ("a", "b")}
    assert len(names) == 2
    assert service_name(open_home(None)) == "photosearch"


# --- systemd ----------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    python = tmp_path / 'a %h $HOME "folder"' / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    service = systemd(tmp_path, [str(python), "--home", "/a b/%%/$x"])
    install(service, System())
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)

    def verify() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["systemd-analyze", "--user", "verify", str(service.file)],
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
            timeout=60,
        )

    done = verify()
    assert done.returncode == 0, done.stderr
    assert "photosearch" not in done.stderr, done.stderr
    # The check itself can fail: a key that systemd does not know, a program that is not there.
    text = service.file.read_text()
    service.file.write_text(text.replace("Restart=", "Restrat="))
    assert "Restrat" in verify().stderr
    service.file.write_text(text.replace("/usr/bin/env", "/usr/bin/nosuch"))
    assert verify().returncode != 0


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain", '"plain"'),
        ("a b", '"a b"'),
        ("50%", '"50%%"'),
        ("$HOME", '"$$HOME"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
    ],
)
def test_what_systemd_would_expand_is_quoted(word: str, expected: str) -> None:
    assert quoted(word) == expected


def test_a_line_break_cannot_smuggle_a_second_setting_into_the_unit() -> None:
    with pytest.raises(PhotosearchError, match="control character"):
        quoted("/tmp/x\nExecStartPre=/bin/evil")


# --- launchd ----------------------------------------------------------------------------------


def test_the_launch_agent_survives_a_round_trip(tmp_path: Path) -> None:
    service = launchd(tmp_path)
    install(service, System())
    agent = plistlib.loads(service.file.read_bytes())
    assert agent["Label"] == service.file.stem == "org.photosearch.photosearch"
    assert agent["ProgramArguments"] == HOSTILE  # word by word: no shell, nothing to quote
    assert agent["RunAtLoad"] is True
    assert agent["KeepAlive"] == {"SuccessfulExit": False}  # `stop` ends it for good
    assert agent["Umask"] == 0o077


# --- Windows ----------------------------------------------------------------------------------


def test_the_windows_task_is_what_schtasks_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USERDOMAIN", "PC")
    monkeypatch.setenv("USERNAME", "Zoë & <co>")
    service = windows(tmp_path)
    raw = service.text()
    assert raw[:2] in (b"\xff\xfe", b"\xfe\xff")  # UTF-16 with its mark
    task = ET.fromstring(raw.decode("utf-16"))
    space = {"t": NAMESPACE}
    assert task.findtext("t:Triggers/t:LogonTrigger/t:UserId", namespaces=space) == (
        "PC\\Zoë & <co>"
    )
    assert task.findtext("t:Actions/t:Exec/t:Command", namespaces=space) == HOSTILE[0]
    arguments = task.findtext("t:Actions/t:Exec/t:Arguments", namespaces=space)
    assert arguments == subprocess.list2cmdline(HOSTILE[1:])
    # Without these two Windows ends it after three days, or never starts it on a laptop.
    assert task.findtext("t:Settings/t:ExecutionTimeLimit", namespaces=space) == "PT0S"
    assert task.findtext("t:Settings/t:DisallowStartIfOnBatteries", namespaces=space) == "false"


@pytest.mark.skipif(shutil.which("xmllint") is None, reason="xmllint is not installed")
def test_the_windows_task_obeys_the_schema_of_the_task_scheduler(tmp_path: Path) -> None:
    """tests/data/task.xsd holds the parts of [MS-TSCH] 2.5 that a logon task uses."""
    service = windows(tmp_path)
    install(service, System())

    def check() -> int:
        return subprocess.run(
            ["xmllint", "--noout", "--schema", str(DATA / "task.xsd"), str(service.file)],
            capture_output=True,
            timeout=60,
        ).returncode

    assert check() == 0
    text = service.text().decode("utf-16")
    for right, wrong in (
        ("IgnoreNew", "IgnoreOld"),
        ("PT0S", "never"),
        ("<Priority>7", "<Priority>11"),
        ("LogonTrigger", "LoginTrigger"),
    ):
        service.file.write_bytes(text.replace(right, wrong).encode("utf-16"))
        assert check() != 0, wrong


# --- the command it keeps ---------------------------------------------------------------------


def test_the_command_names_this_home_and_starts_from_any_folder(tmp_path: Path) -> None:
    words = program.serve_command(Home(tmp_path))
    assert words[-4:] == ["--home", str(tmp_path), "serve", "--no-open"]
    done = subprocess.run(
        [*words[:-4], "--version"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("photosearch ")


def test_windows_starts_it_without_a_console(tmp_path: Path) -> None:
    python = tmp_path / "python.exe"
    assert program.windowless(str(python)) == str(python)  # none beside it
    (tmp_path / "pythonw.exe").touch()
    assert program.windowless(str(python)) == str(tmp_path / "pythonw.exe")
    assert program.windowless("/usr/bin/python3") == "/usr/bin/python3"
