"""The sentence-piece tokenizer of SigLIP: the likeliest split of a text into known pieces.

Unigram language model (Kudo 2018, arXiv:1804.10959), as Hugging Face's
`tokenizer.json` stores it. Its table of character replacements is nmt_nfkc's in
every model we know of; it is taken as Unicode's NFKC, which differs only in
characters that no keyboard gives.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from photosearch.bpe import canonical
from photosearch.errors import BundleError

SPACE: Final = "\u2581"
UNKNOWN_PENALTY: Final = 10.0  # below the worst piece, as in the reference
MAX_TEXT_CHARS: Final = 4000


class UnigramTokenizer:
    """True between calls: a row is pieces, END, then PAD up to the whole context."""

    def __init__(
        self,
        pieces: Sequence[tuple[str, float]],
        *,
        unknown_id: int,
        end_id: int,
        pad_id: int,
        context_length: int,
    ) -> None:
        self._ids = {piece: number for number, (piece, _) in enumerate(pieces)}
        self._scores = [score for _, score in pieces]
        self._longest = max((len(piece) for piece, _ in pieces), default=1)
        self._worst = min(self._scores, default=0.0) - UNKNOWN_PENALTY
        self._unknown_id = unknown_id
        self._end_id = end_id
        self.pad_id = pad_id
        self.context_length = context_length
        self.pads_to_longest = False

    @classmethod
    def from_file(cls, file: Path, *, context_length: int, pad_id: int) -> UnigramTokenizer:
        """Read a tokenizer.json. BundleError for another kind of model."""
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            model = document["model"]
            if model["type"] != "Unigram":
                raise BundleError(
                    f"{file}: a {model['type']} tokenizer, as SigLIP 2 has, is not one we know"
                )
            pieces = [(str(piece), float(score)) for piece, score in model["vocab"]]
            ids = {piece: number for number, (piece, _) in enumerate(pieces)}
            return cls(
                pieces,
                unknown_id=int(model["unk_id"]),
                end_id=ids["</s>"],
                pad_id=pad_id,
                context_length=context_length,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{file}: not a tokenizer.json we can read ({error!r})") from error

    def encode(self, text: str) -> NDArray[np.int64]:
        """One text -> (L,), L <= context_length, without padding."""
        plain = " ".join(unicodedata.normalize("NFKC", canonical(text)).split())
        ids = self._best(SPACE + plain[:MAX_TEXT_CHARS].replace(" ", SPACE)) if plain else []
        return np.asarray([*ids[: self.context_length - 1], self._end_id], dtype=np.int64)

    def batch(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Texts -> (B, context_length)."""
        padded = np.full((len(texts), self.context_length), self.pad_id, dtype=np.int64)
        for number, text in enumerate(texts):
            row = self.encode(text)
            padded[number, : len(row)] = row
        return padded

    def _best(self, text: str) -> list[int]:
        """Viterbi: the split whose pieces' scores add up highest; unknown letters run together."""
        best = [0.0] + [-np.inf] * len(text)
        came: list[tuple[int, int]] = [(0, -1)] * (len(text) + 1)  # from where, by which piece
        for end in range(1, len(text) + 1):
            for start in range(max(0, end - self._longest), end):
                piece = self._ids.get(text[start:end])
                if piece is not None and piece != self._unknown_id:
                    score = best[start] + self._scores[piece]
                elif end - start == 1:
                    piece, score = self._unknown_id, best[start] + self._worst
                else:
                    continue
                if score > best[end]:
                    best[end], came[end] = score, (start, piece)
        ids: list[int] = []
        end = len(text)
        while end > 0:
            start, piece = came[end]
            if not (piece == self._unknown_id and ids and ids[-1] == self._unknown_id):
                ids.append(piece)
            end = start
        return ids[::-1]
