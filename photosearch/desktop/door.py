"""One bar for each home: the second start shows the first one, through presence.py's door."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Final

import filelock
from PySide6.QtCore import QObject
from PySide6.QtNetwork import QHostAddress, QTcpServer, QTcpSocket

from photosearch import presence
from photosearch.home import Home, make_home
from photosearch.presence import Wish

MAX_GUESTS: Final = 8


class OpenDoor(QObject):
    """The door of the one bar that runs. `heard` is called with what is wished for."""

    def __init__(self, place: Home, heard: Callable[[Wish], None]) -> None:
        super().__init__()
        self._place = place
        self._heard = heard
        self._secret = secrets.token_hex(16)
        self._server = QTcpServer(self)
        self._server.setMaxPendingConnections(MAX_GUESTS)
        self._server.newConnection.connect(self._welcome)
        make_home(place)
        self._lock = filelock.FileLock(place.bar_lock, timeout=0)

    def open(self) -> bool:
        """False where another bar holds this home."""
        try:
            self._lock.acquire()
        except filelock.Timeout:
            return False
        self._server.listen(QHostAddress(QHostAddress.SpecialAddress.LocalHost), 0)
        door = presence.Door(os.getpid(), self._server.serverPort(), self._secret)
        presence.announce(self._place, door)
        return True

    def close(self) -> None:
        self._server.close()
        self._place.bar.unlink(missing_ok=True)
        self._lock.release()

    def _welcome(self) -> None:
        while (guest := self._server.nextPendingConnection()) is not None:
            guest.readyRead.connect(lambda guest=guest: self._listen(guest))
            guest.disconnected.connect(guest.deleteLater)

    def _listen(self, guest: QTcpSocket) -> None:
        if not guest.canReadLine():
            if guest.bytesAvailable() > presence.MAX_LINE:
                guest.abort()
            return
        line = bytes(guest.readLine(presence.MAX_LINE).data())
        wish = presence.understand(line, self._secret)
        if wish is not None:
            guest.write(presence.OK)
            guest.flush()
        guest.disconnectFromHost()
        if wish is not None:
            self._heard(wish)
