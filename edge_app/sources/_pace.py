"""Timestamps of recorded and synthetic frames, and waiting until each frame is due.

Not a source: the registry skips names with an underscore.
"""

from __future__ import annotations

import time
from typing import Literal

from edge_app.clock import Clock
from edge_app.frame import Frame, PixelFormat, UInt8

Pace = Literal["realtime", "fast"]


class Pacer:
    """Turns images with presentation times into frames, numbered from 0 and stamped relative to the first image.

    `realtime` holds each frame back until it is due; `fast` returns it at once.
    """

    def __init__(self, clock: Clock, source: str, pace: Pace) -> None:
        self._clock = clock
        self._source = source
        self._realtime = pace == "realtime"
        self._start: tuple[int, int] | None = None
        self._sequence = 0
        self._pending: Frame | None = None

    @property
    def pending(self) -> bool:
        """Whether a frame is held, so that no other is needed yet."""
        return self._pending is not None

    def hold(self, pixels: UInt8, offset_ns: int, format: PixelFormat = "bgr") -> None:  # noqa: A002
        """Hold the next image. offset_ns: its presentation time relative to the first image."""
        if self._start is None:
            self._start = self._clock.monotonic_ns(), self._clock.utc_ns()
        captured_ns, utc_ns = self._start[0] + offset_ns, self._start[1] + offset_ns
        self._pending = Frame(self._source, self._sequence, captured_ns, utc_ns, pixels, format)
        self._sequence += 1

    def pop_due(self, timeout_s: float) -> Frame | None:
        """Wait until the held frame is due and return it; None if that takes longer than timeout_s."""
        frame = self._pending
        if frame is not None and self._realtime:
            early_s = (frame.captured_ns - self._clock.monotonic_ns()) * 1e-9
            if early_s > 0:
                time.sleep(min(early_s, timeout_s))
            if early_s > timeout_s:
                return None
        self._pending = None
        return frame
