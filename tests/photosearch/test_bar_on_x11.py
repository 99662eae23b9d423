"""The native bar as its users meet it: its own process on an X server, a real daemon, keys
pressed from outside, and a look at the picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from test_program import APP, Program, program, toy, within  # noqa: F401
from toy import painted
from xserver import Screen, screen  # noqa: F401

pytest.importorskip("PySide6.QtWidgets", reason="Qt is not installed", exc_type=ImportError)

from PySide6.QtGui import QColor, QImage

SECONDS = 60.0
# Saves the whole screen for every line it reads.
LOOK = """
import sys
from PySide6.QtWidgets import QApplication
app = QApplication([])
for line in sys.stdin:
    print(app.primaryScreen().grabWindow(0).save(line.strip()), flush=True)
"""
# A window that takes what is dropped and says what it was, as a file manager would.
TARGET = """
import sys
from PySide6.QtWidgets import QApplication, QWidget
from PySide6.QtCore import QTimer, Qt
class Target(QWidget):
    def dragEnterEvent(self, event):
        event.acceptProposedAction()
    def dropEvent(self, event):
        event.acceptProposedAction()
        print(event.dropAction().name, event.mimeData().urls()[0].toString(), flush=True)
app = QApplication([])
window = Target(None, Qt.WindowType.FramelessWindowHint | Qt.WindowType.X11BypassWindowManagerHint)
window.setAcceptDrops(True)
window.setGeometry(0, 0, 120, 120)
window.show()
QTimer.singleShot(0, lambda: print("ready", flush=True))
app.exec()
"""
PASTE = """
from PySide6.QtWidgets import QApplication
app = QApplication([])
print(*(url.toString() for url in app.clipboard().mimeData().urls()))
"""


@dataclass
class Started:
    """A process and the lines it has said."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stdout is not None
        self.lines += (line.strip() for line in self.process.stdout)


def start(command: list[str], screen: Screen) -> Started:  # noqa: F811
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=screen.environ,
    )
    made = Started(process)
    threading.Thread(target=made.read, daemon=True).start()
    return made


class Eyes:
    """Looks at the screen."""

    def __init__(self, screen: Screen, file: Path) -> None:  # noqa: F811
        self.file = file
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOOK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=screen.environ,
        )

    def look(self) -> QImage:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{self.file}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "True\n"
        return QImage(str(self.file))

    def colours(self) -> tuple[bool, ...]:
        """Whether there is much red, green and card to be seen."""
        shown = self.look()
        return tuple(share(shown, each) > 0.1 for each in ("#ff0000", "#00ff00", "#fdfdfc"))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def eyes(screen: Screen, tmp_path: Path) -> Iterator[Eyes]:  # noqa: F811
    made = Eyes(screen, tmp_path / "screen.png")
    yield made
    made.close()


def share(picture: QImage, colour: str) -> float:
    """How much of the screen is about this colour."""
    wanted = QColor(colour)
    near = total = 0
    for y in range(0, picture.height(), 16):
        for x in range(0, picture.width(), 16):
            found = picture.pixelColor(x, y)
            parts = zip(found.getRgb()[:3], wanted.getRgb()[:3], strict=True)
            near += all(abs(one - other) < 60 for one, other in parts)
            total += 1
    return near / total


@pytest.fixture
def running(program: Program, screen: Screen) -> Iterator[Started]:  # noqa: F811
    for number in range(12):
        program.write(f"red {number}.jpg", painted("red", seed=number))
        program.write(f"green {number}.jpg", painted("green", seed=number))
    program.serve("--library", str(program.disk)).settle(24)
    bar = start([*APP, "--home", str(program.home), "bar"], screen)
    yield bar
    if bar.process.poll() is None:
        bar.process.kill()
    bar.process.wait()


def test_the_bar_from_hot_key_to_drop(
    running: Started,
    program: Program,  # noqa: F811
    screen: Screen,  # noqa: F811
    eyes: Eyes,
) -> None:
    """One long walk, since starting all of it is what takes the time."""
    colours = eyes.colours

    # It shows the newest photos, and the chord is held.
    within(SECONDS, lambda: colours() == (True, True, True))
    within(SECONDS, lambda: any("shows the search bar" in line for line in running.lines))

    screen.type("green")
    within(SECONDS, lambda: colours() == (False, True, True))

    # The hot key hides it and shows it, with what was typed.
    screen.key("ctrl+alt+space")
    within(SECONDS, lambda: colours() == (False, False, False))
    screen.key("ctrl+alt+space")
    within(SECONDS, lambda: colours() == (False, True, True))

    # A search that was meant is offered again, and End takes it.
    screen.key("Return", "Escape", "Escape")
    within(SECONDS, lambda: colours() == (True, True, True))
    screen.type("gre")

    def taken() -> bool:
        screen.key("End")  # until it is offered
        return colours() == (False, True, True)

    within(SECONDS, taken)

    # A second start shows the first, and ends; `open` does the same.
    screen.key("Escape", "Escape")
    within(SECONDS, lambda: colours() == (False, False, False))
    again = [*APP, "--home", str(program.home), "bar"]
    assert subprocess.run(again, env=screen.environ, timeout=60).returncode == 0
    within(SECONDS, lambda: colours() == (True, True, True))
    screen.key("Escape")
    within(SECONDS, lambda: colours() == (False, False, False))
    program.run("open")
    within(SECONDS, lambda: colours() == (True, True, True))
    assert running.process.poll() is None

    # A photo is dragged out into another program's window: the file itself, as a copy.
    screen.type("red")
    within(SECONDS, lambda: colours() == (True, False, True))
    target = start([sys.executable, "-c", TARGET], screen)
    within(SECONDS, lambda: "ready" in target.lines)
    screen.mouse("mousemove", "300", "210", "mousedown", "1")
    for x, y in ((290, 200), (250, 170), (150, 100), (60, 60), (50, 50)):
        time.sleep(0.2)
        screen.mouse("mousemove", str(x), str(y))
    time.sleep(0.3)
    screen.mouse("mouseup", "1")
    within(SECONDS, lambda: len(target.lines) == 2)
    target.process.kill()
    target.process.wait()
    action, address = target.lines[1].split(" ", 1)
    dropped = Path(unquote(urlsplit(address).path))
    assert action == "CopyAction"
    assert dropped.parent == program.disk and dropped.name.startswith("red")
    assert dropped.exists()

    # A photo is copied, and any program can paste it.
    def pasted() -> str:
        screen.key("Down", "ctrl+c")
        command = [sys.executable, "-c", PASTE]
        return subprocess.run(command, env=screen.environ, capture_output=True, text=True).stdout

    within(SECONDS, lambda: unquote(pasted()).startswith(f"file://{program.disk}/red "))

    # `stop` ends the daemon and the bar, in order, without a word, also with that to be pasted.
    program.run("stop")
    assert running.process.wait(timeout=60) == 0
    assert not (program.home / "bar.json").exists()
    assert not [line for line in running.lines if "rror" in line or "Traceback" in line]
    assert not [line for line in running.lines if "Fatal" in line]


def test_without_pyside_the_bar_says_what_to_install(tmp_path: Path) -> None:
    """As on a machine with the base install alone."""
    hide = (
        "import importlib.util as u; real = u.find_spec; "
        "u.find_spec = lambda name, *a: None if name == 'PySide6' else real(name, *a); "
        "from photosearch.cli import main; raise SystemExit(main(['bar']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, "PHOTOSEARCH_HOME": str(tmp_path)},
    )
    assert done.returncode == 3
    assert "photosearch[desktop]" in done.stderr and "Traceback" not in done.stderr
    assert json.dumps("PySide6") not in done.stdout
