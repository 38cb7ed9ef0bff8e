"""A budget of inference time: the average a frame may take. Unused time is saved for later frames, up to a limit."""

from __future__ import annotations

_MAX_SAVED_FRAMES = 4.0


class TimeBudget:
    """Milliseconds of inference, earned with every frame. A debt is repaid before anything else is spent."""

    def __init__(self, frame_ms: float) -> None:
        self._frame_ms = frame_ms
        self._saved_ms = frame_ms

    def earn(self) -> None:
        """Add the time of one frame."""
        self._saved_ms = min(self._saved_ms + self._frame_ms, _MAX_SAVED_FRAMES * self._frame_ms)

    def spend(self, cost_ms: float) -> bool:
        """Spend time if any is left. Returns whether it was spent.

        A cost may exceed the savings: otherwise a cost above the limit of the savings could never be spent.
        """
        if self._saved_ms <= 0 < cost_ms:
            return False
        self._saved_ms -= cost_ms
        return True
