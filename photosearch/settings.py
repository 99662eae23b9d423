"""config.toml -> Settings. An unknown key is an error that names the nearest known one."""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from photosearch.errors import SettingsError


@dataclass(frozen=True)
class Settings:
    """What a user may set; every value has a sensible default."""

    max_cpu: int = 100  # percent of this machine's cores that indexing may use
    sweep_minutes: int = 15  # between two full looks at every folder

    def __post_init__(self) -> None:
        if not 1 <= self.max_cpu <= 100:
            raise SettingsError(f"max_cpu is {self.max_cpu}; it must lie in 1..100 (percent)")
        if not 1 <= self.sweep_minutes <= 24 * 60:
            raise SettingsError(f"sweep_minutes is {self.sweep_minutes}; it must lie in 1..1440")

    @property
    def threads(self) -> int:
        """Threads and processes that indexing may use, at least one."""
        return max(1, (os.cpu_count() or 1) * self.max_cpu // 100)


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
        if not isinstance(value, int) or isinstance(value, bool):
            raise SettingsError(f"{file}: {key} is {value!r}; it must be a whole number")
    return Settings(**raw)
