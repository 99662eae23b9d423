"""HTTP on loopback: the page's, and any script's, way to the daemon.

Outermost is guard.py, which says who may ask. The endpoint table below names
every route with the model that validates its input, and the OpenAPI schema is
made from that table. The handlers call the daemon.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from photosearch import __version__, protocol
from photosearch.daemon import Daemon
from photosearch.errors import PhotosearchError
from photosearch.formats import THUMBNAIL_PX
from photosearch.guard import ApiError, Guard, cookie_name
from photosearch.protocol import API
from photosearch.query import MAX_QUERY_CHARS
from photosearch.search import MAX_OFFSET, MAX_RESULTS

STATIC: Final = Path(__file__).parent / "static"
MAX_BODY_BYTES: Final = 16 << 10
EVENT_SECONDS: Final = 0.3  # between looks for something to tell an event stream
HEARTBEAT_SECONDS: Final = 15.0
MAX_STREAMS: Final = 32
ID_MAX: Final = (1 << 63) - 1

# A photo opened by itself runs nothing, whatever its bytes pretend to be.
ORIGINAL_HEADERS: Final = {
    "content-security-policy": "sandbox; default-src 'none'",
    "cache-control": "private, no-store",
}


# --- what may be asked ------------------------------------------------------------------------


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SearchParams(_Params):
    q: str = Field("", max_length=MAX_QUERY_CHARS, description="what to look for")
    k: int = Field(60, ge=1, le=MAX_RESULTS, description="most hits to return")
    offset: int = Field(0, ge=0, le=MAX_OFFSET, description="hits to leave out, for paging")
    all: bool = Field(False, description="also hits below the relevance cut-off")
    like: int | None = Field(None, ge=1, le=ID_MAX, description="more like the photo of this id")


class PhotoParams(_Params):
    pass


class ThumbnailParams(_Params):
    size: int = Field(THUMBNAIL_PX, ge=16, le=4096, description="longest side in pixels")


class RetryParams(_Params):
    library: int = Field(0, ge=0, le=ID_MAX, description="id of a library; 0: all of them")
    under: str = Field("", max_length=4096, description="a file or folder in it; empty: all")


class NoParams(_Params):
    pass


LOGIN: Final = TypeAdapter(protocol.LoginRequest)


def no_photo() -> ApiError:
    return ApiError(
        404, "no_photo", "There is no such photo.", "It may have been deleted or moved."
    )


def no_library() -> ApiError:
    return ApiError(404, "no_library", "There is no such library.", "See /status for those known.")


# --- handlers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One validated request."""

    daemon: Daemon
    request: Request
    params: Any
    path_id: int  # the id in the path; 0 where it has none


Handler = Callable[[Call], Any]


def search(call: Call) -> protocol.SearchReply:
    params: SearchParams = call.params
    return call.daemon.search(
        q=params.q, k=params.k, offset=params.offset, show_all=params.all, like=params.like
    )


def photo(call: Call) -> protocol.PhotoReply:
    found = call.daemon.photo(call.path_id)
    if found is None:
        raise no_photo()
    return found


def thumbnail(call: Call) -> Response:
    picture = call.daemon.thumbnail(call.path_id, call.params.size)
    if picture is None:
        raise no_photo()
    # A photo id stands for the same bytes for ever, so its thumbnail never changes.
    headers = {"cache-control": "private, max-age=86400, immutable"}
    return Response(picture, media_type="image/webp", headers=headers)


def original(call: Call) -> Response:
    opened = call.daemon.original(call.path_id)
    if opened is None:
        raise no_photo()
    return FileResponse(opened.path, media_type=opened.media_type, headers=ORIGINAL_HEADERS)


def open_photo(call: Call) -> protocol.Done:
    return _opened(call, reveal=False)


def reveal_photo(call: Call) -> protocol.Done:
    return _opened(call, reveal=True)


def _opened(call: Call, *, reveal: bool) -> protocol.Done:
    if not call.daemon.open(call.path_id, reveal=reveal):
        raise no_photo()
    return protocol.Done()


def status(call: Call) -> protocol.StatusReply:
    return call.daemon.status()


def rejected(call: Call) -> list[protocol.RejectedMessage]:
    return call.daemon.rejected()


def pause(call: Call) -> protocol.Done:
    call.daemon.indexer.pause()
    return protocol.Done()


def resume(call: Call) -> protocol.Done:
    call.daemon.indexer.resume()
    return protocol.Done()


def rescan(call: Call) -> protocol.Done:
    call.daemon.indexer.rescan()
    return protocol.Done()


def retry(call: Call) -> protocol.RetryReply:
    found = call.daemon.retry(call.params.library, call.params.under)
    if found is None:
        raise no_library()
    return found


def forget(call: Call) -> protocol.ForgetReply:
    found = call.daemon.forget(call.path_id)
    if found is None:
        raise no_library()
    return found


def doctor(call: Call) -> protocol.DoctorReply:
    return call.daemon.doctor()


def new_code(call: Call) -> protocol.CodeReply:
    return protocol.CodeReply(call.daemon.new_code())


def stop(call: Call) -> protocol.Done:
    call.daemon.request_stop()
    return protocol.Done()


def openapi(call: Call) -> Response:
    return JSONResponse(schema())


@dataclass(frozen=True)
class Endpoint:
    """One route. `reply` None: the handler answers with a Response of `media_type`."""

    method: str
    path: str
    handler: Handler
    params: type[_Params]
    reply: Any
    summary: str
    media_type: str = "application/json"


ENDPOINTS: Final = (
    Endpoint("GET", "/search", search, SearchParams, protocol.SearchReply, "Rank photos"),
    Endpoint("GET", "/photos/{id}", photo, PhotoParams, protocol.PhotoReply, "Describe a photo"),
    Endpoint(
        "GET",
        "/photos/{id}/thumbnail",
        thumbnail,
        ThumbnailParams,
        None,
        "Small picture",
        "image/webp",
    ),
    Endpoint("GET", "/photos/{id}/original", original, PhotoParams, None, "The file", "image/*"),
    Endpoint("POST", "/photos/{id}/open", open_photo, PhotoParams, protocol.Done, "Open it"),
    Endpoint(
        "POST",
        "/photos/{id}/reveal",
        reveal_photo,
        PhotoParams,
        protocol.Done,
        "Show it in its folder",
    ),
    Endpoint("GET", "/status", status, NoParams, protocol.StatusReply, "Library and daemon"),
    Endpoint(
        "GET",
        "/rejected",
        rejected,
        NoParams,
        list[protocol.RejectedMessage],
        "Files that could not be used",
    ),
    Endpoint("POST", "/index/pause", pause, NoParams, protocol.Done, "Pause indexing"),
    Endpoint("POST", "/index/resume", resume, NoParams, protocol.Done, "Resume indexing"),
    Endpoint(
        "POST", "/index/rescan", rescan, NoParams, protocol.Done, "Look at every folder again"
    ),
    Endpoint(
        "POST", "/index/retry", retry, RetryParams, protocol.RetryReply, "Read failed files again"
    ),
    Endpoint(
        "POST",
        "/libraries/{id}/forget",
        forget,
        NoParams,
        protocol.ForgetReply,
        "Drop a library; its photos stay where they are",
    ),
    Endpoint("GET", "/doctor", doctor, NoParams, protocol.DoctorReply, "Examine the library"),
    Endpoint(
        "POST", "/codes", new_code, NoParams, protocol.CodeReply, "One-time code for the page"
    ),
    Endpoint("POST", "/stop", stop, NoParams, protocol.Done, "Stop the daemon"),
    Endpoint("GET", "/openapi.json", openapi, NoParams, None, "This schema"),
)


def _endpoint(daemon: Daemon, endpoint: Endpoint) -> Route:
    """Validate, call the handler in a worker thread, and wrap what it returns."""
    reply = TypeAdapter(endpoint.reply) if endpoint.reply is not None else None

    async def respond(request: Request) -> Response:
        pairs = request.query_params.multi_items()
        if len({name for name, _ in pairs}) != len(pairs):
            raise ApiError(400, "bad_request", "A parameter was given twice.")
        try:
            params = endpoint.params.model_validate(dict(pairs))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ApiError(400, "bad_request", f"{where}: {first['msg']}") from None
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
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(413, "too_large", f"The body is over {MAX_BODY_BYTES} bytes.")
    try:
        code = LOGIN.validate_json(body, strict=True).code
        code.encode()
    except (ValidationError, UnicodeEncodeError):
        raise ApiError(400, "bad_request", 'The body must be {"code": "..."}.') from None
    session = daemon.login(code)
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
        seen, quiet = -1, 0.0
        try:
            while not daemon.stopping.is_set():
                if daemon.version != seen:
                    seen, quiet = daemon.version, 0.0
                    message = await run_in_threadpool(daemon.status)
                    yield b"event: status\ndata: " + as_json(STATUS, message) + b"\n\n"
                elif quiet >= HEARTBEAT_SECONDS:
                    quiet = 0.0
                    yield b": still here\n\n"
                await asyncio.sleep(EVENT_SECONDS)
                quiet += EVENT_SECONDS
        finally:
            streams.discard(mark)

    return StreamingResponse(
        stream(), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )


STATUS: Final = TypeAdapter(protocol.StatusReply)


class _PageFiles(StaticFiles):
    """The page's files, asked for again each time: after an upgrade two versions must not mix."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


async def page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


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
            *routes,
            Mount("/static", _PageFiles(directory=STATIC)),
        ],
        exception_handlers={
            ApiError: _api_error,
            PhotosearchError: _user_error,
            HTTPException: _http_error,
        },
    )
    app.state.daemon = daemon
    app.state.streams = set()
    return Guard(app, port, token=daemon.token, knows_session=daemon.knows_session)


# --- the schema -------------------------------------------------------------------------------


def schema() -> dict[str, Any]:
    """OpenAPI 3.1, from the endpoint table."""
    paths: dict[str, Any] = {}
    models: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(API + endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint, models
        )
    paths[f"{API}/events"] = {
        "get": {
            "summary": "Server-sent events: StatusReply whenever something changed",
            "responses": {"200": {"description": "a stream", "content": {"text/event-stream": {}}}},
        }
    }
    body = _reference(protocol.LoginRequest, models)
    paths[f"{API}/login"] = {
        "post": {
            "summary": "Exchange a one-time code, or the token, for a session cookie",
            "security": [],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": _content(_reference(protocol.Done, models)),
                "default": _content(_reference(protocol.ErrorReply, models)),
            },
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "photosearch", "version": __version__},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": models,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint, models: dict[str, Any]) -> dict[str, Any]:
    fields = (
        endpoint.params.model_json_schema()["properties"] if endpoint.params.model_fields else {}
    )
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": field}
        for name, field in fields.items()
    ]
    if "{id}" in endpoint.path:
        identity = {"type": "integer", "minimum": 1, "maximum": ID_MAX}
        parameters.append({"name": "id", "in": "path", "required": True, "schema": identity})
    if endpoint.reply is None:
        good: dict[str, Any] = {"description": "ok", "content": {endpoint.media_type: {}}}
    else:
        good = _content(_reference(endpoint.reply, models))
    return {
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": {"200": good, "default": _content(_reference(protocol.ErrorReply, models))},
    }


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "JSON", "content": {"application/json": {"schema": schema}}}


def _reference(model: Any, models: dict[str, Any]) -> dict[str, Any]:
    """A model's JSON schema; the named ones it uses go to `models`."""
    made = TypeAdapter(model).json_schema(ref_template="#/components/schemas/{model}")
    models.update(made.pop("$defs", {}))
    return made
