"""Who has signed in to the page: one-time codes, and the sessions they open.

All of it is in memory, and ends with the daemon.
"""

from __future__ import annotations

import secrets
import threading
import time
from typing import Final

CODE_SECONDS: Final = 60.0
MAX_CODES: Final = 64
MAX_SESSIONS: Final = 64


class Sessions:
    """Codes and session ids of one daemon. Any thread may call."""

    def __init__(self, token: str) -> None:
        self.token = token  # opens everything, for who can read the home
        self._codes: dict[str, float] = {}  # code -> until when it is good
        self._sessions: dict[str, None] = {}  # in the order they were opened
        self._lock = threading.Lock()

    def new_code(self) -> str:
        """A code that opens one session, once, within CODE_SECONDS."""
        code = secrets.token_urlsafe(32)
        with self._lock:
            self._codes = {c: t for c, t in self._codes.items() if t > time.monotonic()}
            while len(self._codes) >= MAX_CODES:
                del self._codes[next(iter(self._codes))]
            self._codes[code] = time.monotonic() + CODE_SECONDS
        return code

    def login(self, code: str) -> str | None:
        """Exchange a code, or the token, for a session id; None where it is not good."""
        with self._lock:
            fresh = self._codes.pop(code, float("-inf")) > time.monotonic()
            if not fresh and not secrets.compare_digest(code.encode(), self.token.encode()):
                return None
            session = secrets.token_urlsafe(32)
            self._sessions[session] = None
            while len(self._sessions) > MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            return session

    def knows(self, session: str) -> bool:
        with self._lock:
            return session in self._sessions
