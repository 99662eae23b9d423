#!/usr/bin/env python3
"""First-run set-up with the standard library alone, then the command line; no other logic.

`python3 app.py ARGS` is `photosearch ARGS`. Where the product's packages are not
importable it makes `.venv` beside this file, installs what requirements.txt pins
into it, and runs itself again there.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
REQUIREMENTS = HERE / "requirements.txt"
MARK = VENV / "photosearch-installed"  # holds the hash of the requirements it was made from
PACKAGES = (
    "numpy", "PIL", "pi_heif", "onnxruntime", "sqlite_utils", "watchdog",
    "platformdirs", "filelock", "starlette", "uvicorn", "pydantic",
)  # fmt: skip
DOWNLOAD_MB, DISK_MB = 60, 240


def importable() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def wanted_mark() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def is_installed() -> bool:
    try:
        return MARK.read_text() == wanted_mark() and venv_python().exists()
    except OSError:
        return False


def say(text: str) -> None:
    print(f"photosearch: {text}", file=sys.stderr, flush=True)


def install() -> None:
    """Make the environment; a run that was interrupted is taken up again."""
    folder = VENV if os.path.exists(VENV) else HERE
    if not os.access(folder, os.W_OK | os.X_OK):
        say(f"{folder} cannot be written by you. Copy this checkout to a folder of your own.")
        sys.exit(3)
    say(
        f"first run: installing {len(PACKAGES)} packages and what they need into {VENV}\n"
        f"             (about {DOWNLOAD_MB} MB to download, {DISK_MB} MB on disk; "
        "delete that folder to undo)"
    )
    # Absent, or made by a Python that is gone since.
    make = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    if not os.path.exists(venv_python()) and subprocess.call(make) != 0:
        say("no virtual environment could be made. On Debian and Ubuntu: apt install python3-venv")
        sys.exit(3)
    command = [
        str(venv_python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--only-binary", ":all:", "-r", str(REQUIREMENTS),
    ]  # fmt: skip
    # A user's pip settings may say --user, which an environment refuses.
    if subprocess.call(command, env={**os.environ, "PIP_USER": "0"}) != 0:
        say(
            "the packages could not be installed (see above). "
            "Check the connection and run the same command again."
        )
        sys.exit(3)
    MARK.write_text(wanted_mark())
    say("installed.")


def run_there(arguments: list) -> int:
    """Become the same command in the environment, keeping this process id where the system can."""
    command = [str(venv_python()), str(HERE / "app.py"), *arguments]
    if os.name != "nt":
        os.execv(command[0], command)
    try:
        return subprocess.call(command)
    except KeyboardInterrupt:  # the child was told too, and has said what there is to say
        return 130


def main() -> int:
    arguments = [word for word in sys.argv[1:] if word != "--no-install"]
    may_install = (
        len(arguments) == len(sys.argv) - 1 and os.environ.get("PHOTOSEARCH_NO_INSTALL") != "1"
    )
    if sys.version_info < (3, 11):  # noqa: UP036 (older ones must get this far)
        say(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
        return 3
    inside = Path(sys.prefix).resolve() == VENV.resolve()
    ready = importable() and (not inside or is_installed())
    if not ready and not is_installed():
        if not may_install:
            say(
                "its packages are not installed. Install them with this command:\n"
                f'"{sys.executable}" -m venv "{VENV}" && "{venv_python()}" -m pip install '
                f'--only-binary :all: -r "{REQUIREMENTS}"'
            )
            return 2
        install()
    if not ready and not inside:
        return run_there(arguments)
    from photosearch.cli import main as run

    return run(arguments)


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:  # while modules were loaded; commands see to their own
        code = 130
    sys.exit(code)
