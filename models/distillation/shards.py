"""Shards -> batches, split between processes and their workers, the same at every start.

Files are dealt out to (process, worker) in turn; where there are fewer files than takers,
every taker reads all of them and keeps each n-th example. What a taker reads is shuffled
anew each epoch, and crops and captions are drawn, from (seed, epoch, key) alone: so a
resumed run goes on in the middle of an epoch by leaving out what it has seen, without
decoding it.

A photo that does not decode, or says nothing, is counted, and its place taken by a
neighbour marked as the same pair, so that all processes keep batches of one size.
"""

from __future__ import annotations

import hashlib
import logging
import random
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from models.data import IMAGE_SUFFIXES, DataError, Example, expand, read_examples
from models.distillation.cache import EmbeddingCache, crop, crop_box, usable_captions
from models.distillation.errors import DistillationError
from photosearch.errors import PhotoRejected
from photosearch.tokenizer import WordPieceTokenizer
from photosearch.types import Pixels

log = logging.getLogger(__name__)

SHUFFLED: int = 2048  # examples held to be shuffled: about 100 MB of JPEGs


@dataclass(frozen=True)
class Batch:
    """Aligned photos, captions and teacher rows. Row n of each is one pair."""

    pixels: NDArray[np.uint8]  # (B, S, S, 3) for the student
    tokens: Tensor  # (B, L) int64
    pair_id: Tensor  # (B,) int64; equal for captions of one photo
    photo: Tensor  # (B,) row of the cache; -1 without one
    texts: tuple[str, ...]
    t_image: Tensor | None  # (B, T) from the cache
    t_text: Tensor | None
    t_pixels: NDArray[np.uint8] | None  # (B, S', S', 3) for a live teacher
    skipped: int  # examples that could not be used


@dataclass(frozen=True)
class Source:
    """What batches are made of; the same for every epoch and process."""

    data: str
    batch: int
    side_px: int
    seed: int
    crops: int
    smallest: float
    vocabulary: tuple[str, ...]
    context_length: int
    cache: Path | None = None  # of teacher vectors
    teacher_side_px: int = 0  # above 0: also pixels for a live teacher
    crop_seed: int = 0


@dataclass(frozen=True)
class Part:
    """One taker of examples: a worker of a process."""

    number: int
    count: int


def count_examples(spec: str) -> list[int]:
    """Photos in each file, from the headers alone."""
    counts: list[int] = []
    for file in expand(spec):
        if file.suffix.lower() != ".tar":
            counts.append(sum(1 for _ in read_examples(str(file))))
            continue
        try:
            with tarfile.open(file) as archive:
                names = (member.name.lower() for member in archive if member.isfile())
                keys = {n.rpartition(".")[0] for n in names if n.endswith(IMAGE_SUFFIXES)}
        except (tarfile.TarError, EOFError, OSError) as error:
            raise DataError(f"{file}: damaged shard ({error})") from error
        counts.append(len(keys))
    return counts


def dealt(counts: Sequence[int], parts: int) -> list[int]:
    """Examples that each of `parts` takers gets."""
    if len(counts) >= parts:
        return [sum(counts[number::parts]) for number in range(parts)]
    total = sum(counts)
    return [len(range(number, total, parts)) for number in range(parts)]


def epoch_steps(counts: Sequence[int], batch: int, processes: int, workers: int) -> int:
    """Steps that every process can do in an epoch. Raises when there is not one."""
    each = max(1, workers)
    full = [count // batch for count in dealt(counts, processes * each)]
    steps = min(sum(full[rank * each : (rank + 1) * each]) for rank in range(processes))
    if steps < 1:
        raise DistillationError(
            f"{sum(counts)} photos do not fill one batch of {batch} for each of "
            f"{processes} processes with {each} workers; lower batch or workers"
        )
    return steps


def seen_by(workers: Sequence[int], done: int) -> tuple[list[int], int]:
    """Of `done` batches of a process, taken from its workers in turn: how many of each, and
    whose turn is next.

    workers: batches that each worker has; a worker that has none left is passed over.
    """
    taken = [0] * len(workers)
    turn = 0
    for _ in range(done):
        while taken[turn] >= workers[turn]:
            turn = (turn + 1) % len(workers)
        taken[turn] += 1
        turn = (turn + 1) % len(workers)
    return taken, turn


def pair_number(key: str) -> int:
    """63 bits of a photo's key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") >> 1


@dataclass
class Shards(IterableDataset[Batch]):
    """One epoch of one process, to be read by a DataLoader with batch_size None."""

    source: Source
    epoch: int
    rank: int
    processes: int
    done: int = 0  # batches of this epoch that the process has had
    _cache: EmbeddingCache | None = field(default=None, repr=False)
    _tokenizer: WordPieceTokenizer | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        counts = dealt(count_examples(self.source.data), self.processes * workers)
        mine = [count // self.source.batch for count in counts]
        taken, turn = seen_by(mine[self.rank * workers : (self.rank + 1) * workers], self.done)
        # A new loader asks its first worker first: that one takes up whose turn it was.
        worker = (worker + turn) % workers
        part, skip = Part(self.rank * workers + worker, self.processes * workers), taken[worker]
        if self.source.cache is not None:
            self._cache = EmbeddingCache(self.source.cache)
        self._tokenizer = WordPieceTokenizer(
            self.source.vocabulary, context_length=self.source.context_length
        )
        waiting: list[Example] = []
        for example in self._shuffled(part):
            waiting.append(example)
            if len(waiting) == self.source.batch:
                if skip:
                    skip -= 1
                else:
                    yield self._batch(waiting)
                waiting = []

    def _shuffled(self, part: Part) -> Iterator[Example]:
        made = random.Random(f"{self.source.seed}|{self.epoch}|{part.number}|order")
        held: list[Example] = []
        for example in read_part(self.source.data, part, made):
            held.append(example)
            if len(held) > SHUFFLED:
                place = made.randrange(len(held))
                held[place], held[-1] = held[-1], held[place]
                yield held.pop()
        made.shuffle(held)
        yield from held

    def _batch(self, examples: Sequence[Example]) -> Batch:
        rows = [row for example in examples if (row := self._row(example)) is not None]
        if not rows:
            raise DistillationError(
                f"none of {len(examples)} photos in a row can be used, such as "
                f"{examples[0].key}; look at the data"
            )
        skipped = len(examples) - len(rows)
        rows += [rows[number % len(rows)] for number in range(skipped)]
        assert self._tokenizer is not None
        texts = tuple(row.text for row in rows)
        cached = self._cache is not None
        live = [row.t_pixels for row in rows if row.t_pixels is not None]
        numbers = [row.photo for row in rows]
        return Batch(
            pixels=np.stack([row.pixels for row in rows]),
            tokens=torch.from_numpy(self._tokenizer.batch(texts)),
            pair_id=torch.tensor([row.pair for row in rows]),
            photo=torch.tensor(numbers),
            texts=texts,
            t_image=self._cache.images(numbers, [row.crop for row in rows])
            if self._cache is not None
            else None,
            t_text=self._cache.texts([row.caption for row in rows])
            if self._cache is not None
            else None,
            t_pixels=np.stack(live) if live and not cached else None,
            skipped=skipped,
        )

    def _row(self, example: Example) -> _Row | None:
        """One pair, drawn from the photo's crops and captions; None when it cannot be used."""
        captions = usable_captions(example)
        photo = -1 if self._cache is None else self._cache.rows.get(example.key, -1)
        if not captions or (self._cache is not None and photo < 0):
            log.warning("train.skipped key=%s reason=no caption or not in the cache", example.key)
            return None
        made = random.Random(f"{self.source.seed}|{self.epoch}|{example.key}")
        number, said = made.randrange(self.source.crops), made.randrange(len(captions))
        box = crop_box(self.source.crop_seed, example.key, number, self.source.smallest)
        try:
            pixels = crop(example.image, box, self.source.side_px)
            larger = self.source.teacher_side_px
            t_pixels = crop(example.image, box, larger) if larger else None
        except PhotoRejected as error:
            log.warning("train.skipped key=%s reason=%s", example.key, error)
            return None
        caption = -1 if self._cache is None else self._cache.captions_of(photo)[said]
        pair = pair_number(example.key)
        return _Row(pixels, t_pixels, captions[said], pair, photo, number, caption)


@dataclass(frozen=True)
class _Row:
    pixels: Pixels
    t_pixels: Pixels | None
    text: str
    pair: int
    photo: int
    crop: int
    caption: int


def read_part(spec: str, part: Part, made: random.Random) -> Iterator[Example]:
    """A taker's examples, its files in random order."""
    files = expand(spec)
    if len(files) >= part.count:
        mine = files[part.number :: part.count]
        made.shuffle(mine)
        for file in mine:
            yield from read_examples(str(file))
        return
    for number, example in enumerate(e for file in files for e in read_examples(str(file))):
        if number % part.count == part.number:
            yield example


def loader(shards: Shards, workers: int) -> Iterator[Batch]:
    """Batches of one process, decoded by `workers` processes, or in this one."""
    options: dict[str, Any] = {"prefetch_factor": 2} if workers else {}
    # A generator of its own: the loader would draw from the run's, and a run resumed within an
    # epoch would draw once more than one that was not stopped.
    yield from DataLoader(
        shards, batch_size=None, num_workers=workers, generator=torch.Generator(), **options
    )
