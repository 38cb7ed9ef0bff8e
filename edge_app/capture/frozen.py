"""Notice that a camera's picture no longer changes, byte for byte: a real sensor always has noise.

A still picture alone proves nothing (a test pattern, an encoder that repeats what did not move): so it is answered with
a reconnect at growing intervals, and nothing is thrown away. Not here: motion (reuse/).
"""

from __future__ import annotations

import numpy as np

from edge_app.frame import UInt8

_ROWS = 32  # that are compared: tens of kilobytes, about 10 µs
_LONGEST_S = 3600.0


class FrozenDetector:
    """How long the picture has been the same; kept across reconnects."""

    def __init__(self) -> None:
        self._rows: UInt8 | None = None
        self._since_s = 0.0
        self._still_s = 0.0
        self._reconnects = 0

    def update(self, pixels: UInt8, now_s: float) -> float:
        """Look at the next frame (of any format). Returns the seconds since the picture last changed."""
        rows = pixels[:: max(1, pixels.shape[0] // _ROWS)]
        if self._rows is None or not np.array_equal(rows, self._rows):
            self._rows = rows.copy()
            self._since_s = now_s
            self._reconnects = 0
        self._still_s = now_s - self._since_s
        return self._still_s

    def reconnect_due(self, after_s: float) -> bool:
        """Whether to make the source anew: after `after_s`, and each time that did not help, after twice as long."""
        if self._still_s < min(after_s * 2.0**self._reconnects, _LONGEST_S * (self._reconnects + 1)):
            return False
        self._reconnects += 1
        return True
