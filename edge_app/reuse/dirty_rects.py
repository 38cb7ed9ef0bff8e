"""Rectangles in input pixels: from a mask of changed blocks to a handful of boxes that are worth computing.

Boxes are plain tuples: a frame makes dozens of them, and building objects would cost more than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # x1, y1, x2, y2: input pixels, x2 and y2 exclusive
MOST = 10  # boxes a frame: beyond, what lies near is taken together
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


def merged(found: Sequence[Box], halo: int, call: float) -> list[Box]:
    """Join boxes as long as computing their union costs no more than computing each; those within another go.

    halo: pixels that a computation needs beyond a box, both sides together. call: what a call costs, as an area in
    pixels. Plain arithmetic in one loop: this runs for every step of every frame.
    """
    boxes = [(*box, (box[2] - box[0] + halo) * (box[3] - box[1] + halo) + call) for box in found]
    i = 0
    while i < len(boxes):
        x1, y1, x2, y2, own = boxes[i]
        for j in range(i + 1, len(boxes)):
            left, top, right, bottom, other = boxes[j]
            left, top = min(left, x1), min(top, y1)
            right, bottom = max(right, x2), max(bottom, y2)
            both = (right - left + halo) * (bottom - top + halo) + call
            if both <= own + other:
                del boxes[j]
                boxes[i] = (left, top, right, bottom, both)
                i = -1  # the larger box may now swallow one that was passed
                break
        i += 1
    return [box[:4] for box in boxes]
