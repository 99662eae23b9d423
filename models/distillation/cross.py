"""Cross-encoder teachers: they look at photo and caption together, and score the pair.

They are too slow to score all pairs, so a dual teacher finds each photo's likeliest
captions once, the cross-encoder rescores those (`python -m models.rescore`), and training
reads the scores from disk: a recipe names the file as `rescored`.
ViLT comes through transformers; METER through its scoring call alone. No weights of
either are to be had here: tests use small random ones.
"""

from __future__ import annotations

import importlib
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data import Example, read_examples
from models.distillation.cache import WHOLE, EmbeddingCache, crop, usable_captions
from models.distillation.errors import CacheDamaged, MismatchedShapes, NotFinite, TeacherMissing
from models.distillation.miner import HardNegativeMiner, MinedBatch
from models.distillation.teachers import split, weights_name
from photosearch.preprocess import normalise
from photosearch.types import Preprocess

PAIRS_AT_ONCE: Final = 32
Found = TypeVar("Found")


class CrossTeacher(Protocol):
    """Scores pairs that it is given whole."""

    name: str  # says which weights
    preprocess: Preprocess

    def score(self, pixels: Sequence[NDArray[np.uint8]], texts: Sequence[str]) -> Tensor:
        """P photos (S, S, 3) and P texts -> (P,) match logits, unbounded, no gradient."""
        ...


class Vilt:
    """ViLT fine-tuned for retrieval (arXiv:2102.03334), from a transformers folder."""

    def __init__(self, folder: Path) -> None:
        try:
            import transformers
        except ImportError as error:
            raise TeacherMissing(f"ViLT needs the package transformers ({error})") from error
        kind: Any = transformers.ViltForImageAndTextRetrieval
        try:
            self._model = kind.from_pretrained(folder, local_files_only=True)
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise TeacherMissing(f"{folder}: {str(error).splitlines()[0]}") from error
        self._model.eval().requires_grad_(False)
        half = (0.5, 0.5, 0.5)
        side = self._model.config.image_size
        self.preprocess = Preprocess(side_px=side, mean=half, std=half, resize="squash")
        self._length = self._model.config.max_position_embeddings
        self.name = f"vilt {weights_name(self._model.state_dict())}"

    @torch.inference_mode()
    def score(self, pixels: Sequence[NDArray[np.uint8]], texts: Sequence[str]) -> Tensor:
        planes = torch.from_numpy(normalise(np.stack(pixels), self.preprocess))
        tokens = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._length,
            return_tensors="pt",
        )
        found: Tensor = self._model(pixel_values=planes, **tokens).logits[:, 0]
        return found


class Meter:
    """METER's scoring interface (arXiv:2111.02387), whoever supplies the network.

    Its released code fuses a photo's and a caption's encodings and applies `rank_output`
    to the joined pooled vectors. Each side is encoded once and reused in all its pairs.
    """

    def __init__(
        self,
        encode_image: Callable[[Tensor], Tensor],
        encode_text: Callable[[Sequence[str]], Tensor],
        fuse: Callable[[Tensor, Tensor], Tensor],
        rank_output: Callable[[Tensor], Tensor],
        preprocess: Preprocess,
        name: str = "meter",
    ) -> None:
        """fuse: (P, ...) image and text encodings -> (P, W) pooled; rank_output: -> (P, 1)."""
        self._image, self._text = encode_image, encode_text
        self._fuse, self._rank = fuse, rank_output
        self.preprocess, self.name = preprocess, name

    @torch.inference_mode()
    def score(self, pixels: Sequence[NDArray[np.uint8]], texts: Sequence[str]) -> Tensor:
        kept: dict[int, int] = {}
        places = [kept.setdefault(id(photo), len(kept)) for photo in pixels]
        first = {place: photo for photo, place in zip(pixels, places, strict=True)}
        stacked = np.stack([first[place] for place in range(len(kept))])
        images = self._image(torch.from_numpy(normalise(stacked, self.preprocess)))
        said = list(dict.fromkeys(texts))
        words = self._text(said)
        pooled = self._fuse(images[places], words[[said.index(text) for text in texts]])
        return self._rank(pooled)[:, 0]


def open_cross(spec: str) -> CrossTeacher:
    """`vilt:DIR`, or `meter:MODULE:FUNCTION`, which is called without arguments for a Meter."""
    kind, _, where = spec.partition(":")
    if kind == "vilt" and where:
        return Vilt(Path(where))
    module, _, function = where.partition(":")
    if kind != "meter" or not module or not function:
        raise TeacherMissing(f"{spec!r}: write vilt:DIR or meter:MODULE:FUNCTION")
    try:
        made: CrossTeacher = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise TeacherMissing(f"{spec}: {error}") from error
    return made


@dataclass(frozen=True)
class Rescored:
    """Per photo: its candidates among the captions, and how the cross-encoder scores each."""

    ids: Tensor  # (N, M) int64 rows of captions; column 0 is one of the photo's own
    scores: Tensor  # (N, M) logits
    own: Tensor  # (N, M) bool: captions of the photo itself

    def mined(
        self, miner: HardNegativeMiner, rows: Tensor, generator: torch.Generator | None = None
    ) -> MinedBatch:
        """Candidates of some photos, scores being logits; other captions of a photo left out."""
        ids, scores, own = self.ids[rows], self.scores[rows], self.own[rows]
        return miner.mine(
            scores,
            ids,
            ids[:, 0],
            scores[:, 0],
            duplicates=own,
            score_kind="logit",
            generator=generator,
        )


def rescore(
    teacher: CrossTeacher,
    cache: EmbeddingCache,
    photos: Iterable[tuple[int, NDArray[np.uint8]]],
    captions: Sequence[str],
    *,
    candidates: int = 64,
    told: Callable[[int], None] = lambda done: None,
) -> Rescored:
    """The dual teacher's likeliest captions of every photo, scored by the cross-encoder.

    photos: rows of the cache in any order, each once, with pixels at the teacher's side;
    captions: the texts of the cache's rows; told: how many photos are done.
    """
    if candidates < 2:
        raise MismatchedShapes(f"{candidates} candidates: at least the positive and one other")
    texts = split(cache.all_texts(), cache.parts)[0]
    owners = cache.owners()
    most = min(candidates, len(texts))
    ids = torch.zeros(len(cache.keys), most, dtype=torch.int64)
    scores = torch.zeros(len(cache.keys), most)
    missing = set(range(len(cache.keys)))
    for row, pixels in photos:
        v = split(cache.images([row], [0]), cache.parts)[0]
        ranked = (texts @ v[0]).argsort(descending=True, stable=True)
        first = cache.starts[row]
        chosen = torch.cat((torch.tensor([first]), ranked[ranked != first][: most - 1]))
        parts = [
            teacher.score([pixels] * len(some), [captions[int(number)] for number in some])
            for some in torch.split(chosen, PAIRS_AT_ONCE)
        ]
        ids[row], scores[row] = chosen, torch.cat(parts)
        missing.remove(row)
        told(len(cache.keys) - len(missing))
    if missing:
        raise CacheDamaged(
            f"{len(missing)} photos of the cache, such as {cache.keys[min(missing)]}, are not "
            "among those given; give the data that it was made from"
        )
    if not bool(torch.isfinite(scores).all()):
        raise NotFinite("the cross-encoder's scores hold NaN or infinity; nothing was cached")
    return Rescored(ids, scores, owners[ids] == torch.arange(len(cache.keys))[:, None])


def cached_captions(spec: str, cache: EmbeddingCache) -> list[str]:
    """The texts of a cache's rows, from the data it was made from."""
    texts = [""] * cache.starts[-1]
    for row, captions in _examples(spec, cache, usable_captions):
        numbers = cache.captions_of(row)
        if len(captions) != len(numbers):
            raise CacheDamaged(
                f"{cache.keys[row]} has {len(captions)} captions in {spec}, {len(numbers)} in the "
                "cache; make the cache again"
            )
        for number, caption in zip(numbers, captions, strict=True):
            texts[number] = caption
    return texts


def cached_photos(
    spec: str, cache: EmbeddingCache, side_px: int
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Every cached photo, whole: its row and (S, S, 3)."""
    return _examples(spec, cache, lambda example: crop(example.image, WHOLE, side_px))


def _examples(
    spec: str, cache: EmbeddingCache, of: Callable[[Example], Found]
) -> Iterator[tuple[int, Found]]:
    """Row and of(example), the first of each key, as the cache was made."""
    seen: set[int] = set()
    for example in read_examples(spec):
        row = cache.rows.get(example.key)
        if row is None or row in seen or not usable_captions(example):
            continue
        seen.add(row)
        yield row, of(example)


def save_rescored(file: Path, rescored: Rescored, *, teacher: str, cache: EmbeddingCache) -> None:
    """One file, whole or not at all."""
    meta = json.dumps({"teacher": teacher, "dual": cache.teacher, "photos": len(cache.keys)})
    staged = file.with_name(f"{file.name}.part.npz")
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        staged,
        ids=rescored.ids.numpy(),
        scores=rescored.scores.numpy(),
        own=rescored.own.numpy(),
        meta=np.asarray(meta),
    )
    staged.replace(file)


def load_rescored(file: Path, cache: EmbeddingCache) -> Rescored:
    """Raises CacheDamaged when the file is not whole, or of another cache."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            meta = json.loads(str(stored["meta"]))
            found = Rescored(*(torch.from_numpy(stored[name]) for name in ("ids", "scores", "own")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CacheDamaged(f"{file}: no whole file of rescored pairs ({error})") from error
    if (meta["dual"], meta["photos"]) != (cache.teacher, len(cache.keys)):
        raise CacheDamaged(f"{file}: rescored from another cache; make it again")
    return found
