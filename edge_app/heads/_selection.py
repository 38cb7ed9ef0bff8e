"""Shared by all detectors: select the cells to decode, suppress overlapping boxes, map boxes to the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform, nms

MAX_CANDIDATES = 1000  # decoded at most, which bounds the time if many cells are above the threshold
_FAR_PX = 1e5  # larger coordinates are invalid, and the area of the box would overflow


@dataclass(frozen=True, slots=True)
class Selection:
    """The options that all detectors have.

    class_aware: boxes suppress only boxes of the same class.
    """

    score: float
    nms_iou: float
    max_detections: int
    class_aware: bool = True

    def candidates(self, values: Float32, threshold: float | None = None) -> NDArray[np.intp]:
        """Indices of values (N,) at or above the threshold, ascending; the best MAX_CANDIDATES if there are more.

        NaN is never selected. threshold: `score` by default; needed if values are not scores but increase with them.
        """
        rows: NDArray[np.intp] = (values >= (self.score if threshold is None else threshold)).nonzero()[0]
        if len(rows) > MAX_CANDIDATES:
            best = np.argpartition(-values[rows], MAX_CANDIDATES)[:MAX_CANDIDATES]
            rows = rows[np.sort(best)]
        return rows

    def rows_above(self, scores: NDArray[Any]) -> NDArray[np.intp]:
        """Rows of scores (N, C) with a value at or above `score`, ascending. Faster than the maximum of each row."""
        hits: NDArray[np.intp] = np.flatnonzero(scores >= self.score) // scores.shape[1]
        return hits[np.flatnonzero(np.diff(hits, prepend=-1))]

    def detections(
        self,
        xyxy: Float32,
        score: Float32,
        class_id: NDArray[np.integer],
        transform: Transform,
        points: Float32 | None = None,
    ) -> Detections:
        """Suppress overlapping boxes, map the others to image pixels, clip them, and drop empty and invalid boxes.

        xyxy: (N, 4) and points: (N, K, 2), both in input pixels; score, class_id: (N,).
        A keypoint gets the score of its box, because the formats have none for keypoints; 0 if it is not finite.
        """
        classes = class_id.astype(np.int32, copy=False)
        if not np.abs(xyxy).max(initial=0) < _FAR_PX:  # rare; true for NaN
            near = np.flatnonzero(np.abs(xyxy).max(axis=1) < _FAR_PX)
            xyxy, score, classes = xyxy[near], score[near], classes[near]
            points = None if points is None else points[near]
        order = nms(xyxy, score, classes if self.class_aware else None, self.nms_iou, self.max_detections)
        mapped = transform.to_image(xyxy[order])
        if (mapped[:, 2:] <= mapped[:, :2]).any():
            valid = (mapped[:, 2:] > mapped[:, :2]).all(axis=1)
            mapped, order = mapped[valid], order[valid]
        best = score[order]
        return Detections(mapped, best, classes[order], keypoints=_keypoints(points, order, best, transform))


def _keypoints(points: Float32 | None, kept: NDArray[np.intp], score: Float32, transform: Transform) -> Float32 | None:
    if points is None:
        return None
    found = points[kept]
    mapped = transform.points_to_image(np.nan_to_num(np.clip(found, -_FAR_PX, _FAR_PX)))  # (N, K, 2)
    scores = np.where(np.isfinite(found).all(axis=2, keepdims=True), score[:, None, None], np.float32(0))
    return np.concatenate([mapped, scores], axis=2)
