"""Workers that crash, hang or run out of memory cost one file."""

from __future__ import annotations

import hashlib
import multiprocessing
import multiprocessing.spawn
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from workbench import jpeg

from photosearch import decode, preprocess
from photosearch.decode import DecodePool, Picture, Rejected, Task
from photosearch.errors import PhotosearchError
from photosearch.types import Preprocess

HOW = Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash")


def task(file: Path, **options: object) -> Task:
    return Task(file.name.encode(), str(file), HOW, **options)  # type: ignore[arg-type]


def written(folder: Path, name: str, data: bytes) -> Path:
    file = folder / name
    file.write_bytes(data)
    return file


def test_a_picture_carries_all_the_library_needs(tmp_path: Path, pool: DecodePool) -> None:
    data = jpeg(1, width=400, height=300)
    outcome = pool.one(task(written(tmp_path, "a.jpg", data)))
    assert isinstance(outcome, Picture)
    assert outcome.content_hash == hashlib.blake2b(data, digest_size=32).digest()
    assert outcome.content_hash == decode.hash_file(str(tmp_path / "a.jpg"))
    assert (outcome.width_px, outcome.height_px, outcome.format) == (400, 300, "JPEG")
    assert outcome.pixels.shape == (32, 32, 3)
    assert outcome.pixels.dtype == np.uint8
    assert outcome.stamp.size_bytes == len(data)
    assert outcome.picture[8:12] == b"WEBP"


def test_outcomes_come_for_every_task(tmp_path: Path, pool: DecodePool) -> None:
    files = [written(tmp_path, f"{n}.jpg", jpeg(n)) for n in range(12)]
    found = {key.key for key, _ in pool.run(task(file) for file in files)}
    assert found == {file.name.encode() for file in files}


def test_tasks_are_taken_only_as_workers_can_start_them(tmp_path: Path, pool: DecodePool) -> None:
    file = written(tmp_path, "a.jpg", jpeg(1))
    taken: list[int] = []

    def endless() -> object:
        for number in range(1000):
            taken.append(number)
            yield task(file)

    outcomes = pool.run(endless())  # type: ignore[arg-type]
    next(outcomes)
    assert len(taken) <= 4
    outcomes.close()


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_a_worker_killed_on_a_file_names_it_and_the_others_go_on(tmp_path: Path) -> None:
    own = DecodePool(workers=1, max_seconds=20.0)
    try:
        os.mkfifo(tmp_path / "pipe.jpg")  # a worker waits on it for ever
        good = written(tmp_path, "good.jpg", jpeg(1))
        assert isinstance(own.one(task(good)), Picture)
        (worker,) = own._workers
        killer = threading.Timer(0.5, os.kill, (worker.process.pid, signal.SIGKILL))
        killer.start()
        tasks = [task(tmp_path / "pipe.jpg"), task(good)]
        outcomes = {done.key: outcome for done, outcome in own.run(tasks)}
        assert outcomes[b"pipe.jpg"] == Rejected("damaged: the decoder crashed on it (exit -9)")
        assert isinstance(outcomes[b"good.jpg"], Picture)
    finally:
        own.close()


@pytest.mark.skipif(os.name == "nt", reason="needs a shell script")
def test_a_worker_that_cannot_start_is_not_the_photos_fault(
    tmp_path: Path,
) -> None:
    """Previously every photo in hand was recorded as damaged."""
    own = DecodePool(workers=1)
    context = multiprocessing.get_context("spawn")
    before = multiprocessing.spawn.get_executable()
    fails = tmp_path / "python-that-fails"
    fails.write_text("#!/bin/sh\nexit 7\n")
    fails.chmod(0o700)
    context.set_executable(str(fails))
    try:
        with pytest.raises(PhotosearchError, match=r"ended before it could start \(exit 7\)"):
            own.one(task(written(tmp_path, "a.jpg", jpeg(1))))
    finally:
        context.set_executable(before)
        own.close()


@pytest.mark.skipif(os.name == "nt", reason="needs a pipe to wait on")
def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    own = DecodePool(workers=1, max_seconds=1.0)
    try:
        os.mkfifo(tmp_path / "pipe.jpg")
        began = time.monotonic()
        assert own.one(task(tmp_path / "pipe.jpg")) == Rejected(
            "damaged: decoding took over 1 seconds"
        )
        assert time.monotonic() - began < 10
    finally:
        own.close()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux for the state")
@pytest.mark.parametrize("starved", [True, False])
def test_a_busy_machine_is_not_the_photos_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starved: bool
) -> None:
    """Stopped from outside, a worker is as late as one that nobody lets run."""
    own = DecodePool(workers=1)
    file = task(written(tmp_path, "a.jpg", jpeg(1)))
    try:
        assert isinstance(own.one(file), Picture)
        own._max_seconds = 1.0
        process = own._workers[0].process
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        if starved:
            threading.Timer(2.5, os.kill, (process.pid, signal.SIGCONT)).start()
        # The state of one that waits for its turn, or of one that waits for its disk.
        monkeypatch.setattr(decode, "_state", lambda pid: (starved, 0.0))
        found = own.one(file)
        assert isinstance(found, Picture if starved else Rejected), found
    finally:
        own.close()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux for the state")
def test_what_a_process_is_doing_is_told_from_its_state() -> None:
    running, seconds = decode._state(os.getpid())
    assert running
    assert seconds == pytest.approx(sum(os.times()[:2]), abs=0.1)
    child = subprocess.Popen(["sleep", "30"])
    try:
        time.sleep(0.2)
        assert decode._state(child.pid) == (False, 0.0)
    finally:
        child.kill()
        child.wait()
    assert decode._state(child.pid) == (False, 0.0)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="capped on Linux alone")
def test_a_photo_that_needs_more_memory_than_a_worker_may_have_is_given_up(
    tmp_path: Path,
) -> None:
    """Within the caps on pixels: 75 MB of them, where 48 may be had."""
    own = DecodePool(workers=1, max_memory_bytes=48 << 20)
    try:
        Image.new("RGB", (5000, 5000)).save(tmp_path / "large.png", compress_level=1)
        small = written(tmp_path, "small.jpg", jpeg(1))
        assert own.one(task(tmp_path / "large.png")) == Rejected(
            "too large: decoding it ran out of memory"
        )
        (worker,) = own._workers
        assert isinstance(own.one(task(small)), Picture)
        assert own._workers == [worker]  # and it lives on
    finally:
        own.close()


def test_a_file_beyond_the_limit_is_not_even_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = jpeg(1)
    file = written(tmp_path, "a.jpg", data)
    monkeypatch.setattr(decode, "MAX_FILE_BYTES", len(data))
    assert isinstance(decode.decode_file(task(file)), Picture)
    written(tmp_path, "a.jpg", data + b"0")
    monkeypatch.setattr(decode.hashlib, "file_digest", None)
    assert decode.decode_file(task(file)) == Rejected("too large: 0 MiB, more than 0 MiB")


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="this system has no nice")
def test_workers_let_everything_else_go_first(tmp_path: Path, pool: DecodePool) -> None:
    assert isinstance(pool.one(task(written(tmp_path, "a.jpg", jpeg(1)))), Picture)
    wanted = min(19, os.getpriority(os.PRIO_PROCESS, 0) + decode.NICE)
    ready = [worker.process.pid for worker in pool._workers if worker.ready]
    assert ready
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in ready if pid} == {wanted}


def test_missing_and_changing_files_are_transient(tmp_path: Path, pool: DecodePool) -> None:
    assert pool.one(task(tmp_path / "none.jpg")) == Rejected("gone", transient=True)


def test_a_file_that_changes_while_it_is_read_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "a.jpg", jpeg(1))
    real = preprocess.open_photo

    def slow(stream: object, *, least_px: int) -> preprocess.Decoded:
        with file.open("ab") as other:
            other.write(b"more")
        return real(stream, least_px=least_px)  # type: ignore[arg-type]

    monkeypatch.setattr(preprocess, "open_photo", slow)
    found = decode.decode_file(task(file))
    assert found == Rejected("changed while it was read", transient=True)


def test_closing_ends_the_processes(tmp_path: Path) -> None:
    own = DecodePool(workers=2)
    own.one(task(written(tmp_path, "a.jpg", jpeg(1))))
    processes = [worker.process for worker in own._workers]
    own.close()
    assert processes
    assert not any(process.is_alive() for process in processes)


def test_a_preview_is_a_larger_picture_without_pixels(tmp_path: Path, pool: DecodePool) -> None:
    file = written(tmp_path, "a.jpg", jpeg(1, width=2000, height=1000))
    outcome = pool.one(Task(b"", str(file), None, side_px=1600))
    assert isinstance(outcome, Picture)
    assert outcome.pixels.size == 0
