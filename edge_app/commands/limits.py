"""How many commands are accepted: a burst, then a rate. Not here: the size of a command (parsing.py)."""

from __future__ import annotations

from collections.abc import Callable


class RateLimit:
    """A token bucket. burst: commands at once. per_s: on average after that. now_s: a monotonic clock."""

    def __init__(self, burst: float, per_s: float, now_s: Callable[[], float]) -> None:
        self._burst, self._per_s, self._now_s = burst, per_s, now_s
        self._left, self._at_s = burst, now_s()

    def accepts(self) -> bool:
        """Whether one more is accepted now."""
        now_s = self._now_s()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
