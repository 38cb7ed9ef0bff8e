"""Motion detection as in surveillance recorders: differences from a running average, and windows around them.

Not here: running the model on the windows (motion_crops.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_app.frame import Float32, UInt8

_SHRINK = 4
_MIN_DIFFERENCE = 16  # gray levels
_LEARNING_RATE = 0.05  # of the average, per frame
_MIN_AREA = 6  # pixels of the reduced image

Box = tuple[int, int, int, int]


class Motion:
    """Keeps a running average of the gray image at a quarter of its width and height."""

    def __init__(self) -> None:
        self._average: Float32 | None = None

    def boxes(self, image: UInt8) -> list[Box]:
        """Boxes (x1, y1, x2, y2) around motion, in pixels of `image` (H, W, 3); the largest area first."""
        size = (max(1, image.shape[1] // _SHRINK), max(1, image.shape[0] // _SHRINK))
        gray = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        now = gray.astype(np.float32)
        if self._average is None:
            self._average = now
            return []
        changed = (np.abs(now - self._average) > _MIN_DIFFERENCE).astype(np.uint8)
        cv2.accumulateWeighted(now, self._average, _LEARNING_RATE)
        count, _, stats, _ = cv2.connectedComponentsWithStats(cv2.dilate(changed, np.ones((3, 3), np.uint8)))
        components = sorted((tuple(int(v) for v in row) for row in stats[1:count]), key=lambda row: -row[4])
        return [
            (x * _SHRINK, y * _SHRINK, (x + w) * _SHRINK, (y + h) * _SHRINK)
            for x, y, w, h, area in components
            if area >= _MIN_AREA
        ]


def windows(boxes: Sequence[Box], window: tuple[int, int], image_size: tuple[int, int]) -> list[Box]:
    """Windows of one size around the centers of the boxes, inside the image. window, image_size: width and height.

    Greedy, in the order of the boxes: the first box that no window contains yet gets a window.
    """
    (w, h), (width, height) = window, image_size
    placed: list[Box] = []
    for x1, y1, x2, y2 in boxes:
        if any(a <= x1 and b <= y1 and x2 <= c and y2 <= d for a, b, c, d in placed):
            continue
        x = min(max((x1 + x2 - w) // 2, 0), max(width - w, 0))
        y = min(max((y1 + y2 - h) // 2, 0), max(height - h, 0))
        placed.append((x, y, min(x + w, width), min(y + h, height)))
    return placed
