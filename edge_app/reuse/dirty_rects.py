"""Dirty rectangles: from a mask of changed blocks to a few boxes, in input pixels.

Boxes are plain tuples: a frame creates dozens of them, and objects would cost more than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # x1, y1, x2, y2: input pixels, x2 and y2 exclusive
MAX_BOXES = 10  # per frame: with more, neighbors are joined
_NEIGHBORHOOD = np.ones((5, 5), np.uint8)


def boxes_of_blocks(mask: UInt8, size: tuple[int, int]) -> list[Box]:
    """The bounding boxes of connected changed blocks. mask: (rows, columns) uint8, nonzero where changed.

    size: width and height of the image that the mask covers. Returns at most MAX_BOXES boxes, which cover all changes.
    """
    if not cv2.countNonZero(mask):
        return []
    scale_x, scale_y = size[0] / mask.shape[1], size[1] / mask.shape[0]
    grown = mask
    while True:
        count, _, stats, _ = cv2.connectedComponentsWithStats(grown, connectivity=8)
        if count - 1 <= MAX_BOXES:
            break
        grown = cv2.dilate(grown, _NEIGHBORHOOD).astype(np.uint8, copy=False)
    boxes = []
    for x, y, width, height, _ in stats[1:].tolist():
        x2, y2 = math.ceil((x + width) * scale_x), math.ceil((y + height) * scale_y)
        boxes.append((int(x * scale_x), int(y * scale_y), min(size[0], x2), min(size[1], y2)))
    return boxes


def union(a: Box, b: Box) -> Box:
    """The smallest box around both."""
    return (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))


def merge_boxes(boxes: Sequence[Box], halo: int, call: float) -> list[Box]:
    """Join boxes while computing their union costs no more than computing them separately.

    halo: pixels that a computation needs beyond a box, both sides together. call: the cost of a call, as an area in
    pixels. Plain arithmetic in one loop: this runs for every segment of every frame.
    """
    merged = [(*box, (box[2] - box[0] + halo) * (box[3] - box[1] + halo) + call) for box in boxes]
    i = 0
    while i < len(merged):
        x1, y1, x2, y2, own = merged[i]
        for j in range(i + 1, len(merged)):
            left, top, right, bottom, other = merged[j]
            left, top = min(left, x1), min(top, y1)
            right, bottom = max(right, x2), max(bottom, y2)
            both = (right - left + halo) * (bottom - top + halo) + call
            if both <= own + other:
                del merged[j]
                merged[i] = (left, top, right, bottom, both)
                i = -1  # start over: the larger box may absorb an earlier one
                break
        i += 1
    return [box[:4] for box in merged]
