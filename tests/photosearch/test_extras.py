"""RAW previews, poster frames, text in pictures, and other programs' colours."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from workbench import Bench, jpeg, picture

from photosearch import decode, extras, metadata, preprocess, scan
from photosearch.decode import DecodePool, Picture, Rejected, Task, Text
from photosearch.texts import read_texts
from photosearch.types import Preprocess

HOW = Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash")
needs_raw = pytest.mark.skipif(not extras.has("rawpy"), reason="needs the extra [raw]")
needs_video = pytest.mark.skipif(not extras.has("av"), reason="needs the extra [video]")
needs_ocr = pytest.mark.skipif(not extras.has("rapidocr"), reason="needs the extra [ocr]")


def dng(preview: bytes | None, *, side: int = 64) -> bytes:
    """A DNG made by hand: a mosaic of one grey, and a JPEG beside it as cameras put one."""
    mosaic = np.full((side, side), 2000, np.uint16).tobytes()
    short, long, ascii_, byte, rational = 3, 4, 2, 1, 10
    matrix = struct.pack("<18i", *(v for n in (1, 0, 0, 0, 1, 0, 0, 0, 1) for v in (n, 1)))
    blobs: list[bytes] = []

    def ifd(entries: list[tuple[int, int, int, bytes]], at: int) -> bytes:
        """A directory that lies at `at`; values of more than four bytes follow it."""
        head = struct.pack("<H", len(entries))
        after = at + 2 + 12 * len(entries) + 4
        rest = b""
        for tag, kind, count, value in sorted(entries):
            if len(value) > 4:
                head += struct.pack("<HHII", tag, kind, count, after + len(rest))
                rest += value + b"\0" * (len(value) % 2)
            else:
                head += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
        return head + struct.pack("<I", 0) + rest

    def one(value: int, size: str = "<H") -> bytes:
        return struct.pack(size, value)

    data_at = 8
    body = mosaic
    preview_at = data_at + len(body)
    body += preview or b""
    body += b"\0" * (len(body) % 2)
    raw_at = data_at + len(body)
    raw = ifd(
        [
            (254, long, 1, one(0, "<I")), (256, short, 1, one(side)), (257, short, 1, one(side)),
            (258, short, 1, one(16)), (259, short, 1, one(1)), (262, short, 1, one(32803)),
            (273, long, 1, one(data_at, "<I")), (277, short, 1, one(1)),
            (278, short, 1, one(side)), (279, long, 1, one(len(mosaic), "<I")),
            (33421, short, 2, struct.pack("<HH", 2, 2)), (33422, byte, 4, bytes([0, 1, 1, 2])),
            (50717, long, 1, one(4095, "<I")),
        ],
        raw_at,
    )  # fmt: skip
    body += raw
    first_at = data_at + len(body)
    entries = [
        (271, ascii_, 5, b"Acme\0"), (272, ascii_, 4, b"One\0"), (274, short, 1, one(1)),
        (330, long, 1, one(raw_at, "<I")), (50706, byte, 4, bytes([1, 4, 0, 0])),
        (50708, ascii_, 9, b"Acme One\0"), (50721, rational, 9, matrix),
        (50778, short, 1, one(21)),
    ]  # fmt: skip
    if preview:
        width, height = Image.open(io.BytesIO(preview)).size
        entries += [
            (254, long, 1, one(1, "<I")), (256, short, 1, one(width)), (257, short, 1, one(height)),
            (258, short, 3, struct.pack("<HHH", 8, 8, 8)), (259, short, 1, one(7)),
            (262, short, 1, one(6)), (273, long, 1, one(preview_at, "<I")),
            (277, short, 1, one(3)), (278, short, 1, one(height)),
            (279, long, 1, one(len(preview), "<I")),
        ]  # fmt: skip
    blobs.append(ifd(entries, first_at))
    return b"II*\0" + struct.pack("<I", first_at) + body + b"".join(blobs)


def decoded(file: Path, data: bytes) -> Any:
    file.write_bytes(data)
    return decode.decode_file(Task(b"", str(file), HOW))


@needs_raw
def test_a_raw_file_is_seen_through_its_preview(tmp_path: Path) -> None:
    found = decoded(tmp_path / "IMG_20240506_070809.dng", dng(jpeg(3, width=320, height=240)))
    assert isinstance(found, Picture), found
    assert found.format == "RAW"
    expected = np.asarray(picture(3, width=320, height=240).resize((32, 32)), int)
    assert np.abs(found.pixels.astype(int) - expected).mean() < 12
    assert found.facts.taken == "2024-05-06T07:08:09"


@needs_raw
def test_a_raw_file_without_preview_is_developed(tmp_path: Path) -> None:
    found = decoded(tmp_path / "a.dng", dng(None))
    assert isinstance(found, Picture), found
    assert found.format == "RAW"
    assert found.pixels.std() < 60


@needs_raw
@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_damaged_raw_file_is_rejected_in_words(tmp_path: Path, cut: float) -> None:
    data = dng(jpeg(3))
    found = decoded(tmp_path / "a.nef", data[: int(len(data) * cut)])
    assert isinstance(found, Rejected)
    assert found.reason.startswith("damaged")


def film(*, dark: int = 0, **said: str) -> bytes:
    """Three seconds: black for so many frames, then a picture."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mov") as out:
        track = out.add_stream("mpeg4", rate=10)
        track.width, track.height, track.pix_fmt = 320, 240, "yuv420p"
        out.metadata.update(said)
        bright = np.asarray(picture(3, width=320, height=240))
        for number in range(30):
            pixels = np.zeros_like(bright) if number < dark else bright
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            for packet in track.encode(frame):
                out.mux(packet)
        for packet in track.encode():
            out.mux(packet)
    return file.getvalue()


@needs_video
@pytest.mark.parametrize("dark", [0, 15])
def test_a_film_is_seen_through_a_bright_frame(tmp_path: Path, dark: int) -> None:
    found = decoded(tmp_path / "a.mov", film(dark=dark, creation_time="2024-05-06T07:08:09Z"))
    assert isinstance(found, Picture), found
    assert (found.format, found.width_px, found.height_px) == ("VIDEO", 320, 240)
    assert found.facts.taken == "2024-05-06T07:08:09+00:00"
    assert found.facts.seconds == pytest.approx(3.0, abs=0.2)
    expected = np.asarray(picture(3, width=320, height=240).resize((32, 32)), int)
    assert np.abs(found.pixels.astype(int) - expected).mean() < 16


@needs_raw
@needs_video
def test_a_shot_in_several_files_is_shown_as_one(bench: Bench) -> None:
    """RAW beside JPEG, still beside film: real files of each, by name alone."""
    still = (Path(__file__).parent.parent / "data" / "turned.heic").read_bytes()
    for name, data in {
        "IMG_1.dng": dng(jpeg(1, width=320, height=240)), "IMG_1.jpg": jpeg(2),
        "IMG_2.heic": still, "IMG_2.mov": film(), "IMG_3.jpg": jpeg(4),
    }.items():  # fmt: skip
        bench.write(f"2024/{name}", data)
    assert bench.sync().added == 5
    with bench.library.reader.reading() as db:
        rows = db.execute(
            "SELECT l.path, g.group_id, g.why FROM groups g JOIN locations l USING (photo_id)"
        ).fetchall()
    groups: dict[int, set[str]] = {}
    for path, group_id, _ in rows:
        groups.setdefault(group_id, set()).add(Path(path.decode()).name)
    assert sorted(groups.values(), key=sorted) == [
        {"IMG_1.dng", "IMG_1.jpg"},
        {"IMG_2.heic", "IMG_2.mov"},
    ]
    assert {why for _, _, why in rows} <= {"first", "raw", "live"}


@needs_video
@pytest.mark.parametrize("data", [b"", b"not a film", b"\0\0\0\x18ftypqt  " + b"\0" * 400])
def test_what_is_no_film_is_rejected_in_words(tmp_path: Path, data: bytes) -> None:
    found = decoded(tmp_path / "a.mov", data)
    assert isinstance(found, Rejected)
    assert found.reason.split(":")[0] in ("damaged", "empty", "not a photo")
    assert "damaged" not in found.reason or "Invalid data found" in found.reason


def test_files_of_extras_that_are_not_installed_are_no_photos(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = (b"a.nef", b"a.mp4")
    for package, expected in (("rawpy", [True, False]), ("av", [False, True]), ("x", [False] * 2)):
        scan.readable.cache_clear()
        monkeypatch.setattr(extras, "has", lambda name, package=package: name == package)
        assert [scan.is_photo_name(name) for name in names] == expected
    scan.readable.cache_clear()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"com.apple.quicktime.location.ISO6709": "+45.7640+004.8357+170/"}, (45.764, 4.8357)),
        ({"location": "-33.8568+151.2153/"}, (-33.8568, 151.2153)),
        ({"location": "+95.0+004.8/"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_where_a_film_was_taken(said: dict[str, str], expected: tuple[Any, Any]) -> None:
    found = extras._film_facts(said, 1.0)
    assert (found.latitude, found.longitude) == expected


def test_live_photos_and_bursts_are_named_in_apples_note() -> None:
    live, burst = b"6F1E-LIVE-ID\0", b"BURST-1\0"
    head = b"Apple iOS\0\0\1MM" + struct.pack(">H", 2)
    at = len(head) + 24
    head += struct.pack(">HHII", 0x11, 2, len(live), at)
    head += struct.pack(">HHII", 0x0B, 2, len(burst), at + len(live))
    note = head + live + burst
    found = metadata.read(metadata.Sources({0x927C: note}, {}, {}, {}, ""))
    assert (found.live, found.burst) == ("6F1E-LIVE-ID", "BURST-1")
    for end in range(len(note)):
        metadata.read(metadata.Sources({0x927C: note[:end]}, {}, {}, {}, ""))


# --- colours ------------------------------------------------------------------------------------


def swapped_profile() -> bytes:
    """An ICC profile (v2, matrix) whose red is sRGB's blue and whose blue is its red."""
    red, green, blue = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    def text(kind: bytes, words: bytes) -> bytes:
        if kind == b"text":
            return b"text\0\0\0\0" + words + b"\0"
        return b"desc\0\0\0\0" + struct.pack(">I", len(words) + 1) + words + b"\0" * 79

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256))
    tags = {
        b"desc": text(b"desc", b"Swapped"), b"cprt": text(b"text", b"none"),
        b"wtpt": xyz((0.9642, 1.0, 0.8249)), b"rXYZ": xyz(blue), b"gXYZ": xyz(green),
        b"bXYZ": xyz(red), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        table += name + struct.pack(">II", start + len(data), len(value))
        data += value
    size = start + len(data)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(
        ">3i", round(0.9642 * 65536), 65536, round(0.8249 * 65536)
    )
    return header.ljust(128, b"\0") + table + data


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_colours_are_those_the_profile_means(format: str) -> None:
    file = io.BytesIO()
    red = Image.new("RGB", (64, 64), (230, 20, 20))
    red.save(file, format, icc_profile=swapped_profile(), quality=95)
    found = preprocess.decode(file.getvalue(), least_px=32).getpixel((8, 8))
    assert isinstance(found, tuple)
    assert found[2] > 200
    assert found[0] < 60


@pytest.mark.parametrize("profile", [b"", b"nonsense", swapped_profile()[:200]])
def test_a_damaged_profile_is_left_alone(profile: bytes) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (230, 20, 20)).save(file, "PNG", icc_profile=profile)
    assert preprocess.decode(file.getvalue(), least_px=32).getpixel((1, 1)) == (230, 20, 20)


def test_averaging_large_pictures_first_moves_hardly_a_pixel() -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8))
    large = coarse.resize((1600, 1200), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    large.save(file, "PNG", compress_level=1)
    how = Preprocess(128, (0.5,) * 3, (0.5,) * 3, "squash")
    fast = preprocess.load(file.getvalue(), how).astype(int)
    exact = preprocess.fit(large, how).astype(int)
    assert np.abs(fast - exact).mean() < 1.0
    assert np.abs(fast - exact).max() <= 16


# --- text in pictures -----------------------------------------------------------------------------


def written(*lines: str) -> bytes:
    image = Image.new("RGB", (900, 300), "white")
    font = ImageFont.load_default(size=40)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((30, 40 + 90 * number), line, fill="black", font=font)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


class FakePool:
    """Reads what a picture's name says."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def run(self, tasks: Any) -> Any:
        for task in tasks:
            self.asked.append(Path(task.path).name)
            assert task.read_text
            yield task, Text(f"text of {Path(task.path).name}", decode.hash_file(task.path))


def test_screenshots_and_documents_are_read_first_and_each_once(bench: Bench) -> None:
    bench.write("photo.jpg", jpeg(1))
    bench.write("Screenshot_2024.jpg", jpeg(2))
    bench.write("receipt.png", written("Total 99.50 EUR", "Thank you", "Come again"))
    bench.sync()
    pool: Any = FakePool()
    assert read_texts(bench.library, pool, most=2, should_stop=lambda: False) == 2
    assert set(pool.asked) == {"Screenshot_2024.jpg", "receipt.png"}
    assert read_texts(bench.library, pool, most=2, should_stop=lambda: False) == 1
    assert read_texts(bench.library, pool, most=2, should_stop=lambda: False) == 0
    with bench.library.reader.reading() as db:
        rows = db.execute("SELECT rowid FROM texts_words WHERE texts_words MATCH '\"eceipt\"'")
        assert len(rows.fetchall()) == 1


def test_text_of_other_bytes_is_not_kept(bench: Bench) -> None:
    bench.write("a.jpg", jpeg(1))
    bench.sync()
    bench.write("a.jpg", jpeg(2))  # edited, and not looked at again yet
    pool: Any = FakePool()
    assert read_texts(bench.library, pool, most=2, should_stop=lambda: False) == 0


@needs_ocr
@pytest.mark.slow
def test_text_in_a_picture_is_read(bench: Bench) -> None:
    bench.write("a.png", written("Invoice 4711 from Acme", "Total 99.50 EUR"))
    bench.write("b.jpg", jpeg(1))
    bench.sync()
    pool = DecodePool(workers=1, max_seconds=120.0)
    try:
        assert read_texts(bench.library, pool, most=9, should_stop=lambda: False) == 2
    finally:
        pool.close()
    with bench.library.reader.reading() as db:
        found = dict(db.execute("SELECT photo_id, text FROM texts").fetchall())
    assert sorted(found.values()) == ["", "Invoice 4711 from Acme\nTotal 99.50 EUR"]
