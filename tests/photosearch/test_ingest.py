"""From files to committed photos, on a fake encoder."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from workbench import Bench, jpeg, make_ingest, open_fake_library

from photosearch import ingest as ingest_module
from photosearch.decode import DecodePool
from photosearch.ingest import BATCH, Ingest, Totals
from photosearch.library import ORPHAN_GRACE_NS, Library
from photosearch.runtimes.fake import FakeEncoder
from photosearch.thumbnails import Thumbnails
from photosearch.watch import QUIET_SECONDS, Hints, hint

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX file names and permissions")


def test_new_photos_are_found_by_what_they_show(bench: Bench) -> None:
    for number in range(5):
        bench.write(f"sub/{number}.jpg", jpeg(number))
    totals = bench.sync()
    assert (totals.seen, totals.added, totals.decoded) == (5, 5, 5)
    ids, rows = bench.library.index.exact.snapshot()
    for photo_id, row in zip(ids, rows, strict=True):
        assert bench.library.index.search(row, 1)[0].tolist() == [photo_id]


def test_a_second_look_opens_nothing(bench: Bench) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    totals = bench.sync()
    assert (totals.unchanged, totals.decoded, bench.encoder.image_calls) == (1, 0, 1)


@pytest.mark.parametrize("how", ["rename", "rename folder", "move across", "copy", "hard link"])
def test_known_bytes_cost_no_decode(bench: Bench, how: str) -> None:
    old = bench.write("one/a.jpg", jpeg(1))
    bench.sync()
    new = bench.disk / "two" / "b.jpg"
    new.parent.mkdir()
    if how == "rename":
        old.rename(new)
    elif how == "rename folder":
        new.parent.rmdir()
        old.parent.rename(new.parent)
        new = new.parent / "a.jpg"
    elif how == "move across":  # between devices: another inode, the same bytes
        shutil.copy2(old, new)
        old.unlink()
    elif how == "copy":
        shutil.copy(old, new)
    else:
        os.link(old, new)
    totals = bench.sync()
    kept = how in ("copy", "hard link")
    assert (totals.decoded, bench.encoder.image_calls) == (0, 1)
    assert (totals.moved, totals.added, totals.removed) == ((0, 1, 0) if kept else (1, 0, 0))
    assert bench.paths() == {
        str(file.relative_to(bench.disk)) for file in ([old, new] if kept else [new])
    }
    assert len(bench.library.index) == 1


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX links")
@pytest.mark.parametrize("other", ["notes.txt", ".hidden/a.jpg", "marked/a.jpg"])
def test_a_photo_written_to_by_a_name_that_is_no_photos_is_read_again(
    bench: Bench, other: str
) -> None:
    """The event names the name that was used, and that alone."""
    photo = bench.write("a.jpg", jpeg(1))
    bench.write("b.jpg", jpeg(2))
    bench.sync()
    link = bench.disk / other
    link.parent.mkdir(exist_ok=True)
    (link.parent / ".nomedia").touch() if other.startswith("marked") else None
    os.link(photo, link)
    link.write_bytes(jpeg(3))
    hints = Hints()
    hint(bench.root, hints, os.fsencode(link), is_folder=False)
    hint(bench.root, hints, os.fsencode(bench.disk / "none.txt"), is_folder=False)
    (bench.disk / "alone.txt").write_text("of no interest")
    hint(bench.root, hints, os.fsencode(bench.disk / "alone.txt"), is_folder=False)
    assert len(hints) == 1
    time.sleep(QUIET_SECONDS)
    (due,) = hints.take(timeout=1.0)
    totals = Totals()
    assert bench.ingest.look_at(bench.root, due.paths, totals) == []
    assert (totals.updated, totals.decoded) == (1, 1)
    assert bench.library.known(bench.root.root_id, os.fsencode(other)) is None
    bench.ingest.look_at(bench.root, [b"a.jpg", os.fsencode(other)], totals)
    assert totals.updated == 1


@pytest.mark.parametrize("how", ["rename", "hard link"])
def test_the_same_file_by_another_name_is_not_even_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    old = bench.write("a.jpg", jpeg(1))
    bench.sync()
    old.rename(bench.disk / "b.jpg") if how == "rename" else os.link(old, bench.disk / "b.jpg")

    def never(path: str) -> bytes:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(ingest_module, "hash_file", never)
    assert bench.sync().seen == (1 if how == "rename" else 2)
    assert "b.jpg" in bench.paths()


@posix
def test_a_file_written_to_by_one_of_its_names_is_looked_at_by_all(bench: Bench) -> None:
    """The system tells of the name that was used alone."""
    one, other = bench.write("a.jpg", jpeg(1)[:200]), bench.disk / "in" / "b.jpg"
    other.parent.mkdir()
    os.link(one, other)
    bench.sync()
    assert bench.rejected().keys() == {"a.jpg", "in/b.jpg"}
    one.write_bytes(jpeg(1))
    bench.ingest.look_at(bench.root, [b"a.jpg"], Totals())
    assert (bench.paths(), bench.rejected()) == ({"a.jpg", "in/b.jpg"}, {})


def test_a_look_into_a_folder_that_is_to_be_left_alone_finds_nothing(bench: Bench) -> None:
    bench.write("quiet/in/a.jpg", jpeg(1))
    bench.sync()
    bench.write("quiet/.nomedia", b"")
    bench.ingest.sync(bench.root, Totals(), under=b"quiet/in")
    assert bench.paths() == set()
    (bench.disk / "quiet/.nomedia").unlink()
    bench.ingest.sync(bench.root, Totals(), under=b"quiet/in")
    assert bench.paths() == {"quiet/in/a.jpg"}


def test_an_edit_embeds_one_photo_and_the_old_one_is_gone(bench: Bench) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.write("b.jpg", jpeg(2))
    bench.sync()
    before = bench.library.index.exact.ids().tolist()
    bench.write("a.jpg", jpeg(3))
    totals = bench.sync()
    assert (totals.updated, bench.encoder.image_calls) == (1, 3)
    after = bench.library.index.exact.ids().tolist()
    assert len(after) == 2
    assert len(set(before) & set(after)) == 1


def test_a_deleted_photo_leaves_the_index_at_once_and_the_library_after_the_grace(
    bench: Bench, pool: DecodePool
) -> None:
    file = bench.write("a.jpg", jpeg(1))
    bench.sync()
    (photo_id,) = bench.library.index.exact.ids().tolist()
    digest = bench.library.reader.photo(photo_id).content_hash
    file.unlink()
    bench.sync()
    assert len(bench.library.index) == 0
    assert bench.library.reader.places([photo_id]) == {}
    bench.ingest.purge()
    assert bench.library.reader.photo(photo_id) is not None
    thumbnails = Thumbnails(bench.home / "thumbnails")
    assert thumbnails.find(digest)
    later = Ingest(
        bench.library,
        bench.encoder,
        pool,
        thumbnails,
        clock_ns=lambda: __import__("time").time_ns() + ORPHAN_GRACE_NS + 1,
    )
    later.purge()
    assert bench.library.reader.photo(photo_id) is None
    assert thumbnails.find(digest) is None


def test_a_photo_that_comes_back_within_the_grace_is_not_decoded_again(bench: Bench) -> None:
    file = bench.write("a.jpg", jpeg(1))
    bench.sync()
    file.unlink()
    bench.sync()
    bench.write("restored/a.jpg", jpeg(1))
    totals = bench.sync()
    assert (totals.decoded, bench.encoder.image_calls, len(bench.library.index)) == (0, 1, 1)


def test_identical_bytes_met_together_are_embedded_once(bench: Bench) -> None:
    for number in range(3):
        bench.write(f"{number}.jpg", jpeg(1))
    bench.sync()
    assert bench.encoder.image_calls == 1
    assert len(bench.paths()) == 3


def test_bad_files_are_recorded_and_stop_nobody(bench: Bench) -> None:
    good = jpeg(1, width=400, height=300)
    bench.write("good.jpg", good)
    bench.write("empty.jpg", b"")
    bench.write("text.jpg", b"not a picture at all")
    bench.write("cut.jpg", good[: len(good) // 2])
    totals = bench.sync()
    assert (totals.added, totals.failed) == (1, 3)
    assert bench.rejected() == {
        "empty.jpg": "empty: 0 bytes",
        "text.jpg": "not a photo: its bytes match no image format we read",
        "cut.jpg": bench.rejected()["cut.jpg"],
    }
    assert bench.rejected()["cut.jpg"].startswith("damaged: ")
    assert bench.sync().failed == 0  # never retried in a loop
    bench.write("cut.jpg", good)
    assert bench.sync().updated == 1  # retried when it changed
    assert bench.paths() == {"good.jpg", "cut.jpg"}


def test_a_file_still_being_written_waits(bench: Bench, pool: DecodePool) -> None:
    patient = Ingest(bench.library, bench.encoder, pool, Thumbnails(bench.home / "thumbnails"))
    bench.write("a.jpg", jpeg(1))
    totals = Totals()
    assert patient.sync(bench.root, totals) == [b"a.jpg"]
    assert bench.paths() == set()
    os.utime(bench.disk / "a.jpg", ns=(0, 10**18))
    assert patient.look_at(bench.root, [b"a.jpg"], totals) == []
    assert bench.paths() == {"a.jpg"}


def test_a_missing_root_is_offline_and_loses_nothing(bench: Bench) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    away = bench.disk.with_name("away")
    bench.disk.rename(away)
    bench.sync()
    (root,) = bench.library.roots()
    assert root.offline
    (photo_id,) = bench.library.index.exact.ids().tolist()
    assert bench.library.reader.places([photo_id])[photo_id].offline
    bench.ingest.look_at(bench.root, [b"a.jpg"], Totals())
    assert len(bench.library.index) == 1
    away.rename(bench.disk)
    totals = bench.sync()
    assert (totals.decoded, bench.encoder.image_calls) == (0, 1)
    assert not bench.library.roots()[0].offline


def test_an_empty_mount_point_is_offline_not_emptied(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bench.write("a.jpg", jpeg(1))
    bench.sync()
    known = bench.library.known_under(bench.root.root_id, b"")
    file.unlink()
    real = os.stat
    device = next(iter(known.values())).stamp.device + 1

    def elsewhere(path: object, **options: object) -> os.stat_result:
        found = real(path, **options)  # type: ignore[arg-type]
        if os.fspath(path) == str(bench.disk):  # type: ignore[call-overload]
            return os.stat_result((*found[:2], device, *found[3:]))
        return found

    monkeypatch.setattr(os, "stat", elsewhere)
    bench.sync()
    monkeypatch.undo()
    assert bench.library.roots()[0].offline
    assert len(bench.library.index) == 1
    bench.sync()  # the same device, and empty: its owner emptied it
    assert len(bench.library.index) == 0


def test_a_removed_folder_takes_its_photos_along_by_its_own_hint(bench: Bench) -> None:
    bench.write("trip/a.jpg", jpeg(1))
    bench.write("b.jpg", jpeg(2))
    bench.sync()
    shutil.rmtree(bench.disk / "trip")
    bench.ingest.sync(bench.root, Totals(), under=b"trip")
    assert bench.paths() == {"b.jpg"}


@posix
@pytest.mark.skipif(sys.platform == "darwin", reason="APFS refuses names that are not UTF-8")
def test_odd_names_are_ordinary(bench: Bench) -> None:
    names = [
        b"caf\xe9.jpg",
        b"new\nline.jpg",
        b" .jpg",
        "日本 🌸.JPG".encode(),
        b"x" * 240 + b".jpg",
    ]
    for number, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(bench.disk) + b"/" + name)).write_bytes(jpeg(number))
    bench.sync()
    assert set(bench.library.known_under(bench.root.root_id, b"")) == set(names)


@posix
def test_links_are_not_followed_and_loops_end(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(jpeg(9))
    bench.write("sub/a.jpg", jpeg(1))
    (bench.disk / "sub" / "up").symlink_to(bench.disk, target_is_directory=True)
    (bench.disk / "away").symlink_to(outside, target_is_directory=True)
    (bench.disk / "link.jpg").symlink_to(outside / "secret.jpg")
    (bench.disk / "broken.jpg").symlink_to("nowhere")
    bench.sync()
    assert bench.paths() == {"sub/a.jpg"}
    bench.ingest.look_at(
        bench.root, [b"link.jpg", b"away/secret.jpg", b"sub/up/sub/a.jpg"], Totals()
    )
    assert bench.paths() == {"sub/a.jpg"}


@posix
def test_pipes_and_devices_are_not_opened(bench: Bench) -> None:
    os.mkfifo(bench.disk / "pipe.jpg")  # opening it would wait for ever
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    bench.ingest.look_at(bench.root, [b"pipe.jpg"], Totals())
    assert bench.paths() == {"a.jpg"}


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_keeps_what_is_known_of_it(bench: Bench) -> None:
    bench.write("sub/a.jpg", jpeg(1))
    bench.sync()
    (bench.disk / "sub").chmod(0)
    try:
        bench.sync()
        assert bench.paths() == {"sub/a.jpg"}
    finally:
        (bench.disk / "sub").chmod(0o700)


def test_other_programs_leavings_are_skipped(bench: Bench) -> None:
    for name in (
        "@eaDir/a.jpg",
        ".hidden/a.jpg",
        ".a.jpg",
        "~a.jpg",
        "a.jpg.part",
        "quiet/.nomedia",
        "quiet/a.jpg",
        "notes.txt",
    ):
        bench.write(name, jpeg(1))
    bench.sync()
    bench.ingest.look_at(bench.root, [b"quiet/a.jpg", b"@eaDir/a.jpg"], Totals())
    assert bench.paths() == set()


def test_a_batch_is_searchable_before_the_next_is_decoded(bench: Bench, pool: DecodePool) -> None:
    for number in range(BATCH + 3):
        bench.write(f"{number}.jpg", jpeg(number))
    seen: list[int] = []
    ingest = Ingest(
        bench.library,
        bench.encoder,
        pool,
        Thumbnails(bench.home / "thumbnails"),
        settle_ns=0,
        on_progress=lambda totals: seen.append(len(bench.library.index)),
    )
    ingest.sync(bench.root, Totals())
    assert seen[0] == BATCH
    assert seen[-1] == BATCH + 3


def test_stopping_half_way_keeps_what_was_committed(bench: Bench, pool: DecodePool) -> None:
    for number in range(3 * BATCH):
        bench.write(f"{number}.jpg", jpeg(number))
    ingest = Ingest(
        bench.library,
        bench.encoder,
        pool,
        Thumbnails(bench.home / "thumbnails"),
        settle_ns=0,
        should_stop=lambda: len(bench.library.index) >= BATCH,
    )
    ingest.sync(bench.root, Totals())
    kept = len(bench.library.index)
    assert BATCH <= kept < 3 * BATCH
    bench.sync()
    assert bench.encoder.image_calls == 3 * BATCH  # and nothing was done twice


def test_photos_are_embedded_again_for_another_bundle(bench: Bench, pool: DecodePool) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.write("bad.jpg", b"no photo")
    bench.sync()
    bench.library.close()
    other = FakeEncoder(space="another", dim=8)
    library = open_fake_library(bench.home, other)
    ingest = make_ingest(library, other, pool, bench.home)
    ingest.sync(library.roots()[0], Totals())
    assert len(library.index) == 1
    assert other.image_calls == 1
    bench.library = library


def test_embeddings_are_unit_float32(bench: Bench) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    _, rows = bench.library.index.exact.snapshot()
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)


def test_the_library_survives_being_closed_twice_over(bench: Bench) -> None:
    assert isinstance(bench.library, Library)
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    bench.library.close()
    bench.library = open_fake_library(bench.home, bench.encoder)
    assert len(bench.library.index) == 1
