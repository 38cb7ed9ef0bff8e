"""Scores that are no probabilities are a fault of the head, whichever head it is."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.frame import Classification, Detections, Embedding, Segmentation
from edge_app.inference.score_check import TOLERANCE, ScoreCheck


def detections(*scores: float) -> Detections:
    n = len(scores)
    return Detections(np.zeros((n, 4), np.float32), np.array(scores, np.float32), np.zeros(n, np.int32))


@pytest.mark.parametrize("score", [1.5, -0.2, np.inf, np.nan, 37.0])
def test_a_score_outside_0_to_1_is_an_error(score):
    with pytest.raises(ModelError, match=r"heads\.a: found a score of .*; expected probabilities"):
        ScoreCheck("heads.a").apply(detections(0.5, score))


def test_rounding_of_a_dequantized_score_is_clipped():
    result = ScoreCheck("heads.a").apply(detections(1 + TOLERANCE / 2, 0.5, -TOLERANCE / 2))
    assert result.score.tolist() == [1, 0.5, 0]


def test_rounding_of_the_score_of_a_keypoint_is_clipped():
    points = np.array([[[30, 40, 1.01]]], np.float32)
    one = np.ones(1, np.float32)
    result = ScoreCheck("heads.a").apply(
        Detections(np.array([[0, 0, 9, 9]], np.float32), one * 1.01, np.zeros(1, np.int32), None, points)
    )
    assert (result.keypoints.tolist(), result.score.tolist()) == ([[[30, 40, 1]]], [1])


def test_usual_scores_pass_unchanged():
    result = detections(0.9, 0.5)
    assert ScoreCheck("heads.a").apply(result) is result
    assert len(ScoreCheck("heads.a").apply(detections())) == 0
    vector = Embedding(np.array([3, -4], np.float32))
    assert ScoreCheck("heads.a").apply(vector) is vector


def test_scores_of_classes_and_regions_are_checked_too():
    one = np.array([7.5], np.float32)
    with pytest.raises(ModelError, match=r"a score of 7\.5"):
        ScoreCheck("heads.a").apply(Classification(np.zeros(1, np.int32), one))
    with pytest.raises(ModelError, match=r"a score of 7\.5"):
        ScoreCheck("heads.a").apply(Segmentation(np.zeros(1, np.int32), one, (np.zeros((3, 2), np.float32),)))


def test_most_scores_at_exactly_1_over_five_frames_are_an_error():
    check = ScoreCheck("heads.a")
    for _ in range(3):
        check.apply(detections(1, 1, 1, 0.5, 0.5))
    with pytest.raises(ModelError, match=r"found 12 of 20 scores at exactly 1"):
        check.apply(detections(1, 1, 1, 0.5, 0.5))


def test_half_of_the_scores_or_fewer_than_twenty_are_no_error():
    check = ScoreCheck("heads.a")
    for _ in range(50):
        check.apply(detections(1, 1, 0.5, 0.5, 0.9))
    check = ScoreCheck("heads.a")
    for _ in range(50):
        check.apply(detections(1, 1, 1))


def test_only_the_last_five_frames_count():
    check = ScoreCheck("heads.a")
    check.apply(detections(*[1] * 19))
    for _ in range(4):
        check.apply(detections())
    for _ in range(20):
        check.apply(detections(1))


def test_scores_of_exactly_1_are_usual_for_classes_and_int8():
    classes = Classification(np.zeros(5, np.int32), np.array([1, 0, 0, 0, 0], np.float32))
    check, int8 = ScoreCheck("heads.a"), ScoreCheck("heads.a", quantized=True)
    for _ in range(20):
        check.apply(classes)
        int8.apply(detections(1, 1, 1, 1, 1))


def test_repeated_impossible_scores_fail_the_frames_between_them_too():
    """So that a head whose scores are wrong in every third frame only is disabled as well."""
    check = ScoreCheck("heads.a")
    for _ in range(3):
        check.apply(detections(0.5))
        with pytest.raises(ModelError):
            check.apply(detections(3.0))
    for _ in range(90):
        with pytest.raises(ModelError, match="a score of 3"):
            check.apply(detections(0.5))
    for _ in range(20):
        try:
            check.apply(detections(0.5))
        except ModelError:
            continue
        break
    else:
        pytest.fail("a head never recovers")


def test_reset_forgets_earlier_frames():
    check = ScoreCheck("heads.a")
    for _ in range(3):
        with pytest.raises(ModelError):
            check.apply(detections(3.0))
    check.reset()
    check.apply(detections(0.5))
