"""Whether this machine runs on its battery. No library: three short questions."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Final

SUPPLIES: Final = Path("/sys/class/power_supply")
PMSET_SECONDS: Final = 5.0


def on_battery() -> bool:
    """False where there is none, and where the system does not tell."""
    if sys.platform == "darwin":
        return _mac_on_battery()
    if sys.platform == "win32":
        return _windows_on_battery()
    return linux_on_battery(SUPPLIES)


def linux_on_battery(supplies: Path) -> bool:
    """A battery is discharging, and no mains or USB supply is online: laptops report both."""
    discharging = False
    with contextlib.suppress(OSError):
        for supply in supplies.iterdir():
            kind = _read(supply / "type")
            if kind in ("Mains", "USB") and _read(supply / "online") == "1":
                return False
            # A mouse's battery is a supply of its own scope, not the machine's.
            if kind == "Battery" and _read(supply / "scope") != "Device":
                discharging = discharging or _read(supply / "status") == "Discharging"
    return discharging


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _mac_on_battery() -> bool:
    try:
        said = subprocess.run(
            ["/usr/bin/pmset", "-g", "batt"], capture_output=True, timeout=PMSET_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return b"'Battery Power'" in said


def _windows_on_battery() -> bool:
    if sys.platform != "win32":
        return False
    import ctypes

    class PowerStatus(ctypes.Structure):
        _fields_ = (
            ("ac_line", ctypes.c_byte),
            ("battery_flag", ctypes.c_byte),
            ("battery_percent", ctypes.c_byte),
            ("reserved", ctypes.c_byte),
            ("seconds_left", ctypes.c_ulong),
            ("seconds_full", ctypes.c_ulong),
        )

    status = PowerStatus()
    found = ctypes.windll.kernel32.GetSystemPowerStatus(ctypes.byref(status))
    return bool(found) and status.ac_line == 0
