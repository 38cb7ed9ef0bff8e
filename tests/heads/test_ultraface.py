"""Ultra-light face detectors: decode as plain loops do, on made-up and on true outputs."""

import numpy as np
import pytest

from edge_app.geometry.boxes import fit
from tests.heads import made, plain, public


def reference(outputs, size):
    found = []
    for (_, face), (x1, y1, x2, y2) in zip(outputs["scores"][0].tolist(), outputs["boxes"][0].tolist()):
        found.append(((x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1]), face, 0))
    return found


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_decodes_as_plain_loops_do(resize):
    for seed in range(3):
        case, transform = made.ultraface(np.random.default_rng(seed)), fit((500, 375), made.INPUT, resize)
        expected = plain.reported(reference(case.outputs, made.INPUT), transform, 0.7, 0.5)
        assert len(expected) > 3
        plain.assert_same(case.head().decode(case.outputs, transform), expected)


def test_decodes_the_public_model_as_plain_loops_do(data):
    total = 0
    for outputs, transform in public.ULTRAFACE.cases(data, 20):
        expected = plain.reported(reference(outputs, (320, 240)), transform, 0.5, 0.5)
        head = plain.build("ultraface", outputs, (320, 240), 1, score=0.5)
        plain.assert_same(head.decode(outputs, transform), expected)
        total += len(expected)
    assert total > 3
