"""What the optional packages add: RAW previews, poster frames of videos, text in pictures.

Each is asked for only where its extra is installed; nothing here is imported before.
They run in the decode workers, under the same limits as every photo.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.util
import os
import re
import sys
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from PIL import Image

from photosearch.errors import PhotoRejected, PhotosearchError
from photosearch.types import Facts

RAW_SUFFIXES: Final = frozenset(
    b".dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .raf .orf .rw2 .pef .srw .rwl .3fr .iiq".split()
)
VIDEO_SUFFIXES: Final = frozenset(
    b".mp4 .m4v .mov .avi .mkv .webm .3gp .3g2 .mts .m2ts .mpg .mpeg".split()
)
POSTER_SECONDS: Final = 1.0  # into the film: first frames are often black
MAX_FRAMES: Final = 60  # decoded in search of one that is not
DARK: Final = 12.0  # mean of 255: black, and worth another frame
TEXT_PX: Final = 1600  # longer side of a picture that is searched for text
MIN_SCORE: Final = 0.6  # of a line; below it, textures read as letters
MAX_TEXT: Final = 20_000  # characters kept of one picture
OCR_READER: Final = 1  # grows with a better reader: texts are then read again


@dataclass(frozen=True)
class Preview:
    """A picture that stands for a file that is not one, and what the file says beside it."""

    image: Image.Image | None  # None: `data` is a JPEG to be opened as a photo
    data: bytes
    width_px: int  # of the whole, upright
    height_px: int
    facts: Facts  # only what the container says; a JPEG preview has its own


@functools.cache
def has(package: str) -> bool:
    """Whether an extra's package is installed."""
    return importlib.util.find_spec(package) is not None


def require_packages(what: str, extra: str, *packages: str) -> None:
    """Raise PhotosearchError, naming the extra, where one of its packages is not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise PhotosearchError(
            f"{what} needs {' and '.join(missing)}: in the checkout, `pip install -e '.[{extra}]'`."
        )


def stop_without(what: str, extra: str, *packages: str) -> None:
    """The same for a program of the workbench that is about to import them: say it and exit 3."""
    try:
        require_packages(what, extra, *packages)
    except PhotosearchError as error:
        print(f"{what}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def suffixes() -> frozenset[bytes]:
    """Of the files that the installed extras can read."""
    raw = RAW_SUFFIXES if has("rawpy") else frozenset()
    return raw | (VIDEO_SUFFIXES if has("av") else frozenset())


# --- RAW --------------------------------------------------------------------------------------

# What LibRaw turns a picture by -> how Pillow does the same.
_FLIPS: Final = {
    3: Image.Transpose.ROTATE_180, 5: Image.Transpose.ROTATE_90, 6: Image.Transpose.ROTATE_270
}  # fmt: skip


def raw_preview(stream: BinaryIO) -> Preview:
    """The preview a camera put into its RAW file; developed, at half size, where there is none."""
    import rawpy

    try:
        with rawpy.imread(stream) as raw:
            sizes = raw.sizes
            width, height = sizes.iwidth, sizes.iheight
            if sizes.flip in (5, 6):
                width, height = height, width
            try:
                thumb = raw.extract_thumb()
            except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
                pixels = raw.postprocess(half_size=True, use_camera_wb=True)
                return Preview(Image.fromarray(pixels), b"", width, height, Facts())
            if thumb.format == rawpy.ThumbFormat.JPEG:
                return Preview(None, bytes(thumb.data), width, height, Facts())
            image = Image.fromarray(np.asarray(thumb.data)).convert("RGB")
            if (turn := _FLIPS.get(sizes.flip)) is not None:
                image = image.transpose(turn)
            return Preview(image, b"", width, height, Facts())
    except rawpy.LibRawError as error:
        raise PhotoRejected(f"damaged: {_words(error)}") from error


# --- videos -----------------------------------------------------------------------------------

_ISO6709: Final = re.compile(r"([+-]\d{1,2}(?:\.\d+)?)([+-]\d{1,3}(?:\.\d+)?)")


def video_poster(stream: BinaryIO) -> Preview:
    """A frame that stands for a film: a second into it, the first that is not black."""
    import av

    try:
        with av.open(stream, mode="r", metadata_errors="replace") as film:
            if not film.streams.video:
                raise PhotoRejected("not a photo: no picture in this film")
            track = film.streams.video[0]
            track.thread_count = 1  # the pool's processes are the parallelism
            length = float(film.duration or 0) / av.time_base
            with contextlib.suppress(av.FFmpegError):
                film.seek(int(min(POSTER_SECONDS, length / 2) * av.time_base))
            image = _first_bright(film.decode(track))
            if image is None:
                raise PhotoRejected("damaged: no frame of this film can be decoded")
            facts = _film_facts({**track.metadata, **film.metadata}, length)
            return Preview(image, b"", image.width, image.height, facts)
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise PhotoRejected(f"damaged: {_words(error)}") from error


def _first_bright(frames: Any) -> Image.Image | None:
    """The first frame that is not dark, upright; else the last of those looked at."""
    frame = image = None
    for _, frame in zip(range(MAX_FRAMES), frames, strict=False):
        image = frame.to_image()
        if np.asarray(image.resize((16, 16))).mean() > DARK:
            break
    turn = round(getattr(frame, "rotation", 0) or 0)
    return image.rotate(turn, expand=True) if image is not None and turn else image


def _film_facts(said: dict[str, str], length: float) -> Facts:
    taken = said.get("com.apple.quicktime.creationdate") or said.get("creation_time", "")
    with contextlib.suppress(ValueError):
        moment = datetime.datetime.fromisoformat(taken.replace("Z", "+00:00"))
        # QuickTime counts from 1904: that is a clock that was never set.
        taken = moment.replace(microsecond=0).isoformat() if moment.year > 1970 else ""
    place = _ISO6709.match(
        said.get("com.apple.quicktime.location.ISO6709") or said.get("location", "")
    )
    latitude, longitude = (float(place[1]), float(place[2])) if place else (None, None)
    if place and (abs(latitude or 0) > 90 or abs(longitude or 0) > 180):
        latitude = longitude = None
    words = (said.get("com.apple.quicktime.make"), said.get("com.apple.quicktime.model"))
    return Facts(
        taken=taken if re.match(r"\d{4}-\d\d-\d\dT", taken) else None,
        taken_from="camera" if re.match(r"\d{4}-\d\d-\d\dT", taken) else None,
        camera=" ".join(filter(None, words)) or None,
        latitude=latitude,
        longitude=longitude,
        caption=(said.get("title") or "").replace("\0", "")[:1000],
        live=said.get("com.apple.quicktime.content.identifier"),
        seconds=round(length, 3) or None,
    )


# --- text in pictures ---------------------------------------------------------------------------


def can_read_text() -> bool:
    return has("rapidocr")


@functools.cache
def _reader() -> Any:
    """RapidOCR with the models in its wheel: English and Chinese. One thread, and no word."""
    import logging

    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from rapidocr import RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    return RapidOCR(
        params={
            "Global.log_level": "error",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def read_text(image: Image.Image) -> str:
    """The lines written in an upright RGB picture, top to bottom; "" where there are none."""
    small = image.copy()
    small.thumbnail((TEXT_PX, TEXT_PX), Image.Resampling.BICUBIC, reducing_gap=2.0)
    found = _reader()(np.asarray(small)[:, :, ::-1])  # it expects BGR
    if found.txts is None:
        return ""
    lines = [
        line for line, score in zip(found.txts, found.scores, strict=True) if score >= MIN_SCORE
    ]
    return "\n".join(lines).replace("\0", "")[:MAX_TEXT]


def _words(error: Exception) -> str:
    text = next((said for said in error.args if isinstance(said, str | bytes)), "")  # not a number
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return str(text) or type(error).__name__
