"""F1 with hysteresis: by hand, and against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.evaluation import (
    Counts,
    class_iou,
    f1,
    f1_with_hysteresis,
    frame_f1,
    match_by_iou,
    match_optimal,
    mean_matched_iou,
    paired_counts,
    worst_frame,
)
from edge_app.frame import Detections

BOX, FAR = (0, 0, 10, 10), (50, 50, 60, 60)


def detections(*rows):
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([r[4] for r in rows], np.float32), np.array([r[5] for r in rows], np.int32))


@pytest.mark.parametrize(("reference", "found", "expected"), [
    ([(*BOX, 0.9, 0)], [(*BOX, 0.9, 0)], 1.0),
    ([(*BOX, 0.41, 0)], [(*BOX, 0.31, 0)], 1.0),  # hysteresis
    ([(*BOX, 0.41, 0)], [(*BOX, 0.29, 0)], 0.0),
    ([(*BOX, 0.39, 0)], [], 1.0),  # neither side is confident
    ([(*BOX, 0.9, 0)], [(*BOX, 0.9, 1)], 0.0),
    ([(*BOX, 0.9, 0)], [(*BOX, 0.9, 0), (*BOX, 0.8, 0)], 2 / 3),  # one box matches one
    ([(*BOX, 0.9, 0), (*FAR, 0.9, 0)], [(*BOX, 0.9, 0)], 2 / 3),
    ([], [], 1.0), ([], [(*BOX, 0.9, 0)], 0.0),
])  # fmt: skip
def test_f1_with_hysteresis(reference, found, expected):
    assert f1_with_hysteresis([detections(*reference)], [detections(*found)]) == pytest.approx(expected)


def test_thresholds_are_parameters():
    reference, found = [detections((*BOX, 0.6, 0))], [detections((0, 0, 10, 8, 0.5, 0))]  # IoU 0.8
    assert f1_with_hysteresis(reference, found, score=0.6, lower_score=0.5) == 1
    assert f1_with_hysteresis(reference, found, score=0.6, lower_score=0.55) == 0
    assert f1_with_hysteresis(reference, found, score=0.6, lower_score=0.5, least_iou=0.9) == 0


def random_detections(rng):
    n = int(rng.integers(0, 6))
    corner = rng.uniform(0, 15, (n, 2))
    xyxy = np.concatenate([corner, corner + 10], axis=1).astype(np.float32)
    return Detections(xyxy, rng.uniform(0.2, 0.6, n).astype(np.float32), rng.integers(0, 2, n).astype(np.int32))


def test_f1_equals_precision_and_recall_counted_one_by_one():
    rng = np.random.default_rng(1)
    frames = [(random_detections(rng), random_detections(rng)) for _ in range(50)]
    agreeing = total = 0
    for reference, found in frames:
        for own, other in ((reference, found), (found, reference)):
            rows = [i for i in range(len(own)) if own.score[i] >= 0.4]
            columns = [j for j in range(len(other)) if other.score[j] >= 0.3]
            overlap = class_iou(own.xyxy, own.class_id, other.xyxy, other.class_id)[np.ix_(rows, columns)]
            agreeing += len(match_by_iou(overlap, 0.5))
            total += len(rows)
    assert f1_with_hysteresis(*zip(*frames)) == agreeing / total


def test_paired_counts_count_confident_boxes_of_pairs():
    a = np.array([BOX, FAR, (100, 0, 110, 10)], np.float32)
    matches = match_optimal(class_iou(a, np.zeros(3), a[:2], np.zeros(2)), 0.5)
    confident, other = np.array([True, False, True]), np.array([False, True])
    # rows 0 and 1 have partners; row 0 and column 1 are confident and agree; row 2 is confident and alone
    assert paired_counts(matches, confident, other) == Counts(agreeing=2, total=3)


def test_f1_of_frames_and_of_all_of_them():
    counts = [Counts(4, 4), Counts(1, 2), Counts(0, 0)]
    assert f1(counts) == pytest.approx(5 / 6)
    frames = frame_f1(counts)
    np.testing.assert_allclose(frames, [1, 0.5, 1])
    assert frames.dtype == np.float32
    assert worst_frame(frames) == 0.5


def test_without_frames_everything_agrees():
    assert (f1([]), worst_frame(frame_f1([])), mean_matched_iou([])) == (1.0, 1.0, 1.0)


def test_mean_matched_iou_is_over_pairs_not_frames():
    overlaps = [
        np.array([[0.9]], np.float32),
        np.array([[0.6, 0], [0, 0.75]], np.float32),
        np.zeros((0, 2), np.float32),
    ]
    assert mean_matched_iou([match_optimal(each, 0.5) for each in overlaps]) == pytest.approx(0.75)
