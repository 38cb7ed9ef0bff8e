"""Where something moves, as surveillance recorders find it: what differs from a running average, and windows around it.

Not here: what is done in the windows (controls.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_app.frame import Float32, UInt8

_SHRINK = 4
_DIFFERENCE = 16  # grey levels
_FORGET = 0.05  # of the average, a frame
_LEAST_AREA = 6  # shrunk pixels

Box = tuple[int, int, int, int]


class Motion:
    """A running average of the grey picture at a quarter of its size, and what differs from it."""

    def __init__(self) -> None:
        self._average: Float32 | None = None

    def boxes(self, image: UInt8) -> list[Box]:
        """Boxes around what moves in `image` (H, W, 3), as x1, y1, x2, y2 in its pixels; the largest change first."""
        size = (max(1, image.shape[1] // _SHRINK), max(1, image.shape[0] // _SHRINK))
        grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        now = grey.astype(np.float32)
        if self._average is None:
            self._average = now
            return []
        changed = (np.abs(now - self._average) > _DIFFERENCE).astype(np.uint8)
        cv2.accumulateWeighted(now, self._average, _FORGET)
        count, _, stats, _ = cv2.connectedComponentsWithStats(cv2.dilate(changed, np.ones((3, 3), np.uint8)))
        found = sorted((tuple(int(v) for v in row) for row in stats[1:count]), key=lambda row: -row[4])
        return [
            (x * _SHRINK, y * _SHRINK, (x + w) * _SHRINK, (y + h) * _SHRINK)
            for x, y, w, h, area in found
            if area >= _LEAST_AREA
        ]


def windows(boxes: Sequence[Box], window: tuple[int, int], picture: tuple[int, int]) -> list[Box]:
    """Windows of one size (width, height) that cover the boxes' centres, inside the picture (width, height).

    Greedy, in the boxes' order: each window is laid around the first box that no window holds yet.
    """
    (w, h), (width, height) = window, picture
    laid: list[Box] = []
    for x1, y1, x2, y2 in boxes:
        if any(a <= x1 and b <= y1 and x2 <= c and y2 <= d for a, b, c, d in laid):
            continue
        x = min(max((x1 + x2 - w) // 2, 0), max(width - w, 0))
        y = min(max((y1 + y2 - h) // 2, 0), max(height - h, 0))
        laid.append((x, y, min(x + w, width), min(y + h, height)))
    return laid
