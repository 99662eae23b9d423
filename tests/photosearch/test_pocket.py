"""What a phone takes along: whole, small, in deltas, and under a passphrase."""

from __future__ import annotations

import io
import sqlite3
import struct
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from desk import fake_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from workbench import Bench, jpeg

from photosearch import pocket, sealed
from photosearch.bundle import Bundle
from photosearch.errors import BundleError, PhotosearchError
from photosearch.flat import HEADER, open_flat, quantise, write_flat
from photosearch.thumbnails import Thumbnails


def unit(count: int, dim: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# --- the flat file --------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "dim"), [(1, 3), (7, 16), (50, 256)])
def test_a_flat_file_gives_back_its_rows(tmp_path: Path, count: int, dim: int) -> None:
    vectors, ids = unit(count, dim), np.arange(count, dtype=np.int64) * 3 + 5
    write_flat(tmp_path / "v.bin", "space", ids, vectors)
    flat = open_flat(tmp_path / "v.bin")
    assert flat.space == "space"
    np.testing.assert_array_equal(flat.ids, ids)
    back = flat.rows.astype(np.float32) * flat.scales[:, None]
    assert np.abs(back - vectors).max() <= flat.scales.max() / 2 + 1e-6
    assert flat.best(vectors[count // 2], 1).tolist() == [ids[count // 2]]


def test_every_part_of_a_flat_file_is_aligned(tmp_path: Path) -> None:
    """A phone maps the file and reads int64, float32 and SIMD rows where they lie."""
    write_flat(tmp_path / "v.bin", "space", np.asarray([4, 9, 11]), unit(3, 20))
    data = (tmp_path / "v.bin").read_bytes()
    count, dim, stride = struct.unpack_from("<III", data, 12)
    offsets = struct.unpack_from("<QQQ", data, 24)
    assert (count, dim, stride) == (3, 20, 32)
    assert all(offset % 16 == 0 for offset in offsets)
    assert struct.unpack_from("<qqq", data, offsets[0]) == (4, 9, 11)
    assert data[offsets[2] + 20 : offsets[2] + 32] == bytes(12)


def test_an_empty_library_is_an_empty_flat_file(tmp_path: Path) -> None:
    write_flat(tmp_path / "v.bin", "space", np.empty(0, np.int64), np.empty((0, 4), np.float32))
    flat = open_flat(tmp_path / "v.bin")
    assert len(flat.ids) == 0
    assert flat.best(unit(1, 4)[0], 5).tolist() == []


@given(st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_damaged_flat_file_is_named_or_harmless(position: int, value: int) -> None:
    """One byte changed anywhere: refused by name, or still N rows of D, never a crash."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "v.bin"
        write_flat(file, "space", np.asarray([1, 2, 300]), unit(3, 5))
        data = bytearray(file.read_bytes())
        data[position % len(data)] = value
        file.write_bytes(data)
        try:
            flat = open_flat(file)
        except BundleError as error:
            assert str(file) in str(error)
        else:
            with np.errstate(all="ignore"):
                assert flat.scores(np.ones(flat.rows.shape[1], np.float32)).shape == flat.ids.shape


@pytest.mark.parametrize("length", [0, 7, HEADER.size - 1, HEADER.size, HEADER.size + 20, 150])
def test_a_flat_file_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    file = tmp_path / "v.bin"
    write_flat(file, "space", np.arange(3), unit(3, 5))
    whole = file.read_bytes()
    assert length < len(whole)
    file.write_bytes(whole[:length])
    with pytest.raises(BundleError, match=r"cut short|not a file of vectors"):
        open_flat(file)


def test_a_newer_flat_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "v.bin"
    write_flat(file, "space", np.arange(1), unit(1, 5))
    data = bytearray(file.read_bytes())
    data[8] = 2
    file.write_bytes(data)
    with pytest.raises(BundleError, match="newer"):
        open_flat(file)


def test_int8_scores_are_close_to_exact_ones() -> None:
    vectors = unit(300, 256)
    rows, scales = quantise(vectors)
    exact = vectors @ vectors[:20].T
    small = (rows.astype(np.float32) @ vectors[:20].T) * scales[:, None]
    assert np.abs(exact - small).max() < 0.005


# --- a library on its way -------------------------------------------------------------------------


def packed(bench: Bench, folder: Path, *, since: Path | None = None) -> pocket.Packed:
    bundle = replace(fake_bundle(folder, bench), golden=None)
    return pocket.pack(folder, bundle, bench.library.reader, thumbnails(bench), since=since)


def thumbnails(bench: Bench) -> Thumbnails:
    return Thumbnails(bench.home / "thumbnails")


def rows(folder: Path) -> dict[int, tuple[str, bytes]]:
    with closing(sqlite3.connect(folder / "index" / "photos.db")) as db:
        found = db.execute("SELECT id, name, thumbnail FROM photos ORDER BY id").fetchall()
    return {photo_id: (name, picture) for photo_id, name, picture in found}


def test_a_phone_finds_what_the_desktop_finds(bench: Bench, tmp_path: Path) -> None:
    for number in range(12):
        bench.write(f"{number}.jpg", jpeg(number, width=400, height=300))
    bench.sync()
    found = packed(bench, tmp_path / "out")
    assert (found.photos, found.new, found.removed, found.base) == (12, 12, 0, None)
    assert found.recall["photos"] > 95
    flat = open_flat(tmp_path / "out" / "index" / "vectors.bin")
    assert flat.space == bench.encoder.space
    for query in bench.encoder.texts(["one", "another", "third"]):
        exact, _ = bench.library.index.search(query, 1)
        assert flat.best(query, 1).tolist() == exact.tolist()
    held = rows(tmp_path / "out")
    assert sorted(held) == flat.ids.tolist()
    assert sorted(name for name, _ in held.values()) == sorted(f"{n}.jpg" for n in range(12))
    for _, picture in held.values():
        with Image.open(io.BytesIO(picture), formats=("WEBP",)) as image:
            assert max(image.size) == pocket.THUMBNAIL_PX


def test_a_photo_without_a_thumbnail_still_goes_along(bench: Bench, tmp_path: Path) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    for file in (bench.home / "thumbnails").rglob("*.webp"):
        file.write_bytes(b"damaged")
    packed(bench, tmp_path / "out")
    assert list(rows(tmp_path / "out").values()) == [("a.jpg", None)]


def test_a_delta_brings_a_phone_to_where_the_library_is(bench: Bench, tmp_path: Path) -> None:
    for number in range(6):
        bench.write(f"{number}.jpg", jpeg(number))
    bench.sync()
    packed(bench, tmp_path / "whole")
    (bench.disk / "0.jpg").unlink()
    (bench.disk / "1.jpg").rename(bench.disk / "renamed.jpg")
    bench.write("new.jpg", jpeg(77))
    bench.sync()
    found = packed(bench, tmp_path / "delta", since=tmp_path / "whole")
    assert (found.photos, found.new, found.removed) == (6, 2, 1)  # the new and the renamed one
    assert sorted(name for name, _ in rows(tmp_path / "delta").values()) == [
        "new.jpg",
        "renamed.jpg",
    ]
    pocket.merge(tmp_path / "whole", tmp_path / "delta", tmp_path / "merged")
    now = packed(bench, tmp_path / "now")
    assert rows(tmp_path / "merged") == rows(tmp_path / "now")
    merged, fresh = (
        open_flat(tmp_path / name / "index" / "vectors.bin") for name in ("merged", "now")
    )
    np.testing.assert_array_equal(merged.ids, fresh.ids)
    np.testing.assert_array_equal(merged.rows, fresh.rows)
    assert now.state == found.state


def test_hidden_photos_stay_at_home_and_a_delta_takes_them_away(
    bench: Bench, tmp_path: Path
) -> None:
    for number in range(4):
        bench.write(f"{number}.jpg", jpeg(number))
    bench.sync()
    secret = bench.library.known(bench.root.root_id, b"2.jpg")
    assert secret is not None
    assert secret.photo_id is not None
    packed(bench, tmp_path / "before")
    bench.library.hide([secret.photo_id])
    found = packed(bench, tmp_path / "whole")
    assert (found.photos, found.new) == (3, 3)
    assert secret.photo_id not in open_flat(tmp_path / "whole" / "index" / "vectors.bin").ids
    assert secret.photo_id not in rows(tmp_path / "whole")
    found = packed(bench, tmp_path / "delta", since=tmp_path / "before")
    assert (found.photos, found.new, found.removed) == (3, 0, 1)
    bench.library.unhide([secret.photo_id])
    assert packed(bench, tmp_path / "again", since=tmp_path / "whole").new == 1


def test_nothing_new_is_an_empty_delta(bench: Bench, tmp_path: Path) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    whole = packed(bench, tmp_path / "whole")
    again = packed(bench, tmp_path / "delta", since=tmp_path / "whole")
    assert (again.new, again.removed, again.state, again.base) == (0, 0, whole.state, whole.state)


def test_deltas_of_something_else_are_refused(bench: Bench, tmp_path: Path) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    packed(bench, tmp_path / "whole")
    bench.write("b.jpg", jpeg(2))
    bench.sync()
    packed(bench, tmp_path / "delta", since=tmp_path / "whole")
    packed(bench, tmp_path / "other")
    with pytest.raises(BundleError, match="is no delta of"):
        pocket.merge(tmp_path / "other", tmp_path / "delta", tmp_path / "x")
    with pytest.raises(BundleError, match="a whole export comes first"):
        pocket.merge(tmp_path / "delta", tmp_path / "delta", tmp_path / "y")
    with pytest.raises(BundleError, match="Name the last whole export"):
        packed(bench, tmp_path / "z", since=tmp_path / "delta")
    with pytest.raises(BundleError, match="cannot be read"):
        packed(bench, tmp_path / "w", since=tmp_path / "nowhere")
    with closing(sqlite3.connect(tmp_path / "whole" / "index" / "photos.db")) as db, db:
        db.execute("UPDATE about SET value = 'another' WHERE key = 'space'")
    with pytest.raises(BundleError, match="another model"):
        packed(bench, tmp_path / "v", since=tmp_path / "whole")
    with closing(sqlite3.connect(tmp_path / "other" / "index" / "photos.db")) as db, db:
        db.execute("UPDATE about SET value = '2' WHERE key = 'format'")
    with pytest.raises(BundleError, match="newer format"):
        packed(bench, tmp_path / "u", since=tmp_path / "other")


def test_recall_is_measured_against_exact_search() -> None:
    """Rows that int8 cannot tell apart cost recall, and the number says so."""
    vectors = np.zeros((400, 2), np.float32)
    angles = np.linspace(0, 0.02, 400)
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    bundle = Bundle(**{**vars(fake_of_two()), "golden": None})
    assert pocket.recall_of(bundle, np.arange(400), vectors)["photos"] < 60
    assert pocket.recall_of(bundle, np.arange(40), unit(40, 256))["photos"] > 95
    assert pocket.recall_of(bundle, np.empty(0, np.int64), np.empty((0, 2), np.float32)) == {}


def fake_of_two() -> Bundle:
    from types import SimpleNamespace
    from typing import Any, cast

    encoder = SimpleNamespace(space="s", dim=2)
    return fake_bundle(Path("."), cast(Any, SimpleNamespace(encoder=encoder)))


# --- under a passphrase ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1000, sealed.CHUNK_BYTES, sealed.CHUNK_BYTES * 2 + 5])
def test_a_sealed_file_opens_with_its_passphrase_alone(tmp_path: Path, size: int) -> None:
    pytest.importorskip("cryptography", reason="cryptography is in the [encrypt] extra")
    data = np.random.default_rng(0).bytes(size)
    (tmp_path / "plain").write_bytes(data)
    sealed.seal(tmp_path / "plain", tmp_path / "sealed", "correct horse", rounds=10)
    hidden = (tmp_path / "sealed").read_bytes()
    assert len(data) < 16 or data[:16] not in hidden
    sealed.unseal(tmp_path / "sealed", tmp_path / "back", "correct horse")
    assert (tmp_path / "back").read_bytes() == data
    with pytest.raises(BundleError, match="passphrase is wrong"):
        sealed.unseal(tmp_path / "sealed", tmp_path / "wrong", "correct hors")
    assert not (tmp_path / "wrong").exists()
    assert not list(tmp_path.glob(".*part"))


def test_a_sealed_file_that_was_tampered_with_does_not_open(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="cryptography is in the [encrypt] extra")
    chunk = sealed.CHUNK_BYTES + sealed.TAG_BYTES
    (tmp_path / "plain").write_bytes(bytes(3 * sealed.CHUNK_BYTES))
    sealed.seal(tmp_path / "plain", tmp_path / "sealed", "x", rounds=10)
    whole = (tmp_path / "sealed").read_bytes()
    head = whole[: sealed.HEADER.size]
    parts = [whole[at : at + chunk] for at in range(sealed.HEADER.size, len(whole), chunk)]
    tampered = {
        "a chunk cut off": head + b"".join(parts[:-1]),
        "chunks swapped": head + parts[1] + parts[0] + b"".join(parts[2:]),
        "a chunk twice": head + parts[0] + parts[0] + b"".join(parts[2:]),
        "a bit flipped": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
        "the salt changed": head[:13] + bytes([head[13] ^ 1]) + whole[14:],
        "cut in a chunk": whole[:-5],
        "another magic": b"PHSSEAL9" + whole[8:],
        "no rounds at all": head[:8] + bytes(4) + whole[12:],
    }
    for what, data in tampered.items():
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(PhotosearchError):
            sealed.unseal(tmp_path / "bad", tmp_path / "out", "x")
        assert not (tmp_path / "out").exists(), what


def test_two_seals_of_a_file_share_nothing(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="cryptography is in the [encrypt] extra")
    (tmp_path / "plain").write_bytes(b"the same" * 100)
    for name in ("one", "two"):
        sealed.seal(tmp_path / "plain", tmp_path / name, "x", rounds=10)
    one, two = (tmp_path / "one").read_bytes(), (tmp_path / "two").read_bytes()
    assert one[12:28] != two[12:28]
    assert one[sealed.HEADER.size :] != two[sealed.HEADER.size :]


def test_an_empty_passphrase_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="cryptography is in the [encrypt] extra")
    (tmp_path / "plain").write_bytes(b"x")
    with pytest.raises(PhotosearchError, match="passphrase is empty"):
        sealed.seal(tmp_path / "plain", tmp_path / "sealed", "")
