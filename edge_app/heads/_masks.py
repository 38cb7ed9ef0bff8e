"""Masks of single objects, from prototypes of the whole image and the coefficients of each box.

Source: YOLACT (Bolya et al. 2019) and ultralytics (`process_mask`): the mask is where the sum of the prototypes,
weighted by the coefficients and bilinearly enlarged to the input, is above 0, inside the box.
Not here: where prototypes and coefficients are (instances.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Float32
from edge_app.heads._outline import refined

_BORDER = 2  # cells around a box that its enlarged part depends on, and one more
_LIMIT = np.float32(1e4)  # of a margin, which avoids infinities


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """A mask, cropped to its box. margin: (h, w), input pixels, above 0 inside. left, top: of its first pixel."""

    margin: Float32
    left: int
    top: int

    @classmethod
    def of(cls, coefficients: Float32, prototypes: Float32, xyxy: Float32, cell: int) -> Mask:
        """The mask of a box. coefficients: (P,). prototypes: (P, H, W), a cell for `cell` x `cell` input pixels.

        xyxy: (4,), input pixels. A pixel belongs to the box if x1 <= x < x2, with x its number, as in ultralytics.
        """
        _, rows, columns = prototypes.shape
        left, top, right, bottom = np.ceil(np.clip(xyxy, 0, [columns * cell, rows * cell] * 2)).astype(int).tolist()
        if right <= left or bottom <= top:
            return cls(np.empty((0, 0), np.float32), left, top)
        x1, y1 = max(left // cell - _BORDER, 0), max(top // cell - _BORDER, 0)
        x2, y2 = min(-(-right // cell) + _BORDER, columns), min(-(-bottom // cell) + _BORDER, rows)
        part = prototypes[:, y1:y2, x1:x2].reshape(len(prototypes), -1)
        sums = (coefficients @ part).reshape(y2 - y1, x2 - x1)
        sums = np.clip(np.nan_to_num(sums), -_LIMIT, _LIMIT)
        fine = cv2.resize(sums, None, fx=cell, fy=cell, interpolation=cv2.INTER_LINEAR) if cell > 1 else sums
        x0, y0 = x1 * cell, y1 * cell
        return cls(np.ascontiguousarray(fine[top - y0 : bottom - y0, left - x0 : right - x0], np.float32), left, top)

    def outline(self, simplify: float) -> Float32:
        """The outline (K, 2) of the largest region, input pixels; K = 0 without one. Holes are ignored.

        simplify: greatest distance between polygon and outline, pixels.
        """
        contours: Sequence[NDArray[Any]] = ()
        if self.margin.size:
            inside = (self.margin > 0).astype(np.uint8)
            contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        largest = max(contours, key=lambda contour: (cv2.contourArea(contour), len(contour)), default=None)
        if largest is None:
            return np.empty((0, 2), np.float32)
        points = refined(largest.reshape(-1, 2).astype(np.intp), self.margin)
        polygon = np.asarray(cv2.approxPolyDP(points, simplify, True), np.float32).reshape(-1, 2)
        return polygon + np.array([self.left, self.top], np.float32)
