"""GNOME Shell's search provider: org.gnome.Shell.SearchProvider2 over the daemon's API."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = map(str, Path(__file__).resolve().parents[1:3])  # bus.py; a checkout's photosearch

from bus import IMAGE, Method, Photos, Service  # noqa: E402

from photosearch.home import open_home  # noqa: E402

NAME = "org.photosearch.SearchProvider"
PATH = "/org/photosearch/SearchProvider"


def provider(photos: Photos) -> Service:
    def results(terms: list[str]) -> tuple[list[str]]:
        return ([str(hit.photo_id) for hit in photos.search(" ".join(terms))],)

    def narrower(previous: list[str], terms: list[str]) -> tuple[list[str]]:
        return results(terms)  # a search by meaning: more words may well find other photos

    def metas(identifiers: list[str]) -> tuple[list[dict[str, Any]]]:
        return ([meta for each in identifiers if (meta := describe(each))],)

    def describe(identifier: str) -> dict[str, Any] | None:
        hit = photos.hit(identifier)
        if hit is None:
            return None
        name = Path(hit.path).name.encode("utf-8", "replace").decode()
        about = " · ".join(filter(None, [(hit.taken or "")[:10], *hit.why]))
        meta = {"id": ("s", identifier), "name": ("s", name), "description": ("s", about)}
        picture = photos.picture(hit)
        return meta | ({"icon-data": (IMAGE, picture)} if picture else {})

    def activate(identifier: str, terms: list[str], moment: int) -> tuple[()]:
        photos.open(identifier)
        return ()

    def launch(terms: list[str], moment: int) -> tuple[()]:
        photos.show_bar()
        return ()

    return Service(
        NAME,
        PATH,
        "org.gnome.Shell.SearchProvider2",
        {
            "GetInitialResultSet": Method("as", "as", results),
            "GetSubsearchResultSet": Method("asas", "as", narrower),
            "GetResultMetas": Method("as", "aa{sv}", metas),
            "ActivateResult": Method("sasu", "", activate),
            "LaunchSearch": Method("asu", "", launch),
        },
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--home")
    sys.exit(provider(Photos(open_home(parser.parse_args().home))).serve())
