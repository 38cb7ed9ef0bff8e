"""Compares two results of a head for the same frame, as F1 does: objects of both sides without a counterpart.

Not here: which frames are compared (guard.py), the evaluation against a reference (edge_app/evaluation).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Classification, Detections, Segmentation
from edge_app.geometry.boxes import iou

_LEAST_IOU = 0.5
_HYSTERESIS = 0.1  # of a score: an object this close above its threshold may have no counterpart


def differing(found: object, expected: object, threshold: float) -> tuple[int, int]:
    """How many objects differ, and how many there are, on both sides together. threshold: the head's least score.

    Results of other types than detections, regions and classes are not compared: (0, 0).
    """
    if isinstance(found, Classification) and isinstance(expected, Classification):
        if not len(found.class_id) or not len(expected.class_id):
            return 0, 0
        certain = expected.score[0] >= threshold + _HYSTERESIS
        return 2 * int(certain and found.class_id[0] != expected.class_id[0]), 2
    a, b = _boxes(found), _boxes(expected)
    if a is None or b is None:
        return 0, 0
    matched = _matched(a, b)
    least = threshold + _HYSTERESIS
    lost = int((a.score[~matched[0]] >= least).sum() + (b.score[~matched[1]] >= least).sum())
    return lost, len(a) + len(b)


def _matched(a: Detections, b: Detections) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For the objects of each side, whether they have a counterpart: (N,), (M,) bool. Best overlap first."""
    of_a, of_b = np.zeros(len(a), np.bool_), np.zeros(len(b), np.bool_)
    if not len(a) or not len(b):
        return of_a, of_b
    overlap = iou(a.xyxy, b.xyxy) * (a.class_id[:, None] == b.class_id[None, :])
    while True:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        if overlap[row, column] < _LEAST_IOU:
            return of_a, of_b
        of_a[row] = of_b[column] = True
        overlap[row] = 0
        overlap[:, column] = 0


def _boxes(result: object) -> Detections | None:
    if isinstance(result, Segmentation):
        corners = [np.concatenate([p.min(axis=0), p.max(axis=0)]) for p in result.polygons]
        return Detections(np.array(corners, np.float32).reshape(-1, 4), result.score, result.class_id)
    return result if isinstance(result, Detections) else None
