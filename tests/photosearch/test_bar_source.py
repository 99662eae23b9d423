"""What the native bar asks a real daemon: bursts, ways to go on, past searches."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from test_program import Program, program, toy  # noqa: F401

pytest.importorskip("PySide6.QtCore", reason="Qt is not installed", exc_type=ImportError)

from photosearch.client import find_daemon
from photosearch.desktop.asking import Question
from photosearch.desktop.source import Source
from photosearch.errors import PhotosearchError
from photosearch.home import Home
from photosearch.protocol import MAX_IDS, SuggestionMessage


def speckled(quality: int) -> bytes:
    """The same red picture; another quality gives other bytes."""
    few = Image.new("RGB", (9, 8))
    chance = random.Random(7)
    few.putdata([(chance.randrange(130, 256), 0, 0) for _ in range(72)])
    file = io.BytesIO()
    few.resize((270, 240), Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return file.getvalue()


@pytest.fixture
def source(program: Program) -> Iterator[Source]:  # noqa: F811
    for quality in (95, 90, 85):
        program.write(f"burst{quality}.jpg", speckled(quality))
    program.serve("--library", str(program.disk)).settle(3)
    yield Source(Home(program.home))
    program.run("stop")


def test_a_burst_is_one_photo_and_can_be_opened_up(source: Source) -> None:
    (shown,) = source.search(Question("red")).hits
    assert shown.similar == 2
    group = source.search(Question("", shown.photo_id, is_group=True))
    assert group.hits[0].path == shown.path  # itself first
    assert {Path(hit.path).name for hit in group.hits} == {
        "burst95.jpg", "burst90.jpg", "burst85.jpg",
    }  # fmt: skip
    with pytest.raises(PhotosearchError, match="no such photo"):
        source.search(Question("", 12345, is_group=True))


def test_a_burst_is_hidden_and_taken_back(source: Source) -> None:
    (shown,) = source.search(Question("red")).hits
    hidden = source.hide(shown.photo_id, hidden=True, similar=True)
    assert len(hidden) == source.status().hidden == 3
    assert source.search(Question("red")).hits == []
    many = [*range(1_000_000, 1_000_000 + MAX_IDS), *hidden]  # the others are not there
    source.hide_all(many, hidden=False)
    assert source.status().hidden == 0


def test_past_searches_are_kept_offered_and_forgotten(
    source: Source,
    program: Program,  # noqa: F811
) -> None:
    red = SuggestionMessage("red on red", "history")
    source.remember("red on red")
    assert source.suggestions("re", 4) == source.suggestions("", 4) == [red]
    assert SuggestionMessage("camera:", "filter") in source.suggestions("cam", 4)
    source.forget_search("red on red")
    assert source.suggestions("", 4) == []
    client = find_daemon(Home(program.home))
    assert client is not None
    client._call("POST", "/settings", name="history", value=0)
    source.remember("red")
    assert source.suggestions("", 4) == [] and not (program.home / "history.json").exists()
