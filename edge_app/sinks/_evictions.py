"""Recognizes two clients with one client id, which take the connection from each other.

MQTT 3.1.1 gives no reason when the broker closes the connection of the older client. Each side sees a connection that
is lost soon after every login, although the broker delivers.
"""

from __future__ import annotations

from collections import deque

_LOSSES = 3
_WITHIN_S = 60.0


class EvictionDetector:
    """Times are those of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._connected_s = 0.0
        self._lost_s: deque[float] = deque(maxlen=_LOSSES)

    def connected(self, now_s: float) -> None:
        self._connected_s = now_s

    def lost(self, now_s: float, *, explained: bool) -> None:
        """A connection was lost after the login. explained: a message that the broker refuses is a likely cause."""
        if not explained and now_s - self._connected_s < _WITHIN_S:
            self._lost_s.append(now_s)

    def is_likely(self, now_s: float) -> bool:
        return len(self._lost_s) == _LOSSES and now_s - self._lost_s[0] < _WITHIN_S

    def text(self, client_id: str) -> str:
        return (
            f"the broker closed {_LOSSES} connections within a minute, each soon after the login: probably another"
            f" client uses the client id '{client_id}'; expected a different device.id on each device"
        )
