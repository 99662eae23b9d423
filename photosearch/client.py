"""Talk to the running daemon in protocol.py's messages, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from photosearch import home, protocol
from photosearch.errors import DaemonUnreachable, PhotosearchError
from photosearch.home import Home, Running
from photosearch.query import MAX_QUERY_CHARS
from photosearch.types import Hit

TIMEOUT_SECONDS: Final = 30.0
STOP_SECONDS: Final = 30.0
LONG_SECONDS: Final = 900.0  # for what reads or rewrites the whole library


class Client:
    """One daemon, addressed by the run.json and token of its home."""

    def __init__(self, place: Home, running: Running, token: str) -> None:
        self.running = running
        self._place = place
        self._token = token

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.running.port}/"

    def search(
        self, query: str, *, k: int, show_all: bool, offset: int = 0, like: int | None = None
    ) -> protocol.SearchReply:
        """`like`: id of a photo whose look-alikes are wanted, with words or without."""
        query = query[: MAX_QUERY_CHARS + 1]  # one more than is read: so the answer says it was cut
        also = {} if like is None else {"like": like}
        shown = "true" if show_all else "false"
        raw = self._call("GET", "/search", q=query, k=k, all=shown, offset=offset, **also)
        raw["hits"] = [Hit(**{**hit, "why": tuple(hit["why"])}) for hit in raw["hits"]]
        raw["chips"] = [protocol.Chip(**chip) for chip in raw["chips"]]
        return protocol.SearchReply(**raw)

    def suggestions(self, typed: str, k: int) -> list[protocol.SuggestionMessage]:
        """Ways to go on with what is typed, past searches first."""
        raw = self._call("GET", "/suggestions", q=typed, k=k)
        return [protocol.SuggestionMessage(**each) for each in raw]

    def remember(self, query: str) -> None:
        """A search was meant: keep it, unless the settings say not to."""
        self._call("POST", "/history", q=query)

    def forget_search(self, query: str) -> None:
        self._call("POST", "/history/forget", q=query)

    def forget_searches(self) -> None:
        self._call("POST", "/history/clear")

    def examples(self) -> list[protocol.ExampleMessage]:
        """Searches that find something in this library."""
        return [protocol.ExampleMessage(**each) for each in self._call("GET", "/examples")]

    def settings(self) -> list[protocol.SettingMessage]:
        return [protocol.SettingMessage(**each) for each in self._call("GET", "/settings")]

    def change_setting(self, name: str, value: int) -> None:
        self._call("POST", "/settings", name=name, value=value)

    def group(self, photo_id: int) -> list[protocol.PhotoReply]:
        """The photos that this one is shown for, itself first."""
        raw = self._call("GET", f"/photos/{photo_id}/group")
        return [protocol.PhotoReply(**each) for each in raw]

    def status(self) -> protocol.StatusReply:
        raw = self._call("GET", "/status")
        raw["libraries"] = [protocol.LibraryMessage(**item) for item in raw["libraries"]]
        raw["indexing"] = protocol.IndexingMessage(**raw["indexing"])
        raw["moving"] = _moving(raw.get("moving"))
        return protocol.StatusReply(**raw)

    def retry(self, library: int, under: str) -> int:
        """Have failed files read again; library 0 means all of them. Returns how many."""
        target = {"library": library, "under": under}
        return int(self._call("POST", "/index/retry", seconds=LONG_SECONDS, **target)["files"])

    def use_bundle(self, name: str) -> protocol.BundlesReply:
        raw = self._call("POST", "/bundles/use", seconds=LONG_SECONDS, name=name)
        return protocol.BundlesReply(
            [protocol.BundleMessage(**item) for item in raw["bundles"]],
            raw["answering"],
            _moving(raw["moving"]),
        )

    def forget(self, library: int) -> int:
        path = f"/libraries/{library}/forget"
        return int(self._call("POST", path, seconds=LONG_SECONDS)["photos"])

    def relocate(self, library: int, folder: str) -> None:
        self._call("POST", f"/libraries/{library}/relocate", seconds=LONG_SECONDS, path=folder)

    def doctor(self) -> protocol.DoctorReply:
        raw = self._call("GET", "/doctor", seconds=LONG_SECONDS)
        return protocol.DoctorReply(
            raw["healthy"],
            [protocol.FindingMessage(**item) for item in raw["findings"]],
            [protocol.UnsearchableMessage(**item) for item in raw["unsearchable"]],
        )

    def new_code(self) -> str:
        return str(self._call("POST", "/codes")["code"])

    def stop(self) -> None:
        """Ask the daemon to stop and wait until it has."""
        self._call("POST", "/stop")
        until = time.monotonic() + STOP_SECONDS
        while home.find_running(self._place) == self.running and is_answering(self.running):
            if time.monotonic() > until:
                raise PhotosearchError(
                    f"process {self.running.pid} has not stopped after {STOP_SECONDS:.0f} seconds."
                )
            time.sleep(0.05)
        while self._place.run.exists() and time.monotonic() < until:
            time.sleep(0.05)

    def thumbnail(self, photo_id: int, size_px: int) -> bytes:
        """A small picture, WebP. Raises PhotosearchError where the photo is gone."""
        status, body = self._ask("GET", f"/photos/{photo_id}/thumbnail", size=size_px)
        return body if status == 200 else self._refused(body)

    def open_photo(self, photo_id: int) -> None:
        self._call("POST", f"/photos/{photo_id}/open")

    def reveal_photo(self, photo_id: int) -> None:
        self._call("POST", f"/photos/{photo_id}/reveal")

    def hide(self, photo_id: int, *, hidden: bool, similar: bool) -> list[int]:
        """Leave a photo out of search, or find it again, with `similar` also those it is shown
        for. Returns the photos that changed."""
        path = f"/photos/{photo_id}/{'hide' if hidden else 'unhide'}"
        changed = self._call("POST", path, seconds=LONG_SECONDS, similar=similar)["photos"]
        return [int(each) for each in changed]

    def hide_all(self, photo_ids: Sequence[int], *, hidden: bool) -> None:
        """Leave these photos, and no others, out of search, or find them again."""
        path = f"/{'hide' if hidden else 'unhide'}"
        for start in range(0, len(photo_ids), protocol.MAX_IDS):
            ids = ",".join(map(str, photo_ids[start : start + protocol.MAX_IDS]))
            self._call("POST", path, seconds=LONG_SECONDS, ids=ids)

    def pause(self) -> None:
        self._call("POST", "/index/pause")

    def resume(self) -> None:
        self._call("POST", "/index/resume")

    def _call(
        self, method: str, path: str, /, *, seconds: float = TIMEOUT_SECONDS, **params: object
    ) -> Any:
        status, body = self._ask(method, path, seconds=seconds, **params)
        if status != 200:
            self._refused(body)
        try:
            return json.loads(body)
        except ValueError as error:
            raise self._strange() from error

    def _refused(self, body: bytes) -> NoReturn:
        """Raise what the daemon said in words."""
        try:
            problem = json.loads(body)["error"]
            words = " ".join(filter(None, (problem["message"], problem["hint"])))
        except (ValueError, KeyError, TypeError) as error:
            raise self._strange() from error
        raise PhotosearchError(words)

    def _strange(self) -> DaemonUnreachable:
        return DaemonUnreachable(f"port {self.running.port} answered, but not as photosearch does.")

    def _ask(
        self, method: str, path: str, /, *, seconds: float = TIMEOUT_SECONDS, **params: object
    ) -> tuple[int, bytes]:
        """One request; the status and the body of its answer."""
        target = protocol.API + path
        if params:
            # A name may hold bytes that are no UTF-8; they travel as they are.
            target += "?" + urllib.parse.urlencode(params, errors="surrogateescape")
        connection = http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=seconds)
        try:
            connection.request(method, target, headers={"Authorization": f"Bearer {self._token}"})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise DaemonUnreachable(
                f"the daemon (process {self.running.pid}) does not answer: {error}."
            ) from error
        finally:
            connection.close()


def _moving(raw: Any) -> protocol.MovingMessage | None:
    return protocol.MovingMessage(**raw) if raw is not None else None


def find_daemon(place: Home) -> Client | None:
    """The daemon of this home, if one is running and answers."""
    running, token = home.find_running(place), home.read_token(place)
    if running is None or token is None or not is_answering(running):
        return None
    return Client(place, running, token)


def is_answering(running: Running) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=5.0)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
