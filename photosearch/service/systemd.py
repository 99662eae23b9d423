"""Linux: a systemd user unit. systemd.unit(5), systemd.service(5)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from photosearch.errors import PhotosearchError
from photosearch.home import Home
from photosearch.service import Ran

TEMPLATE = """\
[Unit]
Description=photosearch, private photo search on this computer
Documentation=man:systemd.service(5)
StartLimitIntervalSec=10min
StartLimitBurst=5

[Service]
Type=exec
ExecStart={command}
Restart=on-failure
RestartSec=10
# 2: nothing to serve, 4: one runs already, 5: folder missing, 6: library damaged. Starting
# again mends none of them.
RestartPreventExitStatus=2 4 5 6
SuccessExitStatus=130
NoNewPrivileges=yes
UMask=0077

[Install]
WantedBy=default.target
"""


class UserUnit:
    """`~/.config/systemd/user/NAME.service`."""

    def __init__(self, name: str, words: Sequence[str], *, config: Path | None = None) -> None:
        self._unit = f"{name}.service"
        self._words = words
        base = os.environ.get("XDG_CONFIG_HOME")
        # The specification: a path that is not absolute is ignored.
        home = Path(base) if base and os.path.isabs(base) else Path.home() / ".config"
        self._config = config or home

    @property
    def file(self) -> Path:
        return self._config / "systemd" / "user" / self._unit

    def text(self) -> bytes:
        words = list(self._words)
        if re.search(r"""['"\\$]""", words[0]):  # systemd takes no program of such a name
            words.insert(0, "/usr/bin/env")
        command = " ".join(map(quoted, words))
        return os.fsencode(TEMPLATE.format(command=command))

    def enable(self) -> list[list[str]]:
        return [
            ["systemctl", "--user", "daemon-reload"],
            ["systemctl", "--user", "enable", "--now", self._unit],
        ]

    def serves(self, place: Home) -> bool:
        wanted = f"{quoted('--home')} {quoted(str(place.directory))}"
        try:
            return os.fsencode(wanted) in self.file.read_bytes()
        except OSError:
            return False

    def end(self) -> list[list[str]]:
        return [["systemctl", "--user", "stop", self._unit]]

    def forget(self) -> list[list[str]]:
        return [["systemctl", "--user", "disable", self._unit]]

    def after_removal(self) -> list[list[str]]:
        return [["systemctl", "--user", "daemon-reload"]]

    def query(self) -> list[str]:
        return ["systemctl", "--user", "is-active", self._unit]

    def is_running(self, ran: Ran) -> bool:
        return ran.code == 0


def quoted(word: str) -> str:
    """One argument of ExecStart=: `%` and `$` mean something to systemd, quotes and spaces too."""
    if re.search(r"[\x00-\x1f\x7f]", word):
        raise PhotosearchError(f"{word!r} holds a control character: no unit can name it.")
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"'
