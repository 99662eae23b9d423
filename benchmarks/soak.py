"""Minutes of random file operations under a running indexing thread; then library against disk.

    python -m benchmarks.soak [--seconds 300] [--seed N] [--check-every 40]

Files are made, written in pieces, overwritten, replaced, cut short, renamed, moved, swapped,
copied, linked, touched, deleted and spoilt; folders are made, renamed, moved, moved out of the
library and back, copied, hidden and deleted; the whole root goes away and comes back, now and
then in another's place. Every so often the operations pause until the library is quiet, and
then it must list exactly what is on disk, each path with the photo of its bytes, read with
the XMP file beside it, or, where these are no photo, with a reason. Sweeps by the clock are
off: what is found is found by events and by the indexing thread's own doubts.

Prints one line of JSON; ends with 1 where anything was wrong, and the seed repeats the run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from PIL import Image

from photosearch import sidecar
from photosearch.decode import hash_file
from photosearch.indexer import Indexer
from photosearch.library import Library
from photosearch.runtimes.fake import FakeEncoder
from photosearch.scan import scan
from photosearch.settings import Settings
from photosearch.store.connection import open_reader
from photosearch.thumbnails import Thumbnails

SETTLE_SECONDS: Final = 90.0  # for the library to come to rest; root checks alone take 5
MAX_FILES: Final = 400
MAX_DEPTH: Final = 8  # of folders made; moved ones may end deeper
ROOT_AWAY_SECONDS: Final = (0.2, 8.0)
SPOILT: Final = b"this is no photo, whatever its name says"
XMP: Final = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF"
    b" xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description"
    b" xmlns:xmp='http://ns.adobe.com/xap/1.0/' xmp:Rating='%d' xmp:Label='%d'/>"
    b"</rdf:RDF></x:xmpmeta>"
)
ODD_NAMES: Final = ("caf\u00e9.jpg", "new\nline.JPG", "a b.jpeg", os.fsdecode(b"\xff\xfe.jpg"))

# path -> hash of the photo's bytes, None for no photo; digest of the XMP file it was read with
Known = dict[bytes, tuple[bytes | None, bytes | None]]


@dataclass
class Outcome:
    """What a soak did, and what was wrong at its checks."""

    seed: int
    seconds: float = 0.0
    operations: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    checks: int = 0
    files: int = 0  # at the last check
    contents: int = 0  # distinct, ever written whole
    slowest_settle_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Disk:
    """A library's folder, and ways to change it at random."""

    def __init__(self, base: Path, rng: random.Random) -> None:
        self.root, self.outside, self.away = base / "disk", base / "outside", base / "away"
        self.root.mkdir()
        self.outside.mkdir()
        self.rng = rng
        self.contents = 0
        self._number = 0
        self._half: list[tuple[Path, bytes]] = []  # files of which the rest is still to come
        self.kinds: dict[str, tuple[int, Callable[[], None]]] = {
            "new": (30, self.new), "pieces": (6, self.pieces), "finish": (6, self.finish),
            "overwrite": (6, self.overwrite), "replace": (5, self.replace),
            "truncate": (2, self.truncate), "spoil": (3, self.spoil), "touch": (4, self.touch),
            "rename": (10, self.rename), "swap": (3, self.swap), "copy": (6, self.copy),
            "hard link": (4, self.hard_link), "symlink": (2, self.symlink),
            "delete": (12, self.delete), "leave": (3, self.leave), "come": (3, self.come),
            "new folder": (6, self.new_folder), "move folder": (5, self.move_folder),
            "copy folder": (1, self.copy_folder), "folder leaves": (2, self.folder_leaves),
            "folder comes": (2, self.folder_comes), "delete folder": (1, self.delete_folder),
            "hide folder": (1, self.hide_folder), "mark folder": (1, self.mark_folder),
            "other name": (2, self.other_name), "sidecar": (5, self.sidecar),
            "lose sidecar": (2, self.lose_sidecar),
        }  # fmt: skip

    def step(self) -> str:
        """One operation; what cannot be done just now counts too."""
        names = list(self.kinds)
        kind = self.rng.choices(names, [self.kinds[name][0] for name in names])[0]
        with contextlib.suppress(OSError, shutil.Error):
            self.kinds[kind][1]()
        return kind

    # --- what there is ------------------------------------------------------------------------

    def files(self) -> list[Path]:
        found = [p for p in self.root.rglob("*") if p.is_file() and not p.is_symlink()]
        return sorted(p for p in found if p.name != ".nomedia" and p.suffix != ".xmp")

    def folders(self) -> list[Path]:
        return sorted([self.root, *(p for p in self.root.rglob("*") if _is_folder(p))])

    def a_file(self) -> Path:
        found = self.files()
        if not found:
            raise FileNotFoundError
        return self.rng.choice(found)

    def a_folder(self) -> Path:
        return self.rng.choice(self.folders())

    def a_lower_folder(self) -> Path:
        found = self.folders()[1:]
        if not found:
            raise FileNotFoundError
        return self.rng.choice(found)

    def free(self, folder: Path, suffix: str = ".jpg") -> Path:
        self._number += 1
        if suffix == ".jpg" and self.rng.random() < 0.05:
            return folder / f"{self._number} {self.rng.choice(ODD_NAMES)}"
        return folder / f"{self._number}{suffix}"

    def photo(self) -> bytes:
        """A photo nobody has seen."""
        self.contents += 1
        image = Image.new("RGB", (6, 4))
        image.putdata([tuple(self.rng.randrange(256) for _ in range(3)) for _ in range(24)])
        file = io.BytesIO()
        image.resize((48, 32)).save(file, self.rng.choice(("JPEG", "PNG")))
        return file.getvalue()

    # --- files --------------------------------------------------------------------------------

    def new(self) -> None:
        if len(self.files()) < MAX_FILES:
            self.free(self.a_folder()).write_bytes(self.photo())
        else:
            self.delete()

    def pieces(self) -> None:
        data = self.photo()
        file = self.free(self.a_folder())
        file.write_bytes(data[: len(data) // 2])
        self._half.append((file, data[len(data) // 2 :]))

    def finish(self) -> None:
        """The rest of a file that was written in part; lost where the file is gone."""
        if self._half:
            file, rest = self._half.pop(0)
            if file.exists():
                with file.open("ab") as stream:
                    stream.write(rest)

    def overwrite(self) -> None:
        self.a_file().write_bytes(self.photo())

    def replace(self) -> None:
        """As programs save: a file beside it, renamed into its place."""
        file = self.a_file()
        part = file.with_name(f"{self._number}.tmp")
        part.write_bytes(self.photo())
        part.replace(file)

    def truncate(self) -> None:
        file = self.a_file()
        with file.open("r+b") as stream:
            stream.truncate(file.stat().st_size * 2 // 3)

    def spoil(self) -> None:
        self.a_file().write_bytes(SPOILT + str(self.rng.randrange(5)).encode())

    def touch(self) -> None:
        when = time.time() - self.rng.uniform(2, 10**8)
        os.utime(self.a_file(), (when, when))

    def rename(self) -> None:
        file = self.a_file()
        file.rename(self.free(self.a_folder(), self.rng.choice((".jpg", ".JPG", ".png", ".txt"))))

    def other_name(self) -> None:
        """A name that is none of a photo's becomes one."""
        found = [p for p in self.files() if p.suffix == ".txt"]
        if found:
            file = self.rng.choice(found)
            file.rename(file.with_suffix(".jpg"))

    def swap(self) -> None:
        one, other = self.a_file(), self.a_file()
        between = one.with_name("between.tmp")
        one.rename(between)
        try:
            other.rename(one)
        finally:
            between.rename(other)

    def copy(self) -> None:
        file = self.a_file()
        self.rng.choice((shutil.copy, shutil.copy2))(file, self.free(self.a_folder()))

    def hard_link(self) -> None:
        os.link(self.a_file(), self.free(self.a_folder()))

    def symlink(self) -> None:
        self.free(self.a_folder()).symlink_to(self.rng.choice((self.a_file(), self.a_folder())))

    def delete(self) -> None:
        self.a_file().unlink()

    def leave(self) -> None:
        self.a_file().rename(self.free(self.outside))

    def come(self) -> None:
        found = sorted(p for p in self.outside.iterdir() if p.is_file())
        if found:
            self.rng.choice(found).rename(self.free(self.a_folder()))

    def sidecar(self) -> None:
        """As programs write beside a photo what they know of it: new, or over an older one."""
        file = self.a_file()
        beside = self.rng.choice((file.with_suffix(".xmp"), file.with_name(f"{file.name}.xmp")))
        rating = self.rng.randrange(6)
        beside.write_bytes(XMP % (rating, self.rng.randrange(10**6)))

    def lose_sidecar(self) -> None:
        found = sorted(self.root.rglob("*.xmp"))
        if found:
            self.rng.choice(found).unlink()

    # --- folders ------------------------------------------------------------------------------

    def new_folder(self) -> None:
        """A new one or two, with photos in them before any watch is there."""
        folder = self.free(self.a_folder(), "") / self.rng.choice(("in", "."))
        if len(folder.relative_to(self.root).parts) < MAX_DEPTH:
            folder.mkdir(parents=True)
            for _ in range(self.rng.randrange(4)):
                self.free(folder).write_bytes(self.photo())

    def move_folder(self) -> None:
        target = self.free(self.a_folder(), "")
        if len(target.relative_to(self.root).parts) < MAX_DEPTH:
            self.a_lower_folder().rename(target)

    def copy_folder(self) -> None:
        folder, target = self.a_lower_folder(), self.free(self.a_folder(), "")
        if len(list(folder.rglob("*"))) < 60 and folder not in target.parents:
            shutil.copytree(folder, target, symlinks=True)

    def folder_leaves(self) -> None:
        """Out of the library, and written to where it is now."""
        folder = self.a_lower_folder()
        target = self.free(self.outside, "")
        folder.rename(target)
        (target / "outside.jpg").write_bytes(self.photo())

    def folder_comes(self) -> None:
        found = sorted(p for p in self.outside.iterdir() if _is_folder(p))
        if found:
            self.rng.choice(found).rename(self.free(self.a_folder(), ""))

    def delete_folder(self) -> None:
        shutil.rmtree(self.a_lower_folder())

    def hide_folder(self) -> None:
        """A name that is left alone; or back."""
        folder = self.a_lower_folder()
        bare = folder.name.lstrip(".")
        folder.rename(folder.with_name(bare if folder.name.startswith(".") else f".{bare}"))

    def mark_folder(self) -> None:
        """With the file that says: nothing for you here; or without it again."""
        mark = self.a_lower_folder() / ".nomedia"
        if mark.exists():
            mark.unlink()
        else:
            mark.touch()

    # --- the root -----------------------------------------------------------------------------

    def lose_root(self) -> str:
        """The whole root goes and comes back; sometimes another folder stands in meanwhile."""
        self.root.rename(self.away)
        pause = self.rng.uniform(*ROOT_AWAY_SECONDS)
        if self.rng.random() < 0.4:
            self.root.mkdir()
            (self.root / "other.jpg").write_bytes(self.photo())
            time.sleep(pause)
            shutil.rmtree(self.root)
        else:
            time.sleep(pause)
        if self.rng.random() < 0.5:  # used elsewhere meanwhile
            (self.away / "elsewhere.jpg").write_bytes(self.photo())
        self.away.rename(self.root)
        return "root"


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def on_disk(root: Path) -> dict[bytes, bytes]:
    """What the library must list: path -> hash of the bytes."""
    return {
        path: hash_file(os.path.join(root, os.fsdecode(path))) for path in scan(str(root)).files
    }


def in_library(file: Path) -> Known:
    with contextlib.closing(open_reader(file)) as db:
        rows = db.execute(
            "SELECT l.path, p.content_hash, f.beside FROM locations l"
            " LEFT JOIN photos p ON p.id = l.photo_id LEFT JOIN facts f ON f.photo_id = p.id"
        )
        return {path: (digest, beside) for path, digest, beside in rows}


def differences(wanted: dict[bytes, bytes], known: Known, root: Path) -> list[str]:
    """In words; a file that is known as none must be one that cannot be decoded."""
    wrong = [f"missed {path!r}" for path in sorted(wanted.keys() - known.keys())]
    wrong += [f"ghost {path!r}" for path in sorted(known.keys() - wanted.keys())]
    beside: dict[bytes, bytes | None] = {}  # by photo: of its places, the first with one speaks
    for path in sorted(wanted):
        found = sidecar.digest(sidecar.read_beside(os.path.join(root, os.fsdecode(path))))
        beside[wanted[path]] = beside.get(wanted[path]) or found
    for path in sorted(wanted.keys() & known.keys()):
        digest, read_with = known[path]
        if digest is None:
            if _is_sound(root / os.fsdecode(path)):
                wrong.append(f"rejected though sound {path!r}")
        elif digest != wanted[path]:
            wrong.append(f"other bytes {path!r}")
        elif read_with != beside[digest]:
            wrong.append(f"another XMP file than the one beside {path!r}")
    return wrong


def _is_sound(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def wait_until_equal(disk: Disk, file: Path, indexer: Indexer) -> tuple[list[str], float]:
    """What is still wrong when the library is at rest and has been for a while."""
    began = time.monotonic()
    wanted = on_disk(disk.root)
    while True:
        found = differences(wanted, in_library(file), disk.root)
        busy = len(indexer.hints) or indexer.indexing().state != "idle"
        took = time.monotonic() - began
        if (not found and not busy) or took > SETTLE_SECONDS:
            return found, took
        time.sleep(0.25)


def soak(base: Path, *, seconds: float, seed: int, check_every: float = 40.0) -> Outcome:
    """Operations for so long, a check every now and then, and one at the end."""
    outcome = Outcome(seed)
    disk = Disk(base, random.Random(seed))
    home = base / "home"
    home.mkdir()
    encoder, file = FakeEncoder(), home / "library.db"
    library = Library(file, space=encoder.space, dim=encoder.dim, bundle="fake")
    library.add_root(str(disk.root))
    settings = Settings(max_cpu=100, read_text=False, sweep_minutes=24 * 60)
    indexer = Indexer(library, encoder, Thumbnails(home / "thumbnails"), settings)
    indexer.start()
    began = time.monotonic()
    try:
        while time.monotonic() - began < seconds:
            until = min(time.monotonic() + check_every, began + seconds)
            while time.monotonic() < until:
                for _ in range(disk.rng.choice((1, 1, 1, 3, 20))):
                    kind = disk.step()
                    outcome.by_kind[kind] = outcome.by_kind.get(kind, 0) + 1
                time.sleep(disk.rng.choice((0.0, 0.01, 0.05, 0.4)))
            if disk.rng.random() < 0.5:
                outcome.by_kind[disk.lose_root()] = outcome.by_kind.get("root", 0) + 1
            while disk._half:
                disk.finish()
            wrong, took = wait_until_equal(disk, file, indexer)
            outcome.checks += 1
            outcome.slowest_settle_s = max(outcome.slowest_settle_s, round(took, 1))
            outcome.wrong += [f"check {outcome.checks}: {what}" for what in wrong]
            if wrong:
                break
        indexed = indexer.order(lambda: len(library.index.exact))
        photos = {digest for digest, _ in in_library(file).values()}
        searchable = len(photos - {None})
        if indexed != searchable:
            outcome.wrong.append(f"{indexed} photos in the index, {searchable} located")
    finally:
        indexer.stop()
        library.close()
    outcome.operations = sum(outcome.by_kind.values())
    outcome.files = len(on_disk(disk.root))
    outcome.contents = disk.contents
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--check-every", type=float, default=40.0)
    args = parser.parse_args()
    seed = random.randrange(10**6) if args.seed is None else args.seed
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), seconds=args.seconds, seed=seed, check_every=args.check_every)
    print(json.dumps(asdict(found)))
    sys.exit(1 if found.wrong else 0)


if __name__ == "__main__":
    main()
