"""The whole program as its users start it: processes, exit codes, files, accidents.

On the toy bundle, so that nothing here depends on how good a model is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from toy import make_toy_bundle, painted

from photosearch.commands.care import _progress
from photosearch.home import Home, owned
from photosearch.protocol import IndexingMessage

CHECKOUT = Path(__file__).parent.parent.parent
APP = [sys.executable, str(CHECKOUT / "app.py")]
FOLLOW_SECONDS = 5.0  # the promise: a change on disk is answered within this
START_SECONDS = 90.0  # a machine that does much else may need them
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@dataclass
class Program:
    """One home, one library folder, and the program run on them."""

    home: Path
    disk: Path
    bundle: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, *args: str, check: int | None = 0, **options: Any) -> Any:
        """Run a command to its end; fails unless it exits with `check`."""
        command = [*APP, "--home", str(self.home), "--bundle", str(self.bundle), *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
        if check is not None:
            assert done.returncode == check, (args, done.returncode, done.stdout, done.stderr)
        return done

    def index(self) -> dict[str, Any]:
        done = self.run("index", "--library", str(self.disk), "--json")
        totals: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return totals

    def find(self, query: str, *args: str) -> list[str]:
        """Names of the photos found, best first; without a daemon or with."""
        command = [*APP, "--home", str(self.home), "search", query, "--json", *args]
        if not (self.home / "run.json").exists():
            command[2:2] = ["--bundle", str(self.bundle)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, 1), done.stderr
        return [Path(json.loads(line)["path"]).name for line in done.stdout.splitlines()]

    def serve(self, *args: str) -> Served:
        settings = self.home / "config.toml"
        if not settings.exists():  # reading text in every picture would only cost minutes here
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            settings.write_text("read_text = false\n", encoding="utf-8")
        command = [*APP, "--home", str(self.home), "--bundle", str(self.bundle), "--no-open", *args]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"photosearch: (http://127\.0\.0\.1:(\d+)/)\n", line)
        assert found, (line, process.stderr.read() if process.stderr else "")
        return Served(process, found[1], (self.home / "token").read_text())

    def write(self, name: str, data: bytes) -> Path:
        file = self.disk / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        past = time.time() - 10
        os.utime(file, (past, past))
        return file


@dataclass
class Served:
    """A running daemon."""

    process: subprocess.Popen[str]
    url: str
    token: str

    def get(self, path: str) -> Any:
        request = urllib.request.Request(
            self.url + path.lstrip("/"), headers={"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def status(self) -> Any:
        return self.get("/api/v1/status")

    def find(self, query: str) -> list[str]:
        hits = self.get(f"/api/v1/search?all=true&q={query}")["hits"]
        return [Path(hit["path"]).name for hit in hits]

    def settle(self, photos: int) -> None:
        within(START_SECONDS, lambda: self.status()["searchable"] == photos)


def within(seconds: float, holds: Callable[[], bool]) -> float:
    """Wait until it holds; fails after `seconds`. Returns how long it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "not within the time promised"
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def program(tmp_path: Path, toy: Path) -> Iterator[Program]:
    made = Program(tmp_path / "home", tmp_path / "photos", toy)
    made.disk.mkdir()
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def painted_disk(program: Program) -> Program:
    for colour in ("red", "green", "blue"):
        program.write(f"{colour}.jpg", painted(colour))
    return program


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory, toy: Path) -> Program:
    """Three painted photos in a library, for tests that only read them."""
    folder = tmp_path_factory.mktemp("indexed")
    made = Program(folder / "home", folder / "photos", toy)
    made.disk.mkdir()
    for colour in ("red", "green", "blue"):
        made.write(f"{colour}.jpg", painted(colour))
    made.index()
    return made


@pytest.fixture
def own_home(program: Program, indexed: Program) -> Program:
    """The same photos, and a library of them in a home that may be spoilt."""
    shutil.copytree(indexed.home, program.home)
    program.disk = indexed.disk
    return program


# --- commands ---------------------------------------------------------------------------------


def test_index_then_search_without_a_daemon(painted_disk: Program) -> None:
    totals = painted_disk.index()
    assert list(totals) == [
        "seen", "added", "updated", "moved", "removed", "failed", "unchanged",
        "seconds", "photos_per_second",
    ]  # fmt: skip
    assert (totals["seen"], totals["added"]) == (3, 3)
    assert painted_disk.find("red")[0] == "red.jpg"
    again = painted_disk.index()
    assert (again["added"], again["unchanged"]) == (0, 3)
    text = painted_disk.run("search", "blue", "-n", "1").stdout
    assert re.fullmatch(rf"\d\.\d+\t{re.escape(str(painted_disk.disk / 'blue.jpg'))}\n", text)
    (line,) = painted_disk.run("search", "green", "-n", "1", "--json").stdout.splitlines()
    hit = json.loads(line)
    assert {"rank", "score", "path", "photo_id", "taken", "why", "relevant"} <= set(hit)
    assert (hit["rank"], hit["relevant"]) == (1, True)


def test_index_waits_for_files_written_this_moment(program: Program) -> None:
    for colour in ("red", "green"):
        (program.disk / f"{colour}.jpg").write_bytes(painted(colour))
    totals = program.index()
    assert (totals["seen"], totals["added"]) == (2, 2)


def test_search_like_a_photo(indexed: Program) -> None:
    example = indexed.write("../example.jpg", painted("blue", seed=5))
    done = indexed.run("search", "--like", str(example), "-n", "1")
    assert done.stdout.rstrip().endswith("blue.jpg")
    notes = indexed.write("../notes.jpg", b"words")
    done = indexed.run("search", "--like", str(notes), check=3)
    assert "cannot be used as an example" in done.stderr


def test_search_understands_filters_and_says_what_it_did_not(painted_disk: Program) -> None:
    painted_disk.write("trips/green2.jpg", painted("green", seed=7))
    painted_disk.index()
    assert painted_disk.find('"red.jpg"') == ["red.jpg"]
    assert painted_disk.find("in:trips") == ["green2.jpg"]
    assert painted_disk.find("green in:trips") == ["green2.jpg"]
    done = painted_disk.run("search", "red camera:x", check=1)
    assert done.stdout == ""
    assert "no photo passes all the filters" in done.stderr
    done = painted_disk.run("search", "red foo:bar", "-n", "1")
    assert done.stdout.rstrip().endswith("red.jpg")
    assert "there is no filter foo:" in done.stderr
    done = painted_disk.run("search", "--", "-red")
    assert "red.jpg" not in done.stdout
    example = painted_disk.write("../an example.jpg", painted("blue", seed=5))
    done = painted_disk.run("search", 'like:"./an example.jpg"', "-n", "1", cwd=example.parent)
    assert done.stdout.rstrip().endswith("blue.jpg")
    done = painted_disk.run("search", "like:./nowhere.jpg", check=1)
    assert "cannot be used as an example" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["frobnicate"], 2, "invalid choice"),
        (["search"], 2, "nothing to search for"),
        (["search", "red", "-n", "0"], 2, "not a whole number"),
        (["search", "red", "-n", "99999"], 2, "not a whole number"),
        (["search", "red"], 3, "holds no library yet"),
        (["index"], 2, "no library yet"),
        (["--no-open"], 2, "no library yet"),
        (["index", "--library", "/nowhere/at/all"], 5, "does not exist"),
        (["index", "--library", __file__], 5, "is not a folder"),
        (["--port", "70000"], 2, "not a whole number"),
        (["stop"], 3, "no daemon is running"),
        (["open"], 3, "no daemon is running"),
        (["bundle", "verify", "/nowhere"], 3, "not a bundle"),
    ],
)
def test_mistakes_are_said_in_a_line(
    program: Program, args: list[str], code: int, said: str
) -> None:
    done = program.run(*args, check=code)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unknown_bundle_names_those_there_are(program: Program) -> None:
    command = [*APP, "--home", str(program.home), "--bundle", "tyo", "status"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    assert "no bundle named tyo" in done.stderr


def test_nothing_found_is_exit_1_and_all_shows_the_nearest(painted_disk: Program) -> None:
    painted_disk.index()
    (painted_disk.disk / "green.jpg").unlink()
    painted_disk.index()
    nothing = painted_disk.run("search", "green", check=1)
    assert nothing.stdout == ""
    assert "--all" in nothing.stderr
    assert len(painted_disk.run("search", "green", "--all").stdout.splitlines()) == 2


def test_settings_that_are_wrong_name_the_nearest(painted_disk: Program) -> None:
    painted_disk.home.mkdir()
    (painted_disk.home / "config.toml").write_text("max_cpus = 3")
    done = painted_disk.run("index", "--library", str(painted_disk.disk), check=2)
    assert "did you mean max_cpu" in done.stderr


def test_status_without_a_daemon(indexed: Program) -> None:
    status = json.loads(indexed.run("status", "--json").stdout)
    assert (status["running"], status["photos"], status["searchable"]) == (False, 3, 3)
    files = [file for file in (indexed.home / "thumbnails").rglob("*") if file.is_file()]
    assert len(files) == 3
    assert status["thumbnail_bytes"] == sum(file.stat().st_size for file in files)
    said = indexed.run("status").stdout
    assert "not running" in said
    assert "indexing\tidle, 0 of 0\nqueue\t0 paths to look at\n" in said


@posix
def test_status_says_that_another_process_is_at_work(own_home: Program) -> None:
    with owned(Home(own_home.home), command="index"):
        said = own_home.run("status").stdout
        assert f"indexing\tworking (index, process {os.getpid()})\n" in said
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (own_home.home / "owner.json").write_text(json.dumps({"pid": ended.pid}))  # kill -9
    assert "indexing\tidle" in own_home.run("status").stdout


def test_status_tells_rate_and_time_left() -> None:
    now = IndexingMessage("working", 12, 340, 8.25, 40.0)
    assert _progress(now) == "working, 12 of 340, 8.2 photos/s, 40 s left"
    paused = IndexingMessage("paused", 0, 0, 0.0, None, "on battery")
    assert _progress(paused) == "paused (on battery)"


def test_bundles_are_listed_and_verified(program: Program, tmp_path: Path) -> None:
    assert "agree" in program.run("bundle", "verify", str(program.bundle)).stdout
    copy = tmp_path / "copy"
    shutil.copytree(program.bundle, copy)
    data = (copy / "text.onnx").read_bytes()
    (copy / "text.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = program.run("bundle", "verify", str(copy), check=3)
    assert "text.onnx: its SHA-256 differs" in done.stderr
    shutil.copytree(program.bundle, program.home / "bundles" / "toy")
    listed = program.run("bundle", "list", "--json").stdout.splitlines()
    assert "toy" in [json.loads(line)["name"] for line in listed]


def test_a_golden_vector_that_no_longer_comes_out_is_named(
    program: Program, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(program.bundle, copy)
    golden = json.loads((copy / "golden.json").read_text())
    golden["images"][0]["vector"] = [0.0, 1.0, 0.0]
    golden["texts"][0]["tokens"] = [2, 3]
    (copy / "golden.json").write_text(json.dumps(golden))
    from photosearch.bundle import sha256_of

    manifest = json.loads((copy / "manifest.json").read_text())
    file = copy / "golden.json"
    manifest["files"]["golden.json"] = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    done = program.run("bundle", "verify", str(copy), check=3)
    assert "image encoder: golden input 0 has cosine" in done.stderr
    assert "tokenizer: 'Red!'" in done.stderr


def test_help_and_version_answer_without_a_home() -> None:
    for args in (["--help"], ["search", "--help"], ["--version"]):
        done = subprocess.run([*APP, *args], capture_output=True, text=True)
        assert done.returncode == 0
        assert "photosearch" in done.stdout


@posix
def test_names_that_are_not_utf8_are_printed_as_they_are(program: Program) -> None:
    name = os.fsdecode(b"caf\xe9 \n\t.jpg")
    try:
        program.write(name, painted("red"))
    except OSError:
        pytest.skip("this file system refuses such names")
    program.index()
    command = [*APP, "--home", str(program.home), "--bundle", str(program.bundle), "search", "red"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert os.fsencode(program.disk) + b"/caf\xe9 \\n\\t.jpg\n" in done.stdout
    done = subprocess.run([*command, "-0"], capture_output=True, timeout=60)
    assert done.stdout == os.fsencode(program.disk / name) + b"\0"
    assert program.find("red") == [name]


def test_a_damaged_library_is_named_and_exits_6(own_home: Program) -> None:
    (own_home.home / "library.db").write_bytes(b"no database at all" * 1000)
    for args in (["search", "red"], ["status"], ["index"], ["--no-open"]):
        done = own_home.run(*args, check=6)
        assert "is damaged" in done.stderr


def test_damage_that_no_search_would_meet_is_found_before_anything_is_shown(
    own_home: Program,
) -> None:
    file = own_home.home / "library.db"
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'folders'")
        ((page_bytes,),) = db.execute("PRAGMA page_size")
    assert own_home.find("red")[0] == "red.jpg"
    with file.open("r+b") as stream:
        stream.seek((root - 1) * page_bytes)
        stream.write(b"\xff" * page_bytes)
    done = own_home.run("search", "red", check=6)
    assert done.stdout == ""
    assert "is damaged" in done.stderr


def test_a_missing_library_is_offline_exits_5_and_loses_nothing(painted_disk: Program) -> None:
    painted_disk.index()
    away = painted_disk.disk.with_name("away")
    painted_disk.disk.rename(away)
    done = painted_disk.run("index", check=5)
    assert "marked offline" in done.stderr
    assert painted_disk.find("red")[0] == "red.jpg"
    away.rename(painted_disk.disk)
    assert painted_disk.index()["unchanged"] == 3


def test_photos_are_never_written(painted_disk: Program) -> None:
    def facts() -> dict[str, tuple[bytes, int]]:
        return {
            file.name: (file.read_bytes(), file.stat().st_mtime_ns)
            for file in painted_disk.disk.iterdir()
        }

    before = facts()
    painted_disk.index()
    painted_disk.find("red")
    assert facts() == before
