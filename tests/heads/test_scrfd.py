"""scrfd: decoding of faces and landmarks against InsightFace's loop, with synthetic and real outputs."""

import numpy as np
import pytest

from edge_app.geometry.boxes import fit
from tests.heads import exports, plain, public_models


def reference(outputs, size):
    """Every anchor, as InsightFace decodes it. outputs: scores, boxes and landmarks of each stride, in this order."""
    tables = list(outputs.values())
    levels = len(tables) // 3
    faces = []
    for level in range(levels):
        stride = 8 << level
        columns = -(-size[0] // stride)
        scores, boxes, points = (tables[part * levels + level][0].tolist() for part in range(3))
        for i, (score, box, marks) in enumerate(zip(scores, boxes, points)):
            if score[0] < 0.3:
                continue
            x, y = (i // 2) % columns * stride, (i // 2) // columns * stride  # two anchors a cell
            left, top, right, bottom = (value * stride for value in box)
            landmarks = [(x + marks[2 * k] * stride, y + marks[2 * k + 1] * stride) for k in range(5)]
            faces.append(((x - left, y - top, x + right, y + bottom), score[0], landmarks))
    return faces


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_decoding_matches_plain_loops(resize):
    for seed in range(2):
        case, transform = exports.scrfd(np.random.default_rng(seed)), fit((500, 375), exports.INPUT, resize)
        result = case.head(score=0.6).decode(case.outputs, transform)
        assert plain.assert_faces(result, reference(case.outputs, exports.INPUT), transform, 0.6, 0.4) > 5


@pytest.mark.parametrize(("folder", "count"), public_models.FACE_PICTURES)
def test_decoding_the_public_model_matches_its_published_decoder(data, folder, count):
    total = 0
    for outputs, transform in public_models.SCRFD.faces(data, folder, count):
        head = plain.build("scrfd", outputs, (640, 640), 1)
        result = head.decode(outputs, transform)
        total += plain.assert_faces(result, reference(outputs, (640, 640)), transform, 0.5, 0.4)
    print(f"{folder}: {total} faces")
    assert total >= 3


def test_models_without_landmarks_give_boxes():
    case = exports.scrfd(np.random.default_rng(0))
    with_landmarks = case.head().decode(case.outputs, fit((500, 375), exports.INPUT, "letterbox"))
    case.outputs = {name: values for name, values in case.outputs.items() if "kps" not in name}
    result = case.head().decode(case.outputs, fit((500, 375), exports.INPUT, "letterbox"))
    assert result.keypoints is None
    np.testing.assert_array_equal(result.xyxy, with_landmarks.xyxy)


def test_a_landmark_that_is_not_a_number_has_score_0():
    case = exports.scrfd(np.random.default_rng(0))
    for s in (8, 16, 32):
        case.outputs[f"kps_{s}"][..., 4] = np.nan
    result = case.head().decode(case.outputs, fit((500, 375), exports.INPUT, "letterbox"))
    assert len(result) > 5
    assert (result.keypoints[:, 2, 2] == 0).all()
    assert (result.keypoints[:, 0, 2] > 0).all()
