"""Time that inference may take on average: what a frame does not use is there for the next ones, up to a limit."""

from __future__ import annotations

_SAVED = 4.0  # frames' worth that can be saved


class TimeBudget:
    """Milliseconds, earned a frame at a time. What is owed is paid back before anything else is bought."""

    def __init__(self, frame_ms: float) -> None:
        self._frame_ms = frame_ms
        self._saved_ms = frame_ms

    def earn(self) -> None:
        """Another frame has come."""
        self._saved_ms = min(self._saved_ms + self._frame_ms, _SAVED * self._frame_ms)

    def spend(self, cost_ms: float) -> bool:
        """Take what something costs, where there is any left: a step larger than all that can be saved still comes."""
        if self._saved_ms <= 0 < cost_ms:
            return False
        self._saved_ms -= cost_ms
        return True
