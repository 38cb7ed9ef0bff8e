"""Filters of the block `heads`."""

from __future__ import annotations

import numpy as np

from edge_app.config import HeadCommon
from edge_app.frame import Classification, Detections
from edge_app.geometry.boxes import fit
from edge_app.inference.filters import DetectionFilter

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
TRANSFORM = fit((400, 200), (100, 100), "letterbox")


def detections(*left: float) -> Detections:
    xyxy = np.array([[x, 10, x + 20, 30] for x in left], np.float32)
    return Detections(xyxy, np.ones(len(left), np.float32), np.zeros(len(left), np.int32))


def test_detections_with_their_center_in_an_ignored_polygon_are_dropped():
    kept = DetectionFilter(HeadCommon(ignore=(LEFT,))).apply(detections(10, 195, 300), TRANSFORM)
    assert kept.xyxy[:, 0].tolist() == [195, 300]


def test_without_ignored_polygons_a_result_is_unchanged():
    found = detections(10, 300)
    assert DetectionFilter(HeadCommon()).apply(found, TRANSFORM) is found


def test_results_of_other_types_are_unchanged():
    found = Classification(np.zeros(1, np.int32), np.ones(1, np.float32))
    assert DetectionFilter(HeadCommon(ignore=(LEFT,))).apply(found, TRANSFORM) is found
