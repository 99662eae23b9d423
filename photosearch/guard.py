"""Who may ask: the outermost ring of the API.

Refuses what does not come from this machine's user: a wrong Host (DNS
rebinding), a foreign Origin, another site's or another port's fetch, a missing
token. Binding to the loopback interface alone is not enough: every page in the
user's browser can reach it.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from photosearch import protocol
from photosearch.protocol import API

MAX_HEAD_BYTES: Final = 32 << 10  # of a request's address and headers
MAX_BODY_BYTES: Final = 16 << 10  # of a request; none has a reason to be longer

PAGE_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob: data:; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class ApiError(Exception):
    """Becomes an ErrorReply."""

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = protocol.ErrorReply(protocol.ErrorBody(code, message, hint))

    def response(self) -> Response:
        # ASCII: a message may name a path that is not UTF-8.
        body = json.dumps(asdict(self.body)).encode("ascii")
        return Response(body, self.status, media_type="application/json")


def cookie_name(port: int | None) -> str:
    """Cookies are shared between the ports of one host, so each port has its own name."""
    return f"ps_{port or 80}"


class Guard:
    """Pure ASGI, outermost: decides on the raw headers and `scope["path"]` alone."""

    def __init__(
        self, app: ASGIApp, port: int, *, token: str, knows_session: Callable[[str], bool]
    ) -> None:
        self._app = app
        self._token = token
        self._knows_session = knows_session
        self._port = port
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # no WebSockets here
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            elif scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal.response()(scope, receive, _with_headers(send))
            return
        await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> ApiError | None:
        size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in scope["headers"])
        if size > MAX_HEAD_BYTES:  # longer ones that came at once have passed the server's limit
            return ApiError(431, "too_large", f"The request's head is over {MAX_HEAD_BYTES} bytes.")
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        host = headers.get("host", [])
        if len(host) != 1 or host[0].lower() not in self._hosts:
            return ApiError(421, "wrong_host", "This address is not mine.")
        origin = headers.get("origin", [])
        if origin and origin != [f"http://{host[0]}"]:
            return ApiError(403, "wrong_origin", "Requests from other pages are refused.")
        path, method = scope["path"], scope["method"]
        site = headers.get("sec-fetch-site", ["none"])
        # same-site is refused too: it is another port of this machine.
        if any(value not in ("same-origin", "none") for value in site):
            arriving = (
                method == "GET" and path == "/" and headers.get("sec-fetch-mode") == ["navigate"]
            )
            if not arriving or headers.get("sec-fetch-dest", ["document"]) != ["document"]:
                return ApiError(403, "wrong_site", "Requests from other sites are refused.")
        length = headers.get("content-length", ["0"])
        if len(length) != 1 or not length[0].isdigit() or int(length[0]) > MAX_BODY_BYTES:
            return ApiError(413, "too_large", f"The body is over {MAX_BODY_BYTES} bytes.")
        if "transfer-encoding" in headers and "content-length" in headers:
            return ApiError(400, "bad_request", "The body has two lengths.")  # smuggling
        if _is_open(method, path) or self._is_authorised(headers):
            return None
        return ApiError(
            401, "no_session", "Not signed in.", "Run `photosearch open` to open the search bar."
        )

    def _is_authorised(self, headers: dict[str, list[str]]) -> bool:
        bearer = headers.get("authorization", [])
        if len(bearer) == 1 and bearer[0].lower().startswith("bearer "):
            offered = bearer[0][len("bearer ") :].strip()
            return secrets.compare_digest(offered.encode(), self._token.encode())
        for line in headers.get("cookie", []):
            with contextlib.suppress(CookieError):
                morsel = SimpleCookie(line).get(cookie_name(self._port))
                if morsel is not None and self._knows_session(morsel.value):
                    return True
        return False


def _is_open(method: str, path: str) -> bool:
    """What anyone on this machine may fetch: the empty page, its files, and the way in."""
    if method in ("GET", "HEAD"):
        return path in ("/", "/healthz") or path.startswith("/static/")
    return method == "POST" and path == f"{API}/login"


def _with_headers(send: Send) -> Send:
    """Add the security headers that a response does not set itself."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message["headers"]}
            message["headers"] = list(message["headers"]) + [
                (name.encode(), value.encode())
                for name, value in PAGE_HEADERS.items()
                if name.encode() not in present
            ]
        await send(message)

    return wrapped
