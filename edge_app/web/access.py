"""Access control: a token, sessions for browsers that logged in, and a limit on guessing.

Not here: cookies and headers (server.py).
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections.abc import Callable

SESSION_S = 12 * 3600.0
_MAX_SESSIONS = 32
_MAX_WRONG = 5  # wrong tokens per address within the window
_MAX_WRONG_TOTAL = 50  # of all addresses
_WINDOW_S = 60.0
_MAX_ADDRESSES = 1024


class TooManyAttempts(Exception):
    """Too many wrong tokens. after_s: seconds until the next token is checked."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"too many attempts; try again in {after_s:.0f} s")
        self.after_s = after_s


class Access:
    """Checks tokens and sessions. token: None if the page is open to everyone who can connect."""

    def __init__(self, token: str | None, now_s: Callable[[], float]) -> None:
        self._token = None if token is None else token.encode()
        self._now_s = now_s
        self._sessions: dict[str, float] = {}  # session -> expiry
        self._wrong: dict[str, list[float]] = {}  # address -> times of wrong tokens
        self._wrong_total: list[float] = []  # times, of all addresses

    @property
    def open(self) -> bool:
        """Whether no token is needed."""
        return self._token is None

    def check(self, token: str, address: str) -> bool:
        """Whether a token is correct. Raises TooManyAttempts, even for the correct token, after too many wrong ones."""
        if self._token is None:
            return True
        now_s = self._now_s()
        wrong = self._wrong.setdefault(address, [])
        for times, limit in ((wrong, _MAX_WRONG), (self._wrong_total, _MAX_WRONG_TOTAL)):
            times[:] = [at_s for at_s in times if now_s - at_s < _WINDOW_S]
            if len(times) >= limit:
                raise TooManyAttempts(math.ceil(_WINDOW_S - (now_s - times[0])))
        if hmac.compare_digest(token.encode(), self._token):
            del self._wrong[address]
            return True
        wrong.append(now_s)
        self._wrong_total.append(now_s)
        if len(self._wrong) > _MAX_ADDRESSES:
            del self._wrong[next(iter(self._wrong))]
        return False

    def begin_session(self) -> str:
        """Start a session. At the limit the oldest session ends."""
        session = secrets.token_urlsafe(32)
        self._sessions[session] = self._now_s() + SESSION_S
        while len(self._sessions) > _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return session

    def has_session(self, session: str) -> bool:
        return self._sessions.get(session, 0.0) > self._now_s()

    def end_session(self, session: str) -> None:
        self._sessions.pop(session, None)
