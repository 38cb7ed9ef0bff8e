"""Rectangles in input pixels: from a mask of changed blocks to a handful of boxes that are worth computing.

Boxes are plain tuples: a frame makes dozens of them, and building objects would cost more than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # x1, y1, x2, y2: input pixels, x2 and y2 exclusive
MOST = 12  # boxes a frame: beyond, what lies near is taken together
_NEAR = np.ones((5, 5), np.uint8)


def of_blocks(mask: UInt8, size: tuple[int, int]) -> list[Box]:
    """The bounding boxes of connected changed blocks. mask: (rows, columns) uint8, nonzero where changed.

    size: width and height of the picture that the mask covers. Returns at most MOST boxes that cover all of them.
    """
    if not cv2.countNonZero(mask):
        return []
    scale_x, scale_y = size[0] / mask.shape[1], size[1] / mask.shape[0]
    near = mask
    while True:
        count, _, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8)
        if count - 1 <= MOST:
            break
        near = cv2.dilate(near, _NEAR).astype(np.uint8, copy=False)
    found = []
    for x, y, width, height, _ in stats[1:].tolist():
        x2, y2 = math.ceil((x + width) * scale_x), math.ceil((y + height) * scale_y)
        found.append((int(x * scale_x), int(y * scale_y), min(size[0], x2), min(size[1], y2)))
    return found


def union(a: Box, b: Box) -> Box:
    return (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))


def area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def merged(found: Sequence[Box], cost: Callable[[Box], float]) -> list[Box]:
    """Join boxes as long as one call on their union costs less than a call on each; those within another go."""
    boxes = list(dict.fromkeys(found))
    costs = [cost(box) for box in boxes]
    i = 0
    while i < len(boxes):
        for j in range(i + 1, len(boxes)):
            both = union(boxes[i], boxes[j])
            together = cost(both)
            if together <= costs[i] + costs[j]:
                del boxes[j], costs[j]
                boxes[i], costs[i] = both, together
                i = -1  # the larger box may now swallow one that was passed
                break
        i += 1
    return boxes
