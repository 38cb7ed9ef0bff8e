"""blazeface: decoding of faces and landmarks against MediaPipe's calculators, with synthetic and real outputs."""

import numpy as np
import pytest

from edge_app.geometry.boxes import fit
from tests.heads import exports, plain, public_models


def anchors():
    """The anchors of the short-range model: strides 8, 16, 16, 16, two anchors a cell each, 0..1."""
    return [
        ((column + 0.5) / cells, (row + 0.5) / cells)
        for cells, count in ((16, 2), (8, 6))
        for row in range(cells)
        for column in range(cells)
        for _ in range(count)
    ]


def decoded(outputs):
    """Boxes and landmarks of all anchors above the least score, 0..1, as MediaPipe decodes them."""
    tables = {array.shape[2]: array[0].tolist() for array in outputs.values()}
    faces = []
    for (x, y), (value,), row in zip(anchors(), tables[1], tables[16]):
        score = plain.sigmoid(max(-100.0, min(100.0, value)))
        if score < 0.5:
            continue
        box = plain.centered_box(row[0] / 128 + x, row[1] / 128 + y, row[2] / 128, row[3] / 128)
        faces.append((box, score, [(row[4 + 2 * k] / 128 + x, row[5 + 2 * k] / 128 + y) for k in range(6)]))
    return faces


def weighted(faces, nms_iou=0.3):
    """MediaPipe's weighted suppression."""
    remaining, kept = sorted(faces, key=lambda face: -face[1]), []
    while remaining:
        best = remaining[0]
        group = [face for face in remaining if face is best or plain.iou(best[0], face[0]) > nms_iou]
        remaining = [face for face in remaining if all(face is not each for each in group)]
        total = sum(score for _, score, _ in group)
        box = tuple(sum(each[0][i] * each[1] for each in group) / total for i in range(4))
        points = [tuple(sum(each[2][k][axis] * each[1] for each in group) / total for axis in (0, 1)) for k in range(6)]
        kept.append((box, best[1], points))
    return kept


def in_pixels(faces):
    return [
        (tuple(128 * edge for edge in box), score, [(128 * x, 128 * y) for x, y in points])
        for box, score, points in faces
    ]


@pytest.mark.parametrize("make", [exports.blazeface, exports.blazeface_split])
def test_decoding_matches_mediapipe(make):
    case, transform = make(np.random.default_rng(0)), fit((500, 375), (128, 128), "letterbox")
    outputs = exports.blazeface(np.random.default_rng(0)).outputs
    result = case.head().decode(case.outputs, transform)
    assert plain.assert_faces(result, in_pixels(weighted(decoded(outputs))), transform, 0.5, 1.0) > 3


def test_without_blending_the_best_box_is_kept_as_it_is():
    case, transform = exports.blazeface(np.random.default_rng(1)), fit((500, 375), (128, 128), "letterbox")
    result = case.head(blend=False).decode(case.outputs, transform)
    assert plain.assert_faces(result, in_pixels(decoded(case.outputs)), transform, 0.5, 0.3) > 3


@pytest.mark.parametrize(("folder", "count"), public_models.FACE_PICTURES)
def test_decoding_the_public_model_matches_its_published_decoder(data, folder, count):
    total = 0
    for outputs, transform in public_models.BLAZEFACE.faces(data, folder, count):
        result = plain.build("blazeface", outputs, (128, 128), 1).decode(outputs, transform)
        total += plain.assert_faces(result, in_pixels(weighted(decoded(outputs))), transform, 0.5, 1.0)
    print(f"{folder}: {total} faces")
    assert total >= 1
