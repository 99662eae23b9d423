"""Who may ask, what may be asked, and that the schema tells the truth."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import schemathesis
from desk import API, BASE, PORT, Desk
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image
from workbench import jpeg

from photosearch import daemon, guard, opener, sessions
from photosearch.endpoints import ENDPOINTS
from photosearch.errors import RootMissing
from photosearch.openapi import schema as make_schema

# --- the guard --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (f"127.0.0.1:{PORT}", 200),
        (f"localhost:{PORT}", 200),
        (f"LOCALHOST:{PORT}", 200),
        (f"[::1]:{PORT}", 200),
        (f"127.0.0.1:{PORT + 1}", 421),
        ("127.0.0.1", 421),
        (f"evil.example:{PORT}", 421),
        (f"127.0.0.1.evil.example:{PORT}", 421),
        (f"127.0.0.1:{PORT}@evil.example", 421),
        (f"0.0.0.0:{PORT}", 421),
        ("", 421),
    ],
)
def test_only_our_own_names_are_answered(desk: Desk, host: str, status: int) -> None:
    for path in ("/", "/healthz", f"{API}/status"):
        response = desk.client.get(path, headers={**desk.bearer, "host": host})
        assert response.status_code == status, path


def test_two_hosts_are_as_bad_as_a_wrong_one(desk: Desk) -> None:
    hosts = [("host", f"127.0.0.1:{PORT}"), ("host", "evil.example")]
    assert desk.client.get("/healthz", headers=hosts).status_code == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": BASE}, 200),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": f"http://localhost:{PORT}"}, 403),
        ({"origin": f"https://127.0.0.1:{PORT}"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-site"}, 403),  # another port of this machine
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
    ],
)
def test_other_sites_and_ports_are_refused(
    desk: Desk, headers: dict[str, str], status: int
) -> None:
    assert desk.get("/status", **headers).status_code == status


def test_a_link_from_elsewhere_may_open_the_empty_page_and_nothing_more(desk: Desk) -> None:
    arriving = {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    assert desk.client.get("/", headers=arriving).status_code == 200
    framed = {**arriving, "sec-fetch-dest": "iframe"}
    assert desk.client.get("/", headers=framed).status_code == 403
    assert desk.client.get("/static/index.html", headers=arriving).status_code == 403


@pytest.mark.parametrize("path", [e.path.replace("{id}", "1") for e in ENDPOINTS])
def test_everything_but_the_door_needs_the_token(desk: Desk, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {desk.daemon.sessions.token}"},
            {"cookie": f"ps_{PORT}={desk.daemon.sessions.token}"},
            {"cookie": f"ps_{PORT}="},
        ):
            response = desk.client.request(method, API + path, headers=headers)
            assert response.status_code == 401, (method, path, headers)


def test_odd_paths_do_not_slip_past_the_guard(desk: Desk) -> None:
    for path in (
        "/static/../api/v1/status",
        "/static/%2e%2e/api/v1/status",
        "/static/..%2fapi/v1/status",
        "//api/v1/status",
        "/api/v1/login/../status",
        "/static/../../errors.py",
        "/static/%2e%2e/errors.py",
        "/static//etc/passwd",
    ):
        response = desk.client.get(path)
        assert response.status_code in (401, 404), path
        assert b"photosearch.errors" not in response.content


def test_every_answer_carries_the_security_headers(desk: Desk) -> None:
    for path in ("/", "/healthz", "/nowhere", f"{API}/status", "/static/index.html"):
        headers = desk.client.get(path, headers=desk.bearer).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


# --- signing in -------------------------------------------------------------------------------


def login(desk: Desk, code: str) -> httpx.Response:
    return desk.client.post(f"{API}/login", json={"code": code}, headers={"origin": BASE})


def test_a_code_opens_one_session_once(desk: Desk) -> None:
    code = desk.client.post(f"{API}/codes", headers=desk.bearer).json()["code"]
    answer = login(desk, code)
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"ps_{PORT}=")
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert desk.daemon.sessions.token not in cookie
    assert desk.client.get(f"{API}/status").status_code == 200  # by the cookie alone
    assert login(desk, code).status_code == 401


def test_a_code_grows_stale(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    code = desk.daemon.sessions.new_code()
    monkeypatch.setattr(sessions, "CODE_SECONDS", 0.0)
    stale = desk.daemon.sessions.new_code()
    assert login(desk, stale).status_code == 401
    assert login(desk, code).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"code": 5}', "application/json", 400),
        (b'{"code": "\\ud800"}', "application/json", 400),
        (b'{"code": "no"}', "text/plain", 415),
        (b'{"code": "no"}', "application/json", 401),
        (b'{"code": "' + b"x" * 20_000 + b'"}', "application/json", 413),
    ],
)
def test_bad_sign_ins_are_refused_in_words(desk: Desk, body: bytes, kind: str, status: int) -> None:
    answer = desk.client.post(f"{API}/login", content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


# --- what it answers --------------------------------------------------------------------------


def test_search_answers_hits_with_all_their_fields(desk: Desk) -> None:
    found = desk.get("/search?q=a+dog&k=4").json()
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3, 4]
    assert found["more"] is True
    assert found["total_photos"] == 6
    hit = found["hits"][0]
    assert set(hit) == {
        "rank", "score", "path", "photo_id", "taken", "why", "relevant", "offline",
        "width_px", "height_px", "colour", "similar", "place", "hidden",
    }  # fmt: skip
    assert Path(hit["path"]).is_file()
    with Image.open(hit["path"]) as photo:
        mean = np.asarray(photo.convert("RGB"), np.float64).mean(axis=(0, 1))
    told = [int(hit["colour"][start : start + 2], 16) for start in (1, 3, 5)]
    assert np.abs(mean - told).max() <= 4, hit["colour"]  # of 255; JPEG decodes at reduced scale
    rest = desk.get("/search?q=a+dog&k=4&offset=4").json()
    assert [hit["rank"] for hit in rest["hits"]] == [5, 6]


def test_an_empty_query_answers_the_newest_photos_page_by_page(desk: Desk) -> None:
    whole = desk.get("/search").json()
    assert (len(whole["hits"]), whole["more"]) == (6, False)
    pages = [desk.get(f"/search?k=4&offset={start}").json() for start in (0, 4)]
    assert [page["more"] for page in pages] == [True, False]
    shown = [hit["photo_id"] for page in pages for hit in page["hits"]]
    assert shown == [hit["photo_id"] for hit in whole["hits"]]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs names that are not UTF-8")
def test_paths_that_are_not_utf8_do_not_break_the_answers_they_are_in(desk: Desk) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (desk.bench.disk / name).write_bytes(jpeg(40))
    (desk.bench.disk / os.fsdecode(b"bad\xe9.jpg")).write_bytes(b"no photo")
    desk.bench.sync()
    hits = desk.get("/search?q=a+dog").json()["hits"]
    assert name in [Path(hit["path"]).name for hit in hits]
    assert desk.get("/rejected").status_code == 200
    assert guard.ApiError(500, "failed", name).response().status_code == 500


def test_the_pages_files_are_asked_for_again_after_an_upgrade(desk: Desk) -> None:
    assert desk.client.get("/static/index.html").headers["cache-control"] == "no-cache"


def test_search_answers_how_it_understood_the_query(desk: Desk) -> None:
    typed = 'a 🐈 "1.jpg" camera:x foo:bar'
    found = desk.get(f"/search?q={quote(typed)}").json()
    assert [(chip["kind"], chip["text"]) for chip in found["chips"]] == [
        ("words", "a 🐈"), ("exact", '"1.jpg"'), ("camera", "camera:x"), ("words", "foo:bar"),
    ]  # fmt: skip
    for chip in found["chips"]:
        assert typed[chip["start"] : chip["end"]] == chip["text"]
    assert [bool(chip["note"]) for chip in found["chips"]] == [False, False, False, True]
    assert found["hits"] == []
    assert "foo:bar is taken as words: there is no filter foo:" in found["notes"]


def test_filters_and_examples_work_by_http(desk: Desk) -> None:
    photo_id = desk.photo_id("1.jpg")
    (only,) = desk.get("/search?q=%221.jpg%22").json()["hits"]
    assert only["photo_id"] == photo_id
    assert only["why"] == ["file name has 1.jpg"]
    by_id = desk.get(f"/search?q=like:{photo_id}").json()
    assert by_id["hits"] == desk.get(f"/search?like={photo_id}").json()["hits"]
    assert len(by_id["hits"]) == 5
    by_path = desk.get("/search?q=like:./1.jpg").json()
    assert by_path["hits"] == by_id["hits"]
    gone = desk.get("/search?q=like:/etc/passwd").json()
    assert gone["hits"] == []
    assert "not in the library" in gone["notes"][0]
    assert len(desk.get("/search?q=sort:date").json()["hits"]) == 6


def test_a_query_of_any_length_is_read_as_far_as_it_may_be(desk: Desk) -> None:
    answer = desk.get("/search?q=" + "x" * 20_000)
    assert answer.status_code == 200
    assert answer.json()["notes"] == ["only the first 1000 characters were read"]
    assert desk.get("/suggestions?q=" + "x" * 20_000).json() == []
    assert desk.client.post(f"{API}/history?q=" + "x" * 20_000, headers=desk.bearer).json() == {
        "ok": True
    }
    assert desk.get("/history").json() == ["x" * 1000]


@pytest.mark.parametrize(
    "query", ["k=0", "k=1001", "k=x", "offset=-1", "all=maybe", "like=0",
              "unknown=1", "q=a&q=b"]
)  # fmt: skip
def test_what_the_schema_forbids_is_refused(desk: Desk, query: str) -> None:
    answer = desk.get(f"/search?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"


def test_thumbnails_come_from_the_cache_and_are_made_again_when_it_is_gone(desk: Desk) -> None:
    photo_id = desk.photo_id("1.jpg")
    first = desk.get(f"/photos/{photo_id}/thumbnail")
    assert first.headers["content-type"] == "image/webp"
    assert "immutable" in first.headers["cache-control"]
    for file in (desk.bench.home / "thumbnails").rglob("*.webp"):
        file.unlink()
    assert desk.get(f"/photos/{photo_id}/thumbnail").content[8:12] == b"WEBP"
    assert list((desk.bench.home / "thumbnails").rglob("*.webp"))
    large = desk.get(f"/photos/{photo_id}/thumbnail?size=700")
    assert len(large.content) > len(first.content)
    (desk.bench.disk / "1.jpg").rename(desk.bench.home / "away.jpg")
    small = desk.get(f"/photos/{photo_id}/thumbnail?size=640")  # its drive is away
    assert small.content == desk.get(f"/photos/{photo_id}/thumbnail").content
    assert "immutable" not in small.headers["cache-control"]  # it only stands in
    assert "max-age=5" in small.headers["cache-control"].split(", ")
    (desk.bench.home / "away.jpg").rename(desk.bench.disk / "1.jpg")
    back = desk.get(f"/photos/{photo_id}/thumbnail?size=700")
    assert back.content == large.content
    assert back.headers == large.headers


def test_a_thumbnail_of_a_file_that_holds_something_else_by_now_is_not_kept(desk: Desk) -> None:
    photo_id = desk.photo_id("1.jpg")
    was = desk.get(f"/photos/{photo_id}/thumbnail?size=700")
    assert "immutable" in was.headers["cache-control"]
    (desk.bench.disk / "1.jpg").write_bytes((desk.bench.disk / "2.jpg").read_bytes())
    now = desk.get(f"/photos/{photo_id}/thumbnail?size=700")
    assert now.content != was.content
    assert "immutable" not in now.headers["cache-control"]


def test_originals_come_in_a_sandbox_with_the_type_that_was_found(desk: Desk) -> None:
    photo_id = desk.photo_id("1.jpg")
    answer = desk.get(f"/photos/{photo_id}/original")
    assert answer.content == (desk.bench.disk / "1.jpg").read_bytes()
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    part = desk.get(f"/photos/{photo_id}/original", range="bytes=0-3")
    assert (part.status_code, part.content) == (206, answer.content[:4])
    many = desk.get(f"/photos/{photo_id}/original", range="bytes=" + ",".join(["0-"] * 5000))
    assert len(many.content) <= 2 * len(answer.content)


@pytest.mark.parametrize("what", ["", "/thumbnail", "/original"])
@pytest.mark.parametrize(
    "photo_id", ["0", "999999", "-1", "1.5", "../1", "%2e%2e", "9" * 30, "1%00", "٣"]
)
def test_ids_that_name_no_photo_are_not_found(desk: Desk, what: str, photo_id: str) -> None:
    assert desk.get(f"/photos/{photo_id}{what}").status_code == 404


def test_a_photo_that_became_a_link_out_of_the_library_is_not_sent(
    desk: Desk, tmp_path: Path
) -> None:
    photo_id = desk.photo_id("1.jpg")
    secret = tmp_path / "photos-secret.jpg"  # its name begins as the root's does
    secret.write_bytes(jpeg(77))
    (desk.bench.disk / "1.jpg").unlink()
    (desk.bench.disk / "1.jpg").symlink_to(secret)
    assert desk.get(f"/photos/{photo_id}/original").status_code == 404
    assert desk.get(f"/photos/{photo_id}/thumbnail?size=900").status_code == 404


def test_open_and_reveal_start_a_viewer_on_that_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(opener, "run", commands.append)
    photo_id = desk.photo_id("1.jpg")
    for action in ("open", "reveal"):
        url = f"{API}/photos/{photo_id}/{action}"
        assert desk.client.post(url, headers=desk.bearer).json() == {"ok": True}
        assert desk.client.get(url, headers=desk.bearer).status_code == 405
    path = str(desk.bench.disk / "1.jpg")
    assert commands[0][-1] == path
    assert any(path in word for word in commands[1])


@pytest.mark.parametrize(
    ("platform", "first"), [("linux", "xdg-open"), ("darwin", "open"), ("win32", "rundll32")]
)
def test_a_path_is_one_argument_on_every_system(platform: str, first: str) -> None:
    nasty = "/photos/a b; rm -rf '$HOME' & --.jpg"
    command = opener.open_command(nasty, platform)
    assert (command[0], command[-1]) == (first, nasty)
    assert len(opener.reveal_command(nasty, platform)) in (2, 3, 8)


def test_status_counts_what_there_is(desk: Desk) -> None:
    status = desk.get("/status").json()
    assert (status["photos"], status["searchable"], status["failed"]) == (6, 6, 1)
    assert status["libraries"] == [{"path": str(desk.bench.disk), "offline": False, "id": 1}]
    assert status["index"] == "exact"
    (bad,) = desk.get("/rejected").json()
    assert bad["path"].endswith("bad.jpg")
    assert bad["reason"].startswith("not a photo")


def test_pause_and_resume_show_in_the_status(desk: Desk) -> None:
    desk.client.post(f"{API}/index/pause", headers=desk.bearer)
    assert desk.get("/status").json()["indexing"]["state"] == "paused"
    desk.client.post(f"{API}/index/resume", headers=desk.bearer)
    assert desk.get("/status").json()["indexing"]["state"] == "idle"


def test_a_photo_whose_drive_is_away_is_not_called_unknown(desk: Desk) -> None:
    photo_id = desk.photo_id("1.jpg")
    away = desk.bench.disk.with_name("away")
    desk.bench.disk.rename(away)
    desk.bench.sync()
    answers = [
        desk.get(f"/photos/{photo_id}/original"),
        desk.client.post(f"{API}/photos/{photo_id}/open", headers=desk.bearer),
        desk.client.post(f"{API}/photos/{photo_id}/reveal", headers=desk.bearer),
    ]
    for answer in answers:
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "photo_away"
        assert "drive is away" in answer.json()["error"]["message"]
    assert desk.get("/photos/999/original").json()["error"]["code"] == "no_photo"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("/search?q=a&k=x", "k must be a whole number."),
        ("/search?q=a&k=0", "k must be at least 1."),
        ("/search?q=a&all=perhaps", "all must be true or false."),
        ("/search?q=a&colour=red", "colour is no parameter here."),
    ],
)
def test_a_wrong_parameter_is_told_in_our_words(desk: Desk, asked: str, says: str) -> None:
    answer = desk.get(asked)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, says)


def test_unknown_addresses_are_errors_of_the_same_shape(desk: Desk) -> None:
    answer = desk.client.get("/nowhere", headers=desk.bearer)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


# --- the schema -------------------------------------------------------------------------------


def test_every_route_is_in_the_schema_and_nothing_else(desk: Desk) -> None:
    told = desk.get("/openapi.json").json()
    paths = told["paths"]
    assert paths["/"]["get"]["security"] == paths["/healthz"]["get"]["security"] == []
    assert told["components"]["securitySchemes"]["session"]["name"] == f"ps_{PORT}"
    wanted = {API + endpoint.path for endpoint in ENDPOINTS} | {
        "/",
        "/healthz",
        f"{API}/login",
        f"{API}/events",
        f"{API}/openapi.json",
    }
    assert set(paths) == wanted
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(paths)))
    assert references <= set(desk.get("/openapi.json").json()["components"]["schemas"])


def no_folder(folders: list[str]) -> list[str]:
    raise RootMissing(f"{folders[0]}: does not exist.")


def test_the_schema_tells_the_truth(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """schemathesis makes requests the schema allows and forbids; every answer must fit it."""
    monkeypatch.setattr(opener, "run", lambda command: None)
    # A folder that happens to exist would become a library of the test's.
    monkeypatch.setattr(daemon, "require_folders", no_folder)
    raw = make_schema()
    del raw["paths"][f"{API}/events"]  # a stream does not end
    raw["security"] = []  # the guard has its own tests above
    schema = schemathesis.openapi.from_dict(raw)
    checked = 0
    for operation in schema.get_all_operations():

        @settings(
            max_examples=15,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.ok().as_strategy())
        def check(case: schemathesis.Case) -> None:
            nonlocal checked
            checked += 1
            response = desk.client.request(
                case.method,
                case.formatted_path,
                params=case.query or None,
                json=case.body if isinstance(case.body, dict) else None,
                headers=desk.bearer,
            )
            assert response.status_code < 500, response.text
            case.validate_response(response)

        check()
    assert checked > 50
