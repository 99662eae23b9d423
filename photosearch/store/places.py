"""Towns by name and by distance, from the table the program fills out of its own package."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from photosearch.store.connection import Connection

EARTH_KM: Final = 6371.0
KM_PER_DEGREE: Final = EARTH_KM * math.pi / 180
FARTHEST_KM: Final = 40.0  # a photo farther from every town is named after none
_EDITION: Final = 1_000_000  # ids are edition * this + line: the table says which file filled it
# A town of a million people reaches about 5 km; none is smaller than a kilometre.
_REACH: Final = 0.005


@dataclass(frozen=True)
class Town:
    """A town and the spellings it is found by."""

    name: str
    country: str
    latitude: float
    longitude: float
    population: int
    spellings: tuple[str, ...] = ()

    @property
    def reach_km(self) -> float:
        return max(1.0, _REACH * math.sqrt(self.population))


def edition(db: Connection) -> int | None:
    """Which edition of the table is there; None before it was filled."""
    row = db.execute(f"SELECT min(id) / {_EDITION} FROM places").fetchone()
    return row[0]  # type: ignore[no-any-return]


def fill(db: Connection, towns: Iterable[Town], edition: int) -> None:
    """Replace the table."""
    assert db.in_transaction
    db.execute("DELETE FROM places")  # takes the names along
    for number, town in enumerate(towns):
        place_id = edition * _EDITION + number
        db.execute(
            "INSERT INTO places (id, name, country, latitude, longitude, population)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (place_id, town.name, town.country, town.latitude, town.longitude, town.population),
        )
        names = {fold(name) for name in (town.name, *town.spellings)}
        db.executemany(
            "INSERT INTO place_names (name, place_id) VALUES (?, ?)",
            ((name, place_id) for name in names if name),
        )


def named(db: Connection, text: str) -> Town | None:
    """The largest town of this name, in any of its spellings; "Paris, United States" names
    the country too."""
    name, _, country = (fold(part) for part in text.partition(","))
    rows = db.execute(
        "SELECT p.name, p.country, p.latitude, p.longitude, p.population FROM place_names n"
        " JOIN places p ON p.id = n.place_id WHERE n.name = ? ORDER BY p.population DESC, p.id",
        (name,),
    )
    towns = (Town(*row) for row in rows)
    return next((town for town in towns if fold(town.country).startswith(country)), None)


def describe(db: Connection, latitude: float, longitude: float) -> str:
    """Where a point is: "Vanves, Paris, France". Empty far from every town."""
    near = [
        (distance_km(latitude, longitude, town.latitude, town.longitude), town)
        for town in _around(db, latitude, longitude)
    ]
    near = [(km, town) for km, town in near if km <= FARTHEST_KM]
    if not near:
        return ""
    _, nearest = min(near, key=lambda found: (found[0] / found[1].reach_km, found[1].name))
    larger = [
        town
        for km, town in near
        if km <= 2.5 * town.reach_km and town.population >= 5 * nearest.population
    ]
    parts = [nearest.name, nearest.country]
    if larger:
        parts.insert(1, max(larger, key=lambda town: town.population).name)
    return ", ".join(dict.fromkeys(parts))


def distance_km(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Along the great circle (haversine)."""
    a, b = math.radians(lat1), math.radians(lat2)
    half = math.radians(lon2 - lon1) / 2
    h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(half) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(h)))


def fold(text: str) -> str:
    """As names are kept: without case, accents and doubled spaces."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(c for c in plain if not unicodedata.combining(c)).split())


def _around(db: Connection, latitude: float, longitude: float) -> list[Town]:
    """Towns in a box a little larger than the circle of FARTHEST_KM."""
    high = FARTHEST_KM / KM_PER_DEGREE
    wide = min(180.0, high / max(0.01, math.cos(math.radians(latitude))))
    rows = db.execute(
        "SELECT name, country, latitude, longitude, population FROM places"
        # Modulo 360: on the other side of the date line may be next door.
        " WHERE latitude BETWEEN ? AND ? AND"
        " min(abs(longitude - ?), 360 - abs(longitude - ?)) <= ?",
        (latitude - high, latitude + high, longitude, longitude, wide),
    )
    return [Town(*row) for row in rows]
