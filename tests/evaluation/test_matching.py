"""Each matching rule against a slow, obvious reference."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from edge_app.evaluation import class_iou, match_by_iou, match_by_score, match_optimal

LEAST_IOU = 0.5


def boxes(rng, count):
    """Crowded boxes (N, 4) float32 of two classes."""
    corner, size = rng.uniform(0, 12, (count, 2)), rng.uniform(8, 14, (count, 2))
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32), rng.integers(0, 2, count)


def slow_iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def slow_by_iou(overlap):
    """All allowed pairs, sorted by IoU; each is kept if both boxes are still free."""
    allowed = [(overlap[i, j], i, j) for i in range(overlap.shape[0]) for j in range(overlap.shape[1])]
    kept = []
    for value, i, j in sorted(allowed, key=lambda pair: -pair[0]):
        if value >= LEAST_IOU and all(i != row and j != column for row, column in kept):
            kept.append((i, j))
    return kept


def slow_by_score(overlap, score):
    free, kept = list(range(overlap.shape[1])), []
    for i in sorted(range(len(score)), key=lambda i: -score[i]):
        allowed = [j for j in free if overlap[i, j] >= LEAST_IOU]
        if allowed:
            best = max(allowed, key=lambda j: overlap[i, j])
            free.remove(best)
            kept.append((i, best))
    return kept


def slow_optimal(overlap):
    """The greatest sum of IoU over all assignments. Rows beyond the columns stay without a partner."""
    allowed = np.where(overlap >= LEAST_IOU, overlap, 0)
    padded = np.zeros((len(allowed), allowed.shape[1] + len(allowed)))
    padded[:, : allowed.shape[1]] = allowed
    rows = range(len(allowed))
    return max(sum(padded[i, j] for i, j in zip(rows, way)) for way in permutations(range(padded.shape[1]), len(rows)))


def pairs(matches):
    return list(zip(matches.rows.tolist(), matches.columns.tolist()))


@pytest.fixture(params=range(40))
def case(request):
    rng = np.random.default_rng(request.param)
    (a, a_class), (b, b_class) = boxes(rng, int(rng.integers(0, 5))), boxes(rng, int(rng.integers(0, 5)))
    return class_iou(a, a_class, b, b_class), rng.random(len(a)), (a, a_class, b, b_class)


def test_class_iou_is_zero_between_classes(case):
    overlap, _, (a, a_class, b, b_class) = case
    for i in range(len(a)):
        for j in range(len(b)):
            expected = slow_iou(a[i], b[j]) if a_class[i] == b_class[j] else 0.0
            assert overlap[i, j] == pytest.approx(expected, abs=1e-5)


def test_match_by_iou_equals_the_slow_reference(case):
    overlap, _, _ = case
    assert sorted(pairs(match_by_iou(overlap, LEAST_IOU))) == sorted(slow_by_iou(overlap))


def test_match_by_score_equals_the_slow_reference(case):
    overlap, score, _ = case
    assert pairs(match_by_score(overlap, score, LEAST_IOU)) == slow_by_score(overlap, score)


def test_match_optimal_has_the_greatest_sum_of_iou(case):
    overlap, _, _ = case
    found = match_optimal(overlap, LEAST_IOU)
    assert len(set(found.rows.tolist())) == len(set(found.columns.tolist())) == len(found)
    assert (found.iou >= LEAST_IOU).all()
    assert found.iou.sum() == pytest.approx(slow_optimal(overlap), abs=1e-5)


def test_the_rules_differ_when_boxes_compete():
    overlap = np.array([[0.9, 0.8], [0.8, 0.0]], np.float32)
    assert pairs(match_by_iou(overlap, LEAST_IOU)) == [(0, 0)]
    assert pairs(match_optimal(overlap, LEAST_IOU)) == [(0, 1), (1, 0)]
    assert pairs(match_by_score(overlap, np.array([0.5, 0.9]), LEAST_IOU)) == [(1, 0), (0, 1)]


def test_equal_scores_are_matched_in_order():
    overlap = np.array([[0.6], [0.9]], np.float32)
    assert pairs(match_by_score(overlap, np.array([0.7, 0.7]), LEAST_IOU)) == [(0, 0)]
