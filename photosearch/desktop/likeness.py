"""The photo whose look-alikes, or whose burst, are wanted; its chip says so. As likeness.js."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton

from photosearch.desktop import words
from photosearch.desktop.make import button
from photosearch.types import Hit

CHIP_PX: Final = 210  # room for the photo's name in it


@dataclass(frozen=True)
class Step:
    """Away from a search: to photos like one, or to those that it stands for."""

    hit: Hit
    is_group: bool
    words: str  # what was in the box before


class Likeness:
    """Step by step away from the search, and back again."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self.chip: QPushButton = button("chip")
        self.chip.hide()

    @property
    def hit(self) -> Hit | None:
        return self._steps[-1].hit if self._steps else None

    @property
    def is_group(self) -> bool:
        return bool(self._steps) and self._steps[-1].is_group

    def begin(self, hit: Hit, typed: str, *, is_group: bool) -> None:
        """Another photo's look-alikes take the place of the first's: one step back is enough."""
        step = Step(hit, is_group, typed)
        if self._steps and self.is_group == is_group:
            step = replace(self._steps.pop(), hit=hit)
        self._steps.append(step)
        self._show()

    def end(self) -> str:
        """One step back; the words from before it."""
        step = self._steps.pop()
        self._show()
        return step.words

    def forget(self) -> None:
        """Back at once, whatever was before."""
        self._steps.clear()
        self._show()

    def _show(self) -> None:
        self.chip.setVisible(self.hit is not None)
        if self.hit is None:
            return
        name = words.name_of(self.hit.path)
        short = self.chip.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, CHIP_PX)
        self.chip.setText(words.similar_to(short) if self.is_group else words.like(short))
        back = words.leave_similar(name) if self.is_group else words.leave_like(name)
        self.chip.setAccessibleName(back)
        self.chip.setToolTip(back)
