"""retinaface: decoding of faces and landmarks against the published loops, with synthetic outputs."""

import math

import numpy as np
import pytest

from edge_app.geometry.boxes import fit
from tests.heads import exports, plain

MOBILE = [(8, [16, 32]), (16, [64, 128]), (32, [256, 512])]
LIGHT = [(8, [10, 16, 24]), (16, [32, 48]), (32, [64, 96]), (64, [128, 192, 256])]


def priors(size, published):
    """Center and size of every prior, 0..1, as Pytorch_Retinaface's PriorBox lists them."""
    width, height = size
    for step, sides in published:
        for row in range(math.ceil(height / step)):
            for column in range(math.ceil(width / step)):
                for side in sides:
                    yield (column + 0.5) * step / width, (row + 0.5) * step / height, side / width, side / height


def reference(outputs, size, published):
    """outputs: scores, boxes and landmarks, in any order."""
    tables = {array.shape[2]: array[0].tolist() for array in outputs.values()}
    faces = []
    width, height = size
    for (cx, cy, w, h), (other, face), box, marks in zip(priors(size, published), tables[2], tables[4], tables[10]):
        score = face if 0 <= other <= 1 and abs(other + face - 1) < 1e-5 else plain.sigmoid(face - other)
        if score < 0.3:
            continue
        x, y = cx + box[0] * 0.1 * w, cy + box[1] * 0.1 * h
        across, down = w * math.exp(box[2] * 0.2), h * math.exp(box[3] * 0.2)
        corners = plain.centered_box(x * width, y * height, across * width, down * height)
        points = [((cx + marks[2 * k] * 0.1 * w) * width, (cy + marks[2 * k + 1] * 0.1 * h) * height) for k in range(5)]
        faces.append((corners, score, points))
    return faces


@pytest.mark.parametrize(
    ("make", "published"), [(exports.retinaface, MOBILE), (exports.retinaface_light, LIGHT)], ids=["mobile", "light"]
)
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_decoding_matches_the_published_loops(make, published, resize):
    case, transform = make(np.random.default_rng(0)), fit((500, 375), exports.INPUT, resize)
    result = case.head().decode(case.outputs, transform)
    assert plain.assert_faces(result, reference(case.outputs, exports.INPUT, published), transform, 0.6, 0.4) > 5
