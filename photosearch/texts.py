"""Text inside pictures, read while there is nothing else to do: screenshots and documents first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from photosearch.decode import DecodePool, Rejected, Task, Text
from photosearch.library import Library


def read_texts(
    library: Library, pool: DecodePool, *, most: int, should_stop: Callable[[], bool]
) -> int:
    """Read a few pictures that nobody has read yet; returns how many. A picture that cannot be
    read has no text: it is not tried again."""
    waiting = dict(library.without_texts(most))
    paths = {path.encode("utf-8", "surrogateescape"): path for path in waiting}
    texts: dict[int, str] = {}

    def tasks() -> Iterator[Task]:
        for key, path in paths.items():
            if should_stop():
                return
            yield Task(key, path, None, read_text=True)

    for task, outcome in pool.run(tasks()):
        photo_id = waiting[paths[task.key]]
        if isinstance(outcome, Text):
            # The file may hold something else by now: its text belongs to those bytes.
            if library.photo_with_hash(outcome.content_hash) == photo_id:
                texts[photo_id] = outcome.text
        elif isinstance(outcome, Rejected) and not outcome.transient:
            texts[photo_id] = ""
    library.put_texts(texts)
    return len(texts)
