"""Towns from the shipped table: near a point, by name, and in the facts of a photo."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from test_metadata import ALL_TAGS, LYON, photo
from workbench import Bench

from photosearch import places as shipped
from photosearch.store import places
from photosearch.store.connection import Connection, open_writer, transaction
from photosearch.store.schema import migrate


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Connection:
    file = tmp_path_factory.mktemp("places") / "library.db"
    db = open_writer(file)
    migrate(db, file)
    with transaction(db):
        places.fill(db, shipped.towns(), shipped.EDITION)
    return db


def test_the_table_is_whole(filled: Connection) -> None:
    assert filled.execute("SELECT count(*) FROM places").fetchone()[0] > 30_000
    assert places.edition(filled) == shipped.EDITION
    assert shipped.FILE.stat().st_size < 1_000_000
    licence = shipped.FILE.with_name("places.LICENSE.txt").read_text(encoding="utf-8")
    assert "GeoNames" in licence
    assert "creativecommons.org/licenses/by/4.0" in licence


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        pytest.param((48.8584, 2.2945), "Paris 16 Passy, Paris, France", id="Eiffel Tower"),
        pytest.param((45.7640, 4.8357), "Lyon, France", id="Lyon"),
        pytest.param((48.8850, 2.2690), "Neuilly-sur-Seine, Paris, France", id="a suburb"),
        pytest.param((39.9163, 116.3972), "Beijing, China", id="Forbidden City"),
        pytest.param((-33.8568, 151.2153), "Sydney, Australia", id="south"),
        pytest.param((0.0, -30.0), "", id="open sea"),
        pytest.param((90.0, 0.0), "", id="North Pole"),
    ],
)
def test_a_point_is_described(
    filled: Connection, point: tuple[float, float], expected: str
) -> None:
    assert places.describe(filled, *point) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lyon", ("Lyon", "France")),
        ("MÜNCHEN", ("Munich", "Germany")),
        ("Wien", ("Vienna", "Austria")),
        ("北京", ("Beijing", "China")),
        ("里昂", ("Lyon", "France")),
        ("paris", ("Paris", "France")),
        ("Paris, united", ("Paris", "United States")),
        ("new  york city", ("New York City", "United States")),
        ("Nowhereville", None),
        ("", None),
    ],
)
def test_a_name_finds_its_largest_town(
    filled: Connection, text: str, expected: tuple[str, str] | None
) -> None:
    found = places.named(filled, text)
    assert (found and (found.name, found.country)) == expected


def test_the_date_line_is_no_wall(tmp_path: Path) -> None:
    db = open_writer(tmp_path / "library.db")
    migrate(db, tmp_path / "library.db")
    with transaction(db):
        places.fill(db, [places.Town("Eastend", "Fiji", -16.5, 179.95, 20_000)], 1)
    assert places.describe(db, -16.5, -179.95) == "Eastend, Fiji"
    db.close()


def test_distances() -> None:
    assert places.distance_km(48.8566, 2.3522, 51.5074, -0.1278) == pytest.approx(343.6, abs=1)
    assert places.distance_km(0, 179.5, 0, -179.5) == pytest.approx(111.2, abs=0.2)


def test_a_photo_knows_its_place(bench: Bench) -> None:
    bench.write("a.jpg", photo(ALL_TAGS, gps=LYON))
    bench.sync()
    (photo_id,) = bench.library.index.exact.ids().tolist()
    assert bench.library.reader.facts([photo_id])[photo_id].place == "Lyon, France"


def test_a_library_without_places_carries_no_table(bench: Bench) -> None:
    bench.write("a.jpg", photo(ALL_TAGS))
    bench.sync()
    with bench.library.reader.reading() as db:
        assert db.execute("SELECT count(*) FROM places").fetchone()[0] == 0


@pytest.fixture
def maker() -> ModuleType:
    file = Path(__file__).parents[2] / "scripts" / "make_places.py"
    spec = importlib.util.spec_from_file_location("make_places", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["make_places"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_script_makes_the_same_lines_of_both_inputs(maker: ModuleType, tmp_path: Path) -> None:
    names = "Munchen,München,Мюнхен,慕尼黑,MUC,an Mhuinchen"
    row = ["2867714", "Munich", "Munich", names, "48.13743", "11.57549", "P", "PPLA", "DE"]
    row += ["", "02", "", "", "", "1505005", "", "524", "Europe/Berlin", "2024-01-01"]
    (tmp_path / "cities15000.txt").write_text("\t".join(row) + "\n", encoding="utf-8")
    (tmp_path / "cities15000.json").write_text(
        json.dumps(
            {
                "2867714": {
                    "geonameid": 2867714, "name": "Munich", "countrycode": "DE",
                    "latitude": 48.13743, "longitude": 11.57549, "population": 1505005,
                    "alternatenames": names.split(","),
                }
            }
        ),
        encoding="utf-8",
    )  # fmt: skip
    (dumped,) = maker.from_dump(tmp_path)
    (packed,) = maker.from_package(tmp_path)
    expected = "Munich\tDE\t48.14\t11.58\t1505\tМюнхен|Munchen|慕尼黑"
    assert maker.line(dumped) == expected
    assert maker.line(packed) == maker.line(dumped)
