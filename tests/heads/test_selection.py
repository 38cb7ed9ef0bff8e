"""_selection: the number of candidates is limited, and invalid boxes are dropped."""

from dataclasses import replace

import numpy as np

from edge_app.geometry.boxes import fit
from edge_app.heads._selection import MAX_CANDIDATES, Selection

SELECTION = Selection(score=0.5, nms_iou=0.5, max_detections=10)
WHOLE = fit((100, 100), (100, 100), "stretch")


def test_keeps_the_best_candidates_in_their_order():
    scores = np.random.default_rng(0).permutation(np.linspace(0, 1, 20_000, dtype=np.float32))
    rows = SELECTION.candidates(scores)
    assert rows.tolist() == sorted(np.argsort(-scores)[:MAX_CANDIDATES].tolist())


def test_the_threshold_is_inclusive_and_excludes_nan():
    values = np.array([0.4999, 0.5, np.nan, np.inf], np.float32)
    assert SELECTION.candidates(values).tolist() == [1, 3]
    assert SELECTION.candidates(values, 0.6).tolist() == [3]
    assert SELECTION.rows_above(np.array([[0, 0.5], [0.4, 0.4], [np.nan, 0.9], [0.6, 0.6]], np.float32)).tolist() == [
        0,
        2,
        3,
    ]
    assert SELECTION.rows_above(np.zeros((5, 2), np.float32)).tolist() == []


def test_drops_invalid_boxes():
    boxes = np.array(
        [
            [10, 10, 20, 20],
            [np.nan, 10, 20, 20],
            [10, 10, np.inf, 20],
            [-2e5, -2e5, 2e5, 2e5],  # invalid: larger than any image
            [60, 60, 50, 70],  # x1 > x2
            [-30, 10, -5, 20],  # outside the image
            [70, 70, 80, 80],
        ],
        np.float32,
    )
    score = np.array([0.9] * 6 + [1.004], np.float32)
    result = SELECTION.detections(boxes, score, np.zeros(7, np.int64), WHOLE)
    assert result.xyxy.tolist() == [[70, 70, 80, 80], [10, 10, 20, 20]]
    assert result.score.tolist() == [np.float32(1.004), np.float32(0.9)]  # inference checks and clips it


def test_respects_max_detections():
    boxes = np.array([[i * 3, 0, i * 3 + 2, 10] for i in range(30)], np.float32)
    score = np.linspace(0.6, 0.9, 30, dtype=np.float32)
    result = SELECTION.detections(boxes, score, np.zeros(30, np.int64), WHOLE)
    assert result.xyxy[:, 0].tolist() == [87 - 3 * i for i in range(10)]


def test_empty_boxes_do_not_count_towards_max_detections():
    xyxy = np.array([[0, 5, 9, 5], [0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]], np.float32)
    score = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    found = Selection(0.5, 0.5, 2).detections(xyxy, score, np.zeros(4, np.int32), fit((64, 64), (64, 64), "stretch"))
    assert found.score.tolist() == score[1:3].tolist()


def test_an_inverted_box_suppresses_no_other():
    """With more boxes than plain Python handles. YOLO 26 predicts distances, which may be negative."""
    corners = np.arange(12, dtype=np.float32)[:, None] * 8
    boxes = np.concatenate([corners, corners, corners + 6, corners + 6], axis=1)
    boxes = np.concatenate([[[90, 0, 10, 90]], boxes]).astype(np.float32)
    score = np.linspace(1, 0.6, 13, dtype=np.float32)
    result = replace(SELECTION, max_detections=20).detections(boxes, score, np.zeros(13, np.int64), WHOLE)
    np.testing.assert_array_equal(result.score, score[1:])


def test_a_keypoint_that_is_not_finite_has_score_0():
    boxes = np.array([[10, 10, 50, 50]], np.float32)
    points = np.array([[[20, 20], [np.nan, 30], [30, np.inf]]], np.float32)
    found = Selection(0.5, 0.5, 10).detections(
        boxes, np.array([0.75], np.float32), np.zeros(1, np.int32), fit((100, 100), (100, 100), "stretch"), points
    )
    np.testing.assert_array_equal(found.keypoints[0, :, 2], [0.75, 0, 0])
    assert np.isfinite(found.keypoints).all()
