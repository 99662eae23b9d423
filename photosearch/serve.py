"""A daemon's process: its lock, its log, its listener, and how it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.handlers
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import TextIOWrapper
from pathlib import Path
from typing import Final

import anyio.to_thread
import uvicorn
from starlette.types import ASGIApp

from photosearch import __version__, home, memory, network
from photosearch.api import create_app
from photosearch.daemon import Daemon
from photosearch.encoder import open_encoder
from photosearch.errors import PhotosearchError, UsageError
from photosearch.home import Home, Running
from photosearch.library import Library
from photosearch.patience import PatientProtocol
from photosearch.settings import Settings
from photosearch.switch import Plan

DEFAULT_PORT: Final = 48620  # so that a bookmark keeps working; another if it is taken
LOG_BYTES: Final = 2 << 20
BACKLOG: Final = 128
MAX_CONNECTIONS: Final = 128  # at once; further ones are told to come again (503)
MAX_HEAD_BYTES: Final = 64 << 10  # of a request's line and headers
MAX_WORKERS: Final = 8  # requests answered at once; each holds a database connection


def serve(
    place: Home,
    *,
    libraries: Sequence[str],
    settings: Settings,
    plan: Plan,
    bundle_folders: Sequence[Path],
    port: int | None,
    on_ready: Callable[[str, str], None],
    on_erase: Callable[[], None],
) -> int:
    """Run the daemon until it is stopped; returns the exit code.

    `on_ready(url, code)` is called once it can answer; the code opens one session.
    `on_erase()` is called at the very end, where the page asked for everything to be deleted.
    """
    network.begin_counting()
    memory.keep_few_arenas()
    with home.owned(place):
        logged = log_to_file(place.log)
        bundle = plan.now
        encoder = open_encoder(bundle, threads=settings.threads, runtime=settings.runtime)
        # The first key press must not pay for loading; the library is read meanwhile.
        warming = ThreadPoolExecutor(1, thread_name_prefix="warming")
        warm = warming.submit(encoder.texts, ["warm"])
        warming.shutdown(wait=False)
        library = Library(
            place.library,
            space=bundle.space,
            dim=bundle.dim,
            bundle=bundle.name,
            graph_from=settings.graph_from_bytes(bundle.dim),
        )
        daemon = Daemon(
            place, settings, bundle, encoder, library, bundle_folders=tuple(bundle_folders)
        )
        try:
            daemon.bundles.begin(plan.next)
            for folder in libraries:
                library.add_root(folder)
            if not library.roots():
                raise UsageError("no library yet. Name a folder of photos: --library DIR")
            warm.result()
            memory.give_back()
            listener = listen(port)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            daemon.start()
            home.announce(place, Running(os.getpid(), listener.getsockname()[1], __version__))
            code = run(daemon, listener, on_ready=lambda: on_ready(url, daemon.sessions.new_code()))
        finally:
            daemon.stop()
    if daemon.is_to_erase:
        logging.getLogger("photosearch").removeHandler(logged)
        logged.close()
        on_erase()
    return code


def listen(port: int | None) -> socket.socket:
    """Bind the loopback interface; without a port, our usual one or any that is free."""
    for candidate in (port,) if port is not None else (DEFAULT_PORT, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name == "posix":  # on Windows this option would let others share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", candidate))
            listener.listen(BACKLOG)  # at once: two daemons may bind a port, one can listen
            return listener
        except (OSError, OverflowError) as error:
            listener.close()
            reason = error
    raise PhotosearchError(f"port {port} cannot be used ({reason}). Choose another --port.")


class _PrivateLog(logging.handlers.RotatingFileHandler):
    """File names are for its owner alone to read."""

    def _open(self) -> TextIOWrapper:
        file = open(  # noqa: SIM115
            self.baseFilename, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)
        )
        return TextIOWrapper(file, encoding=self.encoding, errors=self.errors)


def log_to_file(file: Path) -> logging.Handler:
    """One event a line. Query text and photo content are never logged."""
    handler = _PrivateLog(
        file, maxBytes=LOG_BYTES, backupCount=2, encoding="utf-8", errors="backslashreplace"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger("photosearch").addHandler(handler)
    return handler


class _Server(uvicorn.Server):
    """uvicorn with our own way to stop: signals end it once, and are not raised again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def configuration(app: ASGIApp) -> uvicorn.Config:
    """How requests are taken: quietly, and with an end to every wait and size."""
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        lifespan="off",
        access_log=False,  # the query is in the address, and queries are not logged
        log_config=None,
        log_level="error",  # its warnings, of others' odd requests, would stand on our stderr
        server_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=30,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws="none",
    )


def run(daemon: Daemon, listener: socket.socket, *, on_ready: Callable[[], None]) -> int:
    """Serve until stopped. Returns the exit code: 0, or 130 after Ctrl+C."""
    server = _Server(configuration(create_app(daemon, listener.getsockname()[1])))
    caught: list[int] = []

    def finish(number: int, frame: object) -> None:
        caught.append(number)
        request_stop()

    def request_stop() -> None:
        daemon.stopping.set()  # ends the event streams, which would hold the server open
        server.should_exit = True

    daemon.on_stop = request_stop
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), finish)

    async def main() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = MAX_WORKERS
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        checking = None
        if server.started:
            on_ready()
            # Beside the first answers, not before them: at a million photos it takes seconds.
            checking = asyncio.create_task(asyncio.to_thread(daemon.library.reader.require_sound))
            checking.add_done_callback(lambda done: request_stop() if done.exception() else None)
        await serving
        if checking is not None:
            await checking  # a damaged library ends the daemon, by name

    asyncio.run(main())
    return 130 if signal.SIGINT in caught else 0
