"""Small photos and shards, made on the spot."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(seed: int, *, width: int = 48, height: int = 40) -> bytes:
    """A picture of smooth colour, different for every seed, and the same each time."""
    coarse = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    smooth.save(stream, "JPEG")
    return stream.getvalue()


def write_shard(file: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """A tar of these members, in this order."""
    with tarfile.open(file, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file


def captioned_shard(file: Path, count: int, *, first: int = 0) -> Path:
    """`count` photos with two captions each."""
    members: list[tuple[str, bytes]] = []
    for number in range(first, first + count):
        captions = [f"a picture of colour number {number}", f"smooth shapes, the {number}th"]
        members.append((f"photo{number}.jpg", jpeg(number)))
        members.append((f"photo{number}.json", json.dumps({"captions": captions}).encode()))
    return write_shard(file, members)
