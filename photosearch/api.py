"""HTTP on loopback: the page's, and any script's, way to the daemon.

Outermost is guard.py, which says who may ask. endpoints.py lists what may be
asked, and openapi.py tells it as a schema. Here both become an application.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from photosearch import __version__, protocol
from photosearch.daemon import Daemon
from photosearch.endpoints import ENDPOINTS, Call, Endpoint, no_photo
from photosearch.errors import PhotosearchError
from photosearch.guard import MAX_BODY_BYTES, ApiError, Guard, cookie_name
from photosearch.openapi import schema
from photosearch.params import ID_MAX
from photosearch.protocol import API

STATIC: Final = Path(__file__).parent / "static"
EVENT_SECONDS: Final = 0.3  # between looks for something to tell an event stream
STATUS_SHARE: Final = 30.0  # times what counting took: in a large library it is done less often
HEARTBEAT_SECONDS: Final = 15.0
MAX_STREAMS: Final = 32
LOGIN: Final = TypeAdapter(protocol.LoginRequest)
STATUS: Final = TypeAdapter(protocol.StatusReply)


def _endpoint(daemon: Daemon, endpoint: Endpoint) -> Route:
    """Validate, call the handler in a worker thread, and wrap what it returns."""
    reply = TypeAdapter(endpoint.reply) if endpoint.reply is not None else None

    async def respond(request: Request) -> Response:
        # Names may hold bytes that are no UTF-8: those come escaped, and leave so.
        asked = request.scope["query_string"].decode("latin-1")
        pairs = parse_qsl(asked, keep_blank_values=True, errors="surrogateescape")
        if len({name for name, _ in pairs}) != len(pairs):
            raise ApiError(400, "bad_request", "A parameter was given twice.")
        try:
            params = endpoint.params.model_validate(dict(pairs))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ApiError(400, "bad_request", _in_words(first)) from None
        call = Call(daemon, request, params, _path_id(request))
        result = await run_in_threadpool(endpoint.handler, call)
        if isinstance(result, Response):
            return result
        assert reply is not None
        return Response(
            as_json(reply, result),
            media_type="application/json",
            headers={"cache-control": "no-store"},
        )

    return Route(API + endpoint.path, respond, methods=[endpoint.method])


def _in_words(wrong: Mapping[str, Any]) -> str:
    """What is wrong with a parameter, from pydantic's finding."""
    name, limits = ".".join(str(part) for part in wrong["loc"]), wrong.get("ctx", {})
    needs = {
        "missing": "is missing.",
        "extra_forbidden": "is no parameter here.",
        "int_parsing": "must be a whole number.",
        "int_parsing_size": "is too large a number.",
        "bool_parsing": "must be true or false.",
        "greater_than_equal": f"must be at least {limits.get('ge')}.",
        "less_than_equal": f"must be at most {limits.get('le')}.",
        "string_too_long": f"must have at most {limits.get('max_length')} characters.",
    }
    return f"{name} {needs.get(wrong['type'], 'has a value that is not allowed.')}"


def as_json(model: TypeAdapter[Any], value: object) -> bytes:
    """ASCII, so that a path that is not UTF-8 keeps its surrogates, as escapes."""
    return json.dumps(model.dump_python(value), separators=(",", ":")).encode("ascii")


def _path_id(request: Request) -> int:
    text = request.path_params.get("id", "0")
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > ID_MAX:
        raise no_photo()
    return int(text)


async def login(request: Request) -> Response:
    """Exchange a one-time code, or the token, for a session cookie."""
    daemon: Daemon = request.app.state.daemon
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "bad_request", "The body must be application/json.")
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:  # it came in pieces, its length unannounced
                raise ApiError(413, "too_large", f"The body is over {MAX_BODY_BYTES} bytes.")
    except ClientDisconnect:
        raise ApiError(408, "too_slow", "The request never came to its end.") from None
    try:
        code = LOGIN.validate_json(body, strict=True).code
        code.encode()
    except (ValidationError, UnicodeEncodeError):
        raise ApiError(400, "bad_request", 'The body must be {"code": "..."}.') from None
    session = daemon.sessions.login(code)
    if session is None:
        raise ApiError(
            401,
            "bad_code",
            "This code is not valid any more.",
            "Run `photosearch open` for another.",
        )
    response = JSONResponse(asdict(protocol.Done()))
    response.set_cookie(
        cookie_name(request.url.port), session, httponly=True, samesite="strict", path="/"
    )
    return response


async def events(request: Request) -> Response:
    """Server-sent events: the indexing state whenever something changed."""
    daemon: Daemon = request.app.state.daemon
    streams: set[object] = request.app.state.streams
    if len(streams) >= MAX_STREAMS:
        raise ApiError(429, "too_many", "Too many pages are open.", "Close some of them.")

    async def stream() -> AsyncIterator[bytes]:
        mark = object()
        streams.add(mark)
        seen, quiet, due = -1, 0.0, 0.0
        try:
            while not daemon.stopping.is_set():
                if daemon.version != seen and time.perf_counter() >= due:
                    seen, quiet = daemon.version, 0.0
                    began = time.perf_counter()
                    message = await run_in_threadpool(daemon.status)
                    due = time.perf_counter() + STATUS_SHARE * (time.perf_counter() - began)
                    yield b"event: status\ndata: " + as_json(STATUS, message) + b"\n\n"
                elif quiet >= HEARTBEAT_SECONDS:
                    quiet = 0.0
                    yield b": still here\n\n"
                await asyncio.sleep(EVENT_SECONDS)  # and no longer: the end waits for this
                quiet += EVENT_SECONDS
        finally:
            streams.discard(mark)

    return StreamingResponse(
        stream(), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )


class _PageFiles(StaticFiles):
    """The page's files, asked for again each time: after an upgrade two versions must not mix."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


async def page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


async def openapi(request: Request) -> Response:
    return JSONResponse(schema(request.url.port))


async def healthz(request: Request) -> Response:
    return JSONResponse({"ok": True, "version": __version__})


# --- errors -----------------------------------------------------------------------------------


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _user_error(request: Request, error: Exception) -> Response:
    return ApiError(500, "failed", str(error)).response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "bad_method"}.get(error.status_code, "failed")
    response = ApiError(error.status_code, code, str(error.detail)).response()
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


# --- the application --------------------------------------------------------------------------


def create_app(daemon: Daemon, port: int) -> ASGIApp:
    """The guarded application for one daemon and one port."""
    routes = [_endpoint(daemon, endpoint) for endpoint in ENDPOINTS]
    app = Starlette(
        routes=[
            Route("/", page, methods=["GET"]),
            Route("/healthz", healthz, methods=["GET"]),
            Route(f"{API}/login", login, methods=["POST"]),
            Route(f"{API}/events", events, methods=["GET"]),
            Route(f"{API}/openapi.json", openapi, methods=["GET"]),
            *routes,
            Mount("/static", _PageFiles(directory=STATIC)),
        ],
        exception_handlers={
            ApiError: _api_error,
            PhotosearchError: _user_error,
            HTTPException: _http_error,
        },
    )
    app.router.redirect_slashes = False  # a redirect could be led elsewhere by //names
    app.state.daemon = daemon
    app.state.streams = set()
    return Guard(app, port, token=daemon.sessions.token, knows_session=daemon.sessions.knows)
