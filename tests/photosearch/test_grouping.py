"""Ten copies of one picture are one result: who is put together with whom, and who is not."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from workbench import Bench

from photosearch.formats import glance
from photosearch.library import Changes, Embedded
from photosearch.types import Facts, Stamp

Base = ExifTags.Base


def scene(seed: int, *, shift: int = 0) -> Image.Image:
    """A detailed picture; shifted, as by a hand between two shots."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, shift, 0, 1, 0))


def saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, options.pop("format", "JPEG"), **options)
    return file.getvalue()


def dated(second: int) -> Image.Exif:
    exif = Image.Exif()
    exif[Base.Model] = "Pixel 7"
    exif.get_ifd(ExifTags.IFD.Exif)[Base.DateTimeOriginal] = f"2024:05:06 10:00:{second:02}"
    return exif


def grouped(bench: Bench) -> set[frozenset[str]]:
    """The groups, by file name."""
    known = bench.library.known_under(bench.root.root_id, b"")
    names = {place.photo_id: path.decode() for path, place in known.items() if place.photo_id}
    with bench.library.reader.reading() as db:
        rows = db.execute("SELECT photo_id, group_id FROM groups").fetchall()
    groups: dict[int, set[str]] = {}
    for photo_id, group_id in rows:
        groups.setdefault(group_id, set()).add(names[photo_id])
    return {frozenset(group) for group in groups.values()}


def test_a_photo_saved_again_is_the_same_photo(bench: Bench) -> None:
    bench.write("first.jpg", saved(scene(1), quality=95))
    bench.write("worse.jpg", saved(scene(1), quality=30))
    bench.write("half.jpg", saved(scene(1).resize((320, 240)), quality=80))
    bench.write("lossless.png", saved(scene(1), format="PNG"))
    bench.write("other.jpg", saved(scene(2), quality=95))
    bench.sync()
    assert grouped(bench) == {frozenset({"first.jpg", "worse.jpg", "half.jpg", "lossless.png"})}


def test_a_burst_is_one_by_camera_time_and_view(bench: Bench) -> None:
    for number in range(4):
        data = saved(scene(1, shift=3 * number), exif=dated(number))
        bench.write(f"burst{number}.jpg", data)
    bench.write("elsewhere.jpg", saved(scene(7), exif=dated(2)))  # turned round meanwhile
    bench.sync()
    # After the others: met first, it would have led burst3, and the rest a group of their own.
    bench.write("later.jpg", saved(scene(1, shift=9), exif=dated(50)))
    bench.sync()
    (group,) = grouped(bench)
    assert {f"burst{number}.jpg" for number in range(4)} <= group
    assert "elsewhere.jpg" not in group


@pytest.mark.parametrize("plain", [(0, 0, 0), (255, 255, 255), (90, 120, 200)])
def test_plain_pictures_are_not_alike(plain: tuple[int, int, int]) -> None:
    assert glance(Image.new("RGB", (64, 48), plain)).dhash is None


def put(bench: Bench, name: str, *, format: str, facts: Facts, seed: int) -> int:
    """A photo of a format that needs an extra to be read, as if it had been."""
    row = np.random.default_rng(seed).standard_normal(bench.encoder.dim).astype(np.float32)
    stamp = Stamp(1000 + seed, 10**18, 1, 1000 + seed)
    changes = Changes(bench.root.root_id)
    changes.embedded.append(
        Embedded(
            bytes([seed]) * 32, format, 400, 300, facts.taken, row / np.linalg.norm(row),
            ((name.encode(), stamp),), 0x808080, facts,
        )
    )  # fmt: skip
    bench.library.commit(changes, now_ns=1)
    return seed


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param(("a/1.nef", "RAW"), ("a/1.jpg", "JPEG"), True, id="RAW and its JPEG"),
        pytest.param(("a/1.heic", "HEIF"), ("a/1.mov", "VIDEO"), True, id="Live Photo"),
        pytest.param(("a/1.nef", "RAW"), ("b/1.jpg", "JPEG"), False, id="another folder"),
        pytest.param(("a/1.nef", "RAW"), ("a/11.jpg", "JPEG"), False, id="another name"),
        pytest.param(("a/1.png", "PNG"), ("a/1.jpg", "JPEG"), False, id="two plain formats"),
    ],
)
def test_files_of_one_shot(
    bench: Bench, one: tuple[str, str], other: tuple[str, str], expected: bool
) -> None:
    for seed, (name, format) in enumerate((one, other), 1):
        put(bench, name, format=format, facts=Facts(), seed=seed)
    assert grouped(bench) == ({frozenset({one[0], other[0]})} if expected else set())


def test_the_halves_of_a_live_photo_know_each_other_by_name(bench: Bench) -> None:
    put(bench, "a.heic", format="HEIF", facts=Facts(live="X1"), seed=1)
    put(bench, "elsewhere/b.mov", format="VIDEO", facts=Facts(live="X1"), seed=2)
    assert grouped(bench) == {frozenset({"a.heic", "elsewhere/b.mov"})}


def test_small_steps_do_not_chain_what_looks_different(bench: Bench) -> None:
    """Each differs from the one before by three bits, the last from the first by all of them."""
    hash_ = 0x0F0F0F0F0F0F0F0F
    for seed in range(1, 9):
        put(bench, f"{seed}.jpg", format="JPEG", facts=Facts(dhash=hash_), seed=seed)
        hash_ ^= 0b111 << (3 * seed)
    groups = grouped(bench)
    assert frozenset({"1.jpg", "2.jpg"}) in groups
    assert not any({"1.jpg", "8.jpg"} <= group for group in groups)


def test_a_group_whose_first_photo_went_goes_on(bench: Bench) -> None:
    first = bench.write("a.jpg", saved(scene(1), quality=95))
    bench.write("b.jpg", saved(scene(1), quality=40))
    bench.sync()
    first.unlink()
    bench.sync()
    bench.library.purge_orphans(before_ns=1 << 62)
    bench.write("c.jpg", saved(scene(1), quality=60))
    bench.sync()
    assert grouped(bench) == {frozenset({"b.jpg", "c.jpg"})}
