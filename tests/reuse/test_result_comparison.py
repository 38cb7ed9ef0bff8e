"""Comparing two results for one frame: what counts as different."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.frame import Classification, Detections, Embedding, Segmentation
from edge_app.reuse.result_comparison import differing


def detections(*rows):
    """rows: x, score, class."""
    boxes = np.array([[x, 0, x + 10, 10] for x, _, _ in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([s for _, s, _ in rows], np.float32), np.array([c for *_, c in rows], np.int32))


@pytest.mark.parametrize(
    ("found", "expected", "count"),
    [
        ([(0, 0.9, 1)], [(1, 0.8, 1)], (0, 2)),
        ([(0, 0.9, 1)], [(20, 0.8, 1)], (2, 2)),
        ([(0, 0.9, 1)], [(0, 0.8, 2)], (2, 2)),
        ([(0, 0.9, 1), (40, 0.45, 1)], [(0, 0.9, 1)], (0, 3)),  # just above the threshold: by chance
        ([(0, 0.9, 1), (40, 0.55, 1)], [(0, 0.9, 1)], (1, 3)),
        ([(0, 0.9, 1), (2, 0.9, 1)], [(1, 0.9, 1)], (1, 3)),  # a counterpart counts once
        ([], [(0, 0.9, 1)], (1, 1)),
        ([], [], (0, 0)),
    ],
)
def test_detections_without_a_counterpart_differ(found, expected, count):
    assert differing(detections(*found), detections(*expected), 0.4) == count


def test_the_first_class_of_an_image_must_be_equal():
    def classes(first, score):
        return Classification(np.array([first, 9], np.int32), np.array([score, 0.1], np.float32))

    assert differing(classes(1, 0.9), classes(1, 0.8), 0.0) == (0, 2)
    assert differing(classes(1, 0.9), classes(2, 0.8), 0.0) == (2, 2)


def test_regions_are_compared_by_their_boxes():
    def region(x):
        polygon = np.array([[x, 0], [x + 10, 0], [x + 10, 10]], np.float32)
        return Segmentation(np.array([1], np.int32), np.array([0.9], np.float32), (polygon,))

    assert differing(region(0), region(1), 0.4) == (0, 2)
    assert differing(region(0), region(20), 0.4) == (2, 2)


def test_other_results_are_not_compared():
    vector = Embedding(np.array([1.0], np.float32))
    assert differing(vector, vector, 0.0) == (0, 0)
