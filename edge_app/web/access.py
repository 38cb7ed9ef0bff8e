"""Who may look: a token, sessions for browsers that showed it, and a limit on guessing.

Not here: cookies and headers themselves (server.py).
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections.abc import Callable

SESSION_S = 12 * 3600.0
_SESSIONS = 32
_TRIES = 5  # wrong ones of an address within the window
_TRIES_OF_ALL = 50
_WINDOW_S = 60.0
_ADDRESSES = 1024


class TooManyAttempts(Exception):
    """Wrong tokens came too often; after_s: seconds until another one is looked at."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"too many attempts; again in {after_s:.0f} s")
        self.after_s = after_s


class Access:
    """token: None: everybody who reaches the page may look."""

    def __init__(self, token: str | None, now_s: Callable[[], float]) -> None:
        self._token = None if token is None else token.encode()
        self._now_s = now_s
        self._sessions: dict[str, float] = {}  # until when
        self._wrong: dict[str, list[float]] = {}  # by address, when
        self._all_wrong: list[float] = []

    @property
    def open(self) -> bool:
        """Whether no token is needed."""
        return self._token is None

    def check(self, token: str, address: str) -> bool:
        """Whether a token is the right one. Raises TooManyAttempts, also for the right one, while guessing goes on."""
        if self._token is None:
            return True
        now_s = self._now_s()
        mine = self._wrong.setdefault(address, [])
        for times, most in ((mine, _TRIES), (self._all_wrong, _TRIES_OF_ALL)):
            times[:] = [at_s for at_s in times if now_s - at_s < _WINDOW_S]
            if len(times) >= most:
                raise TooManyAttempts(math.ceil(_WINDOW_S - (now_s - times[0])))
        if hmac.compare_digest(token.encode(), self._token):
            del self._wrong[address]
            return True
        mine.append(now_s)
        self._all_wrong.append(now_s)
        if len(self._wrong) > _ADDRESSES:
            del self._wrong[next(iter(self._wrong))]
        return False

    def begin_session(self) -> str:
        """A new session for one who showed the token; beyond a few, the oldest ends."""
        session = secrets.token_urlsafe(32)
        self._sessions[session] = self._now_s() + SESSION_S
        while len(self._sessions) > _SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return session

    def has_session(self, session: str) -> bool:
        return self._sessions.get(session, 0.0) > self._now_s()

    def end_session(self, session: str) -> None:
        self._sessions.pop(session, None)
