"""yolo: decoding of every export format against plain loops; ambiguous shapes are rejected."""

import math

import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from tests.heads import exports, plain
from tests.heads.exports import CELLS, CLASSES, GRIDS, INPUT

SCORE, NMS_IOU = 0.4, 0.45
ANCHORS = {
    8: [(10, 13), (16, 30), (33, 23)],
    16: [(30, 61), (62, 45), (59, 119)],
    32: [(116, 90), (156, 198), (373, 326)],
}
TRANSFORMS = [
    fit((500, 300), INPUT, "letterbox"),
    fit((300, 500), INPUT, "letterbox"),
    fit((640, 480), INPUT, "stretch"),
]


def cells():
    """Level, row, column and stride of every cell, in the order of the exports."""
    return [(level, y, x, s) for level, (w, h, s) in enumerate(GRIDS) for y in range(h) for x in range(w)]


def table(outputs):
    (values,) = outputs.values()
    return values[0].astype(float).tolist()


def v5(outputs):
    found = []
    for x, y, w, h, objectness, *classes in table(outputs):
        chance, label = plain.highest(classes)
        found.append((plain.centered_box(x, y, w, h), objectness * chance, label))
    return found


def v5_maps(outputs, squash=float):
    maps = [array[0] for array in outputs.values()]
    found = []
    for level, y, x, s in cells():
        for a, (anchor_w, anchor_h) in enumerate(ANCHORS[s]):
            values = maps[level][a * (5 + CLASSES) : (a + 1) * (5 + CLASSES), y, x]
            tx, ty, tw, th, objectness, *classes = [squash(float(v)) for v in values]
            chance, label = plain.highest(classes)
            center = (2 * tx - 0.5 + x) * s, (2 * ty - 0.5 + y) * s
            box = plain.centered_box(*center, (2 * tw) ** 2 * anchor_w, (2 * th) ** 2 * anchor_h)
            found.append((box, objectness * chance, label))
    return found


def v5_logits(outputs):
    return v5_maps(outputs, plain.sigmoid)


def v5_train(outputs):
    return v5_logits({name: np.concatenate(a[0].transpose(0, 3, 1, 2))[None] for name, a in outputs.items()})


def v8(outputs):
    found = []
    for x, y, w, h, *classes in table({"": outputs["output0"].transpose(0, 2, 1)}):
        chance, label = plain.highest(classes)
        found.append((plain.centered_box(x, y, w, h), chance, label))
    return found


def v8_transposed(outputs):
    return v8({"output0": outputs["output0"].transpose(0, 2, 1)})


def v8_maps(outputs, bins=16):
    found = []
    for _, y, x, s in cells():
        box, classes = outputs[f"box{s}"][0, :, y, x], outputs[f"class{s}"][0, :, y, x]
        left, top, right, bottom = [
            s * (float(box[i]) if bins == 1 else plain.softmax_mean(box[i * bins : (i + 1) * bins])) for i in range(4)
        ]
        chance, label = plain.highest(classes)
        cx, cy = (x + 0.5) * s, (y + 0.5) * s
        found.append(((cx - left, cy - top, cx + right, cy + bottom), chance, label))
    return found


def v6_maps(outputs):
    return v8_maps(outputs, bins=1)


def v8_joined(outputs):
    parts = {f"box{s}": outputs[f"p{s}"][:, :64] for _, _, s in GRIDS}
    parts |= {f"class{s}": outputs[f"p{s}"][:, 64:] for _, _, s in GRIDS}
    return [(box, plain.sigmoid(score), label) for box, score, label in v8_maps(parts)]


def v10(outputs):
    return [((x1, y1, x2, y2), score, int(label)) for x1, y1, x2, y2, score, label in table(outputs)]


def x_raw(outputs):
    found = []
    for (_, y, x, s), (tx, ty, tw, th, objectness, *classes) in zip(cells(), table(outputs)):
        chance, label = plain.highest(classes)
        box = plain.centered_box((x + tx) * s, (y + ty) * s, math.exp(tw) * s, math.exp(th) * s)
        found.append((box, objectness * chance, label))
    return found


def x_maps(outputs):
    return x_raw({"": np.concatenate([a[0].reshape(5 + CLASSES, -1).T for a in outputs.values()])[None]})


FORMATS = [
    (exports.yolo_v5, v5), (exports.yolo_v5_maps, v5_maps), (exports.yolo_v5_logits, v5_logits),
    (exports.yolo_v5_train, v5_train), (exports.yolo_v8, v8), (exports.yolo_v8_transposed, v8_transposed),
    (exports.yolo_v8_maps, v8_maps), (exports.yolo_v8_pairs, v8_maps), (exports.yolo_v8_joined, v8_joined),
    (exports.yolo_v6_maps, v6_maps), (exports.yolo_v10, v10), (exports.yolo_x, x_raw), (exports.yolo_x_decoded, v5),
    (exports.yolo_x_maps, x_maps),
]  # fmt: skip


@pytest.mark.parametrize(("make", "reference"), FORMATS, ids=[make.__name__ for make, _ in FORMATS])
def test_decoding_matches_plain_loops(make, reference):
    for seed, transform in enumerate(TRANSFORMS):
        case = make(np.random.default_rng(seed))
        expected = plain.expected_detections(
            reference(case.outputs), transform, SCORE, 1.0 if reference is v10 else NMS_IOU
        )
        assert len(expected) > 5
        head = case.head(score=SCORE, nms_iou=NMS_IOU, max_detections=300)
        plain.assert_matches(head.decode(case.outputs, transform), expected, 0.05)


def test_of_the_two_heads_of_v9_the_main_one_is_read():
    case, auxiliary = exports.yolo_v8(np.random.default_rng(5)), exports.yolo_v8(np.random.default_rng(6))
    expected = plain.expected_detections(v8(case.outputs), TRANSFORMS[0], SCORE, NMS_IOU)
    case.outputs = {"aux": auxiliary.outputs["output0"], "main": case.outputs["output0"]}
    plain.assert_matches(case.head(score=SCORE).decode(case.outputs, TRANSFORMS[0]), expected)


def test_the_rows_of_v6_are_in_pixels():
    case = exports.yolo_x_decoded(np.random.default_rng(5))
    case.outputs["output"][..., :4] /= 20  # so small that version x takes them for raw
    expected = plain.expected_detections(v5(case.outputs), TRANSFORMS[0], SCORE, NMS_IOU)
    plain.assert_matches(case.head(score=SCORE, version="v6").decode(case.outputs, TRANSFORMS[0]), expected)


def test_grids_that_need_no_nms_report_every_class_of_a_cell():
    case = exports.yolo_v8_pairs(np.random.default_rng(5))
    case.outputs["class8"][0, :3, 4, 4] = 0.9, 0.8, 0.7
    result = case.head(score=0.65, version="v10").decode(case.outputs, TRANSFORMS[0])
    same = (result.xyxy[:, None] == result.xyxy[None]).all(axis=2).sum(axis=1) == 3
    assert sorted(result.class_id[same].tolist()) == [0, 1, 2]


def test_class_aware_false_suppresses_across_classes():
    case = exports.yolo_v8(np.random.default_rng(5))
    expected = plain.expected_detections(v8(case.outputs), TRANSFORMS[0], SCORE, NMS_IOU, class_aware=False)
    plain.assert_matches(case.head(score=SCORE, class_aware=False).decode(case.outputs, TRANSFORMS[0]), expected)


def test_the_order_of_outputs_does_not_matter_if_there_are_labels():
    case = exports.yolo_v8_pairs(np.random.default_rng(6))
    straight = case.head().decode(case.outputs, TRANSFORMS[0])
    case.outputs = dict(reversed(case.outputs.items()))
    np.testing.assert_array_equal(case.head().decode(case.outputs, TRANSFORMS[0]).xyxy, straight.xyxy)


def test_anchors_option_scales_the_boxes():
    case = exports.yolo_v5_maps(np.random.default_rng(7))
    doubled = tuple(tuple(2.0 * side for anchor in ANCHORS[s] for side in anchor) for _, _, s in GRIDS)
    transform = fit(INPUT, INPUT, "stretch")
    once = case.head(nms_iou=1.0, max_detections=1000).decode(case.outputs, transform)
    twice = case.head(nms_iou=1.0, max_detections=1000, anchors=doubled).decode(case.outputs, transform)
    inside = (twice.xyxy > 0).all(1) & (twice.xyxy < np.array(INPUT * 2)).all(1)
    assert inside.sum() > 3
    np.testing.assert_allclose(
        (twice.xyxy[:, 2:] - twice.xyxy[:, :2])[inside], 2 * (once.xyxy[:, 2:] - once.xyxy[:, :2])[inside], atol=0.01
    )


@pytest.mark.parametrize("anchors", [((1.0, 2.0, 3.0),), ((1.0, 2.0), (1.0, 2.0, 3.0, 4.0))])
def test_rejects_anchors_that_are_not_pairs(anchors):
    with pytest.raises(ModelError, match="pairs of width and height"):
        exports.yolo_v5_maps(np.random.default_rng(0)).head(anchors=anchors)


def test_rejects_anchors_for_a_wrong_number_of_strides():
    with pytest.raises(ModelError, match="found 1 lists; expected one for each of 3 strides"):
        exports.yolo_v5_maps(np.random.default_rng(0)).head(anchors=((1.0, 2.0, 3.0, 4.0, 5.0, 6.0),))


@pytest.mark.parametrize(
    ("shapes", "readings"),
    [
        ({"a": (1, CELLS, 85)}, "x with 80 classes or v8 with 81 classes"),
        ({f"p{s}": (1, 255, h, w) for w, h, s in GRIDS}, "v5 with 80 classes or x with 250 classes or v8 with 191"),
    ],
)
def test_rejects_ambiguous_shapes_without_labels(shapes, readings):
    outputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    with pytest.raises(ModelError, match=readings + ".*set labels or `version`"):
        plain.build("yolo", outputs, INPUT)
    plain.build("yolo", outputs, INPUT, version="x")
    plain.build("yolo", outputs, INPUT, classes=80)


def test_rejects_a_version_that_does_not_match_the_shapes():
    with pytest.raises(ModelError, match="expected a format of version v5"):
        exports.yolo_v8(np.random.default_rng(0)).head(version="v5")


def test_v10_drops_classes_without_a_label():
    case = exports.yolo_v10(np.random.default_rng(3), "all")
    case.outputs["output0"][0, ::2, 5] = CLASSES
    case.outputs["output0"][0, 1::4, 5] = -1
    result = case.head(nms_iou=1.0, max_detections=300).decode(case.outputs, TRANSFORMS[0])
    assert 0 < len(result) <= 75
    assert set(result.class_id.tolist()) <= set(range(CLASSES))


def test_recognizes_the_shapes_of_public_exports():
    """At their own input sizes, with 80 classes."""
    for size, shapes in [
        ((640, 640), [(1, 25200, 85)]),  # yolov5s
        ((1280, 1280), [(1, 102000, 85)]),  # yolov5s6
        ((640, 640), [(1, 84, 8400)]),  # yolov8n, yolo11n
        ((640, 640), [(1, 300, 6)]),  # yolov10n
        ((416, 416), [(1, 3549, 85)]),  # yolox_nano
        ((640, 640), [(1, 255, 80, 80), (1, 255, 40, 40), (1, 255, 20, 20)]),  # rknn_model_zoo yolov5, yolov7
        ((640, 640), [(1, 85, 80, 80), (1, 85, 40, 40), (1, 85, 20, 20)]),  # rknn_model_zoo yolox
        ((640, 640), [(1, c, n, n) for n in (80, 40, 20) for c in (64, 80, 1)]),  # rknn_model_zoo yolov8, yolo11
        ((640, 640), [(1, c, n, n) for n in (80, 40, 20) for c in (64, 80)]),  # rknn_model_zoo yolov10
        ((640, 640), [(1, c, n, n) for n in (80, 40, 20) for c in (4, 80, 1)]),  # rknn_model_zoo yolov6n
    ]:
        outputs = {f"o{i}": np.broadcast_to(np.float32(0), shape) for i, shape in enumerate(shapes)}
        head = plain.build("yolo", outputs, size, classes=80)
        assert len(head.decode(outputs, fit((640, 480), size, "letterbox"))) == 0
