"""yunet: decoding of faces and landmarks against plain loops."""

import math

import numpy as np
import pytest

from edge_app.geometry.boxes import fit
from tests.heads import exports, plain


def reference(outputs):
    """Candidates, and the landmarks of each by its score."""
    found, points = [], {}
    for width, height, s in exports.GRIDS:
        for cell in range(width * height):
            x, y = cell % width, cell // width
            dx, dy, w, h = (float(v) for v in outputs[f"bbox_{s}"][0, cell])
            box = plain.centered_box((x + dx) * s, (y + dy) * s, math.exp(w) * s, math.exp(h) * s)
            chance = float(outputs[f"cls_{s}"][0, cell, 0]) * float(outputs[f"obj_{s}"][0, cell, 0])
            found.append((box, math.sqrt(chance), 0))
            marks = outputs[f"kps_{s}"][0, cell].tolist()
            points[found[-1][1]] = [((marks[2 * i] + x) * s, (marks[2 * i + 1] + y) * s) for i in range(5)]
    return found, points


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_decoding_matches_plain_loops(resize):
    for seed in range(3):
        case, transform = exports.yunet(np.random.default_rng(seed)), fit((500, 375), exports.INPUT, resize)
        found, points = reference(case.outputs)
        expected = plain.expected_detections(found, transform, 0.6, 0.3)
        assert len(expected) > 5
        result = case.head(score=0.6).decode(case.outputs, transform)
        plain.assert_matches(result, expected)
        marks = [[plain.to_image(x, y, transform) for x, y in points[score]] for _, score, _ in expected]
        np.testing.assert_allclose(result.keypoints[:, :, :2], marks, atol=plain.PIXELS)
        np.testing.assert_array_equal(result.keypoints[:, :, 2], np.repeat(result.score[:, None], 5, axis=1))


def test_no_face_gives_no_detection():
    case = exports.yunet(np.random.default_rng(0), "none")
    assert len(case.head().decode(case.outputs, fit((500, 375), exports.INPUT, "stretch"))) == 0
