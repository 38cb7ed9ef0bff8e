"""Oriented boxes: their corners, and suppression by the overlap of Gaussian distributions.

An oriented box is center x, center y, width, height and angle: the direction of the width, radians, clockwise in the
image. Sources: ultralytics (`xywhr2xyxyxyxy`, `batch_probiou`, `fast_nms`); Llerena et al., "Probabilistic
Intersection-over-Union for Training and Evaluation of Oriented Object Detectors" (2023).
Not here: upright boxes (boxes.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Float32

_EPSILON = np.float32(1e-7)
_FARTHEST = np.float32(100)  # of Bhattacharyya distances


def corners(xywhr: Float32) -> Float32:
    """The corners (N, 4, 2) of oriented boxes (N, 5), in order: corner 0 is the top left one at an angle of 0."""
    half = xywhr[:, 2:4] * np.float32(0.5)
    cosine, sine = np.cos(xywhr[:, 4]), np.sin(xywhr[:, 4])
    along = np.stack([half[:, 0] * cosine, half[:, 0] * sine], axis=1)
    across = np.stack([-half[:, 1] * sine, half[:, 1] * cosine], axis=1)
    center = xywhr[:, :2]
    return np.stack(
        [center - along - across, center + along - across, center + along + across, center - along + across], axis=1
    )


def probabilistic_iou(a: Float32, b: Float32) -> Float32:
    """The overlap (N, M) of oriented boxes a (N, 5) and b (M, 5), each taken for a normal distribution: 0..1."""
    ax, ay, bx, by = a[:, 0, None], a[:, 1, None], b[:, 0], b[:, 1]
    own, others = _covariance(a), _covariance(b)
    xx, yy, xy = (own[i][:, None] + others[i] for i in range(3))
    product = xx * yy - xy * xy
    determinants = [np.maximum(c[0] * c[1] - c[2] * c[2], 0) for c in (own, others)]
    across, down = bx - ax, by - ay
    distance = (xx * down * down + yy * across * across) * np.float32(0.25) - xy * across * down * np.float32(0.5)
    distance /= product + _EPSILON
    spread = product / (4 * np.sqrt(determinants[0][:, None] * determinants[1]) + _EPSILON) + _EPSILON
    distance += np.log(spread) * np.float32(0.5)
    np.clip(distance, _EPSILON, _FARTHEST, out=distance)
    overlap: Float32 = 1 - np.sqrt(1 - np.exp(-distance) + _EPSILON)
    return overlap


def nms_rotated(
    xywhr: Float32, score: Float32, class_id: NDArray[np.int32] | None, iou_threshold: float, limit: int = 300
) -> NDArray[np.intp]:
    """Suppress oriented boxes (N, 5) that overlap a better one of the same class by more than `iou_threshold`.

    As in ultralytics' fast NMS, a box that is suppressed itself suppresses others too. class_id: None to suppress
    across classes. Returns the kept rows, best first, at most `limit`.
    """
    order: NDArray[np.intp] = np.argsort(-score, kind="stable")
    boxes = xywhr[order]
    over = np.triu(probabilistic_iou(boxes, boxes) > iou_threshold, 1)
    if class_id is not None:
        classes = class_id[order]
        over &= classes[:, None] == classes
    return order[~over.any(axis=0)][:limit]


def _covariance(xywhr: Float32) -> tuple[Float32, Float32, Float32]:
    """The variances along x and y, and the covariance, (N,) each, of boxes (N, 5)."""
    width, height = (xywhr[:, i] * xywhr[:, i] / np.float32(12) for i in (2, 3))
    cosine, sine = np.cos(xywhr[:, 4]), np.sin(xywhr[:, 4])
    squares = cosine * cosine, sine * sine
    return (
        width * squares[0] + height * squares[1],
        width * squares[1] + height * squares[0],
        (width - height) * cosine * sine,
    )
