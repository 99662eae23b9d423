"""evaluate: which bundle finds more in this very library, by what its owner has said of it."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from photosearch.commands.common import (
    Commands,
    between,
    bundle_folders,
    require_reader,
    settings_of,
    sound_bundle,
)
from photosearch.commands.index import duration
from photosearch.errors import PhotosearchError
from photosearch.home import open_home

if TYPE_CHECKING:
    from photosearch.bundle import Bundle
    from photosearch.encoder import Encoder
    from photosearch.evaluation import Question
    from photosearch.library import LibraryReader
    from photosearch.types import Ids, Matrix

PHOTOS: Final = 1000
MAX_PHOTOS: Final = 20_000
TEXT_BATCH: Final = 32
IN_WORDS: Final = "in words"  # every kind but "alike" together


def add(commands: Commands) -> None:
    evaluate = commands.add(
        "evaluate",
        run_evaluate,
        "how well this library is found, and whether another bundle would find more",
    )
    evaluate.add_argument(
        "others", nargs="*", metavar="NAME|DIR", help="bundles to compare with the one in use"
    )
    evaluate.add_argument(
        "--photos",
        type=photos,
        default=PHOTOS,
        metavar="N",
        help=f"judge by so many photos at most (default: {PHOTOS}); another bundle reads each",
    )
    evaluate.add_argument("--json", action="store_true", help="one JSON object")


def photos(text: str) -> int:
    return between(text, 100, MAX_PHOTOS)


def run_evaluate(args: Namespace) -> int:
    from photosearch.bundle import require_bundle as bundle_named
    from photosearch.bundles import require_sound_once
    from photosearch.encoder import open_encoder

    place = open_home(args.home)
    bundle = sound_bundle(args, place)
    others = [bundle_named(name, bundle_folders(place)) for name in args.others]
    for other in others:
        require_sound_once(other, place.sound_bundles)
    reader = require_reader(place)
    settings = settings_of(args, place)
    threads = settings.threads
    try:
        asked, ids = _questions(reader, bundle, most=args.photos)
        bundles = list({each.space: each for each in (bundle, *others)}.values())
        vectors: list[tuple[Ids, Matrix]] = []
        encoders: list[Encoder] = []
        for each in bundles:
            encoders.append(open_encoder(each, threads=threads, runtime=settings.runtime))
            vectors.append(_vectors(reader, each, encoders[-1], ids, workers=threads))
    finally:
        reader.close()
    asked, shared, rows = _in_common(asked, vectors)
    _require_enough(asked)
    found = [
        _found(asked, encoder, shared, each) for encoder, each in zip(encoders, rows, strict=True)
    ]
    if args.json:
        print(json.dumps(_report(asked, len(shared), bundles, found)))
    else:
        _print(asked, len(shared), bundles, found)
    return 0


# --- what is asked, and of which photos ---------------------------------------------------------


def _questions(reader: LibraryReader, bundle: Bundle, *, most: int) -> tuple[list[Question], Ids]:
    """The questions, and the photos to judge by: those that the bundle in use can find."""
    import numpy as np

    from photosearch.evaluation import questions, sample

    known = set(reader.vectors(bundle.space, bundle.dim)[0].tolist())
    sayings = [one for one in reader.said() if one.photo_id in known]
    asked = questions(sayings)
    _require_enough(asked)
    ids = np.asarray(sample(sayings, asked, most), np.int64)
    return asked, ids


def _require_enough(asked: Sequence[Question]) -> None:
    from photosearch.evaluation import MIN_QUESTIONS

    worded = sum(question.photo_id is None for question in asked)
    if worded < MIN_QUESTIONS:
        raise PhotosearchError(
            f"too little is said of these photos to judge by: {worded} questions from captions, "
            f"keywords, folder names and screenshots, and {MIN_QUESTIONS} are needed. Caption or "
            "tag some photos, or sort them into folders named for what they show, and index again."
        )


def _vectors(
    reader: LibraryReader, bundle: Bundle, encoder: Encoder, ids: Ids, *, workers: int
) -> tuple[Ids, Matrix]:
    """The photos' vectors in a bundle's space: those kept, and the others read now."""
    import numpy as np

    kept, rows = reader.vectors(bundle.space, bundle.dim)
    there = np.isin(kept, ids)
    kept, rows = kept[there], rows[there]
    missing = ids[~np.isin(ids, kept)]
    if not len(missing):
        return kept, rows
    new_ids, new_rows = _embedded(reader, bundle, encoder, missing, workers=workers)
    every = np.concatenate([kept, new_ids])
    order = np.argsort(every)
    return every[order], np.concatenate([rows, new_rows])[order]


def _embedded(
    reader: LibraryReader, bundle: Bundle, encoder: Encoder, ids: Ids, *, workers: int
) -> tuple[Ids, Matrix]:
    """Read photos' files and embed them; what cannot be read now is left out."""
    import numpy as np

    from photosearch.decode import DecodePool, Picture, Task
    from photosearch.preprocess import normalise

    placed = reader.places(ids.tolist())
    tasks = [
        Task(str(photo_id).encode(), place.path, encoder.preprocess)
        for photo_id, place in placed.items()
        if not place.offline
    ]
    found: list[int] = []
    rows: list[Matrix] = []
    show = _progress(bundle.name, len(tasks))
    pool = DecodePool(workers=workers)
    try:
        for number, (task, outcome) in enumerate(pool.run(iter(tasks)), 1):
            photo_id = int(task.key)
            # A file that holds something else by now is not the photo that was spoken of.
            same = (
                isinstance(outcome, Picture)
                and outcome.content_hash == placed[photo_id].photo.content_hash
            )
            if same:
                assert isinstance(outcome, Picture)
                found.append(photo_id)
                rows.append(encoder.images(normalise(outcome.pixels[None], encoder.preprocess)))
            show(number)
    finally:
        pool.close()
    show(-1)
    if not rows:
        return np.empty(0, np.int64), np.empty((0, bundle.dim), np.float32)
    return np.asarray(found, np.int64), np.concatenate(rows)


def _in_common(
    asked: Sequence[Question], vectors: Sequence[tuple[Ids, Matrix]]
) -> tuple[list[Question], Ids, list[Matrix]]:
    """The photos that every bundle has a vector of, and what can be asked of them."""
    from dataclasses import replace
    from functools import reduce

    import numpy as np

    shared: Ids = reduce(np.intersect1d, [ids for ids, _ in vectors])
    rows = [each[np.searchsorted(ids, shared)] for ids, each in vectors]
    here = set(shared.tolist())
    kept = [
        replace(question, photos=question.photos & here)
        for question in asked
        if question.photos & here and (question.photo_id is None or question.photo_id in here)
    ]
    return kept, shared, rows


def _found(asked: Sequence[Question], encoder: Encoder, ids: Ids, rows: Matrix) -> list[float]:
    import numpy as np

    from photosearch.evaluation import found_by

    texts = {q.text: 0 for q in asked if q.photo_id is None}
    for row, text in enumerate(texts):
        texts[text] = row
    each = list(texts)
    vectors = np.concatenate(
        [encoder.texts(each[at : at + TEXT_BATCH]) for at in range(0, len(each), TEXT_BATCH)]
    )
    return found_by(asked, texts, vectors, ids, rows)


# --- what is told -------------------------------------------------------------------------------


def _kinds(asked: Sequence[Question]) -> Iterator[tuple[str, list[int]]]:
    """Kinds of questions, all in words first, with the numbers of theirs."""
    worded = [number for number, each in enumerate(asked) if each.photo_id is None]
    yield IN_WORDS, worded
    for kind in ("caption", "keyword", "folder", "screenshot", "alike"):
        if some := [number for number, each in enumerate(asked) if each.kind == kind]:
            yield kind, some


def _report(
    asked: Sequence[Question],
    count: int,
    bundles: Sequence[Bundle],
    found: Sequence[Sequence[float]],
) -> dict[str, Any]:
    from photosearch.evaluation import difference, interval

    def shares(row: Sequence[float]) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for kind, numbers in _kinds(asked):
            mine = [row[number] for number in numbers]
            low, high = interval(mine)
            told[kind] = {
                "questions": len(mine),
                "found": round(sum(mine) / len(mine), 4),
                "low": round(low, 4),
                "high": round(high, 4),
            }
        return told

    def compared(row: Sequence[float]) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for kind, numbers in _kinds(asked):
            gain = difference([found[0][n] for n in numbers], [row[n] for n in numbers])
            told[kind] = {
                "more": round(gain.more, 4) if gain.before > 0 else None,
                "low": round(gain.low, 4) if gain.before > 0 else None,
                "high": round(gain.high, 4) if gain.before > 0 else None,
                "sure": gain.sure,
            }
        return told

    return {
        "photos": count,
        "bundles": [
            {"name": bundle.name, "space": bundle.space, "found": shares(row)}
            for bundle, row in zip(bundles, found, strict=True)
        ],
        "against": bundles[0].name,
        "compared": [
            {"name": bundle.name, "more": compared(row)}
            for bundle, row in zip(bundles[1:], found[1:], strict=True)
        ],
    }


def _print(
    asked: Sequence[Question],
    count: int,
    bundles: Sequence[Bundle],
    found: Sequence[Sequence[float]],
) -> None:
    told = _report(asked, count, bundles, found)
    print(f"{count:,} photos; share of what was said of them that is found, percent (95 %)")
    names = _told_apart(bundles)
    width = max(map(len, names))
    for name, bundle in zip(names, told["bundles"], strict=True):
        for kind, row in bundle["found"].items():
            print(
                f"{name:{width}}  {kind:10}  {row['questions']:4} questions  "
                f"{100 * row['found']:5.1f}  ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
            )
    for name, other in zip(names[1:], told["compared"], strict=True):
        print(_sentence(name, names[0], other["more"][IN_WORDS]))


def _told_apart(bundles: Sequence[Bundle]) -> list[str]:
    """Their names; of several makes of one bundle the folders, too."""
    names = [bundle.name for bundle in bundles]
    return [
        name if names.count(name) == 1 else f"{name} ({bundle.directory})"
        for name, bundle in zip(names, bundles, strict=True)
    ]


def _sentence(name: str, base: str, gain: dict[str, Any]) -> str:
    if gain["more"] is None:
        return f"{base} finds nothing that was said of these photos, so nothing can be compared"
    span = f"95 %: {100 * gain['low']:+.0f} to {100 * gain['high']:+.0f} %"
    if not gain["sure"]:
        return f"{name} and {base} find about as much in this library ({span})"
    much = abs(100 * gain["more"])
    word = "more" if gain["more"] > 0 else "less"
    return f"{name} finds {much:.0f} % {word} in this library than {base} ({span})"


def _progress(name: str, total: int) -> Callable[[int], None]:
    """How far the reading is, on a terminal; -1 ends the line."""
    from photosearch.pace import Rate

    rate = Rate()
    on_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def show(done: int) -> None:
        if not on_terminal:
            return
        if done < 0:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            return
        rate.update(done)
        left = rate.seconds_for(total - done)
        line = f"{name}: {done:,} of {total:,} photos read, {rate.per_second:.1f}/s"
        line += f", {duration(left)} left" if left is not None else ""
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    return show
