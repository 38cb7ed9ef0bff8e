"""Filters of the block `heads`, applied to the detections of a head right after decoding.

Not here: the score threshold, which is an option of the decoder (heads/).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_app.config import HeadConfig
from edge_app.frame import Detections, Result
from edge_app.geometry.polygons import anchor_points, inside_any, polygon_of


class DetectionFilter:
    """Drops detections that the options of a head exclude: by label, area, aspect, and the polygons of `ignore`.

    Results of other types pass unchanged. labels: all classes of the head.
    """

    def __init__(self, config: HeadConfig, labels: tuple[str, ...]) -> None:
        self._boxes = config.boxes
        self._ignored = [polygon_of("ignore", polygon) for polygon in config.common.ignore]
        selected = [class_id for class_id, label in enumerate(labels) if label in self._boxes.labels]
        self._classes = np.array(selected, np.int32) if self._boxes.labels else None
        limits = (self._boxes.min_area, self._boxes.max_area, self._boxes.aspect)
        self._measures = limits != (0.0, 1.0, None)
        self._active = bool(self._ignored or self._measures) or self._classes is not None

    def apply(self, result: Result, size: tuple[int, int]) -> Result:
        """Filter the result of a frame, in image pixels. size: width and height of the image."""
        if not self._active or not isinstance(result, Detections) or not len(result):
            return result
        keep = np.ones(len(result), bool)
        if self._classes is not None:
            keep &= np.isin(result.class_id, self._classes)
        if self._measures:
            keep &= self._fits(result, size)
        if self._ignored:
            keep &= ~inside_any(anchor_points(result.xyxy, size, "center"), self._ignored)
        return result if keep.all() else result[keep]

    def _fits(self, detections: Detections, size: tuple[int, int]) -> NDArray[np.bool_]:
        width, height = (detections.xyxy[:, 2:] - detections.xyxy[:, :2]).astype(np.float64).T
        area = width * height / (size[0] * size[1])
        fits: NDArray[np.bool_] = (area >= self._boxes.min_area) & (area <= self._boxes.max_area)
        if self._boxes.aspect is not None:
            least, greatest = self._boxes.aspect
            fits &= (width >= least * height) & (width <= greatest * height)
        return fits
