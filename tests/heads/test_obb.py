"""obb: oriented boxes of every export format against plain loops with their own suppression."""

import math

import numpy as np
import pytest

from edge_app.geometry.boxes import fit
from tests.heads import plain, task_exports
from tests.heads.exports import CLASSES, INPUT
from tests.heads.test_pose import cells

SCORE, NMS_IOU = 0.4, 0.45
TRANSFORMS = [
    fit((500, 300), INPUT, "letterbox"),
    fit((300, 500), INPUT, "letterbox"),
    fit((640, 480), INPUT, "stretch"),
]


def from_table(outputs):
    """Candidates: (x, y, w, h, angle), score, class."""
    found = []
    for row in outputs["output0"][0].T.astype(float).tolist():
        score, label = plain.highest(row[4 : 4 + CLASSES])
        found.append(((*row[:4], row[-1]), score, label))
    return found


def from_final(outputs):
    return [((*row[:4], row[6]), row[4], int(row[5])) for row in outputs["output0"][0].astype(float).tolist()]


def from_maps(outputs, version):
    found = []
    for cell, x, y, s in cells():
        columns = (INPUT[0] // s) * (INPUT[1] // s)
        box, scores, raw = (
            outputs[f"{kind}{s}"][0].reshape(-1, columns)[:, cell].astype(float).tolist()
            for kind in ("boxes", "scores", "angle")
        )
        if len(box) > 4:
            box = [plain.softmax_mean(box[16 * i : 16 * i + 16]) for i in range(4)]
        angle = raw[0] if version == "v26" else (plain.sigmoid(raw[0]) - 0.25) * math.pi
        across, down = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
        center = (
            (x + 0.5 + across * math.cos(angle) - down * math.sin(angle)) * s,
            (y + 0.5 + across * math.sin(angle) + down * math.cos(angle)) * s,
        )
        score, label = plain.highest([plain.sigmoid(v) for v in scores])
        found.append(((*center, (box[0] + box[2]) * s, (box[1] + box[3]) * s, angle), score, label))
    return found


def overlap(a, b):
    """1 - the Hellinger distance of two normal distributions, by matrices."""
    means, spreads = [], []
    for x, y, w, h, angle in (a, b):
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        means.append(np.array([x, y]))
        spreads.append(turn @ np.diag([w * w / 12, h * h / 12]) @ turn.T)
    middle, apart = (spreads[0] + spreads[1]) / 2, means[0] - means[1]
    product = np.linalg.det(spreads[0]) * np.linalg.det(spreads[1])
    distance = apart @ np.linalg.inv(middle) @ apart / 8 + math.log(np.linalg.det(middle) / math.sqrt(product)) / 2
    return 1 - math.sqrt(1 - math.exp(-min(distance, 100)))


def suppress(found, nms_iou):
    """A box is dropped if a better one of its class overlaps it, even one that is dropped itself."""
    ranked = sorted(found, key=lambda candidate: -candidate[1])
    return [
        box
        for i, box in enumerate(ranked)
        if all(other[2] != box[2] or overlap(other[0], box[0]) <= nms_iou for other in ranked[:i])
    ]


def corners_in_image(box, transform):
    x, y, w, h, angle = box
    cosine, sine = math.cos(angle), math.sin(angle)
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    points = [(x + i * w / 2 * cosine - j * h / 2 * sine, y + i * w / 2 * sine + j * h / 2 * cosine) for i, j in signs]
    return [
        ((px - transform.pad_x) / transform.scale_x, (py - transform.pad_y) / transform.scale_y) for px, py in points
    ]


CASES = [
    (task_exports.obb, from_table, NMS_IOU),
    (task_exports.obb_maps, lambda outputs: from_maps(outputs, "v11"), NMS_IOU),
    (task_exports.obb_v26_maps, lambda outputs: from_maps(outputs, "v26"), NMS_IOU),
    (task_exports.obb_v10, from_final, 1.0),
]


@pytest.mark.parametrize(("make", "reference", "nms_iou"), CASES, ids=[case[0].__name__ for case in CASES])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=["wide", "tall", "stretched"])
def test_decodes_like_plain_loops(make, reference, nms_iou, transform):
    case = make(np.random.default_rng(30))
    result = case.head(score=SCORE, nms_iou=NMS_IOU, max_detections=500).decode(case.outputs, transform)
    limit = np.array([transform.image_width, transform.image_height])
    expected = []
    for box, score, label in suppress([c for c in reference(case.outputs) if c[1] >= SCORE], nms_iou):
        points = np.array(corners_in_image(box, transform))
        upright = np.clip([points.min(axis=0), points.max(axis=0)], 0, limit)
        if (upright[1] > upright[0]).all():
            expected.append((points, upright.ravel(), score, label))
    assert len(result) == len(expected) > 5
    assert result.class_id.tolist() == [label for *_, label in expected]
    np.testing.assert_allclose(result.score, [score for *_, score, _ in expected], atol=plain.SCORE)
    np.testing.assert_allclose(result.corners, [points for points, *_ in expected], atol=2 * plain.PIXELS)
    np.testing.assert_allclose(result.xyxy, [upright for _, upright, *_ in expected], atol=2 * plain.PIXELS)


def test_the_angle_is_the_direction_of_the_width_and_corners_may_be_outside():
    values = np.zeros((1, 4 + 1 + 1, 40 * 32 + 20 * 16 + 10 * 8), np.float32)
    values[0, :, 7] = [10, 20, 60, 10, 0.9, 0.3]
    head = plain.build("obb", {"output0": values}, INPUT, 1)
    result = head.decode({"output0": values}, fit(INPUT, INPUT, "stretch"))
    assert result.angle.tolist() == pytest.approx([0.3])
    assert result.corners.min() < -10
    assert result.xyxy.min() == 0


def test_boxes_outside_the_image_do_not_count_towards_max_detections():
    values = np.zeros((1, 4 + 1 + 1, 40 * 32 + 20 * 16 + 10 * 8), np.float32)
    for cell, (x, score) in enumerate([(-100, 0.9), (60, 0.8), (160, 0.7), (260, 0.6)]):
        values[0, :, cell] = [x, 60, 40, 20, score, 0]
    head = plain.build("obb", {"output0": values}, INPUT, 1, max_detections=2)
    result = head.decode({"output0": values}, fit(INPUT, INPUT, "stretch"))
    assert result.score.tolist() == pytest.approx([0.8, 0.7])


def test_classes_suppress_each_other_only_if_told_to():
    values = np.zeros((1, 4 + 2 + 1, 40 * 32 + 20 * 16 + 10 * 8), np.float32)
    values[0, :, 7] = [100, 100, 60, 20, 0.9, 0, 0.3]
    values[0, :, 8] = [101, 100, 60, 20, 0, 0.8, 0.3]
    transform = fit(INPUT, INPUT, "stretch")
    for aware, count in ((True, 2), (False, 1)):
        head = plain.build("obb", {"output0": values}, INPUT, 2, class_aware=aware)
        assert len(head.decode({"output0": values}, transform)) == count
