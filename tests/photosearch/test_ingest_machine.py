"""Whatever happens to the files, a settled library lists what is on disk: held against a dict."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from workbench import jpeg, make_ingest, open_fake_library

from photosearch.decode import DecodePool
from photosearch.ingest import Totals
from photosearch.runtimes.fake import FakeEncoder

NAMES = st.sampled_from(["a.jpg", "b.jpg", "sub/a.jpg", "sub/c.png", "sub/deep/d.jpg"])
CONTENTS = st.integers(0, 5)
BAD = 5  # this content is no photo


class LibraryMachine(RuleBasedStateMachine):
    """A dict of files is the model; the product must agree with it after any accident."""

    pool: DecodePool
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        LibraryMachine.number = getattr(LibraryMachine, "number", 0) + 1
        base = self.folder / str(LibraryMachine.number)
        self.disk, self.home = base / "disk", base / "home"
        self.disk.mkdir(parents=True)
        self.home.mkdir()
        self.model: dict[str, int] = {}
        self.clock = 10**18
        self.encoder = FakeEncoder()
        self.open()

    def open(self) -> None:
        self.library = open_fake_library(self.home, self.encoder)
        self.root = self.library.add_root(str(self.disk))
        self.ingest = make_ingest(self.library, self.encoder, self.pool, self.home)

    @rule(name=NAMES, content=CONTENTS)
    def write(self, name: str, content: int) -> None:
        file = self.disk / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(DATA[content])
        self.clock += 10**9  # every write gets a time of its own, as on a real clock
        os.utime(file, ns=(self.clock, self.clock))
        self.model[name] = content

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if self.model.pop(name, None) is not None:
            (self.disk / name).unlink()

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        if old in self.model and old != new:
            (self.disk / new).parent.mkdir(parents=True, exist_ok=True)
            (self.disk / old).replace(self.disk / new)
            self.model[new] = self.model.pop(old)

    @rule(old=NAMES, new=NAMES)
    def link(self, old: str, new: str) -> None:
        if old in self.model and new not in self.model:
            (self.disk / new).parent.mkdir(parents=True, exist_ok=True)
            os.link(self.disk / old, self.disk / new)
            self.unlink_before_write(new)
            self.model[new] = self.model[old]

    def unlink_before_write(self, name: str) -> None:
        """Writing through a hard link would change both names: make it a copy again."""
        data = (self.disk / name).read_bytes()
        times = os.stat(self.disk / name)
        (self.disk / name).unlink()
        (self.disk / name).write_bytes(data)
        os.utime(self.disk / name, ns=(times.st_mtime_ns, times.st_mtime_ns))

    @rule(names=st.sets(NAMES))
    def hint(self, names: set[str]) -> None:
        self.ingest.look_at(self.root, [name.encode() for name in names], Totals())

    @rule(instructions=st.integers(1, 400))
    def stop_mid_write(self, instructions: int) -> None:
        before = self.listing()
        self.library._db.set_progress_handler(lambda: 1, instructions)  # SQLite aborts
        try:
            self.ingest.sync(self.root, Totals())
        except Exception as error:
            assert "interrupted" in str(error)
        self.library.close()
        self.open()
        after = self.listing()
        for name, shown in after.items():  # each path as it was, or as it is
            assert shown in (before.get(name), self.expected().get(name))

    @rule()
    def reopen(self) -> None:
        self.library.close()
        self.open()

    @rule()
    def settle(self) -> None:
        self.ingest.sync(self.root, Totals())
        assert self.listing() == self.expected()
        distinct = {content for content in self.model.values() if content != BAD}
        assert len(self.library.index) == len(distinct)
        self.library.index.exact.check()

    def listing(self) -> dict[str, str]:
        known = self.library.known_under(self.root.root_id, b"")
        shown = {}
        for path, place in known.items():
            photo = place.photo_id and self.library.reader.photo(place.photo_id)
            shown[path.decode()] = photo.content_hash.hex() if photo else "rejected"
        return shown

    def expected(self) -> dict[str, str]:
        return {
            name: "rejected" if content == BAD else HASHES[content]
            for name, content in self.model.items()
        }

    def teardown(self) -> None:
        self.library.close()


DATA = [jpeg(number) for number in range(5)] + [b"no photo"]
HASHES = [hashlib.blake2b(data, digest_size=32).hexdigest() for data in DATA]


@pytest.mark.filterwarnings("ignore")
def test_library_machine(pool: DecodePool, tmp_path: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    LibraryMachine.pool, LibraryMachine.folder = pool, tmp_path
    run_state_machine_as_test(
        LibraryMachine,
        settings=settings(max_examples=40, stateful_step_count=25, deadline=None),
    )
