"""What a phone's app does, step by step, in Python: the twin of docs/mobile.md's Swift and Kotlin.

Written from docs/bundles.md and docs/mobile.md alone. It imports nothing of ours,
so that what it finds proves the files, not our reader of them.
"""

from __future__ import annotations

import json
import mmap
import sqlite3
import struct
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = b"PHSFLAT\0"
CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class Phone:
    """A bundle for ExecuTorch with an index, in a folder."""

    def __init__(self, folder: Path) -> None:
        from executorch.runtime import Runtime

        self.folder = folder
        self.manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        text = self.manifest["text"]
        self.context = text["context_length"]
        vocabulary = (folder / text["vocabulary"]).read_text(encoding="utf-8")
        self.ids = {piece: number for number, piece in enumerate(vocabulary.split("\n")[:-1])}
        target = self.manifest["targets"]["executorch"]
        self.text = Runtime.get().load_program(str(folder / target["text"]))
        self.image = Runtime.get().load_program(str(folder / target["image"]))

    # 1. tokenise

    def tokenise(self, text: str) -> list[int]:
        ids = [self.ids["[CLS]"]]
        for word in split_words(text):
            ids += self.pieces(word)
        return [*ids[: self.context - 1], self.ids["[SEP]"]]

    def pieces(self, word: str) -> list[int]:
        """Longest first; a word that does not come out whole is [UNK]."""
        unknown = [self.ids["[UNK]"]]
        if len(word) > 100:
            return unknown
        found: list[int] = []
        rest, mark = word, ""
        while rest:
            for length in range(len(rest), 0, -1):
                piece = self.ids.get(mark + rest[:length])
                if piece is not None:
                    found.append(piece)
                    rest, mark = rest[length:], "##"
                    break
            else:
                return unknown
        return found

    # 2. encode

    def encode_text(self, text: str) -> np.ndarray:
        ids = self.tokenise(text)
        short = len(ids) <= 16 and "short" in self.text.method_names
        padded = ids + [0] * ((16 if short else self.context) - len(ids))
        return self._run(self.text, "short" if short else "forward", np.asarray([padded], np.int64))

    def encode_image(self, pixels: np.ndarray) -> np.ndarray:
        """(S, S, 3) uint8, upright RGB, already S x S."""
        how = self.manifest["image"]
        values = pixels.astype(np.float32) / 255
        values = (values - np.asarray(how["mean"])) / np.asarray(how["std"])
        return self._run(self.image, "forward", values.transpose(2, 0, 1)[None].astype(np.float32))

    def _run(self, program: Any, method: str, value: np.ndarray) -> np.ndarray:
        import torch

        given = torch.from_numpy(np.array(value, order="C", copy=True))
        # A new axis of numpy's has no stride of its own; ExecuTorch asks for one.
        given = given.contiguous().clone(memory_format=torch.contiguous_format)
        return np.array(program.load_method(method).execute([given])[0].numpy())[0]

    # 3. search

    def search(self, vector: np.ndarray, k: int) -> list[tuple[float, int]]:
        """The k best (score, photo id) of the flat index, scanned where it is mapped."""
        with (self.folder / "index" / "vectors.bin").open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        assert data[:8] == MAGIC
        version, count, dim, stride = struct.unpack_from("<IIII", data, 8)
        ids_at, scales_at, rows_at = struct.unpack_from("<QQQ", data, 24)
        assert version == 1
        assert data[64:96].rstrip(b"\0").decode() == self.manifest["space"]
        found: list[tuple[float, int]] = []
        for number in range(count):
            row = np.frombuffer(data, np.int8, dim, rows_at + number * stride)
            (scale,) = struct.unpack_from("<f", data, scales_at + 4 * number)
            (photo_id,) = struct.unpack_from("<q", data, ids_at + 8 * number)
            found.append((float(scale * (row.astype(np.float32) @ vector)), photo_id))
        return sorted(found, key=lambda hit: (-hit[0], hit[1]))[:k]

    def photo(self, photo_id: int) -> tuple[str, str | None, bytes | None]:
        """Name, date and thumbnail."""
        db = sqlite3.connect(self.folder / "index" / "photos.db")
        try:
            found: tuple[str, str | None, bytes | None] = db.execute(
                "SELECT name, taken, thumbnail FROM photos WHERE id = ?", (photo_id,)
            ).fetchone()
            return found
        finally:
            db.close()


def split_words(text: str) -> list[str]:
    """Drop control characters, space out CJK, lower case, strip accents, part punctuation."""
    spaced = []
    for char in text:
        category = unicodedata.category(char)
        if char in "\t\n\r" or category == "Zs":
            spaced.append(" ")
        elif char in "\0\ufffd" or category[0] == "C":
            continue
        elif any(low <= ord(char) <= high for low, high in CJK):
            spaced.append(f" {char} ")
        else:
            spaced.append(char)
    plain = "".join(
        char
        for char in unicodedata.normalize("NFD", "".join(spaced).lower())
        if unicodedata.category(char) != "Mn"
    )
    parted = []
    for char in plain:
        symbol = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
        if symbol or unicodedata.category(char)[0] == "P":
            parted.append(f" {char} ")
        else:
            parted.append(char)
    return "".join(parted).split()
