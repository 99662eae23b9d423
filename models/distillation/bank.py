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
    gradient; the oldest leave first; row n of both sides belongs to id n.
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
        self._ids = torch.cat((self._ids.to(device), ids))[-self.size :]
        self._image = torch.cat((self._image.to(device), l2_normalize(image)))[-self.size :]
        self._text = torch.cat((self._text.to(device), l2_normalize(text)))[-self.size :]

    def scores(self, query: Tensor, side: Literal["image", "text"]) -> tuple[Tensor, Tensor]:
        """(N, d) -> cosines with every key of `side` (N, Q), and their ids (Q,)."""
        return query @ self.rows(side).T, self._ids

    def rows(self, side: Literal["image", "text"]) -> Tensor:
        """(Q, d), oldest first."""
        return self._image if side == "image" else self._text

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
