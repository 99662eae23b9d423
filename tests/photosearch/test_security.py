"""Past security holes of programs like this one, each tried here; and slow or greedy clients.

docs/security.md tells what is defended against whom. What a browser decides is
tested in a real one, in test_page_attacks.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import uvicorn
from desk import API, BASE, PORT, Desk
from starlette.requests import Request
from workbench import jpeg

from photosearch import patience
from photosearch.api import create_app
from photosearch.endpoints import ENDPOINTS
from photosearch.serve import configuration, listen, log_to_file

CHECKOUT = Path(__file__).parent.parent.parent

# --- names and origins ------------------------------------------------------------------------


def test_an_origin_that_equals_the_host_proves_nothing(desk: Desk) -> None:
    """DNS rebinding makes both the attacker's name (CVE-2025-66414, CVE-2026-42559)."""
    evil = f"evil.example:{PORT}"
    headers = {**desk.bearer, "host": evil, "origin": f"http://{evil}"}
    assert desk.client.get(f"{API}/status", headers=headers).status_code == 421


def test_a_host_that_holds_a_path_decides_nothing(desk: Desk) -> None:
    """Where the path is read from a URL built of the Host, a Host opens doors (CVE-2026-48710)."""
    for host in (f"127.0.0.1:{PORT}/static/", f"127.0.0.1:{PORT}/healthz?", f"x@127.0.0.1:{PORT}"):
        answer = desk.client.get(f"{API}/status", headers={"host": host})
        assert answer.status_code == 421, host


@pytest.mark.parametrize(
    "target", ["@evil.example", "@evil.example/healthz", ":80@evil.example/", ".evil.example/"]
)
def test_a_path_that_begins_without_a_slash_names_no_host(
    port: int, desk: Desk, target: str
) -> None:
    """It moved the end of the host in what was rebuilt as the URL (CVE-2026-54282)."""
    scope: dict[str, object] = {
        "type": "http", "scheme": "http", "method": "GET", "path": target, "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:1")], "server": ("127.0.0.1", 1),
    }  # fmt: skip
    assert Request(scope).url.hostname == "127.0.0.1"
    bearer = f"Authorization: Bearer {desk.daemon.sessions.token}"
    with connect(port) as connection:
        connection.sendall(head(port, f"GET {target} HTTP/1.1", bearer, "Connection: close"))
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 4"), answer[:80]
    assert b"evil" not in answer


def test_starlette_is_new_enough_to_have_none_of_its_past_holes() -> None:
    """1.3.1 ended the last of those listed in docs/security.md."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (asked,) = [line for line in project["dependencies"] if line.startswith("starlette")]
    assert numbers(asked.removeprefix("starlette>=")) >= (1, 3, 1)
    assert numbers(metadata.version("starlette")) >= (1, 3, 1)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def test_nothing_is_changed_by_asking_with_get(desk: Desk) -> None:
    """A link or a picture is a GET, and needs nobody's leave (Syncthing before 0.12.25)."""
    changing = [e.path.replace("{id}", "1") for e in ENDPOINTS if e.method == "POST"]
    reading = {e.path for e in ENDPOINTS if e.method == "GET"}
    assert "/index/pause" in changing
    for path in sorted(set(changing) - reading):
        answer = desk.client.get(f"{API}{path}", headers=desk.bearer)
        assert answer.status_code == 405, path


# --- the token --------------------------------------------------------------------------------


def test_token_codes_and_queries_are_in_no_log(desk: Desk, tmp_path: Path) -> None:
    """A token in a logged address or Referer is a token lost (CVE-2026-86049)."""
    file = tmp_path / "log"
    handlers = list(logging.getLogger("photosearch").handlers)
    log_to_file(file)
    try:
        code, token = desk.daemon.sessions.new_code(), desk.daemon.sessions.token
        referer = {"referer": f"{BASE}/?token={token}"}
        desk.client.get(f"{API}/search?q=secretwords", headers={**desk.bearer, **referer})
        desk.client.get(f"{API}/nowhere?code={code}", headers={**desk.bearer, **referer})
        desk.client.post(f"{API}/login", json={"code": code})
        desk.client.get(f"{API}/search?q=" + "x" * 5000, headers=desk.bearer)
        logging.getLogger("photosearch").warning("a line, so that the log is there")
        text = file.read_text()
        assert "a line" in text
        for secret in (token, code, "secretwords"):
            assert secret not in text
    finally:
        for handler in logging.getLogger("photosearch").handlers[len(handlers) :]:
            logging.getLogger("photosearch").removeHandler(handler)
            handler.close()


def test_a_session_is_not_the_token_and_the_cookie_is_this_ports_alone(desk: Desk) -> None:
    """Cookies are shared between the ports of one host: another local server sees them."""
    code = desk.daemon.sessions.new_code()
    session = desk.client.post(f"{API}/login", json={"code": code}).cookies[f"ps_{PORT}"]
    assert desk.daemon.sessions.token not in session
    desk.client.cookies.clear()
    for cookie in (f"ps_{PORT + 1}={session}", f"ps_{PORT}={session[:-1]}", f"ps_{PORT}={code}"):
        answer = desk.client.get(f"{API}/status", headers={"cookie": cookie})
        assert answer.status_code == 401, cookie
    bearer = {"authorization": f"Bearer {session}"}  # and the session opens nothing as a token
    assert desk.client.get(f"{API}/status", headers=bearer).status_code == 401


def test_no_answer_tells_a_token_or_another_session(desk: Desk) -> None:
    """Where one way in could ask for others, a small right became a large one
    (Plex: CVE-2025-69416, CVE-2025-69417)."""
    sessions = desk.daemon.sessions
    others = [sessions.login(sessions.new_code()) for _ in range(2)]
    unused = sessions.new_code()
    code = sessions.new_code()
    mine = desk.client.post(f"{API}/login", json={"code": code}).cookies[f"ps_{PORT}"]
    secrets = [sessions.token, unused, mine, *others]
    photo_id = str(desk.photo_id("1.jpg"))
    asked = 0
    for endpoint in ENDPOINTS:
        if endpoint.method == "GET" and endpoint.path != "/doctor":
            answer = desk.client.get(API + endpoint.path.replace("{id}", photo_id))
            asked += answer.status_code == 200
            told = answer.content + repr(answer.headers.raw).encode()
            for secret in secrets:
                assert secret is not None and secret.encode() not in told, endpoint.path
    assert asked > 8
    # A code can be asked for: it opens a session as good as this one, once, and no more.
    assert desk.client.post(f"{API}/codes").json()["code"] not in secrets


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_token_is_readable_by_its_owner_alone(desk: Desk) -> None:
    assert desk.daemon.home.token.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(desk.daemon.sessions.token)) == 32


# --- files ------------------------------------------------------------------------------------


def test_a_sibling_whose_name_begins_like_the_librarys_is_outside_it(
    desk: Desk, tmp_path: Path
) -> None:
    """`/photos-secret` starts with `/photos` (CVE-2026-35397)."""
    secret = tmp_path / "photos-secret"
    secret.mkdir()
    (secret / "x.jpg").write_bytes(jpeg(70))
    photo_id = desk.photo_id("2.jpg")
    (desk.bench.disk / "2.jpg").unlink()
    (desk.bench.disk / "2.jpg").symlink_to(secret / "x.jpg")
    for what in ("original", "thumbnail?size=900"):
        assert desk.get(f"/photos/{photo_id}/{what}").status_code == 404
    answer = desk.client.post(f"{API}/photos/{photo_id}/open", headers=desk.bearer)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/static/..\\errors.py",
        "/static/%5c%5cevil.example%5cshare%5cx",
        "/static/C:/Windows/win.ini",
        "/static/....//errors.py",
        "/static/%00",
        "/static/%2e%2e%2ferrors.py",
        "/static/.",
    ],
)
def test_static_files_stay_inside_their_folder(desk: Desk, path: str) -> None:
    """Windows shares and drives too (CVE-2026-48818)."""
    answer = desk.client.get(path)
    assert answer.status_code in (400, 401, 404), path
    assert b"class PhotosearchError" not in answer.content


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"


@pytest.mark.parametrize("data", [SVG, HTML, b"GIF89a" + HTML, b"\xff\xd8\xff" + HTML])
def test_what_only_pretends_to_be_a_photo_is_never_sent(desk: Desk, data: bytes) -> None:
    """Stored scripts (CVE-2026-44727): no picture, no file of it is served."""
    desk.bench.write("picture.jpg", data)
    desk.bench.sync()
    assert "picture.jpg" in desk.bench.rejected()


def test_a_photo_that_is_also_a_page_is_sent_as_a_photo_in_a_sandbox(desk: Desk) -> None:
    desk.bench.write("both.html.jpg", jpeg(80) + HTML)
    desk.bench.sync()
    answer = desk.get(f"/photos/{desk.photo_id('both.html.jpg')}/original")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_many_ranges_cost_no_more_than_the_file(desk: Desk) -> None:
    """Parsing a hundred thousand ranges took minutes once (CVE-2025-62727)."""
    url = f"/photos/{desk.photo_id('1.jpg')}/original"
    whole = desk.get(url).content
    spent = time.process_time()
    many = "bytes=" + ",".join(f"{n}-{n + 1}" for n in range(0, 8_000, 2))
    assert len(desk.get(url, range=many).content) < 400 * len(whole)
    assert time.process_time() - spent < 2.0
    assert desk.get(url, range="bytes=5-9").content == whole[5:10]
    assert desk.get(url, range=f"bytes={len(whole)}-").status_code == 416
    for odd in ("bytes=-", "bytes=9-5", "lines=1-2", "bytes=a-b", "bytes=" + "9" * 400 + "-"):
        assert desk.get(url, range=odd).status_code in (200, 206, 400, 416), odd


def test_a_form_is_not_read_however_many_fields_it_has(desk: Desk) -> None:
    """Limits on forms did not hold for those of a page (CVE-2026-54283). None is read here."""
    kind = {"content-type": "application/x-www-form-urlencoded"}
    spent = time.process_time()
    for body, statuses in (
        (b"code=x", {415}), (b"a=1&" * 4_000, {415}), (b"a=1&" * 2_000_000, {413}),
        (b"a=" + b"x" * 8_000_000, {413}),
    ):  # fmt: skip
        answer = desk.client.post(f"{API}/login", content=body, headers=kind)
        assert answer.status_code in statuses, len(body)
    assert time.process_time() - spent < 2.0
    reading = re.compile(r"\.form\(|multipart")
    for file in (CHECKOUT / "photosearch").glob("*.py"):
        assert not reading.search(file.read_text(encoding="utf-8")), file.name


# --- slow and greedy clients, at a real socket ------------------------------------------------


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
def port(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The API at a real socket, with little patience."""
    monkeypatch.setattr(patience, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(patience, "STALLED_SECONDS", 1.0)
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    listener = listen(number)
    server = _Server(configuration(create_app(desk.daemon, number)))
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
    )
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield number
    server.should_exit = True
    thread.join(timeout=30)
    listener.close()


def connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=30)
    made.settimeout(30)
    return made


def head(port: int, line: str = "GET /healthz HTTP/1.1", *more: str) -> bytes:
    return "\r\n".join([line, f"Host: 127.0.0.1:{port}", *more, "", ""]).encode()


def everything(connection: socket.socket) -> bytes:
    """What comes until the other end closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            found += part
    return found


def answers(port: int) -> bool:
    with connect(port) as connection:
        connection.sendall(head(port, "GET /healthz HTTP/1.1", "Connection: close"))
        return everything(connection).startswith(b"HTTP/1.1 200")


def test_an_answer_is_not_held_back_for_the_reader_to_say_it_has_the_first_part(port: int) -> None:
    """Head and body are sent apart; with Nagle's rule the second waited 40 ms, each time."""
    waits = []
    with connect(port) as connection:
        for _ in range(20):
            begun = time.perf_counter()
            connection.sendall(head(port))
            got = b""
            while b"}" not in got:
                got += connection.recv(65536)
            waits.append(time.perf_counter() - begun)
    assert min(waits[5:]) < 0.030, waits


HALF_A_BODY = (
    "POST /api/v1/login HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n"
    "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
)


@pytest.mark.parametrize(
    "begun",
    ["", "GET /healthz HTTP/1.1\r\nHost: 127", HALF_A_BODY],
    ids=["nothing", "half a header", "half a body"],
)
def test_a_request_that_never_ends_is_hung_up_on(port: int, begun: str) -> None:
    with connect(port) as connection:
        connection.sendall(begun.replace("PORT", str(port)).encode())
        everything(connection)  # returns: the other end has closed
    assert answers(port)


def test_a_trickle_does_not_set_the_clock_back(port: int) -> None:
    with connect(port) as connection:
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in head(port, "GET /healthz HTTP/1.1", "X: " + "y" * 2000):
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
                if time.monotonic() - begun > 25:
                    break
            everything(connection)
        assert time.monotonic() - begun < 25


def test_who_does_not_read_is_hung_up_on(port: int, desk: Desk) -> None:
    desk.bench.write("big.bmp", bmp(2000, 1500))
    desk.bench.sync()
    path = f"{API}/photos/{desk.photo_id('big.bmp')}/original"
    bearer = f"Authorization: Bearer {desk.daemon.sessions.token}"
    with connect(port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head(port, f"GET {path} HTTP/1.1", bearer))
        time.sleep(2.5)  # read nothing for longer than it is waited for
        began = time.monotonic()
        assert len(everything(connection)) < 9_000_000
        assert time.monotonic() - began < 30  # nor does the system go on sending: 100 s before
    assert answers(port)


def bmp(width: int, height: int) -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (width, height), (9, 90, 200)).save(file, "BMP")
    return file.getvalue()


def test_a_hundred_silent_connections_do_not_keep_the_owner_out(port: int) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(100):
            held.enter_context(contextlib.closing(connect(port)))
        assert answers(port)


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (["POST /api/v1/index/pause HTTP/1.1", "Content-Length: 1000000000"], b"413"),
        (["POST /api/v1/login HTTP/1.1", "Content-Length: 99999999999999999999"], b"413"),
        (["GET /" + "x" * 70_000 + " HTTP/1.1"], b"4"),
        (["GET /healthz HTTP/1.1", *(f"X-{n}: {'y' * 200}" for n in range(400))], b"4"),
        (["GET /healthz HTTP/1.1", "Content-Length: -1"], b"400"),
        (["GET /healthz HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 3"], b"4"),
        (["GET http://evil.example/healthz HTTP/1.1"], b"4"),
        (["CONNECT evil.example:443 HTTP/1.1"], b"4"),
    ],
    ids=["body", "huge body", "address", "headers", "negative", "two lengths", "proxy", "connect"],
)
def test_greedy_and_odd_requests_are_refused(
    port: int, request_head: list[str], status: bytes
) -> None:
    with connect(port) as connection:
        connection.sendall(head(port, *request_head, "Connection: close"))
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:80]
    assert answers(port)


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        (["GET /healthz HTTP/1.1"], 421, "wrong_host"),
        (["GET /healthz HTTP/1.1", "Host: 127.0.0.1:PORT", "Host: x"], 421, "wrong_host"),
        (["GET /healthz HTTP/1.0"], 421, "wrong_host"),
        (["GET /healthz HTTP/1.1", "Host: evil.example"], 421, "wrong_host"),
        (["hello"], 400, "bad_request"),
        (["GET /healthz HTTP/1.1", "Host: 127.0.0.1:PORT", "no colon"], 400, "bad_request"),
        (["GET /healthz HTTP/1.1", "Host: 127.0.0.1:PORT", f"X: {'y' * 70_000}"], 431, "too_large"),
    ],
    ids=["no host", "two hosts", "HTTP/1.0", "foreign", "not HTTP", "no header", "too long"],
)
def test_what_is_no_request_gets_an_error_like_all_others(
    port: int, lines: list[str], status: int, code: str
) -> None:
    text = "\r\n".join([*lines, "", ""]).replace("PORT", str(port))
    with connect(port) as connection:
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = everything(connection)
    top, _, body = answer.partition(b"\r\n\r\n")
    assert top.startswith(f"HTTP/1.1 {status} ".encode()), top[:80]
    assert json.loads(body)["error"]["code"] == code
    assert b"\r\nx-content-type-options: nosniff" in top.lower()
    assert answers(port)


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "//evil.example/..", "/static", "/healthz/", "/%2f%2fevil", "/\\evil"],
)
def test_no_address_leads_elsewhere(port: int, desk: Desk, path: str) -> None:
    """Open redirects (CVE-2023-39968): no answer has a Location at all."""
    bearer = f"Authorization: Bearer {desk.daemon.sessions.token}"
    with connect(port) as connection:
        connection.sendall(head(port, f"GET {path} HTTP/1.1", bearer, "Connection: close"))
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 4"), answer[:80]
    assert b"\r\nlocation:" not in answer.lower()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lists sockets elsewhere")
def test_the_listener_is_on_the_loopback_interface_alone(port: int) -> None:
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(5)
        own = socket.gethostbyname(socket.gethostname())
        if own.startswith("127."):
            pytest.skip("this machine has no address but loopback")
        assert probe.connect_ex((own, port)) != 0
