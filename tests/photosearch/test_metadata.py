"""What files say of themselves: written by Pillow and by hand, sound and damaged."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, TiffImagePlugin
from workbench import Bench, jpeg, picture

from photosearch import iptc, metadata, preprocess, xmp
from photosearch.types import Facts

Base, GPS = ExifTags.Base, ExifTags.GPS


def photo(
    tags: dict[int, Any] | None = None,
    *,
    gps: dict[int, Any] | None = None,
    xmp_packet: bytes = b"",
    iptc_block: bytes = b"",
    format: str = "JPEG",
) -> bytes:
    """A photo with these blocks of metadata."""
    exif = Image.Exif()
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    for tag, value in (tags or {}).items():
        outer = tag in (Base.Make, Base.Model, Base.ImageDescription, Base.Software, 0x4746, 0x4749)
        (exif if outer or 0x9C9B <= tag <= 0x9C9F else inner)[tag] = value
    if gps:
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    options: dict[str, Any] = {"exif": exif}
    if xmp_packet:
        options["xmp"] = xmp_packet
    file = io.BytesIO()
    picture(1).save(file, format, **options)
    data = file.getvalue()
    if iptc_block:  # an APP13 segment right behind the start of the JPEG
        resource = b"8BIM" + struct.pack(">HH", 0x0404, 0) + struct.pack(">I", len(iptc_block))
        body = b"Photoshop 3.0\0" + resource + iptc_block + b"\0" * (len(iptc_block) % 2)
        data = data[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + data[2:]
    return data


def facts(data: bytes, *, name: str = "") -> Facts:
    found = preprocess.open_photo(data, least_px=32)
    return metadata.read(metadata.sources(found.exif, found.info), name=name)


def packet(body: str, attributes: str = "") -> bytes:
    return (
        '<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
        ' xmlns:lr="http://ns.adobe.com/lightroom/1.0/"'
        ' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
        f" {attributes}>{body}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def record(dataset: int, value: bytes, number: int = 2) -> bytes:
    return bytes([0x1C, number, dataset]) + struct.pack(">H", len(value)) + value


ALL_TAGS: dict[int, Any] = {
    Base.Make: "Apple",
    Base.Model: "iPhone 12",
    Base.LensModel: "iPhone 12 back camera 4.2mm f/1.6",
    Base.ISOSpeedRatings: 800,
    Base.ExposureTime: 0.02,
    Base.FNumber: 1.6,
    Base.FocalLength: 4.2,
    Base.DateTimeOriginal: "2019:07:14 18:30:05",
    Base.OffsetTimeOriginal: "+02:00",
    Base.ImageDescription: "A dog on a beach",
}
LYON: dict[int, Any] = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (45.0, 45.0, 36.0),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (4.0, 50.0, 24.0),
}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_is_read_in_every_format(format: str) -> None:
    found = facts(photo(ALL_TAGS, gps=LYON, format=format))
    assert found.camera == "Apple iPhone 12"
    assert found.lens == "iPhone 12 back camera 4.2mm f/1.6"
    assert (found.iso, found.taken) == (800, "2019-07-14T18:30:05+02:00")
    assert found.taken_from == "camera"
    assert found.exposure_s == pytest.approx(0.02)
    assert (found.aperture, found.focal_mm) == (pytest.approx(1.6), pytest.approx(4.2))
    assert (found.latitude, found.longitude) == (pytest.approx(45.76), pytest.approx(4.84))
    assert found.caption == "A dog on a beach"


def test_a_tiffs_directories_are_read_before_its_file_is_closed() -> None:
    """Pillow leaves the inner one out when it saves a TIFF: here it is put there by hand."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[Base.Make], tags[Base.Model] = "Canon", "EOS R5"
    inner = TiffImagePlugin.ImageFileDirectory_v2()
    inner[Base.LensModel], inner[Base.ISOSpeedRatings] = "RF 35mm", 400
    tags[ExifTags.IFD.Exif] = dict(inner)
    tags.tagtype[ExifTags.IFD.Exif] = 4
    file = io.BytesIO()
    picture(1).save(file, "TIFF", tiffinfo=tags)
    found = facts(file.getvalue())
    assert (found.camera, found.lens, found.iso) == ("Canon EOS R5", "RF 35mm", 400)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        pytest.param({Base.DateTimeOriginal: "0000:00:00 00:00:00"}, None, id="unset clock"),
        pytest.param({Base.DateTimeOriginal: "2019:02:30 10:00:00"}, None, id="no such day"),
        pytest.param({Base.DateTimeOriginal: "    :  :     :  :  "}, None, id="blank"),
        pytest.param(
            {Base.DateTimeOriginal: "x", Base.DateTimeDigitized: "2001:01:02 03:04:05"},
            "2001-01-02T03:04:05",
            id="digitized where original is none",
        ),
        pytest.param(
            {Base.DateTimeOriginal: "2001:01:02 03:04:05", Base.OffsetTimeOriginal: "  :  "},
            "2001-01-02T03:04:05",
            id="blank offset: no zone is invented",
        ),
    ],
)
def test_dates(tags: dict[int, Any], expected: str | None) -> None:
    assert facts(photo(tags)).taken == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IMG_20190714_183005.jpg", "2019-07-14T18:30:05"),
        ("PXL_20210101_101112345.jpg", "2021-01-01T10:11:12"),
        ("IMG-20190714-WA0007.jpg", "2019-07-14"),
        ("2019-07-14 18.30.05.jpg", "2019-07-14T18:30:05"),
        ("Screenshot 2023-05-01 at 10.11.12.png", "2023-05-01T10:11:12"),
        ("Bildschirmfoto 2023-05-01 um 10.11.12.png", "2023-05-01T10:11:12"),
        ("Screenshot_20230501-101112_Maps.jpg", "2023-05-01T10:11:12"),
        ("signal-2020-11-28-101112.jpeg", "2020-11-28T10:11:12"),
        ("20190714.jpg", "2019-07-14"),
        ("IMG_1234.jpg", None),
        ("DSC02019.jpg", None),
        ("19450508.jpg", None),
        ("20191399.jpg", None),
        ("20190230.jpg", None),
        ("1234567820190714123.jpg", None),
    ],
)
def test_dates_in_names(name: str, expected: str | None) -> None:
    assert metadata.taken_by_name(name) == expected


def test_a_name_dates_only_a_photo_that_does_not_date_itself() -> None:
    named = facts(photo(), name="IMG_20190714_183005.jpg")
    assert (named.taken, named.taken_from) == ("2019-07-14T18:30:05", "name")
    dated = facts(photo(ALL_TAGS), name="IMG_20010101_000000.jpg")
    assert (dated.taken, dated.taken_from) == ("2019-07-14T18:30:05+02:00", "camera")


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("NIKON CORPORATION", "NIKON D850", "NIKON D850"),
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("Google", "Pixel 7", "Google Pixel 7"),
        ("Samsung\0\0", " SM-G991B ", "Samsung SM-G991B"),
        ("", "", None),
        ("Leica", "", "Leica"),
    ],
)
def test_cameras_name_their_maker_once(make: str, model: str, expected: str | None) -> None:
    assert facts(photo({Base.Make: make, Base.Model: model})).camera == expected


@pytest.mark.parametrize(
    ("gps", "expected"),
    [
        pytest.param({}, (None, None), id="none"),
        pytest.param(
            {1: "S", 2: (33.0, 51.0, 0.0), 3: "W", 4: (151.0, 12.0, 0.0)},
            (pytest.approx(-33.85), pytest.approx(-151.2)),
            id="south and west",
        ),
        pytest.param(
            {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)}, (None, None), id="0, 0"
        ),
        pytest.param(
            {1: "N", 2: (95.0, 0.0, 0.0), 3: "E", 4: (4.0, 0.0, 0.0)}, (None, None), id="off"
        ),
        pytest.param({**LYON, GPS.GPSStatus: "V"}, (None, None), id="no fix"),
        pytest.param({1: "N", 2: (45.0, 45.0, 36.0)}, (None, None), id="half"),
    ],
)
def test_where(gps: dict[int, Any], expected: tuple[Any, Any]) -> None:
    found = facts(photo(ALL_TAGS, gps=gps))
    assert (found.latitude, found.longitude) == expected


def test_xmp_carries_what_people_wrote() -> None:
    body = (
        '<dc:description><rdf:Alt><rdf:li xml:lang="fr">Un chien</rdf:li>'
        '<rdf:li xml:lang="x-default">Rex &amp; the sea</rdf:li></rdf:Alt></dc:description>'
        "<dc:subject><rdf:Bag><rdf:li>dog</rdf:li><rdf:li>海</rdf:li></rdf:Bag></dc:subject>"
        "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|France|Lyon</rdf:li></rdf:Bag>"
        "</lr:hierarchicalSubject>"
    )
    attributes = (
        'xmp:Rating="5" exif:GPSLatitude="45,45.6N" exif:GPSLongitude="4,50.4E"'
        ' photoshop:DateCreated="2018-01-02T03:04:05Z"'
    )
    found = facts(photo(xmp_packet=packet(body, attributes)))
    assert found.caption == "Rex & the sea"
    assert found.keywords == ("dog", "海", "Places", "France", "Lyon")
    assert found.rating == 5
    assert (found.latitude, found.longitude) == (pytest.approx(45.76), pytest.approx(4.84))
    assert found.taken == "2018-01-02T03:04:05+00:00"


def test_iptc_carries_captions_keywords_and_dates() -> None:
    block = (
        record(90, b"\x1b%G", number=1)
        + record(iptc.TITLE, "Été".encode())
        + record(iptc.CAPTION, b"Two boats")
        + record(iptc.KEYWORDS, b"boat")
        + record(iptc.KEYWORDS, b"lake")
        + record(iptc.CREATED_DAY, b"20170304")
        + record(iptc.CREATED_TIME, b"101112+0100")
    )
    found = facts(photo(iptc_block=block))
    assert found.caption == "Été\nTwo boats"
    assert found.keywords == ("boat", "lake")
    assert found.taken == "2017-03-04T10:11:12+01:00"


@pytest.mark.parametrize(
    ("tags", "rating"),
    [({0x4746: 4}, 4), ({0x4749: 99}, 5), ({0x4749: 25}, 2), ({0x4746: 17}, None), ({}, None)],
)
def test_ratings(tags: dict[int, Any], rating: int | None) -> None:
    assert facts(photo(tags)).rating == rating


def test_windows_fields_are_utf16() -> None:
    tags = {0x9C9B: "Sommer\0".encode("utf-16-le"), 0x9C9E: "a;b c\0".encode("utf-16-le")}
    found = facts(photo(tags))
    assert (found.caption, found.keywords) == ("Sommer", ("a", "b c"))


@pytest.mark.parametrize("line", ["OLYMPUS DIGITAL CAMERA", "SONY DSC", "   ", "0000", "default"])
def test_what_the_camera_wrote_is_no_caption(line: str) -> None:
    assert facts(photo({Base.ImageDescription: line})).caption == ""


def test_utf8_in_ascii_fields_is_understood() -> None:
    raw = "Château".encode().decode("latin-1")  # as Pillow gives it
    found = metadata.Sources({Base.ImageDescription: raw}, {}, {}, {}, "")
    assert metadata.read(found).caption == "Château"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"tags": {Base.UserComment: b"ASCII\0\0\0Screenshot"}}, id="iOS"),
        pytest.param({"tags": {Base.Software: "gnome-screenshot"}}, id="GNOME"),
        pytest.param({"xmp_packet": packet("", 'exif:UserComment="Screenshot"')}, id="XMP"),
    ],
)
def test_screenshots_say_so(said: dict[str, Any]) -> None:
    assert facts(photo(**said)).kind == "screenshot"


def test_a_photo_is_no_screenshot() -> None:
    assert facts(photo(ALL_TAGS)).kind == "photo"


@pytest.mark.parametrize(
    "bad",
    [
        b"<x",
        b"\xff\xfe<",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b'<?xml version="1.0" encoding="nonsense"?><a/>',
        b" " * (xmp.MAX_BYTES + 1) + b"<a/>",
        '<!DOCTYPE a [<!ENTITY b "c">]><a/>'.encode("utf-16"),
    ],
)
def test_xmp_that_is_damaged_or_hostile_is_left_alone(bad: bytes) -> None:
    assert xmp.properties(bad) == {}


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_readers(data: bytes) -> None:
    xmp.properties(data)
    iptc.records(data)
    iptc.records(b"\x1c\x02" + data)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*ALL_TAGS, Base.UserComment, 0x4746, 0x9C9B, 700, 33723]),
        st.none()
        | st.binary(max_size=20)
        | st.text(max_size=20)
        | st.integers()
        | st.floats()
        | st.tuples(st.floats(), st.text(max_size=3)),
        max_size=8,
    ),
    st.dictionaries(st.integers(0, 20), st.text() | st.tuples(st.floats(), st.floats())),
)
def test_no_tag_of_any_type_breaks_the_facts(tags: dict[int, Any], gps: dict[int, Any]) -> None:
    found = metadata.Sources(tags, gps, {}, {}, "")
    told = metadata.read(found)
    assert "\0" not in told.caption
    assert told.iso is None or told.iso > 0
    assert (told.latitude is None) == (told.longitude is None)


# --- in the library ---------------------------------------------------------------------------


def test_facts_are_kept_beside_the_photo(bench: Bench) -> None:
    bench.write("a.jpg", photo(ALL_TAGS, gps=LYON, xmp_packet=packet("", 'xmp:Rating="4"')))
    bench.sync()
    (photo_id,) = bench.library.index.exact.ids().tolist()
    told = bench.library.reader.facts([photo_id])[photo_id].facts
    assert (told.camera, told.iso, told.rating) == ("Apple iPhone 12", 800, 4)
    assert told.latitude == pytest.approx(45.76)
    assert told.dhash is not None
    assert bench.library.reader.places([photo_id])[photo_id].photo.taken == told.taken


def test_captions_and_keywords_are_found_by_their_middle(bench: Bench) -> None:
    bench.write("a.jpg", photo({Base.ImageDescription: "Grandmother's garden"}))
    bench.write("b.jpg", photo({0x9C9E: "Gartenhaus".encode("utf-16-le")}))
    bench.sync()

    def found(text: str) -> int:
        with bench.library.reader.reading() as db:
            return len(
                db.execute(
                    "SELECT rowid FROM facts_words WHERE facts_words MATCH ?", (f'"{text}"',)
                ).fetchall()
            )

    assert (found("mother"), found("TENHAUS"), found("nowhere")) == (1, 1, 0)
    (bench.disk / "a.jpg").unlink()
    bench.sync()
    bench.library.purge_orphans(before_ns=1 << 62)
    assert found("mother") == 0


def test_an_older_library_is_asked_once_and_embeds_nothing(bench: Bench) -> None:
    bench.write("a.jpg", photo(ALL_TAGS))
    bench.write("b.jpg", jpeg(5))
    bench.sync()
    bench.library._db.execute("DELETE FROM facts")
    assert len(bench.library.without_facts(bench.root.root_id)) == 2
    bench.ingest._complete.clear()  # as in a program that has just started
    before = bench.encoder.image_calls
    bench.sync()
    ids = bench.library.index.exact.ids().tolist()
    assert {told.facts.camera for told in bench.library.reader.facts(ids).values()} == {
        "Apple iPhone 12",
        None,
    }
    assert bench.encoder.image_calls == before
    assert bench.library.without_facts(bench.root.root_id) == []
