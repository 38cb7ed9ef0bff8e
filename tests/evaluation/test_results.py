"""Agreement of results that are not boxes, and cosine."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.evaluation import cosine, result_agreement
from edge_app.frame import Classification, Detections, Embedding, Segmentation

SQUARE = np.array([[0, 0], [8, 0], [8, 8], [0, 8]], np.float32)


def ranked(*classes):
    return Classification(np.array(classes, np.int32), np.ones(len(classes), np.float32))


def regions(*polygons, class_id=0):
    count = len(polygons)
    return Segmentation(np.full(count, class_id, np.int32), np.ones(count, np.float32), polygons)


def test_classifications_agree_by_best_class():
    assert result_agreement([ranked(1, 2), ranked(3, 1)], [ranked(1, 3), ranked(1, 3)], [(8, 8)] * 2) == 0.5


def test_regions_agree_by_iou_of_each_class():
    lower_half = (SQUARE * [1, 0.5]).astype(np.float32)
    assert result_agreement([regions(SQUARE)], [regions(SQUARE)], [(8, 8)]) == 1.0
    assert result_agreement([regions(SQUARE)], [regions(lower_half)], [(8, 8)]) == pytest.approx(0.5, abs=0.01)
    assert result_agreement([regions(SQUARE)], [regions(SQUARE, class_id=1)], [(8, 8)]) == 0.0
    assert result_agreement([regions()], [regions()], [(8, 8)]) == 1.0


def test_embeddings_agree_by_cosine():
    x, y = (Embedding(np.array(v, np.float32)) for v in ([1, 0], [0, 1]))
    assert result_agreement([x, x], [x, y], [(8, 8)] * 2) == 0.5


def test_boxes_agree_by_f1():
    box = Detections(np.array([[0, 0, 9, 9]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32))
    assert result_agreement([box, box], [box, Detections.empty()], [(8, 8)] * 2) == pytest.approx(2 / 3)


def test_cosine_equals_the_sum_over_elements():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(3, 4, 5)).astype(np.float32) for _ in range(2))
    dot, a2, b2 = (sum(float(x) * float(y) for x, y in zip(p.ravel(), q.ravel())) for p, q in ((a, b), (a, a), (b, b)))
    assert cosine(a, b) == pytest.approx(dot / (a2 * b2) ** 0.5)


def test_cosine_of_zero_vectors():
    zero, one = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert (cosine(zero, zero), cosine(zero, one), cosine(one, zero)) == (1.0, 0.0, 0.0)
