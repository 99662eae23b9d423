"""The home directory: where the library, thumbnails, logs, token and lock are."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from photosearch.errors import HomeInUse, PhotosearchError, UsageError


@dataclass(frozen=True)
class Running:
    """What a running daemon says of itself in run.json."""

    pid: int
    port: int
    version: str


@dataclass(frozen=True)
class Home:
    """Paths under one home directory; none of them need exist."""

    directory: Path

    @property
    def library(self) -> Path:
        return self.directory / "library.db"

    @property
    def thumbnails(self) -> Path:
        return self.directory / "thumbnails"

    @property
    def bundles(self) -> Path:
        return self.directory / "bundles"

    @property
    def chosen_bundle(self) -> Path:
        """Names the bundle that `bundle use` asked for."""
        return self.directory / "chosen-bundle"

    @property
    def sound_bundles(self) -> Path:
        """What bundles looked like whose files were hashed and found sound (bundles.py)."""
        return self.directory / "sound-bundles.json"

    @property
    def settings(self) -> Path:
        return self.directory / "config.toml"

    @property
    def history(self) -> Path:
        """What was searched before (history.py)."""
        return self.directory / "history.json"

    @property
    def log(self) -> Path:
        return self.directory / "photosearch.log"

    @property
    def token(self) -> Path:
        return self.directory / "token"

    @property
    def run(self) -> Path:
        return self.directory / "run.json"

    @property
    def owner(self) -> Path:
        return self.directory / "owner.json"

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def start_log(self) -> Path:
        """What a daemon said on stderr that was started without a terminal."""
        return self.directory / "start.log"

    @property
    def service_log(self) -> Path:
        """The same, of one that the system starts at login."""
        return self.directory / "service.log"

    @property
    def bar(self) -> Path:
        """Where the native bar can be reached while it runs."""
        return self.directory / "bar.json"

    @property
    def bar_lock(self) -> Path:
        return self.directory / "bar.lock"

    @property
    def bar_log(self) -> Path:
        return self.directory / "bar.log"


def open_home(directory: str | None) -> Home:
    """The home from --home, PHOTOSEARCH_HOME, or the system's place for application data."""
    if directory == "":
        raise UsageError("--home names no folder.")
    chosen = directory or os.environ.get("PHOTOSEARCH_HOME")
    if chosen:
        place = Home(Path(chosen).expanduser().absolute())
    else:
        import platformdirs

        place = Home(Path(platformdirs.user_data_dir("photosearch", appauthor=False)))
    _require_readable(place.directory)
    return place


def _require_readable(directory: Path) -> None:
    """It need not exist, but what is there must be a folder that can be looked into."""
    try:
        is_folder = stat.S_ISDIR(directory.stat().st_mode)
        may_look = os.access(directory, os.R_OK | os.X_OK)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise PhotosearchError(
            f"{directory}: cannot be read ({error.strerror}). Choose another --home."
        ) from error
    if not is_folder:
        raise PhotosearchError(f"{directory}: is no folder. Choose another --home.")
    if not may_look:
        raise PhotosearchError(
            f"{directory}: cannot be read. Check whose it is and its permissions, "
            "or choose another --home."
        )


def require_no_photos_inside(home: Home, roots: Iterable[str]) -> None:
    """Someone may have made a library of our own thumbnails; then deleting is theirs to do."""
    for root in roots:
        for folder in (home.thumbnails, home.bundles):
            if Path(root).is_relative_to(folder):
                raise PhotosearchError(
                    f"{root} is a library and lies in a folder that would be deleted. "
                    "Forget it first: photosearch forget DIR"
                )


def make_home(home: Home) -> None:
    """Create the directory, for its owner alone."""
    try:
        home.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home.directory / ".nomedia").touch()  # our thumbnails are not the user's photos
    except OSError as error:
        raise PhotosearchError(
            f"{home.directory}: cannot be created ({error.strerror}). Choose another --home."
        ) from error


def keep_private(home: Home) -> None:
    """Take from other users what earlier versions let them read in a home that they may enter:
    library, thumbnails and logs. The home itself is left as its owner made it."""
    if os.name == "nt":
        return
    files = [home.thumbnails, *home.directory.glob("library.db*")]
    for log in (home.log, home.bar_log, home.start_log, home.service_log):
        files += home.directory.glob(f"{log.name}*")
    for file in files:
        with contextlib.suppress(OSError):
            found = file.lstat()
            if found.st_mode & 0o077 and found.st_uid == os.getuid() and not file.is_symlink():
                file.chmod(found.st_mode & 0o700)


@contextlib.contextmanager
def owned(home: Home, *, command: str = "") -> Iterator[None]:
    """Be the one process that writes here. The lock dies with the process, however it ends.
    `command` names a run that ends by itself, for others who want in."""
    import filelock

    make_home(home)
    lock = filelock.FileLock(home.lock, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise HomeInUse(home.directory, owner_pid(home), owner_command(home)) from None
    except OSError as error:
        raise PhotosearchError(
            f"{home.directory}: cannot be written ({error.strerror}). Choose another --home."
        ) from error
    try:
        keep_private(home)
        write_private(home.owner, json.dumps({"pid": os.getpid(), "command": command}))
        yield
    finally:
        home.run.unlink(missing_ok=True)
        home.owner.unlink(missing_ok=True)
        lock.release()


def owner_pid(home: Home) -> int | None:
    """Process id of the owner, where it could be read."""
    try:
        pid = json.loads(home.owner.read_text(encoding="utf-8"))["pid"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if isinstance(pid, int) else None


def find_owner(home: Home) -> int | None:
    """Process id of who writes here now, a daemon or `index`; None where nobody does. Asked
    without the lock, which a look at it could keep from who is just taking it."""
    pid = owner_pid(home)
    if pid is None or os.name == "nt":  # there kill() would end it; who is killed leaves a trace
        return pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None  # it was killed, and could not take its file away
    except (PermissionError, OverflowError):
        pass
    return pid


def owner_command(home: Home) -> str:
    """What the owner is a run of; "" for the daemon, and where it could not be read."""
    try:
        command = json.loads(home.owner.read_text(encoding="utf-8"))["command"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return command if isinstance(command, str) else ""


def announce(home: Home, running: Running) -> None:
    write_private(home.run, json.dumps(asdict(running)))


def find_running(home: Home) -> Running | None:
    """The daemon that announced itself here; it may have died since."""
    try:
        raw = json.loads(home.run.read_text(encoding="utf-8"))
        return Running(int(raw["pid"]), int(raw["port"]), str(raw["version"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_token(home: Home) -> str | None:
    try:
        return home.token.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def require_token(home: Home) -> str:
    """The home's 256-bit token, made on first use and readable by the owner alone."""
    found = read_token(home)
    if found is not None and len(found) == 64:
        return found
    token = secrets.token_hex(32)
    write_private(home.token, token)
    return token


def write_private(file: Path, content: str | bytes) -> None:
    """Write a small file whole or not at all, mode 0600 from its first byte."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
        os.replace(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
