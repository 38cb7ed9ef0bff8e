"""pose: boxes and keypoints of every export format against plain loops."""

import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from tests.heads import plain, task_exports
from tests.heads.exports import CELLS, CLASSES, GRIDS, INPUT
from tests.heads.task_exports import KEYPOINTS

SCORE, NMS_IOU = 0.4, 0.45
TRANSFORMS = [
    fit((500, 300), INPUT, "letterbox"),
    fit((300, 500), INPUT, "letterbox"),
    fit((640, 480), INPUT, "stretch"),
]


def cells():
    """Index in its grid, column, row and stride of every cell."""
    return [(y * w + x, x, y, s) for w, h, s in GRIDS for y in range(h) for x in range(w)]


def edges_of(values, x, y, stride):
    """Box of a cell from 4 distances or 4 x 16 bins."""
    if len(values) > 4:
        values = [plain.softmax_mean(values[16 * i : 16 * i + 16]) for i in range(4)]
    left, top, right, bottom = (v * stride for v in values)
    return (x + 0.5) * stride - left, (y + 0.5) * stride - top, (x + 0.5) * stride + right, (y + 0.5) * stride + bottom


def from_table(outputs, values):
    """Candidates with keypoints [(x, y, score)]; with two values, the score is that of the box."""
    (array,) = outputs.values()
    rows = array[0].T if array.shape[2] == CELLS else array[0]
    found = []
    for row in rows.astype(float).tolist():
        score, label = plain.highest(row[4 : 4 + CLASSES])
        numbers = row[4 + CLASSES :]
        points = [
            (*numbers[i : i + 2], numbers[i + 2] if values == 3 else score) for i in range(0, len(numbers), values)
        ]
        found.append((plain.centered_box(*row[:4]), score, label, points))
    return found


def from_maps(outputs, version):
    found = []
    for cell, x, y, s in cells():
        boxes, scores, raw = (
            outputs[f"{kind}{s}"][0].reshape(-1, (INPUT[0] // s) * (INPUT[1] // s))[:, cell].astype(float)
            for kind in ("boxes", "scores", "points")
        )
        score, label = plain.highest([plain.sigmoid(v) for v in scores])
        points = []
        for px, py, visible in raw.reshape(-1, 3).tolist():
            at = ((x + 0.5 + px) * s, (y + 0.5 + py) * s) if version == "v26" else ((x + 2 * px) * s, (y + 2 * py) * s)
            points.append((*at, plain.sigmoid(visible)))
        found.append((edges_of(boxes.tolist(), x, y, s), score, label, points))
    return found  # fmt: skip


def from_zoo(outputs):
    found = []
    keypoints = outputs["keypoints"][0].astype(float)
    for i, (cell, x, y, s) in enumerate(cells()):
        values = outputs[f"p{s}"][0].reshape(64 + CLASSES, -1)[:, cell].astype(float)
        score, label = plain.highest([plain.sigmoid(v) for v in values[64:]])
        points = [tuple(keypoints[k, :, i]) for k in range(KEYPOINTS)]
        found.append((edges_of(values[:64].tolist(), x, y, s), score, label, points))
    return found


def from_final(outputs):
    found = []
    for row in outputs["output0"][0].astype(float).tolist():
        points = [tuple(row[i : i + 3]) for i in range(6, len(row), 3)]
        found.append((tuple(row[:4]), row[4], int(row[5]), points))
    return found


CASES = [
    (task_exports.pose, lambda outputs: from_table(outputs, 3), NMS_IOU),
    (task_exports.pose_transposed, lambda outputs: from_table(outputs, 3), NMS_IOU),
    (task_exports.pose_of_two, lambda outputs: from_table(outputs, 2), NMS_IOU),
    (task_exports.pose_maps, lambda outputs: from_maps(outputs, "v11"), NMS_IOU),
    (task_exports.pose_v26_maps, lambda outputs: from_maps(outputs, "v26"), NMS_IOU),
    (task_exports.pose_zoo, from_zoo, NMS_IOU),
    (task_exports.pose_v10, from_final, 1.0),
]


@pytest.mark.parametrize(("make", "reference", "nms_iou"), CASES, ids=[case[0].__name__ for case in CASES])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=["wide", "tall", "stretched"])
def test_decodes_like_plain_loops(make, reference, nms_iou, transform):
    case = make(np.random.default_rng(20))
    result = case.head(score=SCORE, nms_iou=NMS_IOU, max_detections=500).decode(case.outputs, transform)
    found = reference(case.outputs)
    points_of = {(box, score): points for box, score, _, points in found}
    kept = plain.suppress([c[:3] for c in found if c[1] >= SCORE], nms_iou, True)
    plain.assert_matches(result, plain.expected_detections([c[:3] for c in found], transform, SCORE, nms_iou))
    visible = []
    for box, score, _ in kept:
        x1, y1 = plain.to_image(box[0], box[1], transform)
        x2, y2 = plain.to_image(box[2], box[3], transform)
        if x2 > x1 and y2 > y1:
            visible.append([(*plain.to_image(x, y, transform), s) for x, y, s in points_of[box, score]])
    assert len(visible) > 5
    np.testing.assert_allclose(result.keypoints[..., :2], np.array(visible)[..., :2], atol=plain.PIXELS)
    np.testing.assert_allclose(result.keypoints[..., 2], np.array(visible)[..., 2], atol=1e-5)


def test_a_keypoint_that_is_not_finite_has_no_score_and_the_others_stay():
    case = task_exports.pose(np.random.default_rng(21))
    expected = case.head().decode(case.outputs, TRANSFORMS[0])
    case.outputs["output0"][:, 4 + CLASSES] = np.nan
    result = case.head().decode(case.outputs, TRANSFORMS[0])
    assert len(result) == len(expected) > 0
    assert np.isfinite(result.keypoints).all()
    assert (result.keypoints[:, 0, 2] == 0).all()
    np.testing.assert_array_equal(result.keypoints[:, 1:], expected.keypoints[:, 1:])


def test_one_class_needs_no_labels_and_no_number_of_keypoints():
    rng = np.random.default_rng(22)
    outputs = {"output0": rng.random((1, 4 + 1 + 51, CELLS)).astype(np.float32)}
    head = plain.build("pose", outputs, INPUT, 0, score=0.99)
    assert head.decode(outputs, TRANSFORMS[0]).keypoints.shape[1:] == (17, 3)


def test_rejects_another_number_of_keypoints():
    outputs = {"output0": np.zeros((1, 4 + 1 + 51, CELLS), np.float32)}
    with pytest.raises(ModelError, match=r"found 1 labels, the graph has 13 classes beside 39 values of keypoints"):
        plain.build("pose", outputs, INPUT, 1, keypoints=(13, 3))
    with pytest.raises(ModelError, match=r"found 49 values beside each box"):
        plain.build("pose", outputs, INPUT, 3)
    with pytest.raises(ModelError, match=r"keypoints: found \[17, 4\]; expected two numbers"):
        plain.build("pose", outputs, INPUT, 1, keypoints=(17, 4))
