"""What every detector does around its own arithmetic: keep the cells worth decoding, suppress, map to the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform, nms

MAX_CANDIDATES = 1000  # decoded at most: a flood of cells above the threshold costs a bounded time
_FAR_PX = 1e5  # a box that reaches farther is a broken number, and its area would overflow


@dataclass(frozen=True, slots=True)
class Selection:
    """Which boxes are reported: the options that all detectors have.

    class_aware: boxes suppress only those of their own class.
    """

    score: float
    nms_iou: float
    max_detections: int
    class_aware: bool = True

    def strongest(self, values: Float32, threshold: float | None = None) -> NDArray[np.intp]:
        """Indices into values (N,) of those at or above the threshold, ascending, at most MAX_CANDIDATES; never NaN.

        threshold: where values are not scores but something that rises with them; `score` otherwise.
        """
        rows: NDArray[np.intp] = (values >= (self.score if threshold is None else threshold)).nonzero()[0]
        if len(rows) > MAX_CANDIDATES:
            best = np.argpartition(-values[rows], MAX_CANDIDATES)[:MAX_CANDIDATES]
            rows = rows[np.sort(best)]
        return rows

    def hit(self, scores: NDArray[Any]) -> NDArray[np.intp]:
        """Rows of scores (N, C) with a value at or above `score`, ascending: cheaper than a maximum of each row."""
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
        """Suppress overlaps, map to image pixels, clip, and drop what is not a box there.

        xyxy: (N, 4) and points: (N, K, 2), both in input pixels; score, class_id: (N,).
        A point takes the score of its box: the formats give none of its own.
        """
        classes = class_id.astype(np.int32, copy=False)
        if not np.abs(xyxy).max(initial=0) < _FAR_PX:  # seldom, and NaN is not less
            near = np.flatnonzero(np.abs(xyxy).max(axis=1) < _FAR_PX)
            xyxy, score, classes = xyxy[near], score[near], classes[near]
            points = None if points is None else points[near]
        order = nms(xyxy, score, classes if self.class_aware else None, self.nms_iou, self.max_detections)
        mapped = transform.to_image(xyxy[order])
        if (mapped[:, 2:] <= mapped[:, :2]).any():
            whole = (mapped[:, 2:] > mapped[:, :2]).all(axis=1)
            mapped, order = mapped[whole], order[whole]
        best = np.minimum(score[order], np.float32(1))  # a dequantised probability may lie a step above
        return Detections(mapped, best, classes[order], keypoints=_keypoints(points, order, best, transform))


def _keypoints(points: Float32 | None, kept: NDArray[np.intp], score: Float32, transform: Transform) -> Float32 | None:
    if points is None:
        return None
    near = np.nan_to_num(np.clip(points[kept], -_FAR_PX, _FAR_PX))
    mapped = transform.points_to_image(near)  # (N, K, 2)
    scores = np.broadcast_to(score[:, None, None], (*mapped.shape[:2], 1))
    return np.concatenate([mapped, scores], axis=2)
