"""config.toml -> Settings. An unknown key is an error that names the nearest known one."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Final

from photosearch.errors import SettingsError

NEVER_BYTES: Final = 1 << 62  # of vectors, which no library has


class NoSuchSetting(SettingsError):
    """A name that is no setting's."""


@dataclass(frozen=True)
class Settings:
    """What a user may set; every value has a sensible default."""

    RANGES: ClassVar = {
        "max_cpu": (1, 100),
        "sweep_minutes": (1, 24 * 60),
        "thumbnail_mb": (16, 1_000_000),
        "graph_from_photos": (0, 1_000_000_000),
    }

    CHOICES: ClassVar = {"runtime": ("onnx", "executorch", "coreml")}

    # Set in the file alone: what takes effect at the next start.
    AT_START: ClassVar = frozenset({"runtime", "graph_from_photos"})

    max_cpu: int = 100  # percent of this machine's cores that indexing may use
    sweep_minutes: int = 15  # between two full looks at every folder
    runtime: str = "onnx"  # where the encoders run; the others are extras
    thumbnail_mb: int = 4096  # that thumbnails may fill; the longest unused go first
    pause_on_battery: bool = False  # index only while the machine has mains power
    read_text: bool = True  # find text inside pictures, where the extra [ocr] is installed
    history: bool = True  # remember searches, to offer them again; off forgets them too
    # Photos from which on an HNSW graph is built, beside exact search or cells; 0: never. Cells
    # find more for less at every size that was measured (docs/index.md).
    graph_from_photos: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in self.RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise SettingsError(
                    f"{name} is {getattr(self, name)}; it must lie in {low}..{high}"
                )

        for name, choices in self.CHOICES.items():
            if getattr(self, name) not in choices:
                near = difflib.get_close_matches(getattr(self, name), choices, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(choices)}"
                raise SettingsError(f"{name} is {getattr(self, name)!r}; {hint}")

    @property
    def threads(self) -> int:
        """Threads and processes that indexing may use, at least one."""
        return max(1, (os.cpu_count() or 1) * self.max_cpu // 100)

    def graph_from_bytes(self, dim: int) -> int:
        """A library of more bytes of vectors than this, of `dim` float32 each, gets a graph."""
        return (self.graph_from_photos - 1) * dim * 4 if self.graph_from_photos else NEVER_BYTES


def load_settings(file: Path) -> Settings:
    """Read settings; a missing file means the defaults."""
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not valid TOML ({error})") from error
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read ({error.strerror})") from error
    known = {field.name for field in fields(Settings)}
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            raise SettingsError(f"{file}: unknown setting {key}{hint}")
        if key in Settings.CHOICES:
            if not isinstance(value, str):
                raise SettingsError(f"{file}: {key} is {value!r}; it must be a word in quotes")
        elif isinstance(getattr(Settings(), key), bool):
            if not isinstance(value, bool):
                raise SettingsError(f"{file}: {key} is {value!r}; it must be true or false")
        elif not isinstance(value, int) or isinstance(value, bool):
            raise SettingsError(f"{file}: {key} is {value!r}; it must be a whole number")
    try:
        return Settings(**raw)
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}") from None


def save_setting(file: Path, name: str, value: int) -> Settings:
    """Change one setting in the file and keep the rest of it, comments too.

    Returns all settings as they are now. Raises SettingsError for a bad name or
    value, and for a file that was not in order before.
    """
    if name not in {field.name for field in fields(Settings)} - Settings.AT_START:
        raise NoSuchSetting(f"there is no setting {name}")
    change: dict[str, Any] = {name: value}
    changed = replace(load_settings(file), **change)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    word = str(value).lower() if isinstance(value, bool) else str(value)
    pattern = re.compile(rf"^([ \t]*{name}[ \t]*=[ \t]*)[^#\r\n]*?([ \t]*(?:#.*)?)$", re.MULTILINE)
    text, count = pattern.subn(rf"\g<1>{word}\g<2>", text)
    if not count:
        text += ("" if not text or text.endswith("\n") else "\n") + f"{name} = {word}\n"
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, file)
    except OSError as error:
        raise SettingsError(f"{file}: cannot be written ({error.strerror})") from error
    return changed
