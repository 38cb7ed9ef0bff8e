"""Images of uneven intervals at a constant rate: encoders need one, and a clip must not run faster or slower than time.

A gap, such as a lost camera, shows the last image before it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from edge_app.clips.jpeg import Still


def at_constant_rate(stills: Sequence[Still], fps: float) -> tuple[float, list[Still]]:
    """The rate, at most `fps`, and the image for each of its ticks. stills: at least one."""
    times = [still.captured_ns for still in stills]
    duration_s = (times[-1] - times[0]) * 1e-9
    if duration_s <= 0:
        return fps, [stills[-1]]
    rate = round(min(fps, (len(stills) - 1) / duration_s), 3) or 0.001
    ticks = round(duration_s * rate) + 1
    step_ns = 1e9 / rate
    return rate, [stills[max(0, bisect_right(times, times[0] + (i + 0.5) * step_ns) - 1)] for i in range(ticks)]
