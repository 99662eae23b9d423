"""A teacher's vectors on disk, several crops and captions per photo.

    python -m models.distillation.cache --teacher SPEC --data 'SHARDS.tar' --out DIR [--crops 4]

Once made, distillation costs no teacher forward (as in MobileCLIP's reinforced data sets).
A folder holds

    meta.json    teacher, parts, crops, seed, counts
    keys.json    the photos' keys, and where each one's captions start
    images.npy   (photos, crops, T) float16, memory-mapped
    texts.npy    (captions, T) float16, memory-mapped

Crop 0 is the whole photo; the others are boxes that crop_box() gives again for the same
seed, key and number, so the student sees exactly what the teacher saw.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.data import Example, read_examples
from models.distillation.errors import CacheDamaged, DistillationError, NotFinite
from models.distillation.teachers import Part, Teacher, open_teacher
from photosearch.errors import PhotoRejected, PhotosearchError
from photosearch.preprocess import decode
from photosearch.types import Pixels

log = logging.getLogger(__name__)

FORMAT: Final = 1
PHOTOS_AT_ONCE: Final = 32
TEXTS_AT_ONCE: Final = 128
OVERSAMPLING: Final = 2  # as the daemon's decode: JPEG at twice the target, then bicubic
ASPECTS: Final = (3 / 4, 4 / 3)

Box = tuple[float, float, float, float]
WHOLE: Final[Box] = (0.0, 0.0, 1.0, 1.0)


def crop_box(seed: int, key: str, number: int, smallest: float) -> Box:
    """Left, top, right, bottom in shares of the photo; number 0 is the whole.

    Random resized crop (arXiv:1409.4842): area uniform in smallest..1, aspect log-uniform
    in 3:4..4:3. Never mirrored, because captions tell left from right.
    """
    if number == 0:
        return WHOLE
    made = random.Random(f"{seed}|{key}|{number}")
    area = made.uniform(smallest, 1.0)
    aspect = math.exp(made.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
    width = min(1.0, math.sqrt(area * aspect))
    height = min(1.0, area / width)
    left, top = made.uniform(0, 1 - width), made.uniform(0, 1 - height)
    return left, top, left + width, top + height


def crop(image: bytes, box: Box, side_px: int) -> Pixels:
    """A part of a photo at the encoder's size: (S, S, 3). Raises PhotoRejected."""
    share = min(box[2] - box[0], box[3] - box[1])
    photo = decode(image, least_px=math.ceil(OVERSAMPLING * side_px / share))
    width, height = photo.size
    area = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    square = photo.resize((side_px, side_px), Image.Resampling.BICUBIC, box=area)
    return np.asarray(square, dtype=np.uint8)


def usable_captions(example: Example) -> tuple[str, ...]:
    """A photo's captions without those that say nothing."""
    return tuple(caption for caption in example.captions if caption.strip())


@dataclass(frozen=True)
class Built:
    """What went into a cache, and what did not."""

    photos: int
    captions: int
    unreadable: int  # photos that do not decode
    without_caption: int
    repeated: int  # photos whose key was there already


def build_cache(
    teacher: Teacher, spec: str, out: Path, *, crops: int = 1, seed: int = 0, smallest: float = 0.5
) -> Built:
    """Run the teacher once over every crop and caption. The folder exists whole or not at all.

    Photos that do not decode, have no caption or repeat a key are left out and counted.
    """
    width = sum(part.width for part in teacher.parts)
    keys: list[str] = []
    starts: list[int] = [0]
    image_rows: list[NDArray[np.float16]] = []
    text_rows: list[NDArray[np.float16]] = []
    skipped = {"unreadable": 0, "without_caption": 0, "repeated": 0}
    seen: set[str] = set()
    waiting: list[Pixels] = []
    unsaid: list[str] = []

    def flush(*, all_of_it: bool) -> None:
        while len(waiting) >= (1 if all_of_it else PHOTOS_AT_ONCE):
            some, waiting[:PHOTOS_AT_ONCE] = waiting[:PHOTOS_AT_ONCE], []
            image_rows.append(_half(teacher.images(np.stack(some)), "image"))
        while len(unsaid) >= (1 if all_of_it else TEXTS_AT_ONCE):
            texts, unsaid[:TEXTS_AT_ONCE] = unsaid[:TEXTS_AT_ONCE], []
            text_rows.append(_half(teacher.texts(texts), "text"))

    for example in read_examples(spec):
        captions = usable_captions(example)
        if example.key in seen or not captions:
            skipped["repeated" if example.key in seen else "without_caption"] += 1
            continue
        boxes = [crop_box(seed, example.key, number, smallest) for number in range(crops)]
        try:
            views = [crop(example.image, box, teacher.preprocess.side_px) for box in boxes]
        except PhotoRejected as error:
            skipped["unreadable"] += 1
            log.warning("cache.skipped key=%s reason=%s", example.key, error)
            continue
        seen.add(example.key)
        keys.append(example.key)
        starts.append(starts[-1] + len(captions))
        waiting += views
        unsaid += captions
        flush(all_of_it=False)
    flush(all_of_it=True)
    if not keys:
        raise DistillationError(f"{spec}: no photo can be read and has a caption ({skipped})")
    meta = {
        "format": FORMAT,
        "teacher": teacher.name,
        "parts": [[part.width, part.tau, part.weight] for part in teacher.parts],
        "crops": crops,
        "seed": seed,
        "smallest": smallest,
    }
    images = np.concatenate(image_rows).reshape(len(keys), crops, width)
    _write(out, meta, {"keys": keys, "starts": starts}, images, np.concatenate(text_rows))
    return Built(photos=len(keys), captions=starts[-1], **skipped)


def _half(rows: Tensor, side: str) -> NDArray[np.float16]:
    if not bool(torch.isfinite(rows).all()):
        raise NotFinite(f"the teacher's {side} vectors hold NaN or infinity; nothing was cached")
    half: NDArray[np.float16] = rows.to(torch.float16).numpy()
    return half


def _write(
    out: Path,
    meta: dict[str, Any],
    index: dict[str, Any],
    images: NDArray[np.float16],
    texts: NDArray[np.float16],
) -> None:
    staged = out.with_name(f"{out.name}.part")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    np.save(staged / "images.npy", images)
    np.save(staged / "texts.npy", texts)
    (staged / "keys.json").write_text(json.dumps(index), encoding="utf-8")
    (staged / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    if out.exists():
        shutil.rmtree(out)
    staged.replace(out)


class EmbeddingCache:
    """Cached teacher vectors. Rows are read from the disk as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text("utf-8"))
            index = json.loads((folder / "keys.json").read_text("utf-8"))
            self._images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
            self._texts = np.load(folder / "texts.npy", mmap_mode="r", allow_pickle=False)
            self.teacher: str = self.meta["teacher"]
            self.parts = tuple(Part(*part) for part in self.meta["parts"])
            self.crops, self.seed = int(self.meta["crops"]), int(self.meta["seed"])
            self.smallest = float(self.meta["smallest"])
            self.keys: list[str] = index["keys"]
            self.starts: list[int] = index["starts"]
        except FileNotFoundError as error:
            raise CacheDamaged(f"{folder}: no cache of teacher vectors ({error})") from error
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise CacheDamaged(f"{folder}: damaged cache ({error}); delete it") from error
        width = sum(part.width for part in self.parts)
        wanted = (len(self.keys), self.crops, width), (self.starts[-1], width)
        if (self._images.shape, self._texts.shape) != wanted:
            raise CacheDamaged(
                f"{folder}: holds {self._images.shape} and {self._texts.shape}, its index "
                f"speaks of {wanted[0]} and {wanted[1]}; delete it"
            )
        self.rows = {key: number for number, key in enumerate(self.keys)}

    def captions_of(self, row: int) -> range:
        """Rows of texts() that belong to a photo."""
        return range(self.starts[row], self.starts[row + 1])

    def images(self, rows: Sequence[int], crops: Sequence[int]) -> Tensor:
        """(B, T) float32."""
        return self._checked(self._images[np.asarray(rows), np.asarray(crops)], rows)

    def texts(self, rows: Sequence[int]) -> Tensor:
        """(B, T) float32."""
        return self._checked(self._texts[np.asarray(rows)], rows)

    def sample(self, most: int) -> list[Tensor]:
        """Evenly chosen rows of both modalities."""
        photos = np.linspace(0, len(self.keys) - 1, min(most, len(self.keys))).astype(int)
        texts = np.linspace(0, len(self._texts) - 1, min(most, len(self._texts))).astype(int)
        return [self.images(photos.tolist(), [0] * len(photos)), self.texts(texts.tolist())]

    def owners(self) -> Tensor:
        """(captions,) the photo of each caption."""
        counts = torch.tensor(self.starts).diff()
        return torch.repeat_interleave(torch.arange(len(self.keys)), counts)

    def all_texts(self) -> Tensor:
        return self.texts(range(len(self._texts)))

    def _checked(self, found: NDArray[np.float16], rows: Sequence[int]) -> Tensor:
        vectors = torch.from_numpy(np.asarray(found, dtype=np.float32))
        if not bool(torch.isfinite(vectors.sum())):
            bad = (~torch.isfinite(vectors)).any(dim=1).nonzero().flatten().tolist()
            raise NotFinite(f"{self.folder}: NaN in rows {[rows[n] for n in bad[:10]]}; delete it")
        return vectors


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.distillation.cache", description="Cache a teacher's vectors."
    )
    parser.add_argument("--teacher", required=True, help="open_clip:NAME@FILE, hf:DIR, ...")
    parser.add_argument("--data", required=True, help="shards of photos with captions")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--crops", type=int, default=1, help="of each photo (default: the whole)")
    parser.add_argument("--smallest", type=float, default=0.5, help="area of the smallest crop")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    try:
        built = build_cache(
            open_teacher(args.teacher),
            args.data,
            args.out,
            crops=args.crops,
            seed=args.seed,
            smallest=args.smallest,
        )
    except PhotosearchError as error:
        print(f"cache: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"{args.out}: {built.photos} photos, {built.captions} captions; left out: "
        f"{built.unreadable} unreadable, {built.without_caption} without caption, "
        f"{built.repeated} repeated"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
