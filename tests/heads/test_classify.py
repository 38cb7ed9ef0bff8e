"""classify: ranks classes as plain loops do, and leaves a distribution as it is."""

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
def test_ranks_logits_as_plain_loops_do(shape):
    logits = np.random.default_rng(0).normal(0, 4, 1000).astype(np.float32)
    total = math.fsum(math.exp(v) for v in logits.tolist())
    expected = sorted(((math.exp(v) / total, i) for i, v in enumerate(logits.tolist())), reverse=True)[:5]
    result = decode(logits, shape)
    assert result.class_id.tolist() == [i for _, i in expected]
    np.testing.assert_allclose(result.score, [p for p, _ in expected], rtol=1e-5)


def test_a_distribution_stays_as_it_is_and_softmax_can_be_insisted_on():
    np.testing.assert_allclose(decode([0.1, 0.7, 0.2]).score, [0.7, 0.2, 0.1])
    assert decode([0.1, 0.7, 0.2], activation="softmax").score[0] == pytest.approx(0.464, abs=1e-3)
    assert decode([0.02, 0.7, 0.25]).score[0] == pytest.approx(0.7)  # quantised: adds up to 0.97


def test_classes_that_do_not_exclude_each_other():
    result = decode([3.0, -3.0, 2.0], activation="sigmoid", score=0.5)
    assert result.class_id.tolist() == [0, 2]
    np.testing.assert_allclose(result.score, [plain.sigmoid(3), plain.sigmoid(2)], rtol=1e-5)


def test_top_k_and_least_score():
    assert decode([5.0, 1.0, 4.0, 2.0], top_k=2).class_id.tolist() == [0, 2]
    assert decode([5.0, 1.0, 4.0, 2.0], score=0.2).class_id.tolist() == [0, 2]


def test_equal_scores_keep_the_order_of_the_labels():
    assert decode([1.0, 2.0, 2.0, 1.0]).class_id.tolist() == [1, 2, 0, 3]


def test_values_that_are_no_numbers_are_left_out():
    result = decode([1.0, math.nan, math.inf, -math.inf])
    assert result.class_id.tolist() == [2, 0, 3]
    np.testing.assert_allclose(result.score, [1, 0, 0], atol=1e-6)
    assert decode([math.nan, math.nan]).class_id.tolist() == []
