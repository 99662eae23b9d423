"""The table of towns in the package: GeoNames data, CC BY 4.0 (places.LICENSE.txt)."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from photosearch.store.places import Town

EDITION: Final = 1  # grows with every new table, so that libraries take it up
FILE: Final = Path(__file__).parent / "places.tsv.xz"


def towns() -> Iterator[Town]:
    """Every town; scripts/make_places.py writes the lines."""
    countries: dict[str, str] = {}
    for line in lzma.decompress(FILE.read_bytes()).decode("utf-8").splitlines():
        if line.startswith("#"):
            code, name = line[1:].split("\t")
            countries[code] = name
            continue
        name, code, latitude, longitude, thousands, spellings = line.split("\t")
        yield Town(
            name,
            countries.get(code, code),
            float(latitude),
            float(longitude),
            int(thousands) * 1000,
            tuple(spellings.split("|")) if spellings else (),
        )
