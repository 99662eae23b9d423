"""The stream of news: not more often than it is worth, and no longer than the daemon runs."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from starlette.responses import StreamingResponse

from photosearch import api


@dataclass
class Counting:
    """A daemon whose counting takes a while, and of which there is always news."""

    version: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def status(self) -> dict[str, int]:
        time.sleep(0.1)
        self.version += 1
        return {"version": self.version}


def test_counting_that_takes_long_is_done_seldom_and_holds_up_no_end(monkeypatch: Any) -> None:
    monkeypatch.setattr(api, "EVENT_SECONDS", 0.02)
    monkeypatch.setattr(api, "as_json", lambda adapter, message: b"{}")
    daemon, told = Counting(), []
    state = SimpleNamespace(daemon=daemon, streams=set())
    request: Any = SimpleNamespace(app=SimpleNamespace(state=state))

    async def listen() -> float:
        response = await api.events(request)
        assert isinstance(response, StreamingResponse)
        asyncio.get_running_loop().call_later(1.0, daemon.stopping.set)
        async for part in response.body_iterator:
            told.append(part)
        return time.perf_counter()

    began = time.perf_counter()
    took = asyncio.run(listen()) - began
    assert len(told) == 1  # the next would be due after three seconds
    assert 1.0 <= took < 2.5
    assert not state.streams
