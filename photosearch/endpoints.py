"""What may be asked of the daemon by HTTP: one line of a table for each endpoint.

Each names its route, the model of params.py that validates its input, the
handler that calls the daemon, and the model of its answer. api.py serves the
table, openapi.py writes the schema from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from photosearch import protocol
from photosearch.daemon import Daemon
from photosearch.errors import BundleError, PhotosearchError, RootMissing, SettingsError
from photosearch.folders import folders_like
from photosearch.guard import ApiError
from photosearch.params import (
    BundleParams,
    EraseParams,
    FolderParams,
    HideParams,
    NoParams,
    Params,
    PhotoParams,
    PhotosParams,
    RetryParams,
    SearchedParams,
    SearchParams,
    SettingParams,
    ThumbnailParams,
    TypedParams,
    TypingParams,
)
from photosearch.settings import NoSuchSetting

# How long a browser may keep a thumbnail.
FINAL: Final = "private, max-age=86400, immutable"
FOR_NOW: Final = "private, max-age=5"
# A photo opened by itself runs nothing, whatever its bytes pretend to be.
ORIGINAL_HEADERS: Final = {
    "content-security-policy": "sandbox; default-src 'none'",
    "cache-control": "private, no-store",
}


def no_photo() -> ApiError:
    return ApiError(
        404, "no_photo", "There is no such photo.", "It may have been deleted or moved."
    )


def no_library() -> ApiError:
    return ApiError(404, "no_library", "There is no such library.", "See /status for those known.")


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


def suggestions(call: Call) -> list[protocol.SuggestionMessage]:
    return call.daemon.suggestions(call.params.q, call.params.k)


def past_searches(call: Call) -> list[str]:
    return call.daemon.history.entries()


def remember(call: Call) -> protocol.Done:
    call.daemon.remember(call.params.q)
    return protocol.Done()


def forget_search(call: Call) -> protocol.Done:
    call.daemon.history.forget(call.params.q)
    return protocol.Done()


def _why_not_there(call: Call) -> ApiError:
    """Of a photo whose file cannot be sent or opened: is it unknown, or its drive away?"""
    place = call.daemon.place(call.path_id)
    if place is None or not place.offline:
        return no_photo()
    return ApiError(
        404,
        "photo_away",
        "This photo's drive is away.",
        "Connect it and try again; until then the small picture is all there is.",
    )


def clear_history(call: Call) -> protocol.Done:
    call.daemon.history.clear()
    return protocol.Done()


def group(call: Call) -> list[protocol.PhotoReply]:
    found = call.daemon.group(call.path_id)
    if not found:
        raise no_photo()
    return found


def photo(call: Call) -> protocol.PhotoReply:
    found = call.daemon.photo(call.path_id)
    if found is None:
        raise no_photo()
    return found


def thumbnail(call: Call) -> Response:
    shown = call.daemon.thumbnail(call.path_id, call.params.size)
    if shown is None:
        raise no_photo()
    # A photo id stands for the same bytes for ever, so its thumbnail never changes; what stands
    # in for it does.
    age = FINAL if shown.is_final else FOR_NOW
    return Response(shown.webp, media_type="image/webp", headers={"cache-control": age})


def original(call: Call) -> Response:
    opened = call.daemon.original(call.path_id)
    if opened is None:
        raise _why_not_there(call)
    return FileResponse(opened.path, media_type=opened.media_type, headers=ORIGINAL_HEADERS)


def open_photo(call: Call) -> protocol.Done:
    return _opened(call, reveal=False)


def reveal_photo(call: Call) -> protocol.Done:
    return _opened(call, reveal=True)


def _opened(call: Call, *, reveal: bool) -> protocol.Done:
    if not call.daemon.open(call.path_id, reveal=reveal):
        raise _why_not_there(call)
    return protocol.Done()


def hide(call: Call) -> protocol.HideReply:
    return _hidden(call, hidden=True)


def unhide(call: Call) -> protocol.HideReply:
    return _hidden(call, hidden=False)


def _hidden(call: Call, *, hidden: bool) -> protocol.HideReply:
    found = call.daemon.hide(call.path_id, hidden=hidden, similar=call.params.similar)
    if found is None:
        raise no_photo()
    return found


def hide_all(call: Call) -> protocol.HideReply:
    return call.daemon.hide_all(call.params.photo_ids, hidden=True)


def unhide_all(call: Call) -> protocol.HideReply:
    return call.daemon.hide_all(call.params.photo_ids, hidden=False)


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


def add_library(call: Call) -> protocol.LibraryMessage:
    try:
        return call.daemon.add_library(call.params.path)
    except RootMissing as error:
        raise ApiError(404, "no_folder", str(error)) from None


def relocate(call: Call) -> protocol.LibraryMessage:
    try:
        found = call.daemon.relocate(call.path_id, call.params.path)
    except RootMissing as error:
        raise ApiError(404, "no_folder", str(error)) from None
    if found is None:
        raise no_library()
    return found


def folders(call: Call) -> list[str]:
    return folders_like(call.params.path)


def examples(call: Call) -> list[protocol.ExampleMessage]:
    return call.daemon.examples()


def settings(call: Call) -> list[protocol.SettingMessage]:
    return call.daemon.known_settings()


def change_setting(call: Call) -> list[protocol.SettingMessage]:
    try:
        return call.daemon.change_setting(call.params.name, call.params.value)
    except NoSuchSetting as error:
        raise ApiError(404, "no_setting", str(error)) from None
    except SettingsError as error:
        raise ApiError(409, "bad_setting", str(error)) from None


def privacy(call: Call) -> protocol.PrivacyReply:
    return call.daemon.privacy()


def bundles(call: Call) -> protocol.BundlesReply:
    return call.daemon.bundles.reply()


def use_bundle(call: Call) -> protocol.BundlesReply:
    try:
        return call.daemon.bundles.use(call.params.name)
    except BundleError as error:
        raise ApiError(409, "bad_bundle", str(error)) from None


def doctor(call: Call) -> protocol.DoctorReply:
    return call.daemon.doctor()


def new_code(call: Call) -> protocol.CodeReply:
    return protocol.CodeReply(call.daemon.sessions.new_code())


def erase(call: Call) -> protocol.Done:
    try:
        call.daemon.erase()
    except PhotosearchError as error:
        raise ApiError(409, "photos_inside", str(error)) from None
    return protocol.Done()


def stop(call: Call) -> protocol.Done:
    call.daemon.request_stop()
    return protocol.Done()


@dataclass(frozen=True)
class Endpoint:
    """One route. `reply` None: the handler answers with a Response of `media_type`."""

    method: str
    path: str
    handler: Handler
    params: type[Params]
    reply: Any
    summary: str
    media_type: str = "application/json"


ENDPOINTS: Final = (
    Endpoint("GET", "/search", search, SearchParams, protocol.SearchReply, "Rank photos"),
    Endpoint(
        "GET",
        "/suggestions",
        suggestions,
        TypingParams,
        list[protocol.SuggestionMessage],
        "Ways to go on typing",
    ),
    Endpoint("GET", "/history", past_searches, NoParams, list[str], "Past searches, newest first"),
    Endpoint("POST", "/history", remember, SearchedParams, protocol.Done, "Remember a search"),
    Endpoint(
        "POST", "/history/forget", forget_search, SearchedParams, protocol.Done, "Forget a search"
    ),
    Endpoint("POST", "/history/clear", clear_history, NoParams, protocol.Done, "Forget them all"),
    Endpoint(
        "GET",
        "/photos/{id}/group",
        group,
        PhotoParams,
        list[protocol.PhotoReply],
        "The photos it is shown for, itself first",
    ),
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
    Endpoint(
        "POST", "/photos/{id}/hide", hide, HideParams, protocol.HideReply, "Leave it out of search"
    ),
    Endpoint(
        "POST", "/photos/{id}/unhide", unhide, HideParams, protocol.HideReply, "Find it again"
    ),
    Endpoint(
        "POST",
        "/hide",
        hide_all,
        PhotosParams,
        protocol.HideReply,
        "Leave these out of search, those of them that are there",
    ),
    Endpoint(
        "POST",
        "/unhide",
        unhide_all,
        PhotosParams,
        protocol.HideReply,
        "Find these again, and none of those they are shown for",
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
        "/libraries",
        add_library,
        FolderParams,
        protocol.LibraryMessage,
        "Add a folder of photos",
    ),
    Endpoint("GET", "/folders", folders, TypedParams, list[str], "Folders that could be added"),
    Endpoint(
        "POST",
        "/libraries/{id}/forget",
        forget,
        NoParams,
        protocol.ForgetReply,
        "Drop a library; its photos stay where they are",
    ),
    Endpoint(
        "POST",
        "/libraries/{id}/relocate",
        relocate,
        FolderParams,
        protocol.LibraryMessage,
        "Say where a library's folder lies now",
    ),
    Endpoint(
        "GET",
        "/examples",
        examples,
        NoParams,
        list[protocol.ExampleMessage],
        "Searches that find something here",
    ),
    Endpoint("GET", "/settings", settings, NoParams, list[protocol.SettingMessage], "Settings"),
    Endpoint(
        "POST",
        "/settings",
        change_setting,
        SettingParams,
        list[protocol.SettingMessage],
        "Change one",
    ),
    Endpoint(
        "GET", "/privacy", privacy, NoParams, protocol.PrivacyReply, "What leaves this computer"
    ),
    Endpoint("GET", "/bundles", bundles, Params, protocol.BundlesReply, "Models at hand"),
    Endpoint(
        "POST",
        "/bundles/use",
        use_bundle,
        BundleParams,
        protocol.BundlesReply,
        "Move to a model, or back to the one that answers",
    ),
    Endpoint("GET", "/doctor", doctor, NoParams, protocol.DoctorReply, "Examine the library"),
    Endpoint(
        "POST", "/codes", new_code, NoParams, protocol.CodeReply, "One-time code for the page"
    ),
    Endpoint(
        "POST",
        "/delete-data",
        erase,
        EraseParams,
        protocol.Done,
        "Stop, and delete all that is kept of the photos, never the photos",
    ),
    Endpoint("POST", "/stop", stop, NoParams, protocol.Done, "Stop the daemon"),
)
