"""Access control: a token, sessions for browsers that logged in, and a limit on guessing.

Not here: cookies and headers (guard.py).
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections.abc import Callable

SESSION_S = 12 * 3600.0
_MAX_SESSIONS = 32
_MAX_WRONG = 5  # wrong tokens per address within the window
_WINDOW_S = 60.0
_MAX_ADDRESSES = 1024


class TooManyAttempts(Exception):
    """A wrong token after too many others. after_s: seconds until the oldest of them no longer counts."""

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

    @property
    def open(self) -> bool:
        """Whether no token is needed."""
        return self._token is None

    def check(self, token: bytes, address: str) -> bool:
        """Whether a token is correct. Raises TooManyAttempts for a wrong token after too many from the same address.

        A correct token is always accepted, so that no one can lock its owner out by sending wrong ones.
        """
        if self._token is None:
            return True
        if hmac.compare_digest(token, self._token):
            self._wrong.pop(address, None)
            return True
        now_s = self._now_s()
        wrong = [at_s for at_s in self._wrong.pop(address, ()) if now_s - at_s < _WINDOW_S]
        self._wrong[address] = wrong  # the address with the latest attempt is the last
        if len(self._wrong) > _MAX_ADDRESSES:
            del self._wrong[next(iter(self._wrong))]
        if len(wrong) >= _MAX_WRONG:
            raise TooManyAttempts(math.ceil(_WINDOW_S - (now_s - wrong[0])))
        wrong.append(now_s)
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
