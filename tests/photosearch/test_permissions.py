"""What may not be read: folders and files, and what becomes of them when they may."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_doctor import diagnosis, failing
from test_program import Program, painted_disk, program, toy
from workbench import Bench, jpeg

from photosearch import scan
from photosearch.decode import NO_PERMISSION
from photosearch.ingest import Totals
from photosearch.library import Changes

__all__ = ["painted_disk", "program", "toy"]
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Linux's permissions, and its capabilities"
)
READ_ANYTHING = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: what makes root's reads succeed
DROP_FROM_BOUNDS = 24  # PR_CAPBSET_DROP of prctl(2)


def _as_anyone() -> None:
    """In a child, before its program starts: permissions hold for root as well."""
    libc = ctypes.CDLL(None)
    for capability in READ_ANYTHING:
        libc.prctl(DROP_FROM_BOUNDS, capability, 0, 0, 0)


def run(program: Program, *args: str, code: int = 0) -> Any:
    return program.run(*args, check=code, preexec_fn=_as_anyone)


@contextlib.contextmanager
def like_anyone() -> Iterator[None]:
    """Permissions hold in this thread though it may be root's (capset(2), version 3)."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    kept, now = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    assert libc.capget(head, kept) == 0
    now[:] = kept[:]
    for capability in READ_ANYTHING:
        now[0] &= ~(1 << capability)  # effective; still permitted, so that it can come back
    assert libc.capset(head, now) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(head, kept) == 0


@contextlib.contextmanager
def closed(path: Path, mode: int = 0) -> Iterator[None]:
    before = path.stat().st_mode & 0o777
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@pytest.mark.parametrize("mode", [0, 0o444], ids=["nothing", "listing alone"])
def test_what_lies_in_a_closed_folder_stays_known_and_the_folder_is_named(
    bench: Bench, mode: int
) -> None:
    file = bench.write("trips/deep/a.jpg", jpeg(1))
    bench.write("b.jpg", jpeg(2))
    bench.sync()
    folder = file.parent.parent
    with closed(folder, mode), like_anyone():
        totals = bench.sync()
        assert list(scan.unreadable_folders(str(bench.disk)).values()) == ["Permission denied"]
    assert list(totals.unreadable.values()) == ["Permission denied"]
    assert next(iter(totals.unreadable)).startswith(str(folder))
    assert totals.removed == 0
    assert bench.paths() == {"trips/deep/a.jpg", "b.jpg"}


def test_photos_in_a_folder_that_may_only_be_listed_stay_known(bench: Bench) -> None:
    file = bench.write("trips/a.jpg", jpeg(1))
    bench.sync()
    with closed(file.parent, 0o444), like_anyone():
        bench.sync()
    assert bench.paths() == {"trips/a.jpg"}


def test_index_and_doctor_name_a_closed_folder(painted_disk: Program) -> None:
    folder = painted_disk.disk / "private"
    folder.mkdir()
    with closed(folder):
        done = run(painted_disk, "index", "--library", str(painted_disk.disk))
        assert f"{folder}: cannot be looked into (Permission denied)" in done.stderr
        said = run(painted_disk, "doctor", code=3).stdout
        assert f"PROBLEM\tfolders\tcannot be looked into: {folder} (Permission denied)" in said
        assert f"not searchable\t{folder}\tPermission denied" in said
    assert failing(diagnosis(painted_disk, 0)) == set()


def test_a_file_that_may_be_read_now_is_read_though_it_looks_the_same(
    painted_disk: Program,
) -> None:
    file = painted_disk.disk / "green.jpg"
    named = ["index", "--library", str(painted_disk.disk), "--json"]
    with closed(file):
        done = run(painted_disk, *named)
        assert json.loads(done.stdout)["failed"] == 1
        assert f"{file}: no permission to read it" in done.stderr
        again = json.loads(run(painted_disk, *named).stdout)
        assert (again["failed"], again["unchanged"]) == (0, 3)  # it is not tried in vain
    found = json.loads(run(painted_disk, *named).stdout)
    assert (found["seen"], found["updated"], found["unchanged"]) == (3, 1, 2)
    assert painted_disk.find("green")[0] == "green.jpg"


def test_an_event_of_a_file_that_may_be_read_now_is_enough(bench: Bench) -> None:
    """Elsewhere than on Linux a change of permissions is told as a change of the file."""
    file = bench.write("a.jpg", jpeg(1))
    path, stamp = b"a.jpg", scan.stamp_of(file.stat())
    refused = Changes(bench.root.root_id, rejected=[(path, stamp, NO_PERMISSION)])
    bench.library.commit(refused, now_ns=1)
    with closed(file), like_anyone():
        bench.ingest.look_at(bench.root, [path], Totals())
    assert bench.paths() == set()
    bench.ingest.look_at(bench.root, [path], Totals())
    assert bench.paths() == {"a.jpg"}
