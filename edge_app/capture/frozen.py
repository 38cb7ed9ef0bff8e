"""Detect a camera image that no longer changes, byte for byte: a real sensor always has noise.

An unchanged image alone proves nothing: it may be a test pattern, or an encoder that repeats static areas. Therefore
the source is reconnected at growing intervals, and no frame is dropped. Not here: motion (reuse/).
"""

from __future__ import annotations

import numpy as np

from edge_app.frame import UInt8

_ROWS = 32  # compared per frame: tens of kilobytes, about 10 µs
_LONGEST_S = 3600.0


class FrozenDetector:
    """Measures how long the image has not changed. Its state is kept across reconnects."""

    def __init__(self) -> None:
        self._rows: UInt8 | None = None
        self._since_s = 0.0
        self._unchanged_s = 0.0
        self._reconnects = 0

    def update(self, pixels: UInt8, now_s: float) -> float:
        """Compare a frame, of any pixel format, with the one before. Returns the seconds since the last change."""
        rows = pixels[:: max(1, pixels.shape[0] // _ROWS)]
        if self._rows is None or not np.array_equal(rows, self._rows):
            self._rows = rows.copy()
            self._since_s = now_s
            self._reconnects = 0
        self._unchanged_s = now_s - self._since_s
        return self._unchanged_s

    def reconnect_due(self, after_s: float) -> bool:
        """Whether to reconnect now: after `after_s`, then each time after twice as long, at most an hour."""
        if self._unchanged_s < min(after_s * 2.0**self._reconnects, _LONGEST_S * (self._reconnects + 1)):
            return False
        self._reconnects += 1
        return True
