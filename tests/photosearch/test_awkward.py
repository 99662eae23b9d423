"""Whatever lies in a folder of photos: each file is a photo or a reason, and stops no other."""

from __future__ import annotations

import functools
import io
import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from workbench import Bench, jpeg, picture

from photosearch import decode, extras, formats, preprocess
from photosearch.decode import DecodePool, Picture, Rejected, Task
from photosearch.types import Preprocess

HOW = Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash")


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    """The picture as a camera held another way stores it: turned, with a note to turn it back."""
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    image = picture(1, width=96, height=64)
    if back is not None:
        image = image.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, "JPEG", exif=exif, quality=95)


def png_of(width: int, height: int, *, depth: int = 8) -> bytes:
    """A PNG that claims a size; its data is one row of nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )  # fmt: skip


RGB = picture(1, width=96, height=64)
GOOD: dict[str, Callable[[], bytes]] = {
    "plain.jpg": lambda: saved(RGB, "JPEG"),
    "progressive.jpg": lambda: saved(RGB, "JPEG", progressive=True),
    "grey.jpg": lambda: saved(RGB.convert("L"), "JPEG"),
    "cmyk.jpg": lambda: saved(RGB.convert("CMYK"), "JPEG"),
    "twelve-bit-name.JPEG": lambda: saved(RGB, "JPEG"),
    "several.mpo": lambda: saved(RGB, "MPO", save_all=True, append_images=[RGB]),
    "plain.png": lambda: saved(RGB, "PNG"),
    "palette.png": lambda: saved(RGB.quantize(16), "PNG"),
    "deep.png": lambda: saved(Image.new("I;16", (96, 64), 40_000), "PNG"),
    "clear.png": lambda: saved(RGB.convert("RGBA"), "PNG"),
    "black-and-white.png": lambda: saved(RGB.convert("1"), "PNG"),
    "moving.gif": lambda: saved(RGB, "GIF", save_all=True, append_images=[RGB.rotate(90)]),
    "moving.webp": lambda: saved(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(180)]),
    "clear.webp": lambda: saved(RGB.convert("RGBA"), "WEBP"),
    "plain.avif": lambda: saved(RGB, "AVIF"),
    "pages.tiff": lambda: saved(RGB, "TIFF", save_all=True, append_images=[RGB]),
    "squeezed.tif": lambda: saved(RGB, "TIFF", compression="tiff_lzw"),
    "cmyk.tif": lambda: saved(RGB.convert("CMYK"), "TIFF"),
    "plain.bmp": lambda: saved(RGB, "BMP"),
    "one-pixel.png": lambda: saved(Image.new("RGB", (1, 1)), "PNG"),
    "a-line.png": lambda: saved(Image.new("RGB", (5000, 1)), "PNG"),
    "png-by-another-name.jpg": lambda: saved(RGB, "PNG"),
    "trailing.jpg": lambda: saved(RGB, "JPEG") + b"rubbish" * 100,
}
BAD: dict[str, Callable[[], bytes]] = {
    "empty.jpg": lambda: b"",
    "text.png": lambda: b"this is no picture",
    "half.jpg": lambda: (lambda data: data[: len(data) // 2])(jpeg(1, width=800, height=600)),
    "head.jpg": lambda: jpeg(1)[:30],
    "half.png": lambda: (lambda data: data[: len(data) // 2])(saved(RGB, "PNG")),
    "half.webp": lambda: (lambda data: data[: len(data) // 2])(saved(RGB, "WEBP")),
    "half.avif": lambda: (lambda data: data[: len(data) // 2])(saved(RGB, "AVIF")),
    "bomb.png": lambda: png_of(40_000, 40_000),
    "wide.png": lambda: png_of(2_000_000_000, 1),
    "svg.png": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "postscript.tif": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "photoshop.jpg": lambda: b"8BPS\0\1" + b"\0" * 60,
    "web-page.jpg": lambda: b"<!doctype html><title>404</title>",
    "zeros.heic": lambda: b"\0" * 5000,
}


@pytest.mark.parametrize("name", GOOD)
def test_every_kind_of_picture_is_a_photo(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(GOOD[name]())
    found = decode.decode_file(Task(b"", str(file), HOW))
    assert isinstance(found, Picture), found
    assert found.pixels.shape == (32, 32, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_upright(orientation: int, tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(turned(orientation))
    found = decode.decode_file(Task(b"", str(file), HOW))
    assert isinstance(found, Picture)
    assert (found.width_px, found.height_px) == (96, 64)
    upright = preprocess.fit(picture(1, width=96, height=64), HOW).astype(int)
    assert abs(found.pixels.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("name", BAD)
def test_every_other_file_is_a_reason(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(BAD[name]())
    found = decode.decode_file(Task(b"", str(file), HOW))
    assert isinstance(found, Rejected), name
    assert not found.transient
    assert "\n" not in found.reason
    assert found.reason.split(":")[0] in ("empty", "damaged", "not a photo", "too large")


def test_a_folder_of_everything_is_indexed_as_far_as_it_can_be(bench: Bench) -> None:
    for name, make in {**GOOD, **BAD}.items():
        bench.write(name, make())
    totals = bench.sync()
    assert bench.rejected().keys() == BAD.keys()
    assert bench.paths() == GOOD.keys()
    assert totals.failed == len(BAD)
    assert bench.sync().unchanged == len(GOOD) + len(BAD)  # and nothing is tried again


def test_a_poisoned_folder_costs_its_own_time_only(bench: Bench) -> None:
    """Hundreds of bad files, all newer than the one good photo beside them."""
    bench.write("good.jpg", jpeg(1))
    os.utime(bench.disk / "good.jpg", (1, 1))
    poison = [make() for name, make in BAD.items() if name not in ("empty.jpg", "half.jpg")]
    for number in range(400):
        bench.write(f"bad/{number}.jpg", poison[number % len(poison)] + str(number).encode())
    began = time.process_time()
    totals = bench.sync()
    assert (totals.added, totals.failed) == (1, 400)
    assert bench.paths() == {"good.jpg"}
    assert time.process_time() - began < 20  # here, beside the workers
    again = bench.sync()
    assert (again.unchanged, again.failed) == (401, 0)


# --- fuzz ---------------------------------------------------------------------------------------

SEEDS = [
    saved(picture(2, width=48, height=32), "JPEG", exif=turned(6)[20:200]),
    turned(6),
    saved(RGB.quantize(8), "GIF"),
    saved(RGB, "PNG"),
    saved(RGB, "WEBP"),
    saved(RGB, "TIFF", compression="tiff_lzw"),
    saved(RGB.resize((24, 16)), "AVIF"),
    saved(RGB, "BMP"),
    (Path(__file__).parent.parent / "data" / "turned.heic").read_bytes(),
]


def decoded_or_rejected(pool: DecodePool, data: bytes, folder: Path, name: str = "a.jpg") -> None:
    """In a process of its own: some damaged HEIC files crash libheif (pi-heif 1.4)."""
    file = folder / name
    file.write_bytes(data)
    found = pool.one(Task(b"", str(file), HOW))
    assert isinstance(found, Picture | Rejected)
    # A library may die of a file; an error of Python's, which ends a worker with 1, is our own.
    assert not isinstance(found, Rejected) or "(exit 1)" not in found.reason
    if isinstance(found, Picture):
        assert found.pixels.shape == (32, 32, 3)
        assert len(found.picture) > 0
        Image.open(io.BytesIO(found.picture)).verify()
        assert "\0" not in found.facts.caption


EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=0, max_size=6), st.booleans()),
    min_size=1,
    max_size=6,
)


def edited(data: bytes, edits: list[tuple[float, bytes, bool]]) -> bytes:
    """Bytes overwritten, or put in between, or the rest cut off."""
    for where, new, insert in edits:
        at = int(where * len(data))
        data = data[:at] + new + (data[at:] if insert else data[at + len(new) :])
        if not new and insert:
            data = data[:at]
    return data


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.sampled_from(SEEDS), edits=EDITS)
def test_no_mutation_of_a_photo_breaks_decoding(
    seed: bytes, edits: list[tuple[float, bytes, bool]], tmp_path: Path, pool: DecodePool
) -> None:
    decoded_or_rejected(pool, edited(seed, edits), tmp_path)


@pytest.mark.slow
@settings(
    max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.sampled_from(SEEDS), edits=EDITS)
def test_thousands_of_mutations_break_nothing(
    seed: bytes, edits: list[tuple[float, bytes, bool]], tmp_path: Path, pool: DecodePool
) -> None:
    decoded_or_rejected(pool, edited(seed, edits), tmp_path)


@pytest.mark.skipif(not extras.has("rawpy") or not extras.has("av"), reason="needs the extras")
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=EDITS)
def test_no_mutation_of_a_raw_file_or_a_film_breaks_decoding(
    edits: list[tuple[float, bytes, bool]], tmp_path: Path, pool: DecodePool
) -> None:
    raw_file, film = raw_file_and_film()
    decoded_or_rejected(pool, edited(raw_file, edits), tmp_path, "a.dng")
    decoded_or_rejected(pool, edited(film, edits), tmp_path, "a.mov")


@functools.cache
def raw_file_and_film() -> tuple[bytes, bytes]:
    """Whole ones, which can be decoded as long as nobody edits them."""
    from test_extras import dng, film

    place = "+45.7640+004.8357+170/"
    return dng(jpeg(3)), film(dark=5, creation_time="2024-05-06T07:08:09Z", location=place)


def test_a_thumbnail_is_made_of_the_smallest_picture() -> None:
    assert formats.thumbnail(Image.new("RGB", (1, 5000)))


@pytest.mark.filterwarnings("error")
def test_a_glance_at_the_narrowest_picture_warns_of_nothing() -> None:
    assert not formats.glance(Image.new("RGB", (1, 320), "white")).is_document
