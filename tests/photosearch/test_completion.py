"""Completion scripts, asked in the shells themselves where they are installed."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from photosearch.cli import build_parser, main
from photosearch.completion import SHELLS, commands, script


def made(shell: str) -> str:
    return script(build_parser()[0], shell)


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_option_is_in_every_script(shell: str) -> None:
    text = made(shell)
    for command in commands(build_parser()[0]):
        for word, _ in command.words:
            plain = word.lstrip("-") if shell == "fish" else word
            assert plain in text, (command.path, word)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_it(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out, _ = capsys.readouterr()
    assert out == made(shell)
    assert "photosearch" in out.splitlines()[0] or out.startswith("#compdef photosearch")


# --- bash -------------------------------------------------------------------------------------

ASK_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_photosearch
printf '%s\\n' "${COMPREPLY[@]}"
"""


@needs("bash")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["se"], {"serve", "search", "service"}),
        (["serve", "--no"], {"--no-open"}),
        (["--home", "x", "bundle", "l"], {"list"}),
        (["search", "-n", "5", "--li"], {"--like"}),
        (["service", ""], {"install", "uninstall", "status"}),
        (["completion", "f"], {"fish"}),
        (["serve", "--port", "4"], set()),
        (["serve", "--library", "My"], {"My photos"}),
        (["--home", "bund"], {"bundle folder"}),  # a value is no command
        (["backup", "my"], {"my file.db"}),
    ],
)
def test_bash(typed: list[str], expected: set[str], tmp_path: Path) -> None:
    file = tmp_path / "completion"
    file.write_text(made("bash"))
    place = tmp_path / "here"
    (place / "My photos").mkdir(parents=True)
    (place / "bundle folder").mkdir()
    (place / "my file.db").touch()
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK_BASH, "-", str(file), "photosearch", *typed],
        capture_output=True,
        text=True,
        cwd=place,
        timeout=60,
    )
    assert done.stderr == ""
    offered = {line for line in done.stdout.splitlines() if line}
    if typed == ["service", ""]:
        offered = {word for word in offered if not word.startswith("-")}
    assert offered == expected


# --- zsh --------------------------------------------------------------------------------------


@needs("zsh")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("photosearch del\t", r"delete-data"),
        ("photosearch serve --no\t", r"--no-open"),
        ("photosearch --home x bundle ver\t", r"verify"),
        ("photosearch serve --library My\t", r"My\\ photos"),
        ("photosearch service \t", r"uninstall"),
        ("photosearch se\t\t", r"rank photos against a description"),  # listed, with what it is
    ],
)
def test_zsh(typed: str, expected: str, tmp_path: Path) -> None:
    """A real interactive zsh on a terminal of its own: Tab, and look at the screen."""
    functions = tmp_path / "functions"
    functions.mkdir()
    (functions / "_photosearch").write_text(made("zsh"))
    place = tmp_path / "here"
    (place / "My photos").mkdir(parents=True)
    (place / ".zshrc").write_text(
        f"PROMPT='ready> '; fpath=({functions} $fpath); autoload -Uz compinit; compinit -u -D\n"
        "LISTMAX=0; unsetopt ALWAYS_LAST_PROMPT\n"
    )
    screen = on_a_terminal(["zsh", "-i"], typed, expected, place)
    assert re.search(expected, screen), screen


def on_a_terminal(command: list[str], typed: str, expected: str, place: Path) -> str:
    """Type once the prompt is there, and return the screen as soon as it shows `expected`."""
    environ = {**os.environ, "TERM": "dumb", "ZDOTDIR": str(place), "HOME": str(place)}
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover
        os.chdir(place)
        os.execvpe(command[0], command, environ)
    screen, has_typed = "", False
    deadline = time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    screen += os.read(terminal, 4096).decode(errors="replace")
                except OSError:
                    break
            if not has_typed and "ready> " in screen:
                screen, has_typed = "", True
                os.write(terminal, typed.encode())
            elif has_typed and re.search(expected, screen):
                break
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
    return screen


# --- fish -------------------------------------------------------------------------------------


@needs("fish")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("photosearch se", {"serve", "search", "service"}),
        ("photosearch serve --no", {"--no-open"}),
        ("photosearch --home x bundle l", {"list"}),
        ("photosearch service u", {"uninstall"}),
        ("photosearch serve --library My", {"My photos/"}),
        ("photosearch backup my\\ f", {"my file.db"}),
        ("photosearch status my", set()),
    ],
)
def test_fish(typed: str, expected: set[str], tmp_path: Path) -> None:
    file = tmp_path / "completion.fish"
    file.write_text(made("fish"))
    place = tmp_path / "here"
    (place / "My photos").mkdir(parents=True)
    (place / "my file.db").touch()
    done = subprocess.run(
        ["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", str(file), typed],
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, "HOME": str(tmp_path)},
        timeout=60,
    )
    assert done.stderr == ""
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == expected


# --- PowerShell -------------------------------------------------------------------------------


def test_powershell_is_well_formed() -> None:
    """No PowerShell here: brackets balance, strings end, and no table has a key twice."""
    text = "\n".join(line for line in made("powershell").splitlines() if not line.startswith("#"))
    without_strings = re.sub(r"'(?:[^']|'')*'", "''", text)
    assert "'" not in without_strings.replace("''", "")
    for left, right in ("()", "{}", "[]"):
        assert without_strings.count(left) == without_strings.count(right)
    for table in re.findall(r"\[ordered\]@\{ (.*?) \} \}", text):
        keys = re.findall(r"'([^']+)' = '", table)
        assert len({key.lower() for key in keys}) == len(keys)  # its keys ignore case
