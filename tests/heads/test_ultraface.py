"""ultraface: decoding against plain loops, with synthetic and real outputs."""

import numpy as np
import pytest

from edge_app.geometry.boxes import fit
from tests.heads import exports, plain, public_models


def reference(outputs, size):
    found = []
    for (_, face), (x1, y1, x2, y2) in zip(outputs["scores"][0].tolist(), outputs["boxes"][0].tolist()):
        found.append(((x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1]), face, 0))
    return found


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_decoding_matches_plain_loops(resize):
    for seed in range(3):
        case, transform = exports.ultraface(np.random.default_rng(seed)), fit((500, 375), exports.INPUT, resize)
        expected = plain.expected_detections(reference(case.outputs, exports.INPUT), transform, 0.7, 0.5)
        assert len(expected) > 3
        plain.assert_matches(case.head().decode(case.outputs, transform), expected)


def test_decoding_the_public_model_matches_plain_loops(data):
    total = 0
    for outputs, transform in public_models.ULTRAFACE.cases(data, 20):
        expected = plain.expected_detections(reference(outputs, (320, 240)), transform, 0.5, 0.5)
        head = plain.build("ultraface", outputs, (320, 240), 1, score=0.5)
        plain.assert_matches(head.decode(outputs, transform), expected)
        total += len(expected)
    assert total > 3
