"""A session bus of its own, by which GNOME and KDE ask what the launchers install."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Bus:
    """A session bus that starts services from `data`; what they open, `opened` lists."""

    address: str
    opened: Path

    def call(
        self, name: str, path: str, interface: str, method: str, takes: str, *args: Any
    ) -> Any:
        """The reply's body; raises where the reply is an error."""
        from jeepney import DBusAddress, new_method_call
        from jeepney.io.blocking import open_dbus_connection
        from jeepney.wrappers import unwrap_msg

        where = DBusAddress(path, bus_name=name, interface=interface)
        with contextlib.closing(open_dbus_connection(self.address)) as connection:
            message = new_method_call(where, method, takes or None, args)
            return unwrap_msg(connection.send_and_get_reply(message, timeout=40))

    def gnome(self, method: str, takes: str, *args: Any) -> Any:
        where = ("org.photosearch.SearchProvider", "/org/photosearch/SearchProvider")
        return self.call(*where, "org.gnome.Shell.SearchProvider2", method, takes, *args)

    def kde(self, method: str, takes: str, *args: Any) -> Any:
        where = ("org.photosearch.Runner", "/runner")
        return self.call(*where, "org.kde.krunner1", method, takes, *args)

    def was_opened(self, count: int) -> list[str]:
        """The last of what was opened, once there is so much."""
        deadline = time.monotonic() + 30
        while not self.opened.exists() or len(self.opened.read_text().splitlines()) < count:
            assert time.monotonic() < deadline, "nothing was opened"
            time.sleep(0.05)
        return self.opened.read_text().splitlines()


@contextlib.contextmanager
def session_bus(data: Path, opened: Path) -> Iterator[Bus]:
    pytest.importorskip("jeepney", reason="jeepney is not installed")
    if shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is not installed")
    daemon = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--print-address"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_DATA_HOME": str(data)},
    )
    assert daemon.stdout is not None
    try:
        yield Bus(daemon.stdout.readline().strip(), opened)
    finally:
        daemon.terminate()  # the services it started end with their connection
        daemon.communicate(timeout=30)
