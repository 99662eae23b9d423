"""Windows: a task of the Task Scheduler, run when its user logs on. Schema: [MS-TSCH] 2.5."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from photosearch.home import Home
from photosearch.service import Ran

NAMESPACE: Final = "http://schemas.microsoft.com/windows/2004/02/mit/task"
RUNNING: Final = "267009"  # 0x41301, SCHED_S_TASK_RUNNING: the same in every language


class LogonTask:
    """The task NAME; its description is kept in the home, whence schtasks reads it."""

    def __init__(self, name: str, words: Sequence[str], *, folder: Path) -> None:
        self._name = name
        self._words = list(words)
        self._folder = folder

    @property
    def file(self) -> Path:
        return self._folder / "service.xml"

    def text(self) -> bytes:
        user = f"{os.environ.get('USERDOMAIN', '.')}\\{os.environ.get('USERNAME', '')}"
        task = ET.Element("Task", {"version": "1.2", "xmlns": NAMESPACE})
        about = ET.SubElement(task, "RegistrationInfo")
        ET.SubElement(about, "Description").text = "photosearch, private photo search"
        trigger = ET.SubElement(ET.SubElement(task, "Triggers"), "LogonTrigger")
        ET.SubElement(trigger, "Enabled").text = "true"
        ET.SubElement(trigger, "UserId").text = user
        who = ET.SubElement(ET.SubElement(task, "Principals"), "Principal", {"id": "Author"})
        for name, value in (
            ("UserId", user),
            ("LogonType", "InteractiveToken"),
            ("RunLevel", "LeastPrivilege"),
        ):
            ET.SubElement(who, name).text = value
        settings = ET.SubElement(task, "Settings")
        for name, value in SETTINGS:
            ET.SubElement(settings, name).text = value
        again = ET.SubElement(settings, "RestartOnFailure")
        ET.SubElement(again, "Interval").text = "PT1M"
        ET.SubElement(again, "Count").text = "3"
        action = ET.SubElement(ET.SubElement(task, "Actions", {"Context": "Author"}), "Exec")
        ET.SubElement(action, "Command").text = self._words[0]
        ET.SubElement(action, "Arguments").text = subprocess.list2cmdline(self._words[1:])
        ET.indent(task)
        # schtasks takes UTF-16 with a byte order mark, and little else.
        made: bytes = ET.tostring(task, encoding="UTF-16", xml_declaration=True)
        return made

    def enable(self) -> list[list[str]]:
        return [
            ["schtasks", "/Create", "/F", "/TN", self._name, "/XML", str(self.file)],
            ["schtasks", "/Run", "/TN", self._name],
        ]

    def serves(self, place: Home) -> bool:
        return self.file.parent == place.directory and self.file.exists()

    def end(self) -> list[list[str]]:
        return [["schtasks", "/End", "/TN", self._name]]

    def forget(self) -> list[list[str]]:
        # Deleting a task does not interrupt the program it has started.
        return [["schtasks", "/Delete", "/F", "/TN", self._name]]

    def after_removal(self) -> list[list[str]]:
        return []

    def query(self) -> list[str]:
        return ["schtasks", "/Query", "/FO", "CSV", "/V", "/NH", "/TN", self._name]

    def is_running(self, ran: Ran) -> bool:
        return ran.code == 0 and f'"{RUNNING}"' in ran.said


SETTINGS: Final = (
    ("MultipleInstancesPolicy", "IgnoreNew"),
    ("DisallowStartIfOnBatteries", "false"),
    ("StopIfGoingOnBatteries", "false"),
    ("StartWhenAvailable", "true"),
    ("ExecutionTimeLimit", "PT0S"),  # no limit; the default kills it after three days
    ("Priority", "7"),  # below normal
    ("Hidden", "false"),
)
