"""instances: boxes and masks of every export format against plain loops."""

import cv2
import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from edge_app.heads._masks import Mask
from tests.heads import plain, task_exports
from tests.heads.exports import CELLS, CLASSES, GRIDS, INPUT
from tests.heads.task_exports import PROTOTYPES
from tests.heads.test_pose import cells, edges_of
from tests.heads.test_yolo import ANCHORS

SCORE, NMS_IOU = 0.4, 0.45
STRETCH = fit(INPUT, INPUT, "stretch")
CELL = 4  # input pixels of a prototype's cell


def from_table(outputs):
    """Candidates: box, score, class, coefficients."""
    found = []
    for row in outputs["output0"][0].T.astype(float).tolist():
        score, label = plain.highest(row[4 : 4 + CLASSES])
        found.append((plain.centered_box(*row[:4]), score, label, row[4 + CLASSES :]))
    return found


def from_v5(outputs):
    found = []
    for row in outputs["output0"][0].astype(float).tolist():
        chance, label = plain.highest(row[5 : 5 + CLASSES])
        found.append((plain.centered_box(*row[:4]), row[4] * chance, label, row[5 + CLASSES :]))
    return found


def from_v5_maps(outputs):
    found, width = [], 5 + CLASSES + PROTOTYPES
    for w, h, s in GRIDS:
        values = outputs[f"grid{s}"][0].astype(float).reshape(3, width, h, w)
        for a, (anchor_w, anchor_h) in enumerate(ANCHORS[s]):
            for y in range(h):
                for x in range(w):
                    raw = values[a, :, y, x].tolist()
                    tx, ty, tw, th, objectness, *classes = [plain.sigmoid(v) for v in raw[: 5 + CLASSES]]
                    chance, label = plain.highest(classes)
                    center = (2 * tx - 0.5 + x) * s, (2 * ty - 0.5 + y) * s
                    box = plain.centered_box(*center, (2 * tw) ** 2 * anchor_w, (2 * th) ** 2 * anchor_h)
                    found.append((box, objectness * chance, label, raw[5 + CLASSES :]))
    return found


def from_maps(outputs):
    found = []
    for cell, x, y, s in cells():
        columns = (INPUT[0] // s) * (INPUT[1] // s)
        box, scores, coefficients = (
            outputs[f"{kind}{s}"][0].reshape(-1, columns)[:, cell].astype(float).tolist()
            for kind in ("boxes", "scores", "masks")
        )
        score, label = plain.highest([plain.sigmoid(v) for v in scores])
        found.append((edges_of(box, x, y, s), score, label, coefficients))
    return found


def from_final(outputs):
    rows = outputs["output0"][0].astype(float).tolist()
    return [(tuple(row[:4]), row[4], int(row[5]), row[6:]) for row in rows]


def mask_of(coefficients, prototypes, box):
    """The mask (H, W) of the whole input, pixel by pixel: bilinear between the centers of cells."""
    sums = np.tensordot(np.array(coefficients), prototypes.astype(float), 1)
    rows, columns = sums.shape
    y, x = ((np.arange(n * CELL) + 0.5) / CELL - 0.5 for n in (rows, columns))
    y, x = np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)
    top, left = np.minimum(y.astype(int), rows - 2), np.minimum(x.astype(int), columns - 2)
    down, across = (y - top)[:, None], (x - left)[None]
    fine = (
        sums[np.ix_(top, left)] * (1 - down) * (1 - across) + sums[np.ix_(top, left + 1)] * (1 - down) * across
        + sums[np.ix_(top + 1, left)] * down * (1 - across) + sums[np.ix_(top + 1, left + 1)] * down * across
    )  # fmt: skip
    inside = fine > 0
    for row in range(rows * CELL):
        inside[row] &= box[1] <= row < box[3]
    for column in range(columns * CELL):
        inside[:, column] &= box[0] <= column < box[2]
    return inside


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


CASES = [
    (task_exports.instances, from_table, NMS_IOU),
    (task_exports.instances_maps, from_maps, NMS_IOU),
    (task_exports.instances_v5, from_v5, NMS_IOU),
    (task_exports.instances_v5_maps, from_v5_maps, NMS_IOU),
    (task_exports.instances_v10, from_final, 1.0),
]


@pytest.mark.parametrize(("make", "reference", "nms_iou"), CASES, ids=[case[0].__name__ for case in CASES])
def test_decodes_like_plain_loops(make, reference, nms_iou):
    """The outline encloses the mask of each detection. Holes, and parts that are not the largest, are not outlined."""
    case = make(np.random.default_rng(40))
    result = case.head(score=SCORE, nms_iou=NMS_IOU, simplify=0, max_detections=30).decode(case.outputs, STRETCH)
    found = reference(case.outputs)
    boxes = plain.expected_detections([c[:3] for c in found], STRETCH, SCORE, nms_iou)
    plain.assert_matches(result, boxes[:30])
    kept = plain.suppress([c[:3] for c in found if c[1] >= SCORE], nms_iou, True)
    coefficients_of = {(box, score): values for box, score, _, values in found}
    prototypes = list(case.outputs.values())[-1][0]
    visible = [c for c in kept if min(c[0][2], INPUT[0]) > max(c[0][0], 0) and min(c[0][3], INPUT[1]) > max(c[0][1], 0)]
    compared = 0
    for (box, score, _), polygon in zip(visible, result.polygons):
        mask = mask_of(coefficients_of[box, score], prototypes, box)
        expected = largest(mask)
        if expected.sum() < 300:
            continue
        assert iou(drawn(polygon, mask.shape), expected) > 0.9
        compared += 1
    assert compared > 5


def drawn(polygon, shape):
    """The pixels (H, W) whose centers are inside a polygon, drawn eight times as large."""
    fine = np.zeros((shape[0] * 8, shape[1] * 8), np.uint8)
    cv2.fillPoly(fine, [np.round(polygon * 8 - 0.5).astype(np.int32)], 1)
    return fine[4::8, 4::8] > 0


def largest(mask):
    """The largest region, without its holes."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    region = np.zeros(mask.shape, np.uint8)
    if contours:
        cv2.drawContours(region, [max(contours, key=cv2.contourArea)], 0, 1, -1)
    return region > 0


@pytest.mark.parametrize(
    "box", [(30.2, 20.7, 200.1, 180.9), (-40, -5, 60.5, 300), (250, 200, 400, 400), (9, 9, 9.5, 12)]
)
def test_a_mask_is_that_of_the_enlarged_prototypes_inside_its_box(box):
    rng = np.random.default_rng(41)
    prototypes = rng.normal(0, 1, (PROTOTYPES, INPUT[1] // CELL, INPUT[0] // CELL)).astype(np.float32)
    coefficients = rng.normal(0, 1, PROTOTYPES).astype(np.float32)
    mask = Mask.of(coefficients, prototypes, np.array(box, np.float32), CELL)
    height, width = mask.margin.shape
    found = np.zeros((INPUT[1], INPUT[0]), bool)
    found[mask.top : mask.top + height, mask.left : mask.left + width] = mask.margin > 0
    expected = mask_of(coefficients, prototypes, box)
    assert (found != expected).sum() <= 2  # values that are 0 but for rounding


def test_masks_can_be_left_out():
    case = task_exports.instances(np.random.default_rng(42))
    without = case.head(masks=False).decode(case.outputs, STRETCH)
    assert without.polygons is None
    np.testing.assert_array_equal(without.xyxy, case.head().decode(case.outputs, STRETCH).xyxy)


def test_polygons_are_inside_the_image_and_belong_to_their_boxes():
    transform = fit((500, 300), INPUT, "letterbox")
    case = task_exports.instances(np.random.default_rng(43))
    result = case.head().decode(case.outputs, transform)
    assert len(result.polygons) == len(result) > 5
    for box, polygon in zip(result.xyxy, result.polygons):
        if len(polygon):
            assert (polygon >= box[:2] - 2).all()
            assert (polygon <= box[2:] + 2).all()
            assert (polygon <= [500, 300]).all()


def test_rejects_prototypes_of_another_size_or_number():
    case = task_exports.instances(np.random.default_rng(44))
    table = case.outputs["output0"]
    odd = {"output0": table, "output1": np.zeros((1, PROTOTYPES, 60, 80), np.float32)}
    with pytest.raises(ModelError, match=r"prototypes 'output1' have 80x60 cells; expected one for each 4x4 pixels"):
        plain.build("instances", odd, INPUT, CLASSES)
    more = {"output0": table, "output1": np.zeros((1, PROTOTYPES + 2, 64, 80), np.float32)}
    with pytest.raises(ModelError, match=r"found 7 labels, the graph has 5 classes beside 10 mask coefficients"):
        plain.build("instances", more, INPUT, CLASSES)
    with pytest.raises(ModelError, match="prototypes 1xPxHxW"):
        plain.build(
            "instances", {"output0": np.zeros((1, 4 + CLASSES + PROTOTYPES, CELLS), np.float32)}, INPUT, CLASSES
        )
