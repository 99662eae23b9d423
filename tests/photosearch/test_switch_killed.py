"""A move to another bundle, killed at any moment: one whole space answers."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from workbench import spaces

from photosearch.library import Changes, Embedded, Library
from photosearch.store.connection import problems
from photosearch.types import Stamp, Vector

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
PHOTOS, DIM = 40, 6


def vector(number: int, space: str) -> Vector:
    row = np.random.default_rng([number, len(space)]).standard_normal(DIM).astype(np.float32)
    return row / np.float32(np.linalg.norm(row))


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def make_library(file: Path) -> None:
    library = Library(file, space="old", dim=DIM, bundle="old")
    root = library.add_root("/photos")
    changes = Changes(root.root_id)
    for number in range(PHOTOS):
        place = (b"%d.jpg" % number, Stamp(number, number, 1, number))
        changes.embedded.append(
            Embedded(digest(number), "JPEG", 4, 3, None, vector(number, "old"), (place,))
        )
    library.commit(changes, now_ns=1)
    library.close()


def move(file: Path, rnd: random.Random, say: Callable[[str], None]) -> None:
    """What a daemon does, for ever: move, now and then give it up, and at last take over."""
    library = Library(file, space="old", dim=DIM, bundle="old")
    while True:
        succession = library.begin_succession(space="newer", dim=DIM, bundle="newer")
        say("begun")
        for start in range(0, PHOTOS, 8):
            part = range(start, min(start + 8, PHOTOS))
            succession.add({digest(n): vector(n, "newer") for n in part})
            say(f"added {start}")
        if rnd.random() < 0.5:
            succession.drop()
            say("dropped")
        else:
            library.take_over(succession)
            say("taken over")
            return


def killed(file: Path, seed: int) -> str:
    """Run `move` in a child that is killed after a random while; returns the last it said."""
    rnd = random.Random(seed)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            move(file, rnd, lambda text: os.write(writing, f"{text}\n".encode()) and None)
        finally:
            os._exit(0)
    os.close(writing)
    time.sleep(rnd.random() * 0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading, "r", encoding="utf-8") as stream:
        return (stream.read().splitlines() or [""])[-1]


def check(file: Path, last: str) -> str:
    """Whatever was committed: one whole space answers, with its own vectors. Returns which."""
    from photosearch.library import open_library_reader

    reader = open_library_reader(file)
    assert reader is not None
    answering = reader.answering()
    reader.close()
    assert answering is not None
    space = answering[0]
    library = Library(file, space=space, dim=DIM, bundle=space)
    try:
        with library.reader.reading() as db:
            assert problems(db) == []
        assert len(library.index) == PHOTOS
        for number in range(PHOTOS):
            photo_id = library.photo_with_hash(digest(number))
            assert photo_id is not None
            stored = library.index.exact.vector(photo_id)
            assert stored is not None
            np.testing.assert_array_equal(stored, vector(number, space))
        held = spaces(library)
        assert held[space] == PHOTOS
        if last == "taken over":
            assert held == {"newer": PHOTOS}
        if last == "dropped":
            assert space == "old"
        if space == "newer":
            assert "old" not in held  # never two that could answer
    finally:
        library.close()
    return space


def kill_rounds(tmp_path: Path, rounds: int) -> dict[str, int]:
    make_library(tmp_path / "start.db")
    seen: dict[str, int] = {}
    for seed in range(rounds):
        file = tmp_path / f"{seed}.db"
        shutil.copy(tmp_path / "start.db", file)
        space = check(file, killed(file, seed))
        seen[space] = seen.get(space, 0) + 1
        for left in tmp_path.glob(f"{seed}.db*"):
            left.unlink()
    return seen


def test_killed_at_any_moment_one_whole_space_answers(tmp_path: Path) -> None:
    assert sum(kill_rounds(tmp_path, 15).values()) == 15


@pytest.mark.slow
def test_killed_three_hundred_times(tmp_path: Path) -> None:
    seen = kill_rounds(tmp_path, 300)
    assert set(seen) == {"old", "newer"}, seen  # the rounds fell on both sides of the end
