"""fastestdet: decoding against plain loops, with synthetic and real outputs."""

import math

import numpy as np
import pytest

from edge_app.geometry.boxes import fit
from tests.heads import exports, plain, public_models


def reference(outputs, size):
    (values,) = outputs.values()
    _, _, height, width = values.shape
    found = []
    for y in range(height):
        for x in range(width):
            objectness, tx, ty, tw, th, *classes = (float(v) for v in values[0, :, y, x])
            chance, label = plain.highest(classes)
            cx, cy = (math.tanh(tx) + x) / width * size[0], (math.tanh(ty) + y) / height * size[1]
            box = plain.centered_box(cx, cy, plain.sigmoid(tw) * size[0], plain.sigmoid(th) * size[1])
            found.append((box, max(objectness, 0) ** 0.6 * max(chance, 0) ** 0.4, label))
    return found


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_decoding_matches_plain_loops(resize):
    for seed in range(3):
        case = exports.fastestdet(np.random.default_rng(seed))
        transform = fit((500, 375), case.input_size, resize)
        expected = plain.expected_detections(reference(case.outputs, case.input_size), transform, 0.5, 0.45)
        assert len(expected) > 5
        plain.assert_matches(case.head(score=0.5).decode(case.outputs, transform), expected)


def test_decoding_the_public_model_matches_plain_loops(data):
    total = 0
    for outputs, transform in public_models.FASTESTDET.cases(data, 20):
        expected = plain.expected_detections(reference(outputs, (352, 352)), transform, 0.5, 0.45)
        head = plain.build("fastestdet", outputs, (352, 352), 80, score=0.5)
        plain.assert_matches(head.decode(outputs, transform), expected)
        total += len(expected)
    assert total > 40
