"""Shared by all detectors: select the cells to decode, suppress overlapping boxes, map boxes to the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform, nms

MAX_CANDIDATES = 1000  # decoded at most, which bounds the time if many cells are above the threshold
FAR_PX = 1e5  # larger coordinates are invalid, and the area of the box would overflow


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

        xyxy: (N, 4), input pixels; score, class_id: (N,). points: (N, K, 2), input pixels, or (N, K, 3) with a score.
        A keypoint without a score gets that of its box; the score of one that is not finite is 0.
        """
        found, rows = self.select(xyxy, score, class_id, transform)
        return found if points is None else replace(found, keypoints=_keypoints(points[rows], found.score, transform))

    def select(
        self, xyxy: Float32, score: Float32, class_id: NDArray[np.integer], transform: Transform
    ) -> tuple[Detections, NDArray[np.intp]]:
        """As `detections`, without keypoints; also returns the rows of the detections."""
        classes = class_id.astype(np.int32, copy=False)
        if np.abs(xyxy).max(initial=0) < FAR_PX:  # rarely not; false for NaN
            order = nms(xyxy, score, classes if self.class_aware else None, self.nms_iou, MAX_CANDIDATES)
        else:
            near = np.flatnonzero(np.abs(xyxy).max(axis=1) < FAR_PX)
            of_class = classes[near] if self.class_aware else None
            order = near[nms(xyxy[near], score[near], of_class, self.nms_iou, MAX_CANDIDATES)]
        mapped = transform.to_image(xyxy[order])
        if (mapped[:, 2:] <= mapped[:, :2]).any():
            valid = (mapped[:, 2:] > mapped[:, :2]).all(axis=1)
            mapped, order = mapped[valid], order[valid]
        mapped, order = mapped[: self.max_detections], order[: self.max_detections]  # empty boxes do not count
        return Detections(mapped, score[order], classes[order]), order


def _keypoints(points: Float32, score: Float32, transform: Transform) -> Float32:
    """Keypoints (N, K, 3) in image pixels. points: (N, K, 2) or (N, K, 3); score: (N,), of the boxes."""
    finite = np.nan_to_num(np.clip(points[..., :2], -FAR_PX, FAR_PX))
    keypoints = np.empty((*points.shape[:2], 3), np.float32)
    keypoints[..., :2] = transform.points_to_image(finite)
    keypoints[..., 2] = points[..., 2] if points.shape[2] == 3 else score[:, None]
    keypoints[~np.isfinite(points).all(axis=2), 2] = 0
    return keypoints
