"""What is typed on the command line, however odd, is answered in words and never by a traceback."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_program import (  # noqa: F401
    APP,
    CHECKOUT,
    Program,
    indexed,
    own_home,
    painted_disk,
    posix,
    program,
    toy,
)
from toy import painted

from photosearch.errors import HomeInUse
from photosearch.home import Home, owned

CAFE = os.fsdecode(b"caf\xe9.jpg")


@pytest.fixture
def cafe(painted_disk: Program) -> Program:
    """Three colours, and a name that is not UTF-8."""
    try:
        painted_disk.write(CAFE, painted("yellow"))
    except OSError:
        pytest.skip("this file system refuses such names")
    return painted_disk


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, toy: Path) -> Iterator[tuple[Program, Program]]:
    """The photos of `cafe`, as many as the file system takes, to be asked for without a daemon
    and of one."""
    folder = tmp_path_factory.mktemp("both")
    alone = Program(folder / "alone", folder / "photos", toy)
    served = Program(folder / "served", alone.disk, toy)
    alone.disk.mkdir()
    for colour in ("red", "green", "blue"):
        alone.write(f"{colour}.jpg", painted(colour))
    with contextlib.suppress(OSError):
        alone.write(CAFE, painted("yellow"))
    alone.index()
    served.serve("--library", str(alone.disk)).settle(len(list(alone.disk.iterdir())))
    yield alone, served
    for process in served.started:
        process.kill()
        process.communicate()


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
def test_bytes_that_are_no_text_find_their_file_with_a_daemon_and_without(
    both: tuple[Program, Program],
) -> None:
    if not (both[0].disk / CAFE).exists():
        pytest.skip("this file system refuses such names")
    for asked in both:
        for query in (f'"{CAFE[:4]}"', f'"{CAFE[:4].upper()}"', f"in:photos {CAFE}"):
            assert asked.find(query) == [CAFE], (asked, query)
        assert asked.find(f'"{os.fsdecode(bytes([0xE8]))}"') == []  # another byte, another name
        assert asked.find(f"red {CAFE[:4]}x", "-n", "1") == ["red.jpg"]
        assert asked.find(f"red -{CAFE[:4]}x", "--all")
        for nothing in (f"camera:{CAFE}", f"near:{CAFE}", f"in:a/{CAFE}", f"in:photos/{CAFE}"):
            assert asked.find(nothing) == []


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
    both: tuple[Program, Program],
) -> None:
    for asked in both:
        for letters in ("red " * 400, "red " + "x" * 100_000, "red " + "\N{DOG FACE}" * 2000):
            done = ask(asked, "search", letters, "--all")
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


# --- what the system refuses ------------------------------------------------------------------


def shell(program: Program, words: str) -> subprocess.CompletedProcess[str]:
    """A line of the shell with PS for the program, run as nobody where we may be anybody."""
    drop = "setpriv --reuid 65534 --clear-groups --inh-caps=-all " if os.geteuid() == 0 else ""
    ps = " ".join([drop + sys.executable, str(CHECKOUT / "app.py"), "--home", str(program.home)])
    ps += f" --bundle {program.bundle}"
    return subprocess.run(
        ["sh", "-c", words.replace("PS", ps)], capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def open_to_nobody(own_home: Program) -> Iterator[Program]:
    """Its home belongs to who runs shell()'s lines."""
    above = own_home.home
    while os.geteuid() == 0 and above != Path("/tmp") and above != above.parent:
        above = above.parent
        if above.stat().st_uid == os.geteuid() and above != Path("/tmp"):
            above.chmod(0o755)
    for each in [own_home.home, *own_home.home.rglob("*")]:
        if os.geteuid() == 0:
            os.chown(each, 65534, 65534)
    yield own_home
    own_home.home.chmod(0o700)


@posix
@pytest.mark.parametrize("words", ["status", "service install", "service status", "delete-data"])
def test_a_home_that_cannot_be_read_is_said(open_to_nobody: Program, words: str) -> None:
    open_to_nobody.home.chmod(0)
    done = shell(open_to_nobody, f"PS {words}")
    assert done.returncode == 3, done.stderr
    assert len(done.stderr.splitlines()) == 1 and "permissions" in done.stderr
    assert "elete" not in done.stderr


@posix
def test_a_home_that_cannot_be_written_is_said(open_to_nobody: Program) -> None:
    open_to_nobody.home.chmod(0o500)
    done = shell(open_to_nobody, "PS bundle use lantern")
    assert done.returncode == 3, done.stderr
    assert len(done.stderr.splitlines()) == 1 and "cannot be written" in done.stderr


@posix
@pytest.mark.parametrize("to", [">/dev/full", ">&-"])
@pytest.mark.parametrize("words", ["search red", "status", "index --json", "completion bash"])
def test_an_output_that_cannot_be_written_is_said(indexed: Program, words: str, to: str) -> None:
    app = " ".join([*APP, "--home", str(indexed.home), "--bundle", str(indexed.bundle)])
    done = subprocess.run(
        ["sh", "-c", f"{app} {words} {to}"], capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert done.returncode == 3, done.stderr
    assert "the output cannot be written" in done.stderr.splitlines()[-1]


@posix
def test_ctrl_c_while_modules_load_is_130(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise KeyboardInterrupt")
    for how in ([str(CHECKOUT / "app.py")], ["-m", "photosearch"]):
        done = subprocess.run(
            [sys.executable, *how, "status"],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["index", "--library", ""], 2, "no name"),
        (["--home", "", "status"], 2, "names no folder"),
        (["--home"], 2, "argument --home: expected one argument"),
        (["--home", __file__, "status"], 3, "is no folder"),
    ],
)
def test_what_names_nothing_is_said(tmp_path: Path, args: list[str], code: int, said: str) -> None:
    environment = {**os.environ, "PHOTOSEARCH_HOME": str(tmp_path)}
    done = subprocess.run([*APP, *args], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_setting_out_of_its_range_names_its_file(painted_disk: Program) -> None:
    painted_disk.home.mkdir()
    (painted_disk.home / "config.toml").write_text("max_cpu = 500")
    done = painted_disk.run("index", "--library", str(painted_disk.disk), check=2)
    assert "config.toml: max_cpu is 500" in done.stderr


def test_a_home_that_an_index_run_owns_is_not_to_be_stopped(tmp_path: Path) -> None:
    place = Home(tmp_path)
    with owned(place, command="index"):
        with pytest.raises(HomeInUse, match=r"a run of `photosearch index`. Wait"), owned(place):
            pass
    with owned(place), pytest.raises(HomeInUse, match="photosearch stop"), owned(place):
        pass


# --- words ------------------------------------------------------------------------------------


def test_a_query_may_be_typed_word_by_word(indexed: Program) -> None:
    found = indexed.run("search", "in:photos", "red", "-n", "1", "--json", "-green")
    assert found.stdout.count("red.jpg") == 1
    assert "red.jpg" not in indexed.run("search", "-red").stdout
    assert indexed.run("search", "-q", check=2).stdout == ""  # one letter is an option


@pytest.mark.parametrize("typed", ['""', '"', "camera:", " "])
def test_what_asks_for_nothing_finds_nothing(program: Program, typed: str) -> None:
    done = program.run("search", typed, check=2)
    assert "nothing to search for" in done.stderr and done.stdout == ""


def test_a_key_without_a_value_is_left_out_and_that_is_said(indexed: Program) -> None:
    plain = indexed.run("search", "red")
    for typed in ("camera: red", "red in:", 'red -lens:""'):
        done = indexed.run("search", typed)
        assert done.stdout == plain.stdout
        assert "has no value and is left out" in done.stderr


@posix
def test_an_example_that_is_none_is_a_note_and_the_words_are_searched(
    both: tuple[Program, Program], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for asked in both:
        for path, why in (("nope.jpg", "No such file"), (pipe, "no regular file")):
            done = ask(asked, "search", f"like:{path}", "red", "-n", "1")
            assert done.returncode == 0 and "red.jpg" in done.stdout, done.stderr
            assert why in done.stderr
            done = ask(asked, "search", "red", "--like", str(path))
            assert (done.returncode, done.stdout) == (3, "")
            assert why in done.stderr
        like = asked.find("like:./red.jpg", "--all")  # by its path in the library
        assert {"green.jpg", "blue.jpg"} <= set(like) and "red.jpg" not in like
    assert ask(both[1], "search", "--like", "/dev/zero").returncode == 3
    assert ask(both[1], "search", "--like", "").returncode == 2


def test_all_is_offered_only_where_it_would_show_something(painted_disk: Program) -> None:
    painted_disk.index()
    done = painted_disk.run("search", "in:nowhere", "red", check=1)
    assert "--all" not in done.stderr
    for file in painted_disk.disk.iterdir():
        file.unlink()
    painted_disk.index()
    assert "no photos yet" in painted_disk.run("search", "red", check=1).stderr


def test_retry_of_what_is_not_there_is_an_error_and_one_file_is_no_files(
    painted_disk: Program,
) -> None:
    painted_disk.write("bad.jpg", b"no photo")
    painted_disk.index()
    done = painted_disk.run("retry", str(painted_disk.disk / "nope"), check=3)
    assert "there is no such file" in done.stderr
    assert "1 file was read again" in painted_disk.run("retry").stderr
