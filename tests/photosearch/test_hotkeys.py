"""Hot keys: the chords users write, each system's calls by stand-ins, and X11 for real."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xserver import Screen, screen  # noqa: F401

from photosearch.desktop.hotkeys import HotKeyError, windows
from photosearch.desktop.hotkeys.chord import DEFAULT, KEYS, parse
from photosearch.desktop.hotkeys.macos import KEY_CODES, Handler, MacHotKey, four
from photosearch.desktop.hotkeys.windows import MSG, WM_HOTKEY, WindowsHotKey, virtual_key
from photosearch.desktop.hotkeys.x11 import KEY_PRESS, KEY_RELEASE, MAPPING_NOTIFY, X11HotKey
from photosearch.errors import UsageError


class Presses:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


# --- chords -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ctrl+alt+space", "ctrl+alt+space"),
        (" Control + Option + P ", "ctrl+alt+p"),
        ("Super+Space", "meta+space"),
        ("cmd+shift+7", "shift+meta+7"),
        ("F9", "f9"),
        ("shift+f12", "shift+f12"),
    ],
)
def test_chords(text: str, expected: str) -> None:
    assert str(parse(text)) == expected
    assert parse(expected) == parse(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "cannot be the key"),
        ("ctrl+", "cannot be the key"),
        ("hyper+p", "'hyper' is none of"),
        ("ctrl+alt", "cannot be the key"),
        ("ctrl+ctrl+p", "names a modifier twice"),
        ("ctrl+control+p", "names a modifier twice"),
        ("p", "is what one types"),
        ("shift+space", "is what one types"),
        ("ctrl+ü", "cannot be the key"),
    ],
)
def test_chords_that_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse(text)


def test_every_system_knows_every_key() -> None:
    assert set(KEY_CODES) == set(KEYS)
    assert len(set(KEY_CODES.values())) == len(KEYS)
    assert len({virtual_key(key) for key in KEYS}) == len(KEYS)


# --- Windows ----------------------------------------------------------------------------------


class User32:
    def __init__(self, *, grants: bool = True) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._grants = grants

    def RegisterHotKey(self, *args: Any) -> int:
        self.calls.append(("register", *args))
        return int(self._grants)

    def UnregisterHotKey(self, *args: Any) -> int:
        self.calls.append(("unregister", *args))
        return 1


def test_windows_registers_the_chord_and_hears_only_it() -> None:
    user32, pressed = User32(), Presses()
    held = WindowsHotKey(parse("ctrl+alt+space"), pressed, user32)
    assert user32.calls == [("register", None, windows.IDENTITY, 0x4000 | 2 | 1, 0x20)]
    for message, wparam, ours in (
        (WM_HOTKEY, windows.IDENTITY, True),
        (WM_HOTKEY, 7, False),  # another's of the same thread
        (0x0100, windows.IDENTITY, False),  # WM_KEYDOWN
    ):
        found = MSG(None, message, wparam, 0, 0, 0, 0)
        assert held.handles(ctypes.addressof(found)) is ours
    assert pressed.count == 1
    held.close()
    held.close()
    assert user32.calls[1:] == [("unregister", None, windows.IDENTITY)]


def test_windows_says_when_it_is_taken() -> None:
    user32 = User32(grants=False)
    with pytest.raises(HotKeyError, match=r"ctrl\+p belongs to another program"):
        WindowsHotKey(parse("ctrl+p"), Presses(), user32)
    assert len(user32.calls) == 1  # what was never held is not given back


@pytest.mark.parametrize(
    ("key", "code"), [("a", 0x41), ("z", 0x5A), ("0", 0x30), ("f1", 0x70), ("f12", 0x7B)]
)
def test_windows_key_codes(key: str, code: int) -> None:
    assert virtual_key(key) == code


# --- macOS ------------------------------------------------------------------------------------


class Carbon:
    """Calls the handler as the system would: through the C function it was given."""

    def __init__(self, *, install: int = 0, register: int = 0) -> None:
        self._install, self._register = install, register
        self.handler: Any = None
        self.registered: list[tuple[int, int, int]] = []
        self.undone: list[str] = []

    def GetApplicationEventTarget(self) -> int:
        return 0x1000

    def InstallEventHandler(
        self, target: int, handler: Any, count: int, kinds: Any, data: Any, out: Any
    ) -> int:
        assert (target, count) == (0x1000, 1)
        kind = kinds._obj
        assert (kind.event_class, kind.kind) == (int.from_bytes(b"keyb", "big"), 5)
        self.handler = ctypes.cast(handler, ctypes.c_void_p).value
        out._obj.value = 0x2000 if self._install == 0 else None
        return self._install

    def RegisterEventHotKey(
        self, code: int, mask: int, identity: Any, target: int, options: int, out: Any
    ) -> int:
        self.registered.append((code, mask, identity.signature))
        out._obj.value = 0x3000 if self._register == 0 else None
        return self._register

    def UnregisterEventHotKey(self, hot_key: Any) -> int:
        self.undone.append(f"hot key {hot_key.value:#x}")
        return 0

    def RemoveEventHandler(self, handler: Any) -> int:
        self.undone.append(f"handler {handler.value:#x}")
        return 0


def test_macos_registers_the_chord_and_its_handler_is_called() -> None:
    carbon, pressed = Carbon(), Presses()
    held = MacHotKey(parse("ctrl+alt+space"), pressed, carbon)
    assert carbon.registered == [(49, (1 << 12) | (1 << 11), four("phot"))]
    assert Handler(carbon.handler)(None, None, None) == 0
    assert pressed.count == 1
    held.close()
    held.close()
    assert carbon.undone == ["hot key 0x3000", "handler 0x2000"]


def test_macos_says_when_it_is_taken_and_leaves_no_handler() -> None:
    carbon = Carbon(register=-9878)  # eventHotKeyExistsErr
    with pytest.raises(HotKeyError, match="belongs to another program"):
        MacHotKey(parse("cmd+shift+p"), Presses(), carbon)
    assert carbon.undone == ["handler 0x2000"]
    refuses = Carbon(install=-50)
    with pytest.raises(HotKeyError, match="-50"):
        MacHotKey(parse("cmd+shift+p"), Presses(), refuses)
    assert refuses.undone == []


# --- X11, by a stand-in -----------------------------------------------------------------------


class X11:
    """Hands out events that a test has queued."""

    def __init__(self, *, display: int | None = 1, keycode: int = 65) -> None:
        self.display, self.keycode = display, keycode
        self.queue: list[int] = []
        self.grabs: set[tuple[int, int]] = set()
        self.closed = 0

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *args: 0

    def XOpenDisplay(self, name: Any) -> int | None:
        return self.display

    def XKeysymToKeycode(self, display: int, keysym: int) -> int:
        return self.keycode

    def XGrabKey(self, display: int, code: int, mask: int, *rest: Any) -> int:
        self.grabs.add((code, mask))
        return 1

    def XUngrabKey(self, display: int, code: int, mask: int, root: int) -> int:
        self.grabs.remove((code, mask))
        return 1

    def XCloseDisplay(self, display: int) -> int:
        self.closed += 1
        return 0

    def XPending(self, display: int) -> int:
        return len(self.queue)

    def XNextEvent(self, display: int, event: Any) -> int:
        ctypes.cast(event, ctypes.POINTER(ctypes.c_int))[0] = self.queue.pop(0)
        return 0


def test_x11_holding_the_chord_is_one_press() -> None:
    x11, pressed = X11(), Presses()
    held = X11HotKey(parse("ctrl+alt+space"), pressed, x11)
    x11.queue = [KEY_PRESS, KEY_PRESS, KEY_PRESS, KEY_RELEASE, KEY_PRESS]
    held.read()
    assert pressed.count == 2
    # With Caps Lock or Num Lock on it is the same chord.
    assert x11.grabs == {(65, 12), (65, 14), (65, 28), (65, 30)}
    x11.keycode = 70  # another layout
    x11.queue = [MAPPING_NOTIFY]
    held.read()
    assert {code for code, _ in x11.grabs} == {70}
    held.close()
    held.close()
    assert (x11.grabs, x11.closed) == (set(), 1)


def test_x11_without_a_server_or_without_the_key() -> None:
    with pytest.raises(HotKeyError, match="cannot be reached"):
        X11HotKey(parse(DEFAULT), Presses(), X11(display=None))
    lacking = X11(keycode=0)
    with pytest.raises(HotKeyError):
        X11HotKey(parse(DEFAULT), Presses(), lacking)
    assert lacking.closed == 1


# --- X11, for real ----------------------------------------------------------------------------

HOLD = """
import select, sys
from photosearch.desktop.hotkeys.chord import parse
from photosearch.desktop.hotkeys.x11 import X11HotKey
key = X11HotKey(parse(sys.argv[1]), lambda: print("pressed", flush=True))
print("held", flush=True)
while True:
    if select.select([key.fileno()], [], [], 0.5)[0]:
        key.read()
"""


class Holder:
    """A process that holds a chord and says when it is pressed."""

    def __init__(self, screen: Screen, chord: str) -> None:  # noqa: F811
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, chord],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=screen.environ,
            cwd=Path(__file__).parent.parent.parent,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def wait_for(self, count: int, word: str) -> None:
        deadline = time.monotonic() + 30
        while self.lines.count(word) < count:
            assert time.monotonic() < deadline, (self.lines, count, word)
            time.sleep(0.02)

    def close(self) -> str:
        self.process.kill()
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        self.process.wait()
        self._reader.join()
        return said


@pytest.fixture
def holder(screen: Screen) -> Iterator[Holder]:  # noqa: F811
    made = Holder(screen, "ctrl+alt+space")
    yield made
    made.close()


def test_a_real_x_server_reports_the_chord_and_nothing_else(
    screen: Screen,  # noqa: F811
    holder: Holder,
) -> None:
    holder.wait_for(1, "held")
    screen.key("ctrl+alt+space")
    holder.wait_for(1, "pressed")
    screen.type("my secret password")
    screen.key("ctrl+space", "alt+space", "space", "ctrl+alt+a")
    screen.key("Num_Lock", "ctrl+alt+space", "Num_Lock")  # a lock changes nothing
    holder.wait_for(2, "pressed")
    screen.press("ctrl", "alt", "space")  # held down for longer than the keyboard's delay
    holder.wait_for(3, "pressed")
    time.sleep(1.2)
    screen.release("space", "alt", "ctrl")
    screen.key("ctrl+alt+space")
    holder.wait_for(4, "pressed")
    assert holder.lines == ["held", *["pressed"] * 4]


def test_a_real_x_server_says_who_came_second(
    screen: Screen,  # noqa: F811
    holder: Holder,
) -> None:
    holder.wait_for(1, "held")
    second = Holder(screen, "ctrl+alt+space")
    second.process.wait(timeout=60)
    assert "belongs to another program" in second.close()
    other = Holder(screen, "ctrl+shift+f9")  # another chord is free
    other.wait_for(1, "held")
    screen.key("ctrl+shift+F9")
    other.wait_for(1, "pressed")
    other.close()
