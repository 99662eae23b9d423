"""One object on the session bus: methods in, replies out. For GNOME and KDE; needs jeepney."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jeepney import HeaderFields, Message, MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
from PIL import Image

from photosearch import program
from photosearch.client import Client, find_daemon
from photosearch.errors import PhotosearchError
from photosearch.home import Home
from photosearch.types import Hit

IDLE_SECONDS = 600.0  # then it ends; the bus starts it again when it is wanted
DO_NOT_QUEUE = 4
IS_OWNER = (1, 4)  # now, or already
ICON_PX = 96
COUNT = 8
KEPT = 200  # hits that may still be asked about
LEAST_LETTERS = 3  # of a word that is still being typed
# Kana, Han, Hangul: where one sign is a word or a syllable.
_WHOLE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
IMAGE = "(iiibiiay)"  # width, height, bytes a row, has alpha, bits, channels, pixels

Picture = tuple[int, int, int, bool, int, int, bytes]


def is_enough(typed: str) -> bool:
    """Whether to search already: three letters, or one sign that is a word by itself, as 狗."""
    typed = typed.strip()
    return len(typed) >= LEAST_LETTERS or _WHOLE.search(typed) is not None


class Photos:
    """What both launchers ask of the daemon. Without one they find nothing."""

    def __init__(self, place: Home) -> None:
        self._place = place
        self._hits: dict[str, Hit] = {}

    def search(self, query: str) -> list[Hit]:
        daemon = self._daemon()
        if daemon is None or not is_enough(query):
            return []
        hits = daemon.search(query, k=COUNT, show_all=False).hits
        self._hits |= {str(hit.photo_id): hit for hit in hits}
        while len(self._hits) > KEPT:
            del self._hits[next(iter(self._hits))]
        return hits

    def hit(self, identifier: str) -> Hit | None:
        """A photo that an earlier search found."""
        return self._hits.get(identifier)

    def picture(self, hit: Hit) -> Picture | None:
        daemon = self._daemon()
        if daemon is None:
            return None
        try:
            encoded = io.BytesIO(daemon.thumbnail(hit.photo_id, ICON_PX))
            image = Image.open(encoded).convert("RGB")
        except (PhotosearchError, OSError):
            return None
        image.thumbnail((ICON_PX, ICON_PX))
        width, height = image.size
        return width, height, width * 3, False, 8, 3, image.tobytes()

    def open(self, identifier: str, *, reveal: bool = False) -> None:
        daemon = self._daemon()
        if daemon is None or not identifier.isdigit():
            return
        if reveal:
            daemon.reveal_photo(int(identifier))
        else:
            daemon.open_photo(int(identifier))

    def show_bar(self) -> None:
        words = [*program.command(), "--home", str(self._place.directory), "open"]
        subprocess.Popen(words, start_new_session=True)

    def _daemon(self) -> Client | None:
        return find_daemon(self._place)


@dataclass(frozen=True)
class Method:
    """`takes` and `gives` are D-Bus signatures."""

    takes: str
    gives: str
    run: Callable[..., Any]  # with the arguments; returns the reply's body, a tuple


@dataclass(frozen=True)
class Service:
    name: str
    path: str
    interface: str
    methods: dict[str, Method]

    def introspection(self) -> str:
        rows = "".join(
            f'<method name="{name}">'
            + "".join(f'<arg type="{each}" direction="in"/>' for each in split(method.takes))
            + "".join(f'<arg type="{each}" direction="out"/>' for each in split(method.gives))
            + "</method>"
            for name, method in self.methods.items()
        )
        return f'<node><interface name="{self.interface}">{rows}</interface></node>'

    def answer(self, message: Message) -> Message:
        fields = message.header.fields
        interface, member = fields.get(HeaderFields.interface), fields[HeaderFields.member]
        if member == "Introspect":
            return new_method_return(message, "s", (self.introspection(),))
        method = self.methods.get(member)
        if method is None or interface not in (None, self.interface):
            unknown = "org.freedesktop.DBus.Error.UnknownMethod"
            return new_error(message, unknown, "s", (f"no method {member}",))
        if fields.get(HeaderFields.signature, "") != method.takes:
            wrong = "org.freedesktop.DBus.Error.InvalidArgs"
            return new_error(message, wrong, "s", (f"{member} takes {method.takes}",))
        try:
            return new_method_return(message, method.gives, method.run(*message.body))
        except PhotosearchError as error:
            return new_error(message, "org.photosearch.Error", "s", (str(error),))

    def serve(self) -> int:
        """Answer until nobody has asked for a while; the exit code."""
        bus = open_dbus_connection("SESSION")
        # Not send_and_get_reply: it would drop the call that this was started for, which may
        # arrive before the reply.
        bus.send(message_bus.RequestName(self.name, DO_NOT_QUEUE))
        try:
            while True:
                message = bus.receive(timeout=IDLE_SECONDS)
                kind = message.header.message_type
                if kind is MessageType.method_call:
                    bus.send(self.answer(message))
                elif kind is MessageType.method_return and message.body[0] not in IS_OWNER:
                    return 4  # another one answers already
        except TimeoutError:
            return 0


def split(signature: str) -> list[str]:
    """A signature's single complete types: "asu" -> "as", "u"."""
    types: list[str] = []
    depth, start = 0, 0
    for at, letter in enumerate(signature):
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(letter, 0)
        if depth == 0 and letter != "a":
            types.append(signature[start : at + 1])
            start = at + 1
    return types
