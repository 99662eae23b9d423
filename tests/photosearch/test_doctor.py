"""doctor, retry, forget and backup: with the daemon running and without."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numbered import needs_hnswlib
from test_program import (
    START_SECONDS,
    Program,
    indexed,
    own_home,
    painted_disk,
    program,
    toy,
    within,
)
from toy import painted
from workbench import Bench, jpeg

from photosearch import doctor
from photosearch.advice import advice_for
from photosearch.cli import main
from photosearch.decode import NO_PERMISSION
from photosearch.doctor import Subject, check_watches, examine
from photosearch.errors import PhotosearchError
from photosearch.home import Home
from photosearch.ingest import forget_library
from photosearch.library import Changes, Embedded
from photosearch.library.writer import NO_VECTOR
from photosearch.protocol import DoctorReply
from photosearch.store import connection
from photosearch.thumbnails import Thumbnails
from photosearch.types import Root, Stamp

__all__ = ["indexed", "own_home", "painted_disk", "program", "toy"]
BOTH = pytest.mark.parametrize("running", [False, True], ids=["alone", "daemon"])


@contextmanager
def maybe_served(program: Program, running: bool) -> Iterator[None]:
    if running:
        served = program.serve()
        within(30.0, lambda: served.status()["indexing"]["state"] == "idle")
        yield
        program.run("stop")
    else:
        yield


def diagnosis(program: Program, code: int) -> dict[str, Any]:
    (line,) = program.run("doctor", "--json", check=code).stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def failing(found: dict[str, Any]) -> set[str]:
    return {item["check"] for item in found["findings"] if not item["ok"]}


@BOTH
def test_a_healthy_library_is_exit_0(own_home: Program, running: bool) -> None:
    with maybe_served(own_home, running):
        found = diagnosis(own_home, 0)
        assert found["healthy"] is True
        assert found["unsearchable"] == []
        assert {item["check"] for item in found["findings"]} == {
            "database", "vectors", "libraries", "folders", "watch", "index", "disk", "photos",
        }  # fmt: skip
        said = own_home.run("doctor").stdout
        assert "PROBLEM" not in said
        assert "3 photos searchable, 0 files are not" in said


@BOTH
def test_every_file_that_is_not_searchable_is_named_with_reason_and_advice(
    painted_disk: Program, running: bool
) -> None:
    bad = painted_disk.write("deep/bad.jpg", b"words")
    painted_disk.index()
    with maybe_served(painted_disk, running):
        found = diagnosis(painted_disk, 3)
        (item,) = found["unsearchable"]
        assert item["path"] == str(bad)
        assert item["reason"].startswith("not a photo")
        assert "rename or delete" in item["advice"]
        assert failing(found) == {"photos"}
        assert str(bad) in painted_disk.run("doctor", check=3).stdout


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("too large: 900 x 900 pixels, more than 0 megapixels", "more than is ever read"),
        (NO_PERMISSION, "Change its permissions"),
        ("not supported: this kind of TIFF cannot be opened here", "Save it as JPEG"),
        ("damaged: image file is truncated", "Restore it from a backup"),
        ("cannot be read: Input/output error", "The disk or the network failed"),
        (NO_VECTOR, "retry"),
    ],
)
def test_each_reason_has_its_own_advice(reason: str, says: str) -> None:
    assert says in advice_for(reason)


def test_doctor_says_what_most_files_need_and_each_file_its_own(painted_disk: Program) -> None:
    for name in ("one.jpg", "two.jpg"):
        painted_disk.write(name, b"words")
    painted_disk.write("cut.jpg", painted("red")[:200])
    painted_disk.index()
    found = diagnosis(painted_disk, 3)
    advices = {Path(item["path"]).name: item["advice"] for item in found["unsearchable"]}
    assert advices["one.jpg"] == advices["two.jpg"] != advices["cut.jpg"]
    (photos,) = (item for item in found["findings"] if item["check"] == "photos")
    assert photos["advice"].startswith(advices["one.jpg"])
    assert "each file is listed with its own" in photos["advice"]
    assert advices["cut.jpg"] in painted_disk.run("doctor", check=3).stdout


@BOTH
def test_an_offline_library_needs_the_user(painted_disk: Program, running: bool) -> None:
    painted_disk.index()
    with maybe_served(painted_disk, running):
        painted_disk.disk.rename(painted_disk.disk.with_name("away"))
        found = diagnosis(painted_disk, 3)
        assert failing(found) == {"libraries"}
        painted_disk.disk.with_name("away").rename(painted_disk.disk)


def test_a_damaged_library_is_exit_6(own_home: Program) -> None:
    file = own_home.home / "library.db"
    with file.open("r+b") as stream:  # a page in the middle
        stream.seek(3 * connection.PAGE_BYTES)
        stream.write(os.urandom(connection.PAGE_BYTES))
    done = own_home.run("doctor", check=6)
    assert "Traceback" not in done.stderr
    assert "damaged" in done.stdout + done.stderr


@BOTH
def test_retry_reads_a_failed_file_again(painted_disk: Program, running: bool) -> None:
    """The same bytes, time and inode: nothing but `retry` would read it again."""
    bad, other = painted_disk.write("sub/bad.jpg", b"words"), painted_disk.write("o.jpg", b"words")
    painted_disk.index()
    stamp = bad.stat()
    good = painted("yellow")
    with maybe_served(painted_disk, running):
        # What a repaired decoder would do: the file can be read now, and looks unchanged.
        with closing(sqlite3.connect(painted_disk.home / "library.db")) as db:
            bad.write_bytes(good)
            os.utime(bad, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
            db.execute(
                "UPDATE locations SET size_bytes = ? WHERE path = ?", (len(good), b"sub/bad.jpg")
            )
            db.commit()
        assert len(diagnosis(painted_disk, 3)["unsearchable"]) >= (0 if running else 2)
        done = painted_disk.run("retry", str(bad.parent))
        assert (
            "1 file was read again" in done.stderr or running
        )  # the daemon may have seen the write itself

        def only_the_other() -> bool:
            left = diagnosis(painted_disk, 3)["unsearchable"]
            return [item["path"] for item in left] == [str(other)]

        within(START_SECONDS, only_the_other)
        assert painted_disk.find("yellow")[0] == "bad.jpg"
        other.unlink()


def test_retry_outside_every_library_names_those_known(own_home: Program) -> None:
    done = own_home.run("retry", "/nowhere/at/all.jpg", check=3)
    assert "lies in no library" in done.stderr
    assert str(own_home.disk) in done.stderr


@BOTH
def test_forget_drops_the_library_and_leaves_the_photos(
    painted_disk: Program, running: bool
) -> None:
    other = painted_disk.disk.with_name("other")
    other.mkdir()
    (other / "yellow.jpg").write_bytes(painted("yellow"))
    (other / "same-red.jpg").write_bytes((painted_disk.disk / "red.jpg").read_bytes())
    past = 1_600_000_000
    for file in other.iterdir():
        os.utime(file, (past, past))
    painted_disk.run("index", "--library", str(painted_disk.disk), "--library", str(other))
    before = {file: file.read_bytes() for file in painted_disk.disk.iterdir()}
    thumbnails = painted_disk.home / "thumbnails"
    assert len(list(thumbnails.rglob("*.webp"))) == 4
    with maybe_served(painted_disk, running):
        done = painted_disk.run("forget", str(painted_disk.disk / "red.jpg"), check=3)
        assert "is not a library" in done.stderr
        assert str(other) in done.stderr
        done = painted_disk.run("forget", str(painted_disk.disk))
        assert "2 photos" in done.stderr  # red lies in the other library too
        assert sorted(painted_disk.find("red", "--all")) == ["same-red.jpg", "yellow.jpg"]
        assert len(list(thumbnails.rglob("*.webp"))) == 2
        status = json.loads(painted_disk.run("status", "--json").stdout)
        assert [library["path"] for library in status["libraries"]] == [str(other)]
    assert {file: file.read_bytes() for file in painted_disk.disk.iterdir()} == before
    painted_disk.run("index")
    assert sorted(painted_disk.find("red", "--all")) == ["same-red.jpg", "yellow.jpg"]


def test_forgotten_vectors_are_nowhere_in_the_files(bench: Bench) -> None:
    for number in range(40):
        bench.write(f"{number}.jpg", jpeg(number))
    bench.sync()
    _, rows = bench.library.index.exact.snapshot()
    half = rows.shape[1] // 2  # a vector that lies across two pages is whole in neither
    secrets = [(row[:half].tobytes(), row[half:].tobytes()) for row in rows]

    def seen() -> int:
        data = b"".join(file.read_bytes() for file in bench.home.glob("library.db*"))
        return sum(any(part in data for part in secret) for secret in secrets)

    assert seen() == 40
    assert forget_library(bench.library, Thumbnails(bench.home / "t"), bench.root.root_id) == 40
    assert seen() == 0
    assert (bench.home / "library.db-wal").stat().st_size == 0
    assert not bench.library.index.exact._rows.any()
    assert bench.library.roots() == []


def test_forget_takes_photos_in_their_grace_along(bench: Bench) -> None:
    gone = bench.write("gone.jpg", jpeg(1))
    bench.sync()
    gone.unlink()
    bench.sync()
    assert forget_library(bench.library, Thumbnails(bench.home / "t"), bench.root.root_id) == 1


@BOTH
def test_backup_is_whole_checked_and_never_replaces(
    own_home: Program, tmp_path: Path, running: bool
) -> None:
    copy = tmp_path / "copies" / "one.db"
    with maybe_served(own_home, running):
        done = own_home.run("backup", str(copy), check=3)
        assert "cannot be written" in done.stderr
        copy.parent.mkdir()
        own_home.run("backup", str(copy))
        before = copy.read_bytes()
        done = own_home.run("backup", str(copy), check=3)
        assert "exists already" in done.stderr
        assert copy.read_bytes() == before
    assert [file.name for file in copy.parent.iterdir()] == ["one.db"]
    if os.name == "posix":
        assert copy.stat().st_mode & 0o777 == 0o600
    restored = Program(tmp_path / "restored", own_home.disk, own_home.bundle)
    restored.home.mkdir()
    copy.rename(restored.home / "library.db")
    assert restored.find("red")[0] == "red.jpg"
    assert restored.index()["unchanged"] == 3


def test_a_backup_that_is_not_sound_does_not_appear(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "problems", lambda db: ["row 3 is missing"])
    with pytest.raises(PhotosearchError, match="row 3 is missing"):
        bench.library.reader.backup(tmp_path / "copy.db")
    assert not list(tmp_path.glob("*copy*"))


# --- the checks, one by one -------------------------------------------------------------------


def subject(bench: Bench, **other: Any) -> Subject:
    made = {
        "place": Home(bench.home),
        "reader": bench.library.reader,
        "space": bench.encoder.space,
        "dim": bench.encoder.dim,
        "bundle": "fake",
        "index": bench.library.index,
        "texts": bench.encoder.texts(["a", "b"]),
        "running": False,
    }
    return Subject(**{**made, **other})


def finding(found: DoctorReply, check: str) -> tuple[bool, str]:
    (item,) = [item for item in found.findings if item.check == check]
    assert item.ok or item.advice  # whatever is wrong, there is something to do
    return item.ok, item.found


@pytest.fixture
def filled(bench: Bench) -> Bench:
    for number in range(5):
        bench.write(f"{number}.jpg", jpeg(number))
    bench.sync()
    return bench


@pytest.mark.parametrize("at", [0, 8, 12, 16, 16 + 4 * 16 - 1], ids=lambda at: f"byte {at}")
def test_damaged_vectors_are_named_left_out_and_read_again(filled: Bench, at: int) -> None:
    """One changed bit: in the photo's number, the space's, the sum, the vector's first or last."""
    ids = filled.library.index.exact.ids().tolist()
    with filled.library._db.blobopen("slab_records", "data", 1) as blob:
        blob[at] ^= 1
    index = filled.library.reader.load_index(filled.encoder.space, 16)
    assert sorted(index.exact.ids().tolist()) == ids[1:]
    found = examine(subject(filled, index=index))
    assert finding(found, "vectors") == (False, "1 are damaged and left out of searches")
    assert [item.reason for item in found.unsearchable] == ["its vector is damaged"]
    again = type(filled.library)(
        filled.library.file, space=filled.encoder.space, dim=16, bundle="fake"
    )
    assert again.unembedded(filled.root.root_id)  # the next look reads its photo
    assert finding(examine(subject(filled)), "vectors")[0]
    again.close()


def test_a_vector_the_model_failed_to_make_is_a_rejected_file(bench: Bench) -> None:
    new = Embedded(
        b"h" * 32, "JPEG", 1, 1, None, np.zeros(16, np.float32), ((b"a.jpg", Stamp(1, 2, 3, 4)),)
    )
    bench.library.commit(Changes(bench.root.root_id, embedded=[new]), now_ns=1)
    assert bench.rejected() == {"a.jpg": "the model could make nothing of it"}
    assert len(bench.library.index) == 0


def test_photos_of_another_model_wait_and_need_the_user_only_without_a_daemon(
    filled: Bench,
) -> None:
    index = filled.library.reader.load_index("new-space", 8)
    for running, ok in ((False, False), (True, True)):
        found = examine(subject(filled, space="new-space", dim=8, index=index, running=running))
        assert len(found.unsearchable) == 5
        assert finding(found, "photos")[0] is ok


def test_too_few_watches_are_said_with_the_command_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        (tmp_path / "root" / str(number)).mkdir(parents=True)
    limit = tmp_path / "limit"
    monkeypatch.setattr(doctor, "INOTIFY_LIMIT", limit)
    monkeypatch.setattr(doctor, "watches_of_others", lambda: 1)
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    root = Root(1, str(tmp_path / "root"), False)
    for text, ok in (("11\n", False), ("12\n", True)):  # 9 folders and 1 other against 90 %
        limit.write_text(text)
        item = check_watches([root])
        assert item.ok is ok
        assert ok or "sysctl fs.inotify.max_user_watches=524288" in item.advice


def test_a_graph_that_misses_photos_is_noticed(filled: Bench) -> None:
    class Poor(type(filled.library.index)):  # type: ignore[misc]
        kind = "hnsw"

        def recall(self, queries: Any, *, k: int = 10) -> float:
            return 0.89

    found = examine(subject(filled, index=Poor(*filled.library.index.exact.snapshot())))
    assert finding(found, "index") == (
        False,
        "hnsw: finds 89.0% of the ten best for texts, 89.0% for photos",
    )


@needs_hnswlib
def test_a_graph_that_is_asked_for_is_built_used_and_told_of(
    painted_disk: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*args: str) -> str:
        place = ["--home", str(painted_disk.home), "--bundle", str(painted_disk.bundle)]
        assert main([*place, *args]) == 0
        return capsys.readouterr().out

    def index_finding() -> str:
        (found,) = [one for one in json.loads(run("doctor", "--json"))["findings"]
                    if one["check"] == "index"]  # fmt: skip
        text: str = found["found"]
        return text

    settings = painted_disk.home / "config.toml"
    painted_disk.home.mkdir(mode=0o700)
    settings.write_text("read_text = false\ngraph_from_photos = 4\n")
    run("index", "--library", str(painted_disk.disk))
    assert index_finding() == "exact: nothing is missed"  # there are three
    settings.write_text("read_text = false\ngraph_from_photos = 3\n")
    run("index")
    found = "hnsw: finds 100.0% of the ten best for texts, 100.0% for photos"
    assert index_finding() == found
    served = painted_disk.serve()
    within(30.0, lambda: served.status()["index"] == "hnsw")
    assert served.find("red")[0] == "red.jpg"
    assert index_finding() == found  # the daemon's own


def test_rows_that_point_nowhere_are_found(filled: Bench) -> None:
    filled.library._db.execute("PRAGMA foreign_keys = OFF")
    filled.library._db.execute("UPDATE locations SET photo_id = 99 WHERE path = x'302e6a7067'")
    ok, said = finding(examine(subject(filled)), "database")
    assert not ok
    assert "locations points to no row of photos" in said


def test_a_sound_database_says_what_it_holds(filled: Bench) -> None:
    ok, said = finding(examine(subject(filled)), "database")
    assert ok
    known = filled.library.known_under(filled.root.root_id, b"")
    assert f"{len(known):,} locations" in said
    assert "sqlite_" not in said
    assert "location_names" not in said


def test_a_nearly_full_disk_is_said(filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_BYTES", 1 << 62)
    assert not finding(examine(subject(filled)), "disk")[0]
