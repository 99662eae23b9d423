"""The menu of a photo in the grid."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QMenu, QWidget

from photosearch.desktop import words
from photosearch.desktop.deeds import Deeds


def photo_menu(
    parent: QWidget,
    deeds: Deeds,
    *,
    look_like: Callable[[], object],
    show_group: Callable[[], object],
) -> QMenu:
    """What can be done with the photo that is meant."""
    menu = QMenu(parent)
    hit = deeds.hit
    if hit is not None and hit.similar:
        menu.addAction(words.show_similar(hit.similar), show_group)
    for text, run in (
        (words.OPEN, deeds.open),
        (words.REVEAL, deeds.reveal),
        (words.COPY, deeds.copy),
        (words.MORE, look_like),
        (words.UNHIDE if hit is not None and hit.hidden else words.HIDE, deeds.hide),
    ):
        menu.addAction(text, run)
    return menu
