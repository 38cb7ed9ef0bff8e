"""carried: what the last detections have beside boxes moves with their tracks while the head does not run."""

import numpy as np

from edge_app.frame import Detections
from edge_app.tracking.carried import carried

SIZE = (200, 100)


def detections(*boxes, ids, **more):
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    n = len(xyxy)
    return Detections(xyxy, np.ones(n, np.float32), np.zeros(n, np.int32), np.array(ids, np.int64), **more)


def test_detections_without_further_values_stay_as_they_are():
    predicted = detections([0, 0, 10, 10], ids=[1])
    assert carried(predicted, detections([0, 0, 10, 10], ids=[1]), SIZE) is predicted


def test_keypoints_corners_and_polygons_move_and_scale_with_the_box():
    keypoints = np.array([[[5, 5, 0.9], [10, 20, 0.2]]], np.float32)
    corners = np.array([[[0, 0], [10, 0], [10, 20], [0, 20]]], np.float32)
    polygons = (np.array([[0, 0], [10, 20], [0, 20]], np.float32),)
    last = detections([0, 0, 10, 20], ids=[7], keypoints=keypoints, corners=corners, polygons=polygons)
    moved = carried(detections([100, 10, 120, 50], ids=[7]), last, SIZE)
    np.testing.assert_allclose(moved.keypoints, [[[110, 20, 0.9], [120, 50, 0.2]]])
    np.testing.assert_allclose(moved.corners, [[[100, 10], [120, 10], [120, 50], [100, 50]]])
    np.testing.assert_allclose(moved.polygons[0], [[100, 10], [120, 50], [100, 50]])


def test_a_track_that_was_not_detected_last_has_no_keypoint_that_counts():
    keypoints = np.array([[[5, 5, 0.9]]], np.float32)
    last = detections([0, 0, 10, 20], ids=[7], keypoints=keypoints, polygons=(np.zeros((3, 2), np.float32),))
    moved = carried(detections([100, 10, 120, 50], [0, 0, 10, 20], ids=[3, 7]), last, SIZE)
    np.testing.assert_allclose(moved.keypoints, [[[110, 30, 0]], [[5, 5, 0.9]]])
    assert [len(polygon) for polygon in moved.polygons] == [0, 3]


def test_keypoints_and_polygons_stay_inside_the_image_and_corners_do_not():
    keypoints = np.array([[[10, 20, 0.9]]], np.float32)
    corners = np.array([[[0, 0], [10, 0], [10, 20], [0, 20]]], np.float32)
    last = detections(
        [0, 0, 10, 20], ids=[7], keypoints=keypoints, corners=corners, polygons=(keypoints[0, :, :2],)
    )  # fmt: skip
    moved = carried(detections([190, 90, 210, 130], ids=[7]), last, SIZE)
    assert moved.keypoints[0, 0].tolist()[:2] == [200, 100]
    assert moved.polygons[0].tolist() == [[200, 100]]
    assert moved.corners.max() == 210
