"""Masks of single objects, from prototypes of the whole image and the coefficients of each box.

Source: YOLACT (Bolya et al. 2019) and ultralytics (`process_mask`): the mask is where the sum of the prototypes,
weighted by the coefficients and bilinearly enlarged to the input, is above 0, inside the box.
Not here: where prototypes and coefficients are (instances.py).
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_app.frame import Float32
from edge_app.heads._outline import refined

_BORDER = 2  # cells around a box that its enlarged part depends on, and one more
_LIMIT = np.float32(1e4)  # of a margin, which avoids infinities


def margin(coefficients: Float32, prototypes: Float32, xyxy: Float32, cell: int) -> tuple[Float32, int, int]:
    """The margin (h, w) of a mask in input pixels, above 0 inside, cropped to its box; and x, y of its first pixel.

    coefficients: (P,). prototypes: (P, H, W), one cell for `cell` x `cell` input pixels. xyxy: (4,), input pixels.
    A pixel belongs to the box if its number is within x1 <= x < x2, as in ultralytics. Empty outside of the input.
    """
    _, rows, columns = prototypes.shape
    left, top, right, bottom = np.ceil(np.clip(xyxy, 0, [columns * cell, rows * cell] * 2)).astype(int).tolist()
    if right <= left or bottom <= top:
        return np.empty((0, 0), np.float32), left, top
    x1, y1 = max(left // cell - _BORDER, 0), max(top // cell - _BORDER, 0)
    x2, y2 = min(-(-right // cell) + _BORDER, columns), min(-(-bottom // cell) + _BORDER, rows)
    part = prototypes[:, y1:y2, x1:x2].reshape(len(prototypes), -1)
    sums = (coefficients @ part).reshape(y2 - y1, x2 - x1)
    sums = np.clip(np.nan_to_num(sums), -_LIMIT, _LIMIT)
    fine = cv2.resize(sums, None, fx=cell, fy=cell, interpolation=cv2.INTER_LINEAR) if cell > 1 else sums
    x0, y0 = x1 * cell, y1 * cell
    return np.ascontiguousarray(fine[top - y0 : bottom - y0, left - x0 : right - x0], np.float32), left, top


def outline(margins: Float32, simplify: float) -> Float32:
    """The outline (K, 2) of the largest region above 0, in pixels of `margins`; K = 0 without one. Holes are ignored.

    simplify: greatest distance between polygon and outline, pixels.
    """
    if not margins.size:
        return np.empty((0, 2), np.float32)
    inside = (margins > 0).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max(contours, key=lambda contour: (cv2.contourArea(contour), len(contour)), default=None)
    if largest is None:
        return np.empty((0, 2), np.float32)
    points = refined(largest.reshape(-1, 2).astype(np.intp), margins)
    return np.asarray(cv2.approxPolyDP(points, simplify, True), np.float32).reshape(-1, 2)
