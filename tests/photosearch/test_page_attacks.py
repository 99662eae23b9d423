"""What another page in the user's browser can do to the daemon: nothing. In a real Chromium.

The attacker's pages come from a server on another port of this machine, under a
name of its own; the victim is signed in, in the same browser.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from pages import Daemon, Opener, Window, needs_chromium, wait_for
from playwright.sync_api import expect

pytestmark = needs_chromium


class Site(BaseHTTPRequestHandler):
    """The attacker's web server: one empty page, whatever is asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        Site.asked.append(f"{self.path} {self.headers.get('Referer', '')}")
        body = b"<!doctype html><title>evil</title><p id=out></p>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    """Its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["http://www.evil.test", "http://127.0.0.1", "http://localhost"])
def attacker(request: pytest.FixtureRequest, site: int, open_page: Opener) -> Window:
    """A window on the attacker's page; the victim's is open beside it, in the same browser.

    From the machine's own name it is another port: the browser calls that same-site,
    and sends the session's cookie along.
    """
    window = open_page()
    page = window.page.context.new_page()
    page.goto(f"{request.param}:{site}/attack")
    return Window(page)


TRY = """async ([url, options]) => {
  try {
    const reply = await fetch(url, options);
    return [reply.type, reply.status, await reply.text()];
  } catch (error) {
    return ["failed", 0, String(error)];
  }
}"""


@pytest.mark.parametrize("mode", ["cors", "no-cors"])
def test_a_fetch_from_elsewhere_reads_nothing(attacker: Window, daemon: Daemon, mode: str) -> None:
    options = {"mode": mode, "credentials": "include"}
    for path in ("api/v1/search?q=red", "api/v1/status", "", "static/app.js"):
        kind, status, body = attacker.page.evaluate(TRY, [daemon.url + path, options])
        assert status == 0, (path, kind)
        assert "red" not in body and "photosearch" not in body, path


def test_a_post_from_elsewhere_changes_nothing(attacker: Window, daemon: Daemon) -> None:
    """Neither by fetch, which the page cannot read, nor by a form, which needs no leave."""
    before = daemon.call("/status")
    assert before["indexing"]["state"] == "idle"
    options = {"method": "POST", "mode": "no-cors", "credentials": "include"}
    attacker.page.evaluate(TRY, [daemon.url + "api/v1/index/pause", options])
    attacker.page.evaluate(TRY, [daemon.url + "api/v1/stop", options])
    with attacker.page.expect_navigation():
        attacker.page.evaluate(
            """(url) => {
              const form = document.createElement("form");
              form.method = "POST";
              form.action = url;
              document.body.append(form);
              form.submit();
            }""",
            daemon.url + "api/v1/index/pause",
        )
    assert "Requests from other" in attacker.page.content()
    after = daemon.call("/status")
    assert after["indexing"]["state"] == "idle"
    assert after["pid"] == before["pid"]


def test_a_frame_shows_nothing_and_can_be_read_by_no_one(attacker: Window, daemon: Daemon) -> None:
    refused: list[int] = []
    attacker.page.on(
        "response", lambda reply: reply.url == daemon.url and refused.append(reply.status)
    )
    attacker.page.evaluate(
        """(url) => {
          const frame = document.createElement("iframe");
          frame.src = url;
          frame.id = "victim";
          document.body.append(frame);
        }""",
        daemon.url,
    )
    wait_for(attacker.page, lambda: bool(refused))
    assert refused[0] == 403
    text = attacker.page.evaluate(
        """() => { try { return document.getElementById("victim").contentDocument.body.innerText; }
                   catch (error) { return "unreadable"; } }"""
    )
    assert text in ("unreadable", "") or text is None


def test_a_picture_from_elsewhere_does_not_load(attacker: Window, daemon: Daemon) -> None:
    """Or its size would tell what is in the library."""
    hit = daemon.search("green")["hits"][0]
    for what in ("thumbnail", "original"):
        outcome = attacker.page.evaluate(
            """(url) => new Promise((tell) => {
              const picture = new Image();
              picture.onload = () => tell("loaded");
              picture.onerror = () => tell("error");
              picture.src = url;
            })""",
            f"{daemon.url}api/v1/photos/{hit['photo_id']}/{what}",
        )
        assert outcome == "error", what


def test_a_script_and_an_event_stream_from_elsewhere_do_not_load(
    attacker: Window, daemon: Daemon
) -> None:
    script = """(url) => new Promise((tell) => {
      const script = document.createElement("script");
      script.onload = () => tell("loaded");
      script.onerror = () => tell("error");
      script.src = url;
      document.head.append(script);
    })"""
    assert attacker.page.evaluate(script, f"{daemon.url}api/v1/search?q=red") == "error"
    stream = """(url) => new Promise((tell) => {
      const source = new EventSource(url, {withCredentials: true});
      source.onmessage = source.onopen = () => tell("heard");
      source.onerror = () => { source.close(); tell("error"); };
    })"""
    assert attacker.page.evaluate(stream, f"{daemon.url}api/v1/events") == "error"


def test_a_name_that_comes_to_mean_this_machine_is_not_answered(
    open_page: Opener, daemon: Daemon
) -> None:
    """DNS rebinding: the attacker's own name, and origin, now lead to the daemon's port."""
    window = open_page()
    page = window.page.context.new_page()
    port = urlsplit(daemon.url).port
    reply = page.goto(f"http://rebound.evil.test:{port}/")
    assert reply is not None
    assert reply.status == 421
    for path in ("/api/v1/status", "/api/v1/search?q=red", "/healthz", "/static/app.js"):
        kind, status, body = page.evaluate(TRY, [path, {"credentials": "include"}])
        assert status == 421, (path, kind)
        assert "This address is not mine" in body


def test_an_open_window_of_the_page_cannot_be_reached_by_its_opener(
    attacker: Window, daemon: Daemon
) -> None:
    """Cross-Origin-Opener-Policy: the page is cut loose from who opened it, and not the code's."""
    with attacker.page.context.expect_page() as opened:
        attacker.page.evaluate("(url) => { window.victim = window.open(url); }", daemon.url)
    page = opened.value
    page.wait_for_load_state()
    assert page.evaluate("window.opener") is None
    expect(page.get_by_role("combobox")).to_be_visible()
    wait_for(attacker.page, lambda: attacker.page.evaluate("window.victim.closed"))


def test_nothing_is_told_to_where_a_link_leads(
    open_page: Opener, daemon: Daemon, site: int
) -> None:
    window = open_page()
    Site.asked.clear()
    target = f"http://www.evil.test:{site}/landed"
    window.page.evaluate("(url) => { location.href = url; }", target)
    window.page.wait_for_url(target)
    wait_for(window.page, lambda: any(line.startswith("/landed") for line in Site.asked))
    assert [line for line in Site.asked if line.startswith("/landed")] == ["/landed "]
    window.page.goto("about:blank")
    window.requests.clear()  # one of them led elsewhere, as it should
    window.complaints.clear()
