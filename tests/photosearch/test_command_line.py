"""What is typed on the command line, however odd, is answered in words and never by a traceback."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_program import APP, CHECKOUT, Program, painted_disk, posix, program, toy  # noqa: F401
from toy import painted

CAFE = os.fsdecode(b"caf\xe9.jpg")


@pytest.fixture
def cafe(painted_disk: Program) -> Program:
    """Three colours, and a name that is not UTF-8."""
    try:
        painted_disk.write(CAFE, painted("yellow"))
    except OSError:
        pytest.skip("this file system refuses such names")
    return painted_disk


def ask(program: Program, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Any command, by a running daemon or without; what it says may hold any bytes."""
    command = [*APP, "--home", str(program.home)]
    if not (program.home / "run.json").exists():
        command += ["--bundle", str(program.bundle)]
    return subprocess.run(
        [*command, *args],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        **options,
    )


# --- names that are not UTF-8 -----------------------------------------------------------------


@posix
def test_bytes_that_are_no_text_find_their_file_with_a_daemon_and_without(cafe: Program) -> None:
    cafe.index()
    for served in (False, True):
        if served:
            cafe.serve("--library", str(cafe.disk)).settle(4)
        for query in (f'"{CAFE[:4]}"', f'"{CAFE[:4].upper()}"', f"in:photos {CAFE}"):
            assert cafe.find(query) == [CAFE], (served, query)
        assert cafe.find(f'"{os.fsdecode(bytes([0xE8]))}"') == []  # another byte, another name
        assert cafe.find(f"red {CAFE[:4]}x", "-n", "1") == ["red.jpg"]
        assert cafe.find(f"red -{CAFE[:4]}x", "--all")
        for nothing in (f"camera:{CAFE}", f"near:{CAFE}", f"in:a/{CAFE}", f"in:photos/{CAFE}"):
            assert cafe.find(nothing) == []


@posix
def test_a_library_in_a_folder_that_is_no_text_is_moved_with_a_daemon_running(
    cafe: Program,
) -> None:
    cafe.serve("--library", str(cafe.disk)).settle(4)
    moved = cafe.disk.with_name(CAFE[:4])
    cafe.disk.rename(moved)
    done = ask(cafe, "relocate", str(cafe.disk), str(moved))
    assert done.returncode == 0, done.stderr
    assert cafe.find(f'"{CAFE}"') == [CAFE]
    moved.joinpath("bad.jpg").write_bytes(b"no photo")
    assert ask(cafe, "retry", str(moved / CAFE)).returncode == 0


# --- long queries -----------------------------------------------------------------------------


def test_a_long_query_is_cut_and_that_is_said_with_a_daemon_and_without(
    painted_disk: Program,
) -> None:
    painted_disk.index()
    for served in (False, True):
        if served:
            painted_disk.serve("--library", str(painted_disk.disk)).settle(3)
        for letters in ("red " * 400, "red " + "x" * 100_000, "red " + "\N{DOG FACE}" * 2000):
            done = ask(painted_disk, "search", letters, "--all")
            assert done.returncode == 0, done.stderr
            assert "only the first 1000 characters were read" in done.stderr


# --- what is not installed --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "args", "extra"),
    [
        ("photosearch", ["bundle", "import", "open_clip:ViT-B-32"], "openclip"),
        ("export.openclip", ["open_clip:ViT-B-32", "--into", "nowhere"], "openclip"),
        ("export", ["--checkpoint", "nowhere.pt", "--out", "nowhere"], "export"),
        ("models.train", ["models/recipes/lantern.py"], "train"),
        ("models.evaluate", ["--checkpoint", "nowhere.pt", "--data", "nowhere.tar"], "train"),
        ("models.restore", ["--bundle", "nowhere", "--out", "nowhere.pt"], "train"),
    ],
)
def test_without_torch_the_extra_is_named(
    module: str, args: list[str], extra: str, tmp_path: Path
) -> None:
    code = (
        "import runpy, sys; sys.modules['torch'] = None;"
        f"sys.argv = [{module!r}, *{args!r}]; runpy.run_module({module!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=CHECKOUT,
        env={**os.environ, "PHOTOSEARCH_HOME": str(tmp_path)},
    )
    assert done.returncode == 3, done.stderr
    assert f"[{extra}]" in done.stderr and "torch" in done.stderr
    assert len(done.stderr.splitlines()) == 1
