"""Ulauncher's extension (API 2): `ph beach` lists photos."""

from __future__ import annotations

import os

from photos import SearchFailed, search
from ulauncher.api.client.EventListener import EventListener
from ulauncher.api.client.Extension import Extension
from ulauncher.api.shared.action.DoNothingAction import DoNothingAction
from ulauncher.api.shared.action.OpenAction import OpenAction
from ulauncher.api.shared.action.RenderResultListAction import RenderResultListAction
from ulauncher.api.shared.event import KeywordQueryEvent
from ulauncher.api.shared.item.ExtensionResultItem import ExtensionResultItem

ICON = "images/icon.svg"


class Typed(EventListener):  # type: ignore[misc]
    def on_event(self, event: KeywordQueryEvent, extension: Extension) -> RenderResultListAction:
        try:
            found = search(event.get_argument() or "")
        except SearchFailed as error:
            return RenderResultListAction([note("photosearch", str(error))])
        if not found and event.get_argument():
            return RenderResultListAction([note("No photos", "Nothing looks like that.")])
        return RenderResultListAction(
            [
                ExtensionResultItem(
                    icon=ICON,
                    name=photo.name,
                    description=photo.about,
                    on_enter=OpenAction(photo.path),
                    on_alt_enter=OpenAction(os.path.dirname(photo.path)),
                )
                for photo in found
            ]
        )


def note(name: str, description: str) -> ExtensionResultItem:
    return ExtensionResultItem(
        icon=ICON, name=name, description=description, on_enter=DoNothingAction()
    )


class Photosearch(Extension):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.subscribe(KeywordQueryEvent, Typed())


if __name__ == "__main__":
    Photosearch().run()
