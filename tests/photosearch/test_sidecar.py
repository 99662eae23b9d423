"""XMP files beside photos: read, followed, and never a reason to embed anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from workbench import Bench, jpeg

from photosearch import metadata, sidecar, xmp
from photosearch.ingest import Totals
from photosearch.types import Facts, Stamp

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX links and pipes")


def packet(*, rating: int = 4, words: tuple[str, ...] = ("lighthouse",), title: str = "") -> bytes:
    """As darktable and Lightroom write them."""
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in words)
    named = (
        f"<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>{title}</rdf:li></rdf:Alt></dc:title>"
        if title
        else ""
    )
    return (
        "<?xml version='1.0' encoding='UTF-8'?><x:xmpmeta xmlns:x='adobe:ns:meta/'>"
        "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        "<rdf:Description rdf:about='' xmlns:xmp='http://ns.adobe.com/xap/1.0/'"
        f" xmlns:dc='http://purl.org/dc/elements/1.1/' xmp:Rating='{rating}'>"
        f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>{named}"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def facts(bench: Bench, name: str) -> Facts:
    place = bench.library.known(bench.root.root_id, name.encode())
    assert place is not None and place.photo_id is not None
    return bench.library.reader.facts([place.photo_id])[place.photo_id].facts


@pytest.mark.parametrize("name", ["a.xmp", "a.XMP", "a.jpg.xmp", "a.jpg.XMP"])
def test_a_new_photo_says_what_lies_beside_it(bench: Bench, name: str) -> None:
    bench.write("in/a.jpg", jpeg(1))
    bench.write(f"in/{name}", packet(words=("lighthouse", "storm")))
    totals = bench.sync()
    assert (totals.seen, totals.added, totals.decoded) == (1, 1, 1)  # and the other is no photo
    assert facts(bench, "in/a.jpg").rating == 4
    assert facts(bench, "in/a.jpg").keywords == ("lighthouse", "storm")


def test_a_sidecar_that_comes_changes_and_goes_is_followed(bench: Bench) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    for rating in (2, 5):
        bench.write("a.xmp", packet(rating=rating))
        bench.sync()
        assert facts(bench, "a.jpg").rating == rating
    (bench.disk / "a.xmp").unlink()
    bench.sync()
    assert facts(bench, "a.jpg").rating is None
    assert facts(bench, "a.jpg").keywords == ()
    assert bench.encoder.image_calls == 1  # what it shows never changed


def test_the_photos_own_sidecar_goes_before_one_that_is_shared(bench: Bench) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.write("a.png", jpeg(2))
    bench.write("a.xmp", packet(rating=1))
    bench.write("a.jpg.xmp", packet(rating=5))
    bench.sync()
    assert facts(bench, "a.jpg").rating == 5
    assert facts(bench, "a.png").rating == 1
    (bench.disk / "a.jpg.xmp").unlink()
    bench.sync()
    assert facts(bench, "a.jpg").rating == 1


def test_a_look_at_a_sidecar_alone_is_enough(bench: Bench) -> None:
    bench.write("in/a.jpg", jpeg(1))
    bench.sync()
    bench.write("in/a.jpg.xmp", packet(title="At the sea"))
    bench.ingest.look_at(bench.root, [b"in/a.jpg.xmp"], Totals())
    assert facts(bench, "in/a.jpg").caption == "At the sea"
    (bench.disk / "in/a.jpg.xmp").unlink()
    bench.ingest.look_at(bench.root, [b"in/a.jpg.xmp"], Totals())
    assert facts(bench, "in/a.jpg").caption == ""


def test_photos_that_move_with_their_sidecars_are_not_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        bench.write(f"in/{number}.jpg", jpeg(number))
        bench.write(f"in/{number}.jpg.xmp", packet(rating=number + 1))
    bench.sync()
    asked: list[bytes] = []
    run = bench.ingest._pool.run
    monkeypatch.setattr(
        bench.ingest._pool,
        "run",
        lambda tasks: run(asked.append(task.key) or task for task in tasks),
    )
    (bench.disk / "in").rename(bench.disk / "out")
    shutil.copytree(bench.disk / "out", bench.disk / "copy")
    assert bench.sync().decoded == 0
    assert asked == []
    assert [facts(bench, f"copy/{number}.jpg").rating for number in range(3)] == [1, 2, 3]
    (bench.disk / "out/1.jpg.xmp").write_bytes(packet(rating=5))
    bench.sync()
    # Of two places the first by name speaks for the photo.
    assert facts(bench, "out/1.jpg").rating == 2
    (bench.disk / "copy/1.jpg.xmp").unlink()
    bench.sync()
    assert facts(bench, "copy/1.jpg").rating == 5
    assert asked == [b"out/1.jpg"]


def test_a_photo_that_leaves_its_sidecar_forgets_it(bench: Bench) -> None:
    bench.write("in/a.jpg", jpeg(1))
    bench.write("in/a.xmp", packet())
    bench.sync()
    (bench.disk / "in/a.jpg").rename(bench.disk / "b.jpg")
    bench.sync()
    assert facts(bench, "b.jpg").rating is None


def test_a_photo_that_leaves_its_sidecar_and_is_found_later_forgets_it(bench: Bench) -> None:
    """As events tell it: the folder it left is looked at before the one it is in."""
    bench.write("in/a.jpg", jpeg(1))
    bench.write("in/a.xmp", packet())
    (bench.disk / "out").mkdir()
    bench.sync()
    (bench.disk / "in/a.jpg").rename(bench.disk / "out/b.jpg")
    for folder in (b"in", b"out"):
        assert bench.ingest.sync(bench.root, Totals(), under=folder) == []
    assert facts(bench, "out/b.jpg").rating is None


def test_a_sidecar_still_being_written_is_looked_at_later(bench: Bench) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    bench.write("a.xmp", packet())
    bench.ingest._settle_ns = 10**18
    assert bench.ingest.sync(bench.root, Totals()) == [b"a.xmp"]
    assert facts(bench, "a.jpg").rating is None
    bench.ingest._settle_ns = 0
    assert bench.sync().waiting == 0  # the folder was not taken for settled meanwhile
    assert facts(bench, "a.jpg").rating == 4


@pytest.mark.parametrize("returns", [True, False])
def test_a_drive_that_goes_while_sidecars_are_compared(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, returns: bool
) -> None:
    """The folder was listed with its new XMP file; what lies beside the photo was looked for
    when the drive was away. Taken for settled, the two would never be compared again."""
    bench.write("in/a.jpg", jpeg(1))
    bench.sync()
    bench.write("in/a.xmp", packet(rating=5))
    away = bench.disk.with_name("away")
    read_beside = sidecar.read_beside

    def read_while_away(path: str) -> bytes:
        bench.disk.rename(away)
        return read_beside(path)

    monkeypatch.setattr(sidecar, "read_beside", read_while_away)
    waiting = bench.ingest.sync(bench.root, Totals())
    monkeypatch.undo()
    assert waiting == [b"in/a.jpg"]
    if returns:
        away.rename(bench.disk)
        assert bench.ingest.look_at(bench.root, waiting, Totals()) == []
    else:  # and what was to be looked at again is forgotten with the drive
        assert bench.ingest.look_at(bench.root, waiting, Totals()) == []
        away.rename(bench.disk)
        bench.sync()
    assert facts(bench, "in/a.jpg").rating == 5


def test_a_place_that_is_gone_is_looked_at_once_more_and_no_oftener(bench: Bench) -> None:
    for name in ("a.jpg", "b.jpg"):
        bench.write(name, jpeg(1))
    bench.sync()
    (bench.disk / "b.jpg").unlink()  # of which no event told
    bench.write("a.xmp", packet())
    doubtful = [b"a.jpg", b"b.jpg"]
    assert bench.ingest.look_at(bench.root, [b"a.xmp"], Totals()) == doubtful
    assert bench.ingest.look_at(bench.root, doubtful, Totals()) == []
    assert facts(bench, "a.jpg").rating == 4


def test_a_sidecars_folder_is_not_settled_while_another_place_of_its_photo_is_in_doubt(
    bench: Bench,
) -> None:
    for name in ("in/a.jpg", "other/b.jpg"):
        bench.write(name, jpeg(1))
    bench.sync()
    (bench.disk / "other/b.jpg").unlink()  # of which no event told yet
    bench.write("in/a.xmp", packet())
    assert bench.ingest.sync(bench.root, Totals(), under=b"in") == [b"in/a.jpg", b"other/b.jpg"]
    bench.sync()  # and what was to be looked at again is dropped for a sweep
    assert facts(bench, "in/a.jpg").rating == 4


def test_an_older_library_finds_its_sidecars_once(bench: Bench) -> None:
    """Where nobody looked at XMP files the folders are as they were: they are compared anew."""
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    bench.write("a.xmp", packet())
    db = bench.library._db
    tree = bench.library.remembered(bench.root.root_id, b"")
    assert tree and db.execute("SELECT count(*) FROM folders").fetchone()[0]
    from photosearch.store.schema import m007_sidecars

    db.execute("ALTER TABLE facts DROP COLUMN beside")
    m007_sidecars(db)
    assert not db.execute("SELECT count(*) FROM folders").fetchone()[0]
    bench.sync()
    assert facts(bench, "a.jpg").rating == 4


@posix
def test_what_is_no_plain_small_file_is_not_read(tmp_path: Path) -> None:
    photo = str(tmp_path / "a.jpg")
    (tmp_path / "secret").write_bytes(packet())
    (tmp_path / "a.jpg.xmp").symlink_to(tmp_path / "secret")
    assert sidecar.read_beside(photo) == b""
    os.mkfifo(tmp_path / "a.xmp")
    assert sidecar.read_beside(photo) == b""
    (tmp_path / "a.XMP").write_bytes(b"x" * (xmp.MAX_BYTES + 1))
    assert sidecar.read_beside(photo) == b""
    (tmp_path / "a.jpg.XMP").mkdir()
    assert sidecar.read_beside(photo) == b""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_a_folder_named_like_a_sidecar_is_not_left_open(tmp_path: Path) -> None:
    (tmp_path / "a.jpg.xmp").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(9):
        assert sidecar.read_beside(str(tmp_path / "a.jpg")) == b""
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "bad", [b"", b"<x", packet().replace(b"<x:xmpmeta", b"<!DOCTYPE x><x:xmpmeta", 1), b"\0" * 99]
)
def test_a_damaged_sidecar_costs_nothing(bench: Bench, bad: bytes) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.write("a.xmp", bad)
    assert bench.sync().added == 1
    assert facts(bench, "a.jpg").rating is None


def test_films_too_have_what_people_wrote_beside_them() -> None:
    film = Facts(taken="2020-01-01T00:00:00", camera="Apple iPhone 12", caption="MOV", seconds=3.0)
    told = metadata.told_beside(film, packet(rating=3, words=("party",)))
    assert (told.rating, told.keywords, told.caption) == (3, ("party",), "MOV")
    assert (told.camera, told.seconds, told.taken) == (film.camera, 3.0, film.taken)
    assert metadata.told_beside(film, b"") == film


def test_names_that_only_look_alike_are_not_beside(bench: Bench) -> None:
    for name in ("a.jpg", "a.b.jpg", "ab.jpg"):
        bench.write(name, jpeg(len(name)))
    bench.sync()
    known = bench.library.known(bench.root.root_id, b"a.jpg")
    assert known is not None and known.stamp != Stamp(0, 0, 0, 0)
    assert bench.library.photos_beside(bench.root.root_id, [b"a.xmp"]) == {known.photo_id}
    assert bench.library.photos_beside(bench.root.root_id, [b"a.jpg.xmp"]) == {known.photo_id}
