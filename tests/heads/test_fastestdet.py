"""FastestDet: decodes as plain loops do, on made-up and on true outputs."""

import math

import numpy as np
import pytest

from edge_app.geometry.boxes import fit
from tests.heads import made, plain, public


def reference(outputs, size):
    (values,) = outputs.values()
    _, _, height, width = values.shape
    found = []
    for y in range(height):
        for x in range(width):
            objectness, tx, ty, tw, th, *classes = (float(v) for v in values[0, :, y, x])
            chance, label = plain.best(classes)
            cx, cy = (math.tanh(tx) + x) / width * size[0], (math.tanh(ty) + y) / height * size[1]
            box = plain.around(cx, cy, plain.sigmoid(tw) * size[0], plain.sigmoid(th) * size[1])
            found.append((box, max(objectness, 0) ** 0.6 * max(chance, 0) ** 0.4, label))
    return found


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_decodes_as_plain_loops_do(resize):
    for seed in range(3):
        case = made.fastestdet(np.random.default_rng(seed))
        transform = fit((500, 375), case.input_size, resize)
        expected = plain.reported(reference(case.outputs, case.input_size), transform, 0.5, 0.45)
        assert len(expected) > 5
        plain.assert_same(case.head(score=0.5).decode(case.outputs, transform), expected)


def test_decodes_the_public_model_as_plain_loops_do(data):
    total = 0
    for outputs, transform in public.FASTESTDET.cases(data, 20):
        expected = plain.reported(reference(outputs, (352, 352)), transform, 0.5, 0.45)
        head = plain.build("fastestdet", outputs, (352, 352), 80, score=0.5)
        plain.assert_same(head.decode(outputs, transform), expected)
        total += len(expected)
    assert total > 40
