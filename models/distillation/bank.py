"""Vectors of items seen before, as candidates for negatives."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.distillation.errors import MismatchedShapes
from models.distillation.similarity import l2_normalize


class TeacherBank:
    """The last `size` items' frozen teacher vectors, both modalities.

    A frozen teacher's vectors never go stale, so no momentum encoder is needed for the
    teacher-student types. True between calls: rows are unit, in order of arrival, without
    gradient; the oldest leave first; row n of both sides belongs to id n; no id stands twice,
    because an item that comes again replaces what it was.
    """

    def __init__(self, width: int, size: int = 65_536) -> None:
        if size < 0 or width < 1:
            raise MismatchedShapes(f"a bank of {size} rows of width {width}; use 0 rows for none")
        self.size = size
        self._ids = torch.empty(0, dtype=torch.int64)
        self._image = torch.empty(0, width)
        self._text = torch.empty(0, width)

    def __len__(self) -> int:
        return len(self._ids)

    @torch.no_grad()
    def push(self, ids: Tensor, image: Tensor, text: Tensor) -> None:
        """ids (N,), image and text (N, d) -> the end of the queue."""
        width = self._image.shape[1]
        for rows in (image, text):
            if rows.shape != (len(ids), width):
                raise MismatchedShapes(
                    f"rows of {tuple(rows.shape)} do not fit {len(ids)} ids of width {width}"
                )
        if self.size == 0:
            return
        device = image.device
        old, new = ~torch.isin(self._ids.to(device), ids), _last(ids)

        def joined(kept: Tensor, rows: Tensor) -> Tensor:
            return torch.cat((kept.to(device)[old], rows[new]))[-self.size :]

        self._ids = joined(self._ids, ids)
        self._image = joined(self._image, l2_normalize(image))
        self._text = joined(self._text, l2_normalize(text))

    def scores(self, query: Tensor, side: Literal["image", "text"]) -> tuple[Tensor, Tensor]:
        """(N, d) -> cosines with every key of `side` (N, Q), and their ids (Q,)."""
        return query @ self.rows(side).T, self._ids

    def rows(self, side: Literal["image", "text"]) -> Tensor:
        """(Q, d), oldest first."""
        return self._image if side == "image" else self._text

    def rows_of(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Image and text vectors (*, d) of ids (*,), all of which must be here."""
        place = self.places(ids)
        return self._image[place], self._text[place]

    def places(self, ids: Tensor) -> Tensor:
        """(*,) ids -> their rows. Raises MismatchedShapes for one that is not here."""
        order = self._ids.argsort(stable=True)
        place = torch.searchsorted(self._ids[order], ids.contiguous(), right=True) - 1
        rows = order[place.clamp_min(0)]
        if not bool((self._ids[rows] == ids).all()):
            raise MismatchedShapes("the bank does not hold every id that was mined from it")
        return rows

    @property
    def ids(self) -> Tensor:
        return self._ids

    def state(self) -> dict[str, Any]:
        return {"ids": self._ids, "image": self._image, "text": self._text}

    def restore(self, state: dict[str, Any]) -> None:
        self._ids, self._image, self._text = state["ids"], state["image"], state["text"]


class MomentumBank(TeacherBank):
    """Keys of a slowly following student (MoCo, arXiv:1911.05722), for student-student types.

    follower = m * follower + (1 - m) * student, after each step; its vectors are pushed.
    """

    def __init__(self, width: int, size: int = 65_536, *, momentum: float = 0.999) -> None:
        super().__init__(width, size)
        if not 0 <= momentum < 1:
            raise MismatchedShapes(f"momentum is {momentum}; it must lie in 0..1")
        self.momentum = momentum

    @torch.no_grad()
    def follow(self, follower: nn.Module, student: nn.Module) -> None:
        """Move `follower` towards `student`, parameters and buffers."""
        for theirs, ours in zip(follower.parameters(), student.parameters(), strict=True):
            theirs.lerp_(ours, 1 - self.momentum)
        for old, new in zip(follower.buffers(), student.buffers(), strict=True):
            old.copy_(new)


def _last(ids: Tensor) -> Tensor:
    """(N,): True for the last of equal ids."""
    order = ids.argsort(stable=True)
    last = torch.ones_like(ids, dtype=torch.bool)
    last[order[:-1]] = ids[order[:-1]] != ids[order[1:]]
    return last
