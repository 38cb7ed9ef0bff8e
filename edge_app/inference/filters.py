"""What of a head's detections is kept: filters of the block `heads`, applied right after decoding.

Not here: the score threshold, which is the decoder's own option (heads/).
"""

from __future__ import annotations

import numpy as np

from edge_app.config import HeadCommon
from edge_app.frame import Detections, Result
from edge_app.geometry.boxes import Transform
from edge_app.geometry.polygons import inside_any, polygon_of


class DetectionFilter:
    """Drops the detections of one head whose center lies in a polygon of `ignore`. Other results pass unchanged."""

    def __init__(self, options: HeadCommon) -> None:
        self._ignored = [polygon_of("ignore", polygon) for polygon in options.ignore]

    def apply(self, result: Result, transform: Transform) -> Result:
        """Filter one result, image pixels. transform: for the size of the image."""
        if not self._ignored or not isinstance(result, Detections) or not len(result):
            return result
        size = (2 * transform.image_width, 2 * transform.image_height)
        center = (result.xyxy[:, :2] + result.xyxy[:, 2:]).astype(np.float64) / size
        ignored = inside_any(center, self._ignored)
        return result[~ignored] if ignored.any() else result
