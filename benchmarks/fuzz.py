"""Minutes of damaged photos through the decode processes: each must be a picture or a reason.

    python -m benchmarks.fuzz --photos DIR [--seconds 600] [--seed N] [--keep DIR]

Real photos, written in every format we read (with EXIF, IPTC and XMP in them, and an XMP file
beside), then cut short, overwritten, stretched, spliced with one another, or given other
numbers where lengths and sizes stand. What kills a process or runs over its time is `contained`
(the pool names the file and goes on) and kept in --keep, to be reported to the decoder's makers.
Prints one line of JSON; ends with 1 where an outcome is neither a whole picture nor a reason.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from PIL import Image

from photosearch import extras
from photosearch.decode import DecodePool, Outcome, Picture, Rejected, Task
from photosearch.scan import scan
from photosearch.types import Preprocess

HOW: Final = Preprocess(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash")
MAX_SECONDS: Final = 20.0
AT_ONCE: Final = 32
EXTREMES: Final = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\xff\xff",
    b"\x80\0",
)
XMP: Final = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF"
    b" xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description"
    b" xmlns:xmp='http://ns.adobe.com/xap/1.0/' xmp:Rating='3'/></rdf:RDF></x:xmpmeta>"
)


def seeds(photos: list[str], rng: random.Random) -> list[tuple[str, bytes]]:
    """(suffix, bytes) of real photos in every format."""
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "Camera", 6
    exif.get_ifd(0x8769)[0x9003] = "2019:07:14 18:30:05"
    exif.get_ifd(0x8825)[2] = (45.0, 30.0, 1.0)
    made: list[tuple[str, bytes]] = [
        (".heic", (Path(__file__).parent.parent / "tests/data/turned.heic").read_bytes())
    ]
    for path in rng.sample(photos, min(8, len(photos))):
        made.append((".jpg", Path(path).read_bytes()))
        with Image.open(path) as opened:
            image = opened.convert("RGB").resize((160, 120))
        ways: dict[str, tuple[str, Image.Image, dict[str, Any]]] = {
            ".jpg": ("JPEG", image, {"exif": exif, "xmp": XMP, "progressive": True}),
            ".jpeg": ("JPEG", image.convert("CMYK"), {}),
            ".png": ("PNG", image, {"exif": exif}),
            ".tif": ("TIFF", image, {"compression": rng.choice(("tiff_lzw", "jpeg", "raw"))}),
            ".webp": ("WEBP", image, {"exif": exif, "xmp": XMP}),
            ".avif": ("AVIF", image, {"exif": exif, "speed": 10}),
            ".gif": ("GIF", image.quantize(16), {}),
            ".bmp": ("BMP", image.quantize(16), {}),
        }
        for suffix, (name, picture, how) in ways.items():
            file = io.BytesIO()
            picture.save(file, name, **how)
            made.append((suffix, file.getvalue()))
    return made


def damaged(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """One to eight wounds, most of them near the head, where structure is."""
    wounded = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not wounded:
            break
        span = len(wounded) if rng.random() < 0.4 else min(len(wounded), 1024)
        at = rng.randrange(span)
        what = rng.randrange(7)
        if what == 0:
            del wounded[at:]
        elif what == 1:
            wounded[at] ^= 1 << rng.randrange(8)
        elif what == 2:
            wounded[at : at + rng.randrange(1, 16)] = rng.randbytes(rng.randrange(0, 16))
        elif what == 3:
            extreme = rng.choice(EXTREMES)
            wounded[at : at + len(extreme)] = extreme
        elif what == 4:
            start = rng.randrange(len(other))
            wounded[at : at + 64] = other[start : start + rng.randrange(1, 4096)]
        elif what == 5:
            wounded[at:at] = wounded[at : at + rng.randrange(1, 512)]
        else:
            del wounded[at : at + rng.randrange(1, 512)]
    return bytes(wounded)


def is_wrong(outcome: Outcome) -> bool:
    """Neither a whole picture nor a reason that a user can read."""
    if isinstance(outcome, Picture):
        return outcome.pixels.shape != (64, 64, 3) or not outcome.picture
    return not isinstance(outcome, Rejected) or not outcome.reason or "\n" in outcome.reason


def keep(task: Task, name: str, folder: str, number: int) -> str:
    Path(folder).mkdir(exist_ok=True)
    kept = Path(folder) / f"{number}{Path(task.path).suffix}"
    kept.write_bytes(Path(task.path).read_bytes())
    return f"{kept}: {name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", required=True)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", default="fuzz-findings", help="folder for what is found")
    args = parser.parse_args()
    seed = random.randrange(10**6) if args.seed is None else args.seed
    rng = random.Random(seed)
    root = os.path.realpath(args.photos)
    photos = [os.path.join(root, os.fsdecode(path)) for path in sorted(scan(root).files)]
    whole = seeds(photos, rng)
    if extras.has("rawpy"):
        whole += [(".dng", data) for suffix, data in whole if suffix == ".tif"]
    found: Counter[str] = Counter()
    wrong: list[str] = []
    contained: list[str] = []
    pool = DecodePool(workers=os.cpu_count() or 1, max_seconds=MAX_SECONDS)
    until = time.monotonic() + args.seconds
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until:
            tasks = []
            for number in range(AT_ONCE):
                suffix, data = rng.choice(whole)
                file = Path(folder) / f"{number}{suffix}"
                file.write_bytes(damaged(data, rng.choice(whole)[1], rng))
                file.with_suffix(".xmp").write_bytes(damaged(XMP, XMP, rng))
                tasks.append(Task(str(number).encode(), str(file), HOW))
            for task, outcome in pool.run(tasks):
                name = outcome.reason if isinstance(outcome, Rejected) else "picture"
                found[name.split(":")[0]] += 1
                if is_wrong(outcome):
                    wrong.append(keep(task, name, args.keep, len(wrong) + len(contained)))
                elif "crashed" in name or "took over" in name or "out of memory" in name:
                    contained.append(keep(task, name, args.keep, len(wrong) + len(contained)))
    pool.close()
    said = {"seed": seed, "files": found.total(), **found}
    print(json.dumps({**said, "contained": contained, "wrong": wrong}))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
