"""Start at login: one small file in the place where each system looks for it.

A `Service` knows its file's text (pure), where it goes, and the system's commands that
take notice of it. Nothing here needs an administrator.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from photosearch import program
from photosearch.errors import PhotosearchError
from photosearch.home import Home, open_home, write_private

COMMAND_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Ran:
    """How a command of the system ended."""

    code: int
    said: str


Run = Callable[[Sequence[str]], Ran]


@dataclass(frozen=True)
class ServiceStatus:
    installed: bool
    running: bool | None  # None: the system could not say
    file: Path
    command: tuple[str, ...]  # what an installation starts now


class Service(Protocol):
    """One way to start at login."""

    @property
    def file(self) -> Path:
        """What an installation writes."""

    def text(self) -> bytes:
        """The file's content."""

    def enable(self) -> list[list[str]]:
        """Commands that make the system take notice of the file and start the service."""

    def serves(self, place: Home) -> bool:
        """Whether the file that is there starts the daemon of this home."""

    def end(self) -> list[list[str]]:
        """Commands that end it now, and with it whoever runs in it."""

    def forget(self) -> list[list[str]]:
        """Commands after which it does not start at the next login; what runs runs on."""

    def after_removal(self) -> list[list[str]]:
        """Commands once the file is gone."""

    def query(self) -> list[str]:
        """A command whose answer `is_running` understands."""

    def is_running(self, ran: Ran) -> bool: ...


def service_name(place: Home) -> str:
    """`photosearch` for the usual home; another home has a name of its own beside it."""
    if place.directory == open_home(None).directory and "PHOTOSEARCH_HOME" not in os.environ:
        return "photosearch"
    return f"photosearch-{hashlib.sha256(os.fsencode(place.directory)).hexdigest()[:8]}"


def open_service(place: Home, *, platform: str = sys.platform) -> Service:
    """The way of this system."""
    from photosearch.service.launchd import LaunchAgent
    from photosearch.service.systemd import UserUnit
    from photosearch.service.windows import LogonTask

    name, words = service_name(place), program.serve_command(place)
    if platform == "darwin":
        return LaunchAgent(name, words, log=place.service_log)
    if platform == "win32":
        words[0] = program.windowless(words[0])
        return LogonTask(name, words, folder=place.directory)
    return UserUnit(name, words)


def run_command(words: Sequence[str]) -> Ran:
    """Run one of the system's commands to its end. A missing one is told by code 127."""
    try:
        done = subprocess.run(
            list(words),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return Ran(127, f"{words[0]} is not on this system")
    except OSError as error:
        return Ran(126, f"{words[0]} cannot be started ({error.strerror})")
    except subprocess.TimeoutExpired:
        return Ran(124, f"{words[0]} did not answer within {COMMAND_SECONDS:.0f} seconds")
    return Ran(done.returncode, (done.stderr or done.stdout).strip())


def install(service: Service, run: Run = run_command) -> None:
    """Write the file and have the system take notice; again is the same as once."""
    try:
        service.file.parent.mkdir(parents=True, exist_ok=True)
        write_private(service.file, service.text())
    except OSError as error:
        raise PhotosearchError(
            f"{service.file}: cannot be written ({error.strerror}), so nothing starts at login."
        ) from error
    for words in service.enable():
        ran = run(words)
        if ran.code != 0:
            raise PhotosearchError(
                f"{service.file} is written, but `{' '.join(words)}` failed"
                f"{f' ({ran.said})' if ran.said else ''}. It may start at the next login; "
                "`photosearch service uninstall` takes it away."
            )


def uninstall(service: Service, run: Run = run_command) -> bool:
    """Stop it and remove its file; False where there was none. Data and photos stay."""
    if not service.file.exists():
        return False
    left = take_away(service, run, ends_now=True)
    if service.file.exists():
        raise PhotosearchError(left[-1])
    return True


def take_away(service: Service, run: Run = run_command, *, ends_now: bool) -> list[str]:
    """It must not start at the next login any more. `ends_now`: nor go on until then, which
    must not be asked for by the daemon that runs in it. Returns what is left to do by hand."""
    for words in service.end() if ends_now else []:
        run(words)  # may be stopped already, or unknown since a restart
    left = []
    for words in service.forget():
        ran = run(words)
        if ran.code != 0:
            said = f" ({ran.said})" if ran.said else ""
            left.append(f"`{' '.join(words)}` failed{said}. Run it by hand.")
    try:
        service.file.unlink(missing_ok=True)
    except OSError as error:
        left.append(f"{service.file}: cannot be removed ({error.strerror}). Remove it by hand.")
    for words in service.after_removal():
        run(words)
    return left


def service_status(service: Service, words: Sequence[str], run: Run = run_command) -> ServiceStatus:
    if not service.file.exists():
        return ServiceStatus(False, False, service.file, tuple(words))
    ran = run(service.query())
    running = None if ran.code in (124, 127) else service.is_running(ran)
    return ServiceStatus(True, running, service.file, tuple(words))
