"""Hints merge, wait and never get lost; one test touches real OS events."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Set
from pathlib import Path

import pytest

from photosearch.types import Root
from photosearch.watch import MAX_PENDING, Due, Hints, Watcher, hint, watched_inodes

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks inotify's own lists")
CHECKOUT = Path(__file__).parents[2]
ROOT = Root(1, os.sep + "photos", False)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hints(clock: Clock) -> Hints:
    return Hints(clock=clock)


def test_a_hint_is_due_when_its_path_has_been_quiet(hints: Hints, clock: Clock) -> None:
    hints.path(1, b"a.jpg", delay=1.0)
    clock.now += 0.9
    hints.path(1, b"a.jpg", delay=1.0)  # written again: wait anew
    clock.now += 0.9
    assert hints.take(0.0) == []
    clock.now += 0.2
    assert hints.take(0.0) == [Due(1, paths=frozenset([b"a.jpg"]))]
    assert len(hints) == 0


def test_a_sweep_swallows_the_smaller_hints_of_its_root(hints: Hints, clock: Clock) -> None:
    hints.path(1, b"a.jpg")
    hints.folder(1, b"sub")
    hints.path(2, b"b.jpg", delay=50.0)
    hints.sweep(1)
    assert hints.take(0.0) == [Due(1, sweep=True)]
    assert len(hints) == 1


def test_too_many_hints_become_one_sweep(hints: Hints, clock: Clock) -> None:
    for number in range(MAX_PENDING + 1):
        hints.path(1, str(number).encode(), delay=0.0)
    assert len(hints) == 1
    clock.now += 1.0
    assert hints.take(0.0) == [Due(1, sweep=True)]


@pytest.mark.parametrize(
    ("absolute", "is_folder", "expected"),
    [
        ("/photos/a.jpg", False, "path a.jpg"),
        ("/photos/sub/a.jpg", False, "path sub/a.jpg"),
        ("/photos/sub", True, "folder sub"),
        ("/photos", True, "sweep"),
        ("/photos/a.txt", False, ""),
        ("/photos/.hidden/a.jpg", False, ""),
        ("/photos/.hidden", True, ""),
        ("/photos/sub/a.jpg.xmp", False, "path sub/a.jpg.xmp"),
        ("/photos/sub/in/.nomedia", False, "folder sub/in"),
        ("/photos/.nomedia", False, "sweep"),
        ("/photos-of-others/a.jpg", False, ""),
        ("/elsewhere/a.jpg", False, ""),
    ],
)
def test_an_event_becomes_a_hint_inside_its_root_alone(
    hints: Hints, clock: Clock, absolute: str, is_folder: bool, expected: str
) -> None:
    hint(ROOT, hints, os.fsencode(absolute.replace("/", os.sep)), is_folder=is_folder)
    clock.now += 10.0
    said = [
        "sweep"
        if due.sweep
        else " ".join(
            [
                kind + " " + name.decode()
                for kind, names in (("path", due.paths), ("folder", due.folders))
                for name in names
            ]
        )
        for due in hints.take(0.0)
    ]
    assert said == ([expected] if expected else [])


# --- real events ------------------------------------------------------------------------------


@pytest.fixture
def live() -> Iterator[tuple[Hints, Watcher]]:
    hints = Hints()
    watcher = Watcher(hints)
    watcher.start()
    yield hints, watcher
    watcher.stop()


def said_within(hints: Hints, seconds: float, wanted: Due) -> bool:
    """Whether the wanted names come up in time, in however many pieces."""
    until = time.monotonic() + seconds
    paths: set[bytes] = set()
    folders: set[bytes] = set()
    while time.monotonic() < until:
        for due in hints.take(0.2):
            if due.sweep:
                return True
            paths |= due.paths
            folders |= due.folders
        if wanted.paths <= paths and wanted.folders <= folders and not wanted.sweep:
            return True
    return False


def test_real_events_name_what_changed(live: tuple[Hints, Watcher], tmp_path: Path) -> None:
    hints, watcher = live
    disk = tmp_path / "photos"
    disk.mkdir()
    (disk / "sub").mkdir()
    assert watcher.watch(Root(1, str(disk), False))
    (disk / "new.jpg").write_bytes(b"x")
    assert said_within(hints, 5.0, Due(1, paths=frozenset([b"new.jpg"])))
    (disk / "new.jpg").rename(disk / "sub" / "moved.jpg")
    wanted = frozenset([b"new.jpg", b"sub/moved.jpg"])
    assert said_within(hints, 5.0, Due(1, paths=wanted))
    (disk / "sub" / "moved.jpg").unlink()
    assert said_within(hints, 5.0, Due(1, paths=frozenset([b"sub/moved.jpg"])))
    (disk / "sub").rename(tmp_path / "outside")
    assert said_within(hints, 5.0, Due(1, folders=frozenset([b"sub"])))


def test_a_root_that_is_made_anew_is_watched_anew(
    live: tuple[Hints, Watcher], tmp_path: Path
) -> None:
    hints, watcher = live
    disk = tmp_path / "photos"
    disk.mkdir()
    root = Root(1, str(disk), False)
    assert watcher.watch(root)
    shutil.rmtree(disk)
    said_within(hints, 1.0, Due(1, sweep=True))
    assert not watcher.watch(root)
    disk.mkdir()
    assert watcher.watch(root)
    (disk / "a.jpg").write_bytes(b"x")
    assert said_within(hints, 5.0, Due(1, paths=frozenset([b"a.jpg"])))


def swept_within(hints: Hints, seconds: float, *, enough: Set[int] = frozenset()) -> set[int]:
    """Roots that are to be swept by then, or once these are."""
    until, found = time.monotonic() + seconds, set[int]()
    while time.monotonic() < until and not (enough and enough <= found):
        found |= {due.root_id for due in hints.take(0.1) if due.sweep}
    return found


@linux
def test_events_that_the_kernel_had_no_room_for_become_a_sweep(
    live: tuple[Hints, Watcher], tmp_path: Path
) -> None:
    """Its queue is made to run over, while the thread that reads it is held up. What is renamed
    is no photo, so that nothing else would be a reason to look."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip(f"{limit} events would have to be made")
    hints, watcher = live
    assert watcher.watch(Root(1, str(tmp_path), False))
    names = [tmp_path / "a.txt", tmp_path / "b.txt"]
    names[0].touch()
    assert swept_within(hints, 0.5) == set()
    with watcher._observer._inotify_fd._lock:  # watchdog's, over each event
        for _ in range(limit // 2 + 2000):  # two events each, and a buffer that was read already
            names[0].rename(names[1])
            names.reverse()
    assert swept_within(hints, 60.0, enough={1}) == {1}  # a busy machine may need them


LIMITED = """
import os, sys
from pathlib import Path
from photosearch.types import Root
from photosearch.watch import Hints, Watcher, watched_inodes

def allow(count):
    Path("/proc/sys/user/max_inotify_watches").write_text(str(count))

def count_watched():
    return sum(os.stat(each.path).st_ino in watched_inodes() for each in os.scandir(sys.argv[1]))

allow(4)
watcher = Watcher(Hints())
watcher.start()
root = Root(1, sys.argv[1], False)
print(watcher.watch(root), count_watched())
allow(100)
print(watcher.renew(root), count_watched())
watcher.stop()
"""


@linux
def test_a_folder_beyond_the_systems_limit_is_noticed(tmp_path: Path) -> None:
    """watchdog swallows the error: only the system's own list tells who is watched. In a user
    namespace, whose own limit anybody may lower."""
    for number in range(6):
        (tmp_path / str(number)).mkdir()
    alone = ["unshare", "--user", "--map-root-user"]
    limits = "test -w /proc/sys/user/max_inotify_watches"
    try:
        possible = subprocess.run([*alone, "sh", "-c", limits], capture_output=True).returncode == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        pytest.skip("this system lets us make no user namespace")
    command = [*alone, sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=CHECKOUT)
    assert done.stdout.splitlines() == ["True 3", "True 6"], done.stderr  # and the root itself


def test_a_root_is_swept_after_it_was_watched_anew(
    live: tuple[Hints, Watcher], tmp_path: Path
) -> None:
    """Events on their way go with the watch that they were for: a photo deleted in that moment
    stayed in the library until the next sweep by the clock."""
    hints, watcher = live
    root = Root(1, str(tmp_path), False)
    assert watcher.watch(root)
    assert swept_within(hints, 0.6) == set()
    assert watcher.renew(root)
    assert swept_within(hints, 0.8) == {1}


def test_all_roots_are_swept_once_they_are_watched_again(
    live: tuple[Hints, Watcher], tmp_path: Path
) -> None:
    hints, watcher = live
    roots = [Root(number, str(tmp_path / str(number)), False) for number in (1, 2)]
    for root in roots:
        Path(root.path).mkdir()
        assert watcher.watch(root)
    watcher._start_over()
    assert swept_within(hints, 0.6) == {1, 2}  # and one of them might be swept unwatched
    assert watcher.watch(roots[0]) and watcher.watch(roots[1])
    assert swept_within(hints, 0.8) == {1, 2}


@linux
def test_a_moved_out_folder_is_watched_until_its_root_is_renewed(
    live: tuple[Hints, Watcher], tmp_path: Path
) -> None:
    hints, watcher = live
    disk = tmp_path / "photos"
    (disk / "sub").mkdir(parents=True)
    root = Root(1, str(disk), False)
    assert watcher.watch(root)
    inode = os.stat(disk / "sub").st_ino
    (disk / "sub").rename(tmp_path / "outside")
    assert said_within(hints, 5.0, Due(1, folders=frozenset([b"sub"])))
    assert inode in (watched_inodes() or set())  # watched where it is none of our business
    assert watcher.renew(root)
    assert inode not in (watched_inodes() or set())
    (disk / "a.jpg").write_bytes(b"x")
    assert said_within(hints, 5.0, Due(1, paths=frozenset([b"a.jpg"])))


@linux
def test_a_folder_that_is_told_under_anothers_name_is_noticed(
    live: tuple[Hints, Watcher], tmp_path: Path
) -> None:
    """It leaves, returns elsewhere, and the folder it was in is renamed: watchdog takes it for
    renamed as well, here into a hidden one, whose events are nobody's business."""
    hints, watcher = live
    disk = tmp_path / "photos"
    (disk / "a/sub").mkdir(parents=True)
    root = Root(1, str(disk), False)
    assert watcher.watch(root)
    inode = os.stat(disk / "a/sub").st_ino
    assert watcher.misnamed(root, {b"a/sub": inode, b"": os.stat(disk).st_ino}) == 0
    (disk / "a/sub").rename(tmp_path / "outside")
    assert said_within(hints, 5.0, Due(1, folders=frozenset([b"a/sub"])))
    (tmp_path / "outside").rename(disk / "back")
    assert said_within(hints, 5.0, Due(1, folders=frozenset([b"back"])))
    assert watcher.misnamed(root, {b"back": inode}) == 0
    (disk / "a").rename(disk / ".a")
    assert said_within(hints, 5.0, Due(1, folders=frozenset([b"a"])))
    assert watcher.misnamed(root, {b"back": inode}) == 1
    assert watcher.renew(root)
    assert watcher.misnamed(root, {b"back": inode}) == 0
    (disk / "back/a.jpg").write_bytes(b"x")
    assert said_within(hints, 5.0, Due(1, paths=frozenset([b"back/a.jpg"])))


@linux
def test_a_watch_whose_thread_has_ended_is_taken_up_again(
    live: tuple[Hints, Watcher], tmp_path: Path
) -> None:
    hints, watcher = live
    root = Root(1, str(tmp_path), False)
    assert watcher.watch(root)
    (emitter,) = watcher._observer.emitters
    emitter.stop()
    emitter.join(timeout=10.0)
    assert watcher.watch(root)
    assert said_within(hints, 5.0, Due(1, sweep=True))  # for what was missed meanwhile
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert said_within(hints, 5.0, Due(1, paths=frozenset([b"a.jpg"])))


@linux
def test_watchdogs_broken_tables_are_thrown_away(
    live: tuple[Hints, Watcher], tmp_path: Path
) -> None:
    """As when two folders of one name follow each other faster than the kernel tells."""
    hints, watcher = live
    root = Root(1, str(tmp_path), False)
    assert watcher.watch(root)
    (emitter,) = watcher._observer.emitters
    group = emitter._inotify
    group._active_callbacks_by_watch[next(iter(group._active_callbacks_by_watch))] = b"/nowhere"
    old = watcher._observer
    assert watcher.renew(root)
    assert watcher._observer is not old
    assert said_within(hints, 5.0, Due(1, sweep=True))
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert said_within(hints, 5.0, Due(1, paths=frozenset([b"a.jpg"])))
    old._inotify_fd.join(timeout=5.0)
    assert not old._inotify_fd.is_alive()


@linux
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reading_thread_that_died_is_noticed(live: tuple[Hints, Watcher], tmp_path: Path) -> None:
    hints, watcher = live
    root = Root(1, str(tmp_path), False)
    assert watcher.watch(root)
    reader = watcher._observer._inotify_fd

    def fail(event: object) -> None:
        raise KeyError(b"a path of watchdog's")

    reader.handle_event = fail
    (tmp_path / "a.jpg").write_bytes(b"x")
    reader.join(timeout=5.0)
    assert not reader.is_alive()
    assert watcher.watch(root)
    assert said_within(hints, 5.0, Due(1, sweep=True))
    (tmp_path / "b.jpg").write_bytes(b"x")
    assert said_within(hints, 5.0, Due(1, paths=frozenset([b"b.jpg"])))


@linux
def test_a_root_that_lies_elsewhere_now_is_watched_there(
    live: tuple[Hints, Watcher], tmp_path: Path
) -> None:
    hints, watcher = live
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    assert watcher.watch(Root(1, str(tmp_path / "old"), False))
    assert watcher.watch(Root(1, str(tmp_path / "new"), False))
    said_within(hints, 1.0, Due(1, sweep=True))
    (tmp_path / "new" / "a.jpg").write_bytes(b"x")
    assert said_within(hints, 5.0, Due(1, paths=frozenset([b"a.jpg"])))
