"""Table tests: each row is a sentence."""

from __future__ import annotations

import pytest

from photosearch.reconcile import Action, decide, plan
from photosearch.types import Location, Stamp

OLD = Stamp(size_bytes=10, mtime_ns=1_000, device=1, inode=7)
NEW = Stamp(size_bytes=12, mtime_ns=2_000, device=1, inode=7)
REPLACED = Stamp(size_bytes=10, mtime_ns=1_000, device=1, inode=8)
REMOUNTED = Stamp(size_bytes=10, mtime_ns=1_000, device=2, inode=9)
KNOWN = Location(1, b"a.jpg", OLD, 5, None)
REJECTED = Location(1, b"a.jpg", OLD, None, "damaged")


@pytest.mark.parametrize(
    ("known", "on_disk", "now_ns", "expected"),
    [
        pytest.param(None, OLD, 9_000, Action.READ, id="new file"),
        pytest.param(KNOWN, OLD, 9_000, Action.NOTHING, id="unchanged"),
        pytest.param(KNOWN, NEW, 9_000, Action.READ, id="edited"),
        pytest.param(KNOWN, NEW, 2_001, Action.WAIT, id="still being written"),
        pytest.param(None, NEW, 2_000, Action.WAIT, id="written this instant"),
        pytest.param(None, NEW, 1_500, Action.READ, id="dated in the future: a wrong clock"),
        pytest.param(KNOWN, None, 9_000, Action.FORGET, id="deleted"),
        pytest.param(None, None, 9_000, Action.NOTHING, id="gone before we looked"),
        pytest.param(REJECTED, OLD, 9_000, Action.NOTHING, id="rejected and unchanged: no retry"),
        pytest.param(REJECTED, NEW, 9_000, Action.READ, id="rejected and changed: retry"),
        pytest.param(KNOWN, REPLACED, 9_000, Action.READ, id="another file put in its place"),
        pytest.param(KNOWN, REMOUNTED, 9_000, Action.NOTHING, id="same drive under a new number"),
    ],
)
def test_decide(
    known: Location | None, on_disk: Stamp | None, now_ns: int, expected: Action
) -> None:
    assert decide(known, on_disk, now_ns, settle_ns=500) is expected


def test_plan_reads_the_newest_first() -> None:
    disk = {b"old.jpg": OLD, b"new.jpg": NEW}
    found = plan({}, disk, 9_000, settle_ns=500)
    assert [path for path, _ in found.read] == [b"new.jpg", b"old.jpg"]


def test_what_lies_in_an_unreadable_folder_is_not_forgotten() -> None:
    known = {
        b"sub/a.jpg": Location(1, b"sub/a.jpg", OLD, 5, None),
        b"subtle.jpg": Location(1, b"subtle.jpg", OLD, 6, None),
    }
    found = plan(known, {}, 9_000, unreadable=(b"sub",), settle_ns=500)
    assert found.forget == (b"subtle.jpg",)
