"""A daemon that indexes nothing by itself, behind its guard, and a client that may ask it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.testclient import TestClient
from workbench import Bench

from photosearch.bundle import Bundle
from photosearch.daemon import Daemon
from photosearch.types import Preprocess

PORT = 48620
BASE = f"http://127.0.0.1:{PORT}"
API = "/api/v1"


@dataclass
class Desk:
    """A daemon that indexes nothing by itself, and a client that has its token."""

    daemon: Daemon
    client: TestClient
    bench: Bench

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.daemon.sessions.token}"}

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(API + path, headers={**self.bearer, **headers})

    def photo_id(self, name: str) -> int:
        place = self.bench.library.known(self.bench.root.root_id, name.encode())
        assert place is not None
        assert place.photo_id is not None
        return place.photo_id


def fake_bundle(tmp_path: Path, bench: Bench) -> Bundle:
    return Bundle(
        directory=tmp_path,
        name="fake",
        version="1",
        space=bench.encoder.space,
        dim=bench.encoder.dim,
        preprocess=Preprocess(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash"),
        context_length=16,
        tokenizer="wordpiece",
        vocabulary="vocab.txt",
        text={},
        golden=None,
        background=None,
        tails={},
        files=(),
        targets={},
        description={},
    )
