"""Filters of the block `heads`, applied to the detections of a head right after decoding.

Not here: the score threshold, which is an option of the decoder (heads/).
"""

from __future__ import annotations

import numpy as np

from edge_app.config import HeadCommon
from edge_app.frame import Detections, Result
from edge_app.geometry.boxes import Transform
from edge_app.geometry.polygons import inside_any, polygon_of


class DetectionFilter:
    """Drops detections whose center is inside a polygon of `ignore`. Results of other types pass unchanged."""

    def __init__(self, options: HeadCommon) -> None:
        self._ignored = [polygon_of("ignore", polygon) for polygon in options.ignore]

    def apply(self, result: Result, transform: Transform) -> Result:
        """Filter the result of a frame, in image pixels. transform: gives the size of the image."""
        if not self._ignored or not isinstance(result, Detections) or not len(result):
            return result
        size = (2 * transform.image_width, 2 * transform.image_height)
        center = (result.xyxy[:, :2] + result.xyxy[:, 2:]).astype(np.float64) / size
        ignored = inside_any(center, self._ignored)
        return result[~ignored] if ignored.any() else result
