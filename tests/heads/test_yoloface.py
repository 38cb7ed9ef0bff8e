"""yoloface: decoding of faces and landmarks against yolov5-face's loop, with synthetic and real outputs."""

import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from tests.heads import exports, plain, public_models

ANCHORS = {
    8: [(4, 5), (8, 10), (13, 16)],
    16: [(23, 29), (43, 55), (73, 105)],
    32: [(146, 217), (231, 300), (335, 433)],
}


def reference(outputs):
    """Every anchor of the maps (1, 3, H, W, 16), as yolov5-face decodes it."""
    faces = []
    for stride, maps in zip((8, 16, 32), outputs.values()):
        for anchor, row, column in np.ndindex(maps.shape[1:4]):
            value = maps[0, anchor, row, column].tolist()
            if value[4] < -2:
                continue
            score = plain.sigmoid(value[4]) * plain.sigmoid(value[15])
            if score < 0.3:
                continue
            width, height = ANCHORS[stride][anchor]
            x = (plain.sigmoid(value[0]) * 2 - 0.5 + column) * stride
            y = (plain.sigmoid(value[1]) * 2 - 0.5 + row) * stride
            w, h = (plain.sigmoid(value[2]) * 2) ** 2 * width, (plain.sigmoid(value[3]) * 2) ** 2 * height
            points = [
                (value[5 + 2 * k] * width + column * stride, value[6 + 2 * k] * height + row * stride) for k in range(5)
            ]
            faces.append((plain.centered_box(x, y, w, h), score, points))
    return faces


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_decoding_maps_matches_plain_loops(resize):
    case, transform = exports.yoloface_maps(np.random.default_rng(0)), fit((500, 375), exports.INPUT, resize)
    result = case.head().decode(case.outputs, transform)
    assert plain.assert_faces(result, reference(case.outputs), transform, 0.5, 0.5) > 5


def test_decoding_a_table_matches_plain_loops():
    case, transform = exports.yoloface(np.random.default_rng(0)), fit((500, 375), exports.INPUT, "letterbox")
    faces = []
    for row in case.outputs["out"][0].tolist():
        points = [(row[5 + 2 * k], row[6 + 2 * k]) for k in range(5)]
        faces.append((plain.centered_box(*row[:4]), row[4] * row[15], points))
    faces = [face for face in faces if face[1] > 0.2]
    assert plain.assert_faces(case.head(score=0.3).decode(case.outputs, transform), faces, transform, 0.3, 0.5) > 5


@pytest.mark.parametrize(("folder", "count"), public_models.FACE_PICTURES)
def test_decoding_the_public_model_matches_its_published_decoder(data, folder, count):
    total = 0
    for outputs, transform in public_models.YOLOFACE.faces(data, folder, count):
        result = plain.build("yoloface", outputs, (640, 640), 1).decode(outputs, transform)
        total += plain.assert_faces(result, reference(outputs), transform, 0.5, 0.5)
    print(f"{folder}: {total} faces")
    assert total >= 3


def test_rejects_anchors_that_do_not_fit():
    with pytest.raises(ModelError, match="anchors: found 2 lists; expected 3, for each stride 6 positive numbers"):
        exports.yoloface_maps(np.random.default_rng(0)).head(anchors=((1.0,) * 6,) * 2)
