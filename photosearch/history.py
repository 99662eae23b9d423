"""What was searched before, to be offered again. A private file in the home, and nowhere else.

It is not part of the library: who copies a library does not copy what was looked
for in it. Nothing is written unless the page says that a search was meant (a
photo was opened, Enter was pressed), and nothing at all when the setting is off.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Final

from photosearch.errors import PhotosearchError

MAX_ENTRIES: Final = 500
MAX_ENTRY_CHARS: Final = 1000  # of one search, as the query language has it
MAX_FILE_BYTES: Final = 4 << 20  # a larger file was not written by us


class History:
    """Searches, newest first, each once. Any thread may call; the file is read when first asked."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._entries: list[str] | None = None
        self._lock = threading.Lock()

    def entries(self) -> list[str]:
        with self._lock:
            return list(self._loaded())

    def add(self, text: str) -> None:
        """Put a search first. White space is tidied; an empty one is not kept."""
        text = " ".join(text.split())[:MAX_ENTRY_CHARS]
        if not text:
            return
        with self._lock:
            before = self._loaded()
            if before[:1] != [text]:
                rest = [entry for entry in before if entry != text]
                self._write([text, *rest][:MAX_ENTRIES])

    def forget(self, text: str) -> None:
        """Drop one search."""
        with self._lock:
            if text in self._loaded():
                self._write([entry for entry in self._loaded() if entry != text])

    def clear(self) -> None:
        with self._lock:
            self._entries = []
            try:
                self._file.unlink(missing_ok=True)
            except OSError as error:
                raise PhotosearchError(
                    f"{self._file}: cannot be deleted ({error.strerror})"
                ) from error

    def _loaded(self) -> list[str]:
        """What is kept; a damaged file counts as empty and is replaced by the next search."""
        if self._entries is None:
            try:
                known = self._file.stat().st_size <= MAX_FILE_BYTES
                raw = json.loads(self._file.read_bytes()) if known else []
            except (OSError, ValueError, RecursionError):
                raw = []
            listed = raw if isinstance(raw, list) else []
            texts = (text for text in listed if isinstance(text, str) and text)
            self._entries = list(dict.fromkeys(texts))[:MAX_ENTRIES]
        return self._entries

    def _write(self, entries: list[str]) -> None:
        part = self._file.with_name(f"{self._file.name}.{os.getpid()}.part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
                json.dump(entries, out)  # ASCII, so that no text can fail to be written
            os.replace(part, self._file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise PhotosearchError(f"{self._file}: cannot be written ({error.strerror})") from error
        self._entries = entries
