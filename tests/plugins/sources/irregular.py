"""The synthetic clip. Some frames take longer to read than others. seed: of these times, not of the images."""

from __future__ import annotations

import random
import time

from edge_app.clock import Clock
from edge_app.frame import Frame
from edge_app.sources import synthetic


class Source(synthetic.Source):
    live = None

    def __init__(self, clock: Clock, *, seed: int = 0, frames: int = 12, fail_at: int | None = None) -> None:
        super().__init__(clock, width=320, height=240, frames=frames, fail_at=fail_at, pace="fast")
        self._times = random.Random(seed)

    def read(self, timeout_s: float) -> Frame | None:
        time.sleep(self._times.choice((0.0, 0.0, 0.005, 0.03)))
        return super().read(timeout_s)
