"""Decoding: orientation, modes, sizes, and every kind of damage as a reason."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from workbench import jpeg, picture

from photosearch import metadata, preprocess
from photosearch.errors import PhotoRejected
from photosearch.formats import thumbnail
from photosearch.types import Preprocess

HOW = Preprocess(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "squash")
DATA = Path(__file__).parent.parent / "data"
TOLERANCE = 12  # of 255: JPEG at quality 95 on smooth pictures


def taken(photo: preprocess.Decoded) -> str | None:
    return metadata.read(metadata.sources(photo.exif, photo.info)).taken


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_orientations_show_the_same_picture(orientation: int, format: str) -> None:
    upright = picture(1, width=60, height=40)
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(stored, format, exif=exif, **({"quality": 95} if format != "TIFF" else {}))
    photo = preprocess.open_photo(data, least_px=64)
    assert (photo.width_px, photo.height_px) == (60, 40)
    found = np.asarray(photo.image, dtype=int)
    assert np.abs(found - np.asarray(upright, dtype=int)).mean() < TOLERANCE


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "F", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    rgb = picture(2)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    elif mode == "F":
        image = rgb.convert("L").convert("F")
    else:
        image = rgb.convert(mode)
    found = preprocess.to_rgb(image)
    assert found.mode == "RGB"
    assert found.size == rgb.size
    if mode not in ("1", "P"):
        grey = np.asarray(found.convert("L"), dtype=int)
        assert np.corrcoef(grey.ravel(), np.asarray(rgb.convert("L")).ravel())[0, 1] > 0.9


def test_transparency_is_shown_on_white() -> None:
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    assert preprocess.decode(saved(clear, "PNG"), least_px=16).getpixel((5, 5)) == (255, 255, 255)


def test_heic_is_read_upright_with_its_date() -> None:
    """The file was made once by another program: nothing we install can encode HEIC."""
    photo = preprocess.open_photo(DATA / "turned.heic", least_px=48)
    assert (photo.format, photo.width_px, photo.height_px) == ("HEIF", 64, 48)
    found = np.asarray(photo.image, dtype=int)
    assert np.abs(found - np.asarray(picture(1), dtype=int)).mean() < TOLERANCE
    assert taken(photo) == "2021-05-06T07:08:09"


def test_damaged_heic_has_a_reason() -> None:
    data = (DATA / "turned.heic").read_bytes()
    with pytest.raises(PhotoRejected, match=r"not a photo|damaged"):
        preprocess.decode(data[: len(data) // 2], least_px=16)


def test_gif_gives_its_first_frame() -> None:
    red, blue = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    data = saved(red, "GIF", save_all=True, append_images=[blue])
    assert preprocess.decode(data, least_px=8).getpixel((4, 4)) == (255, 0, 0)


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "really-a-png.jpg"
    file.write_bytes(saved(picture(3), "PNG"))
    assert preprocess.open_photo(file, least_px=16).format == "PNG"


def test_jpegs_decode_at_a_reduced_scale_but_tell_their_size() -> None:
    photo = preprocess.open_photo(jpeg(4, width=4000, height=3000), least_px=64)
    assert (photo.width_px, photo.height_px) == (4000, 3000)
    assert 64 <= min(photo.image.size) < 1000


def test_a_photo_of_12_megapixels_is_decoded_at_an_eighth_and_looks_alike() -> None:
    """Half as many pixels more than the encoder's side are enough: docs/ingest.md has vectors."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    large = coarse.resize((4000, 3000), Image.Resampling.BICUBIC)
    how = Preprocess(224, (0.5,) * 3, (0.5,) * 3, "squash")
    data = saved(large, "JPEG")
    assert preprocess.decode(data, least_px=preprocess.draft_px(how)).size == (500, 375)
    whole = preprocess.fit(preprocess.decode(data, least_px=3000), how).astype(int)
    assert np.abs(preprocess.load(data, how) - whole).mean() < 1.0


def strange_tiff() -> bytes:
    """A sound TIFF of raw sensor values (colour filter array), which Pillow does not open."""
    data = bytearray(saved(picture(6), "TIFF"))
    (at,) = struct.unpack_from("<I", data, 4)
    (tags,) = struct.unpack_from("<H", data, at)
    for entry in range(at + 2, at + 2 + 12 * tags, 12):
        if struct.unpack_from("<H", data, entry) == (262,):  # PhotometricInterpretation
            struct.pack_into("<H", data, entry + 8, 32803)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a photo"),
        (b"plain text, nothing else", "not a photo"),
        (jpeg(5)[:400], "damaged"),
        (saved(picture(5), "PNG")[:200], "damaged"),
        (b"%PDF-1.7\n%\xe2\xe3", "not a photo"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a photo"),
        (strange_tiff(), "not supported: this kind of TIFF"),
        (strange_tiff()[:9], "damaged: a TIFF that is cut short"),
        (b"MM\0*", "damaged: a TIFF that is cut short"),
    ],
)
def test_damage_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(PhotoRejected, match=reason):
        preprocess.decode(data, least_px=32)


def test_a_picture_too_large_to_decode_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(PhotoRejected, match=r"too large: 20000 x 10000 pixels, more than 130"):
        preprocess.decode(png_claiming(20_000, 10_000), least_px=32)
    with pytest.raises(PhotoRejected, match=r"too large: more than 260 megapixels"):
        preprocess.decode(png_claiming(60_000, 60_000), least_px=32)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises a giant."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"]),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
)
def test_mutated_files_decode_or_give_a_reason(
    seed: str, cut: float, flips: list[tuple[float, int]]
) -> None:
    data = bytearray(SAMPLES[seed])
    for where, value in flips:
        data[int(where * (len(data) - 1))] = value
    kept = bytes(data[: int(cut * len(data))]) if cut < 0.5 else bytes(data)
    try:
        image = preprocess.decode(kept, least_px=32)
    except PhotoRejected as error:
        assert str(error)
    else:
        assert image.mode == "RGB"


SAMPLES = {
    name: saved(picture(6), name) for name in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
}


def test_squash_keeps_the_whole_photo_and_crop_its_middle() -> None:
    image = Image.new("RGB", (300, 100), "white")
    image.paste((255, 0, 0), (0, 0, 100, 100))
    squashed = preprocess.fit(image, HOW)
    cropped = preprocess.fit(image, Preprocess(32, HOW.mean, HOW.std, "crop"))
    assert tuple(squashed[16, 2]) == (255, 0, 0)
    assert tuple(cropped[16, 2]) == (255, 255, 255)


def test_normalise_is_the_formula() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    found = preprocess.normalise(pixels, Preprocess(32, mean, std, "squash"))
    wanted = (pixels / 255.0 - mean) / std
    np.testing.assert_allclose(found, wanted.transpose(0, 3, 1, 2), atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("written", "offset", "expected"),
    [
        ("2019:07:14 18:30:05", None, "2019-07-14T18:30:05"),
        ("2019:07:14 18:30:05", "+02:00", "2019-07-14T18:30:05+02:00"),
        ("2019:07:14 18:30:05", "nonsense", "2019-07-14T18:30:05"),
        ("0000:00:00 00:00:00", None, None),
        ("2019:13:40 18:30:05", None, None),
        ("yesterday", None, None),
    ],
)
def test_the_date_is_the_cameras_and_no_zone_is_invented(
    written: str, offset: str | None, expected: str | None
) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = written
    if offset:
        exif.get_ifd(0x8769)[0x9011] = offset
    data = saved(picture(7), "JPEG", exif=exif)
    assert taken(preprocess.open_photo(data, least_px=16)) == expected


def test_damaged_exif_costs_the_date_not_the_photo() -> None:
    data = saved(picture(8), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    photo = preprocess.open_photo(data, least_px=16)
    assert taken(photo) is None


def test_a_thumbnail_is_small_webp_without_metadata() -> None:
    made = Image.open(io.BytesIO(thumbnail(picture(9, width=900, height=600))))
    assert made.format == "WEBP"
    assert made.size == (320, 213)
    assert not made.getexif()
