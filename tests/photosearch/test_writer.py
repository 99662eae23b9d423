"""What one commit does where its parts meet, and what the writer knows without asking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photosearch.library import Changes, Embedded, Library
from photosearch.library.sizes import Sizes
from photosearch.types import Stamp

DIM = 4


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    library = Library(tmp_path / "library.db", space="s", dim=DIM, bundle="b")
    yield library
    library.close()


def photo(number: int, *paths: bytes) -> Embedded:
    """A photo of its own bytes, size and direction, at these paths."""
    stamp = Stamp(100 + number, 1, 1, number)
    places = tuple((path, stamp) for path in paths)
    vector = np.eye(DIM, dtype=np.float32)[number]
    return Embedded(bytes([number]) * 32, "JPEG", 1, 1, None, vector, places)


def found(library: Library) -> list[int]:
    return sorted(library.index.search(np.full(DIM, 0.5, np.float32), 10)[0].tolist())


def test_of_two_photos_that_one_batch_puts_at_one_path_the_later_stays(library: Library) -> None:
    root = library.add_root("/photos")
    new = [photo(0, b"a.jpg"), photo(1, b"a.jpg"), photo(2, b"b.jpg")]
    library.commit(Changes(root.root_id, embedded=new), now_ns=5)
    assert found(library) == [2, 3]
    assert library.purge_orphans(before_ns=6) == [bytes([0]) * 32]


def test_a_path_that_one_batch_brings_and_takes_leaves_no_photo(library: Library) -> None:
    root = library.add_root("/photos")
    changes = Changes(root.root_id, embedded=[photo(0, b"a.jpg")], forgotten=[b"a.jpg"])
    library.commit(changes, now_ns=5)
    assert found(library) == []
    assert library.purge_orphans(before_ns=6) == [bytes([0]) * 32]


def test_a_new_photo_is_found_at_once_and_its_size_is_known(library: Library) -> None:
    root = library.add_root("/photos")
    assert not library.may_know_size(100)
    library.commit(Changes(root.root_id, embedded=[photo(0, b"a.jpg", b"b.jpg")]), now_ns=5)
    assert found(library) == [1]
    assert library.may_know_size(100)
    assert not library.may_know_size(101)


def test_sizes_of_an_earlier_run_are_known(tmp_path: Path, library: Library) -> None:
    root = library.add_root("/photos")
    library.commit(Changes(root.root_id, embedded=[photo(3, b"a.jpg")]), now_ns=5)
    again = Library(library.file, space="s", dim=DIM, bundle="b")
    assert again.may_know_size(103)
    assert not again.may_know_size(102)
    again.close()


@given(st.lists(st.integers(0, 30)), st.lists(st.integers(0, 30)), st.integers(-1, 31))
def test_sizes_hold_what_was_read_and_what_came(old: list[int], new: list[int], size: int) -> None:
    sizes = Sizes(lambda: np.asarray(old, np.int64))
    assert (size in sizes) == (size in old)
    for one in new:
        sizes.add(one)
    assert (size in sizes) == (size in old or size in new)
