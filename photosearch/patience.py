"""uvicorn's HTTP protocol, with an end to its patience.

By itself it waits for ever for the rest of a request, and for a reader to read.
A program that opens a hundred connections and says nothing would keep the search
bar out. Here a request must be whole, and an answer must move, within a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from http import HTTPStatus
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from photosearch.guard import PAGE_HEADERS, ApiError

REQUEST_SECONDS: Final = 15.0  # from a request's first byte, or the connection's begin, to its end
STALLED_SECONDS: Final = 60.0  # for the reader to take the next 48 KB of an answer
# On, for no time at all; of two shorts on Windows and two ints elsewhere.
NO_LINGERING: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
# h11's words where there is no Host, or more than one: it looks before we can.
NO_HOST: Final = ("Missing mandatory Host: header", "Found multiple Host: headers")


class PatientProtocol(H11Protocol):
    """One connection."""

    _receiving: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # An answer is written in two parts. asyncio spares them the wait for each other only on
        # sockets that were made with the protocol's number; a reader that is slow to say "got
        # it" makes that 40 ms on every answer.
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._expect_request()
        else:
            self._stop_expecting()

    def send_400_response(self, msg: str) -> None:
        """What h11 refused: an error like all others, with the status that fits it. uvicorn calls
        this while it handles h11's error, and says 400 to everything, in plain text."""
        refusal = refusal_of(sys.exc_info()[1])
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # the answer has begun
            self.transport.close()
            return
        body = bytes(refusal.response().body)
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **PAGE_HEADERS,
        }
        for event in (
            h11.Response(
                status_code=refusal.status,
                headers=list(headers.items()),
                reason=HTTPStatus(refusal.status).phrase,
            ),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._sending is None:
            self._sending = self.loop.call_later(STALLED_SECONDS, self._give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_expecting()
        self._stop_waiting()
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        """The clock runs from a request's beginning: more of it does not set it back."""
        if self._receiving is None:
            self._receiving = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _stop_expecting(self) -> None:
        _cancel(self._receiving)
        self._receiving = None

    def _stop_waiting(self) -> None:
        _cancel(self._sending)
        self._sending = None

    def _give_up(self) -> None:
        transport: Any = self.transport
        if transport is None:
            return
        connection = transport.get_extra_info("socket")
        if connection is not None:  # the system, too, would go on with the megabytes it has
            with contextlib.suppress(OSError):  # macOS: it is shut already
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING)
        transport.abort()  # close() would wait for the reader


def refusal_of(error: BaseException | None) -> ApiError:
    """The answer to a request that is none, by what h11 says of it."""
    said = str(error)
    if said in NO_HOST:
        return ApiError(421, "wrong_host", "This address is not mine.")
    if getattr(error, "error_status_hint", 400) == 431:
        return ApiError(431, "too_large", "The request's head is too large.")
    return ApiError(400, "bad_request", "This is not a request in HTTP/1.1.")


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
