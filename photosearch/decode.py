"""Decode photos in worker processes, so that no file can crash, hang or fill this one.

A worker that dies or runs over its time names the file it had and is replaced;
the others go on.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from PIL import Image

from photosearch import extras, formats, metadata, preprocess, scan, sidecar
from photosearch.errors import PhotoRejected, PhotosearchError
from photosearch.types import Facts, Pixels, Preprocess, Stamp

MAX_SECONDS: Final = 60.0  # for one photo; the slowest honest one seen took 4
# A worker that is ready to run but is not let run by a busy machine gets so many times as long,
# as long as it has not used its seconds: it has the lowest priority of all, and its file no fault.
STARVED_TIMES: Final = 10
STARVED_LOOK_SECONDS: Final = 1.0  # between looks at whether it still is
MAX_MEMORY_BYTES: Final = 3 << 30  # address space of a worker beyond what it starts with
MAX_FILE_BYTES: Final = 1 << 30
NICE: Final = 10
PREVIEW_PX: Final = 1600
NO_PERMISSION: Final = "no permission to read it"


@dataclass(frozen=True)
class Task:
    """A file to decode. `preprocess` None asks for a preview of `side_px` instead of pixels."""

    key: bytes  # given back with the result
    path: str  # absolute
    preprocess: Preprocess | None
    side_px: int = formats.THUMBNAIL_PX  # of the WebP picture
    read_text: bool = False  # asks for the text in the picture, and for nothing else


@dataclass(frozen=True)
class Picture:
    """A decoded photo, ready for the encoder and the library."""

    pixels: Pixels  # (S, S, 3); empty for a preview
    picture: bytes  # WebP
    content_hash: bytes
    stamp: Stamp  # of the very bytes that were hashed and decoded
    width_px: int
    height_px: int
    format: str
    facts: Facts
    colour: int  # 0xRRGGBB, the mean


@dataclass(frozen=True)
class Rejected:
    """Why a file gave no picture. `transient` ones are worth another look soon."""

    reason: str
    transient: bool = False


@dataclass(frozen=True)
class Text:
    """What is written in a picture; "" for nothing."""

    text: str
    content_hash: bytes


Outcome = Picture | Text | Rejected

READY: Final = "ready"  # a worker's first message: from here on, a crash is its file's fault


def hash_file(path: str) -> bytes:
    """BLAKE2b-256 of a file's bytes: the name of a Photo."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32)).digest()


def decode_file(task: Task) -> Outcome:
    """Hash and decode one file. Runs in a worker; never raises for what a file holds."""
    path = Path(task.path)
    try:
        with path.open("rb") as stream:
            before = os.fstat(stream.fileno())
            if before.st_size == 0:
                return Rejected("empty: 0 bytes")
            if before.st_size > MAX_FILE_BYTES:
                limit = f"more than {MAX_FILE_BYTES >> 20:,} MiB"
                return Rejected(f"too large: {before.st_size >> 20:,} MiB, {limit}")
            digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32)).digest()
            stream.seek(0)
            result = _picture(stream, task, digest, scan.stamp_of(before))
            after = os.fstat(stream.fileno())
    except PhotoRejected as error:
        return Rejected(str(error))
    except FileNotFoundError:
        return Rejected("gone", transient=True)
    except PermissionError:
        return Rejected(NO_PERMISSION)
    except OSError as error:
        return Rejected(f"cannot be read: {error.strerror or error}")
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return Rejected("changed while it was read", transient=True)
    return result


def _picture(stream: BinaryIO, task: Task, digest: bytes, stamp: Stamp) -> Outcome:
    how = task.preprocess
    least_px = task.side_px
    if how is not None:
        least_px = max(least_px, preprocess.draft_px(how))
    if task.read_text:
        photo = _open(stream, task, least_px=extras.TEXT_PX)
        return Text(extras.read_text(photo.image), digest)
    photo = _open(stream, task, least_px=least_px)
    small = formats.shrink(photo.image, side_px=task.side_px)
    return Picture(
        pixels=preprocess.fit(photo.image, how) if how else np.empty((0, 0, 3), np.uint8),
        picture=formats.webp(small),
        content_hash=digest,
        stamp=stamp,
        width_px=photo.width_px,
        height_px=photo.height_px,
        format=photo.format,
        facts=_facts(photo, small, path=task.path),
        colour=formats.colour(small),
    )


def _open(stream: BinaryIO, task: Task, *, least_px: int) -> preprocess.Decoded:
    """Open a photo, or what stands for one in a RAW file or a film."""
    suffix = os.fsencode(os.path.splitext(task.path)[1].lower())
    if suffix in extras.RAW_SUFFIXES:
        preview, name = extras.raw_preview(stream), "RAW"
    elif suffix in extras.VIDEO_SUFFIXES:
        preview, name = extras.video_poster(stream), "VIDEO"
    else:
        return preprocess.open_photo(stream, least_px=least_px)
    size = (preview.width_px, preview.height_px)
    if preview.image is None:
        inside = preprocess.open_photo(preview.data, least_px=least_px)
        if (inside.width_px > inside.height_px) != (size[0] > size[1]):
            size = size[::-1]  # the preview's own EXIF knows which way is up
        return replace(inside, width_px=size[0], height_px=size[1], format=name)
    image = preview.image.convert("RGB")
    return preprocess.Decoded(image, *size, name, Image.Exif(), {}, preview.facts)


def _facts(photo: preprocess.Decoded, small: Image.Image, *, path: str) -> Facts:
    """What the file and the XMP file beside it say, and what a glance at it adds."""
    seen = formats.glance(small)
    name, beside = os.path.basename(path), sidecar.read_beside(path)
    if photo.told is None:
        told = metadata.read(metadata.sources(photo.exif, photo.info, beside=beside), name=name)
    else:
        told = metadata.told_beside(photo.told, beside)
    if told.taken is None and (named := metadata.taken_by_name(name)) is not None:
        told = replace(told, taken=named, taken_from="name")
    kind = "document" if told.kind == "photo" and seen.is_document else told.kind
    return replace(told, kind=kind, dhash=seen.dhash, beside=sidecar.digest(beside))


def _serve(pipe: Connection, memory_bytes: int) -> None:
    """A worker's life: tasks in, outcomes out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the parent to handle
    _lower_priority()
    _cap_memory(memory_bytes)
    Image.preinit()
    try:
        pipe.send(READY)
    except OSError:  # the parent ended while we started
        return
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            outcome: Outcome = decode_file(task)
        except MemoryError:
            outcome = Rejected("too large: decoding it ran out of memory")
        try:
            pipe.send(outcome)
        except OSError:
            return


def _lower_priority() -> None:
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(NICE)


def _cap_memory(memory_bytes: int) -> None:
    """Cap the address space where the system can (Linux); elsewhere pixel caps alone protect."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError, ValueError):
        started = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (started + memory_bytes, resource.RLIM_INFINITY))


def _state(pid: int | None) -> tuple[bool, float]:
    """Whether a process is running or would be if it were let, and the CPU seconds it has used.
    Only Linux is asked; elsewhere none ever would."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False, 0.0
    fields = text.rpartition(")")[2].split()  # proc(5): state is the third, utime the 14th
    return fields[0] == "R", (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    ready: bool = False
    task: Task | None = None
    deadline: float = 0.0
    cpu_seconds: float = 0.0  # used before its task
    last_deadline: float = 0.0  # however little it was let run


class DecodePool:
    """At most `workers` processes, started when first needed. One thread may call at a time."""

    def __init__(
        self,
        *,
        workers: int,
        max_seconds: float = MAX_SECONDS,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
    ) -> None:
        assert workers >= 1, workers
        self._size = workers
        self._max_seconds = max_seconds
        self._max_memory_bytes = max_memory_bytes
        self._workers: list[_Worker] = []

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Outcomes as they come, in any order. Takes from `tasks` only what workers can start."""
        source = iter(tasks)
        exhausted = False
        try:
            while True:
                while not exhausted and (worker := self._idle()) is not None:
                    task = next(source, None)
                    if task is None:
                        exhausted = True
                    else:
                        self._start(worker, task)
                busy = [worker for worker in self._workers if worker.task is not None]
                if not busy:
                    return
                yield from self._collect(busy)
        finally:
            for worker in [worker for worker in self._workers if worker.task is not None]:
                self._discard(worker)  # the caller stopped half-way

    def one(self, task: Task) -> Outcome:
        """Decode a single file."""
        return next(outcome for _, outcome in self.run([task]))

    def shrink(self, workers: int) -> None:
        """End all but `workers` idle processes, to give their memory back."""
        for worker in self._workers[workers:]:
            self._discard(worker)

    def resize(self, workers: int) -> None:
        """Start no more than this many from now on; `shrink` ends those beyond it when idle."""
        assert workers >= 1, workers
        self._size = workers

    def close(self) -> None:
        self.shrink(0)

    def _idle(self) -> _Worker | None:
        for worker in self._workers[: self._size]:
            if worker.task is None:
                return worker
        if len(self._workers) < self._size:
            return self._spawn()
        return None

    def _spawn(self) -> _Worker:
        # spawn, not fork: this process has threads, and a forked lock stays locked for ever.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._max_memory_bytes), name="decode", daemon=True
        )
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _start(self, worker: _Worker, task: Task) -> None:
        worker.task = task
        worker.deadline = time.monotonic() + self._max_seconds
        worker.last_deadline = worker.deadline + (STARVED_TIMES - 1) * self._max_seconds
        worker.cpu_seconds = _state(worker.process.pid)[1]
        with contextlib.suppress(OSError):  # it died idle: _collect finds its pipe closed
            worker.pipe.send(task)

    def _collect(self, busy: list[_Worker]) -> Iterator[tuple[Task, Outcome]]:
        patience = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
        ready = wait([worker.pipe for worker in busy], timeout=patience)
        now = time.monotonic()
        for worker in busy:
            task = worker.task
            assert task is not None
            if worker.pipe in ready:
                try:
                    message: Outcome | str = worker.pipe.recv()
                except (EOFError, OSError):
                    message = self._crashed(worker)
                if not isinstance(message, Picture | Text | Rejected):
                    worker.ready = True
                    worker.deadline = now + self._max_seconds  # its start does not count
                    continue
                worker.task = None
                outcome: Outcome = message
            elif now >= worker.deadline and self._is_starved(worker, now):
                worker.deadline = min(now + STARVED_LOOK_SECONDS, worker.last_deadline)
                continue
            elif now >= worker.deadline:
                self._discard(worker)
                outcome = Rejected(f"damaged: decoding took over {self._max_seconds:.0f} seconds")
            else:
                continue
            yield task, outcome

    def _is_starved(self, worker: _Worker, now: float) -> bool:
        """Whether a worker is late because others run, not because of its file."""
        running, cpu_seconds = _state(worker.process.pid)
        used = cpu_seconds - worker.cpu_seconds
        return running and used < self._max_seconds and now < worker.last_deadline

    def _crashed(self, worker: _Worker) -> Rejected:
        """Blame the file a working worker had; a worker that never started is our own trouble."""
        worker.process.join(timeout=2.0)  # it closed its pipe, and ends with a code of its own
        self._discard(worker)
        code = worker.process.exitcode
        if not worker.ready:
            raise PhotosearchError(
                f"a decode process ended before it could start (exit {code}), so no photo can be "
                "read. Is the machine out of memory, or the installation incomplete?"
            )
        return Rejected(f"damaged: the decoder crashed on it (exit {code})")

    def _discard(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.pipe.close()
        if worker.task is None:
            worker.process.join(timeout=2.0)  # an idle worker ends when its pipe does
        if worker.process.is_alive():
            worker.process.kill()
        worker.process.join()
