"""KDE's KRunner: org.kde.krunner1 over the daemon's API."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = map(str, Path(__file__).resolve().parents[1:3])  # bus.py; a checkout's photosearch

from bus import IMAGE, Method, Photos, Service  # noqa: E402

from photosearch.home import open_home  # noqa: E402
from photosearch.types import Hit  # noqa: E402

NAME = "org.photosearch.Runner"
PATH = "/runner"
LEAST_LETTERS = 1  # for KRunner to ask; Photos says what is worth a search
RELEVANCE = 50  # among KRunner's kinds of matches: below a program of this very name
REVEAL = "reveal"

Match = tuple[str, str, str, int, float, dict[str, Any]]


def runner(photos: Photos) -> Service:
    def match(query: str) -> tuple[list[Match]]:
        hits = photos.search(query)
        return ([row(hit, place, len(hits)) for place, hit in enumerate(hits)],)

    def row(hit: Hit, place: int, total: int) -> Match:
        name = Path(hit.path).name.encode("utf-8", "replace").decode()
        about = " · ".join(filter(None, [(hit.taken or "")[:10], *hit.why]))
        properties: dict[str, Any] = {
            "category": ("s", "Photos"),
            "subtext": ("s", about),
            "urls": ("as", [Path(hit.path).as_uri()]),
            "actions": ("as", [REVEAL]),
        }
        picture = photos.picture(hit)
        if picture is not None:
            properties["icon-data"] = (IMAGE, picture)
        return (
            str(hit.photo_id),
            name,
            "image-x-generic",
            RELEVANCE,
            1 - place / total,
            properties,
        )

    def run(identifier: str, action: str) -> tuple[()]:
        photos.open(identifier, reveal=action == REVEAL)
        return ()

    return Service(
        NAME,
        PATH,
        "org.kde.krunner1",
        {
            "Actions": Method(
                "", "a(sss)", lambda: ([(REVEAL, "Show in folder", "document-open-folder")],)
            ),
            "Match": Method("s", "a(sssida{sv})", match),
            "Run": Method("ss", "", run),
            "Config": Method("", "a{sv}", lambda: ({"MinLetterCount": ("i", LEAST_LETTERS)},)),
            "Teardown": Method("", "", lambda: ()),
        },
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--home")
    sys.exit(runner(Photos(open_home(parser.parse_args().home))).serve())
