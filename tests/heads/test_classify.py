"""classify: ranking against plain loops, and when softmax is applied."""

import math

import numpy as np
import pytest

from edge_app.geometry.boxes import fit
from tests.heads import plain

TRANSFORM = fit((640, 480), (224, 224), "stretch")


def decode(values, shape=None, **options):
    outputs = {"logits": np.asarray(values, np.float32).reshape(shape or (1, -1))}
    return plain.build("classify", outputs, (224, 224), **options).decode(outputs, TRANSFORM)


@pytest.mark.parametrize("shape", [(1, 1000), (1, 1000, 1, 1)])
def test_ranking_logits_matches_plain_loops(shape):
    logits = np.random.default_rng(0).normal(0, 4, 1000).astype(np.float32)
    total = math.fsum(math.exp(v) for v in logits.tolist())
    expected = sorted(((math.exp(v) / total, i) for i, v in enumerate(logits.tolist())), reverse=True)[:5]
    result = decode(logits, shape)
    assert result.class_id.tolist() == [i for _, i in expected]
    np.testing.assert_allclose(result.score, [p for p, _ in expected], rtol=1e-5)


def test_softmax_is_applied_to_a_distribution_only_on_request():
    np.testing.assert_allclose(decode([0.1, 0.7, 0.2]).score, [0.7, 0.2, 0.1])
    assert decode([0.1, 0.7, 0.2], activation="softmax").score[0] == pytest.approx(0.464, abs=1e-3)
    assert decode([0.02, 0.7, 0.25]).score[0] == pytest.approx(0.7)  # quantized: sums to 0.97


def test_sigmoid_scores_classes_independently():
    result = decode([3.0, -3.0, 2.0], activation="sigmoid", score=0.5)
    assert result.class_id.tolist() == [0, 2]
    np.testing.assert_allclose(result.score, [plain.sigmoid(3), plain.sigmoid(2)], rtol=1e-5)


def test_top_k_and_minimum_score():
    assert decode([5.0, 1.0, 4.0, 2.0], top_k=2).class_id.tolist() == [0, 2]
    assert decode([5.0, 1.0, 4.0, 2.0], score=0.2).class_id.tolist() == [0, 2]


def test_classes_with_equal_scores_keep_the_order_of_the_labels():
    assert decode([1.0, 2.0, 2.0, 1.0]).class_id.tolist() == [1, 2, 0, 3]


def test_leaves_out_nan_values():
    result = decode([1.0, math.nan, math.inf, -math.inf])
    assert result.class_id.tolist() == [2, 0, 3]
    np.testing.assert_allclose(result.score, [1, 0, 0], atol=1e-6)
    assert decode([math.nan, math.nan]).class_id.tolist() == []
