"""detr, yolonas and ppyoloe: every form against plain loops."""

import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from tests.heads import plain, task_exports
from tests.heads.exports import CELLS, CLASSES, INPUT

TRANSFORM = fit((500, 300), INPUT, "stretch")
SCORE = 0.4


def box_of(values):
    x, y, w, h = (float(v) for v in values)
    return plain.centered_box(x * INPUT[0], y * INPUT[1], w * INPUT[0], h * INPUT[1])


def pairs(outputs):
    boxes = next(a for a in outputs.values() if a.shape[2] == 4)[0]
    logits = next(a for a in outputs.values() if a.shape[2] != 4)[0]
    return [
        (box_of(box), plain.sigmoid(float(v)), label) for box, row in zip(boxes, logits) for label, v in enumerate(row)
    ]


def softmaxed(outputs):
    found = []
    for box, row in zip(outputs["pred_boxes"][0], outputs["logits"][0].astype(float)):
        weights = np.exp(row - row.max())
        score, label = plain.highest((weights / weights.sum())[:-1])
        found.append((box_of(box), score, label))
    return found


def joined(outputs):
    return [(box_of(row[:4]), *plain.highest(row[4:])) for row in outputs["output0"][0]]


def final(outputs):
    return [(box_of(row[:4]), float(row[4]), int(row[5])) for row in outputs["output0"][0]]


def apart(outputs):
    labels, boxes, scores = (outputs[name][0].tolist() for name in ("labels", "boxes", "scores"))
    return [(tuple(box), score, label) for box, score, label in zip(boxes, scores, labels)]


@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (task_exports.detr, pairs), (task_exports.detr_swapped, pairs), (task_exports.detr_softmax, softmaxed),
        (task_exports.detr_joined, joined), (task_exports.detr_v10, final),
        (task_exports.detr_official_v10, apart),
    ],
)  # fmt: skip
def test_a_transformer_decodes_like_plain_loops(make, reference):
    case = make(np.random.default_rng(50))
    result = case.head(score=SCORE).decode(case.outputs, TRANSFORM)
    expected = plain.expected_detections(reference(case.outputs), TRANSFORM, SCORE, 1.0)
    assert len(expected) > 5
    plain.assert_matches(result, expected, pixels=0.05)


def test_six_columns_are_two_classes_unless_the_last_is_a_whole_number():
    rng = np.random.default_rng(51)
    table = rng.uniform(0.2, 0.9, (1, 30, 6)).astype(np.float32)
    head = plain.build("detr", {"output0": table}, INPUT, 2)
    result = head.decode({"output0": table}, TRANSFORM)
    np.testing.assert_allclose(np.sort(result.score), np.sort(table[0, :, 4:].max(axis=1))[-len(result) :], atol=1e-6)
    table[..., 5] = 1
    assert set(head.decode({"output0": table}, TRANSFORM).class_id.tolist()) == {1}


@pytest.mark.parametrize("make", [task_exports.yolonas, task_exports.yolonas_swapped, task_exports.ppyoloe])
def test_corners_of_all_cells_decode_like_plain_loops(make):
    case = make(np.random.default_rng(52))
    result = case.head(score=SCORE, nms_iou=0.6).decode(case.outputs, TRANSFORM)
    boxes = next(a for a in case.outputs.values() if a.shape[2] == 4)[0]
    scores = next(a for a in case.outputs.values() if a.shape[2] != 4)[0]
    rows = scores if len(scores) == CELLS else scores.T
    found = [(tuple(box.tolist()), *plain.highest(row)) for box, row in zip(boxes, rows)]
    expected = plain.expected_detections(found, TRANSFORM, SCORE, 0.6)
    assert len(expected) > 5
    plain.assert_matches(result, expected[:100])


def test_four_classes_are_told_from_boxes_by_the_names():
    rng = np.random.default_rng(53)
    corner = rng.uniform(0, 200, (CELLS, 2))
    boxes = np.concatenate([corner, corner + 30], 1).astype(np.float32)[None]
    scores = rng.uniform(0, 0.3, (1, CELLS, 4)).astype(np.float32)
    scores[0, 7, 2] = 0.9
    for outputs in ({"scores": scores, "boxes": boxes}, {"boxes": boxes, "scores": scores}):
        result = plain.build("yolonas", outputs, INPUT, 4).decode(outputs, fit(INPUT, INPUT, "stretch"))
        np.testing.assert_allclose(result.xyxy, boxes[0, 7:8], atol=0.01)


def test_rejects_another_number_of_classes():
    case = task_exports.detr(np.random.default_rng(54))
    with pytest.raises(ModelError, match=f"found 9 labels, the graph has {CLASSES} classes"):
        plain.build("detr", case.outputs, INPUT, 9)
