"""rotated: corners, overlap and suppression of oriented boxes. The overlap by matrices: tests/heads/test_obb.py."""

import numpy as np

from edge_app.geometry.rotated import corners, nms_rotated, probabilistic_iou


def test_corner_0_is_the_top_left_one_and_the_width_points_along_the_angle():
    (points,) = corners(np.array([[10, 20, 8, 4, 0]], np.float32))
    assert points.tolist() == [[6, 18], [14, 18], [14, 22], [6, 22]]
    (turned,) = corners(np.array([[10, 20, 8, 4, np.pi / 2]], np.float32))
    np.testing.assert_allclose(turned, [[12, 16], [12, 24], [8, 24], [8, 16]], atol=1e-5)


def test_equal_boxes_overlap_fully_and_distant_ones_not_at_all():
    boxes = np.array([[10, 20, 8, 4, 0.3], [10, 20, 8, 4, 0.3 + np.pi], [900, 20, 8, 4, 0.3]], np.float32)
    overlap = probabilistic_iou(boxes, boxes)
    assert overlap[0, 1] > 0.99
    assert overlap[0, 2] < 0.001
    np.testing.assert_allclose(overlap, overlap.T, atol=1e-6)


def test_a_box_without_area_is_no_error():
    boxes = np.array([[10, 20, 0, 4, 0], [10, 20, 0, 0, 0]], np.float32)
    assert np.isfinite(probabilistic_iou(boxes, boxes)).all()
    assert len(nms_rotated(boxes[:0], np.empty(0, np.float32), None, 0.5)) == 0


def test_keeps_the_best_of_each_class_at_most_the_limit():
    boxes = np.array([[10, 20, 8, 4, 0], [10.5, 20, 8, 4, 0.1], [10, 20, 4, 8, 0], [500, 20, 8, 4, 0]], np.float32)
    score = np.array([0.5, 0.9, 0.8, 0.7], np.float32)
    assert nms_rotated(boxes, score, None, 0.6).tolist() == [1, 2, 3]
    assert nms_rotated(boxes, score, np.array([0, 1, 0, 0], np.int32), 0.6).tolist() == [1, 2, 3, 0]
    assert nms_rotated(boxes, score, None, 0.6, limit=2).tolist() == [1, 2]
