"""Have a cross-encoder score each photo's likeliest captions, once, offline.

    python -m models.rescore --teacher vilt:DIR --cache DIR --data 'SHARDS.tar' --out FILE.npz

The embedding teacher's cache (`python -m models.distillation.cache`) says which captions are
likely; the cross-encoder scores those pairs, and a recipe with `teacher = "cache:DIR"`,
`preset = "DCD_CROSS"` or `"DCD_RANK"` and `rescored = "FILE.npz"` distils the scores.

--teacher vilt:DIR                a ViLT for retrieval, as transformers saves it
--teacher meter:MODULE:FUNCTION   a function of yours that returns distillation.cross.Meter
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from models.distillation.cache import EmbeddingCache
from models.distillation.cross import (
    cached_captions,
    cached_photos,
    open_cross,
    rescore,
    save_rescored,
)
from models.distillation.monitor import duration
from photosearch.errors import PhotosearchError

TOLD_EVERY: Final = 100  # photos


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.rescore", description="Score likely pairs with a cross-encoder."
    )
    parser.add_argument("--teacher", required=True, help="vilt:DIR or meter:MODULE:FUNCTION")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="of embeddings")
    parser.add_argument("--data", required=True, help="the shards that the cache was made from")
    parser.add_argument("--candidates", type=int, default=64, help="captions a photo (default: 64)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    args = parser.parse_args(arguments)
    started = time.perf_counter()
    try:
        cache = EmbeddingCache(args.cache)
        teacher = open_cross(args.teacher)

        def told(done: int) -> None:
            if done % TOLD_EVERY == 0:
                left = (time.perf_counter() - started) / done * (len(cache.keys) - done)
                line = f"rescore: {done} of {len(cache.keys)} photos, {duration(left)} left"
                print(line, file=sys.stderr)

        found = rescore(
            teacher,
            cache,
            cached_photos(args.data, cache, teacher.preprocess.side_px),
            cached_captions(args.data, cache),
            candidates=args.candidates,
            told=told,
        )
        save_rescored(args.out, found, teacher=teacher.name, cache=cache)
    except PhotosearchError as error:
        print(f"rescore: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{args.out}: {found.ids.shape[0]} photos, {found.ids.shape[1]} captions each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
