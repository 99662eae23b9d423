"""What the workbench's tests share. torch is in the [train] extra: without it they skip."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared" / "data"


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


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and captions; tests that need it skip where it is not."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is missing: the real photos and captions are not in the repository")
    return SHARED
