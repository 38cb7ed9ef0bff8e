"""Cutting YOLOs: the boxes of the cut graph are those that the published rule gives for the whole file."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app import registry
from edge_app.backends import TensorSpec
from edge_app.compiler import canonical, onnx_file, tails
from edge_app.compiler.session import HostSession
from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from edge_app.heads import HeadSpec
from tests.compiler import yolos
from tests.compiler.yolos import Yolo
from tests.heads import plain

SCORE, NMS_IOU = 0.3, 0.45
PAIRS, TRIPLES = ["boxes", "scores"], ["boxes", "objectness", "scores"]
P6 = (*yolos.OWN_ANCHORS, (436, 615, 739, 380, 925, 792))
CASES = {
    "v8": (yolos.ultralytics, {}, yolos.plain_ultralytics, "v8", PAIRS),
    "v8 before 8.4": (yolos.ultralytics, {"joined": True}, yolos.plain_ultralytics, "v8", PAIRS),
    "one class": (yolos.ultralytics, {"classes": 1}, yolos.plain_ultralytics, "v8", PAIRS),
    "26, four classes": (yolos.ultralytics, {"classes": 4, "bins": 1}, yolos.plain_ultralytics, "v8", PAIRS),
    "64 classes": (yolos.ultralytics, {"classes": 64}, yolos.plain_ultralytics, "v8", PAIRS),
    "P2": (yolos.ultralytics, {"strides": (4, 8, 16, 32)}, yolos.plain_ultralytics, "v8", PAIRS),
    "P6": (yolos.ultralytics, {"strides": (8, 16, 32, 64), "size": (128, 192)}, yolos.plain_ultralytics, "v8", PAIRS),
    "v3-tiny": (yolos.ultralytics, {"strides": (16, 32)}, yolos.plain_ultralytics, "v8", PAIRS),
    "26": (yolos.ultralytics, {"bins": 1}, yolos.plain_ultralytics, "v8", PAIRS),
    "v10 end to end": (yolos.ultralytics, {"end2end": True}, yolos.plain_end2end, "v10", PAIRS),
    "26 end to end": (yolos.ultralytics, {"end2end": True, "bins": 1}, yolos.plain_end2end, "v10", PAIRS),
    "v5": (yolos.yolov5, {}, yolos.plain_objectness, "v5", ["grid"]),
    "v5, one class": (yolos.yolov5, {"classes": 1}, yolos.plain_objectness, "v5", ["grid"]),
    "v5 with grids": (yolos.yolov5, {"grids": True}, yolos.plain_objectness, "v5", ["grid"]),
    "v5 P6": (
        yolos.yolov5, {"strides": (8, 16, 32, 64), "size": (128, 192), "anchors": P6}, yolos.plain_objectness,
        "v5", ["grid"],
    ),
    "v6 small": (yolos.yolov6, {}, yolos.plain_objectness, "v8", PAIRS),
    "v6 large": (yolos.yolov6, {"bins": 17}, yolos.plain_objectness, "v8", PAIRS),
    "x": (yolos.yolox, {}, yolos.plain_yolox, "x", TRIPLES),
    "x, one class": (yolos.yolox, {"classes": 1}, yolos.plain_yolox, "x", TRIPLES),
    "x decoded": (yolos.yolox, {"decoded": True}, yolos.plain_objectness, "x", TRIPLES),
    "x logits": (yolos.yolox, {"logits": True}, yolos.plain_yolox, "x", TRIPLES),
    "x grids": (yolos.yolox, {"grids": True}, yolos.plain_yolox, "x", TRIPLES),
    "FastestV2": (yolos.fastestv2, {"size": (192, 128)}, yolos.plain_fastestv2, "fastestv2", TRIPLES),
    "FastestV2 maps": (
        yolos.fastestv2, {"grids": True, "size": (192, 128)}, yolos.plain_fastestv2, "fastestv2", TRIPLES,
    ),
    "FastestV2 maps, channels first": (
        yolos.fastestv2, {"first": True, "size": (192, 128)}, yolos.plain_fastestv2, "fastestv2", TRIPLES,
    ),
}  # fmt: skip


def cut(path, **options):
    return tails.cut(canonical.canonicalize(onnx_file.read(path)), "yolo", options)


def run(net, image):
    session = HostSession(net.serialize())
    return dict(zip(session.outputs, session.run(image)))


@pytest.mark.parametrize("name", CASES)
def test_the_boxes_of_a_cut_graph_are_those_of_the_published_file(tmp_path, name):
    make, settings, rule, version, roles = CASES[name]
    path = make(tmp_path / "a.onnx", **settings)
    found = cut(path)
    assert found is not None
    yolo = Yolo(**{k: v for k, v in settings.items() if k in ("classes", "size")})
    yolo.strides = settings.get("strides", (16, 32) if make is yolos.fastestv2 else yolo.strides)
    assert found.net.outputs == [f"{role}{i}" for i in range(len(yolo.strides)) for role in roles]
    assert (found.options["version"], found.options["activation"]) == (version, "apply")
    assert found.options.get("max_detections") == (60 if version == "v10" else None)
    image = np.random.default_rng(1).normal(size=(1, 3, yolo.size[1], yolo.size[0])).astype(np.float32)
    published = HostSession(path.read_bytes()).run(image)
    maps = run(found.net, image)
    given = {"yolo": yolo} if rule in (yolos.plain_yolox, yolos.plain_fastestv2) else {}
    given |= {"logits": True} if settings.get("logits") else {}
    iou = 1.0 if settings.get("end2end") else NMS_IOU
    transform = fit(yolo.size, yolo.size, "stretch")
    expected = plain.expected_detections(rule(published, **given), transform, SCORE, iou)[:30]
    assert len(expected) > 3
    specs = tuple(TensorSpec(n, a.shape, a.dtype.name) for n, a in maps.items())
    labels = tuple(f"class{i}" for i in range(yolo.classes))
    for known in (labels, ()):
        options = {**found.options, "score": SCORE, "nms_iou": NMS_IOU, "max_detections": len(expected)}
        head = registry.build("heads", "yolo", HeadSpec("h", "yolo", known, yolo.size, outputs=specs), **options)
        plain.assert_matches(head.decode(maps, transform), expected, 0.1)


@pytest.mark.parametrize("name", ["v8", "v8 before 8.4", "v10 end to end", "v5 with grids", "x", "FastestV2"])
def test_graph_and_tail_equal_the_published_file(tmp_path, name):
    make, settings, *_ = CASES[name]
    path = make(tmp_path / "a.onnx", **settings)
    found = cut(path)
    width, height = settings.get("size", (96, 64))
    image = np.random.default_rng(1).normal(size=(1, 3, height, width)).astype(np.float32)
    outputs = HostSession(found.tail.serialize()).feed(run(found.net, image))
    for array, expected in zip(outputs, HostSession(path.read_bytes()).run(image), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-3, atol=1e-3)


def test_the_score_of_a_v7_with_one_class_is_its_objectness(tmp_path):
    found = cut(yolos.yolov5(tmp_path / "a.onnx", classes=1), version="v7")
    assert found.options["version"] == "v7"
    image = np.random.default_rng(1).normal(size=(1, 3, 64, 96)).astype(np.float32)
    maps = run(found.net, image)
    rows = HostSession(found.tail.serialize()).feed(maps)[0][0]
    specs = tuple(TensorSpec(n, a.shape, a.dtype.name) for n, a in maps.items())
    head = registry.build(
        "heads", "yolo", HeadSpec("h", "yolo", ("a",), (96, 64), outputs=specs), nms_iou=1.0, **found.options
    )
    result = head.decode(maps, fit((96, 64), (96, 64), "stretch"))
    assert len(result) > 3
    np.testing.assert_allclose(np.sort(result.score)[-4:], np.sort(rows[:, 4])[-4:], atol=1e-4)


def test_reads_the_anchors_of_an_own_training(tmp_path):
    assert cut(yolos.yolov5(tmp_path / "a.onnx")).options["anchors"] == yolos.OWN_ANCHORS


def test_reports_assumed_anchors(tmp_path):
    assert "anchors" in cut(yolos.fastestv2(tmp_path / "a.onnx")).assumed[0]


def test_grids_without_anchors_need_a_version(tmp_path):
    y = Yolo(classes=80)
    path = y.save(tmp_path / "a.onnx", {f"p{s}": y.branch(s, 255) for s in y.strides})
    with pytest.raises(ModelError, match=r"anchors, which are not in the file; expected --version v5 .* or v7"):
        cut(path)
    assert cut(path, version="v5") is None


def test_keeps_a_tail_that_no_version_decodes(tmp_path):
    """As of YOLOv3, which scales the exponential of the size by its anchors."""
    y = Yolo()
    g, columns, tables = y.graph, 5 + y.classes, []
    for stride in y.strides:
        width, height = y.grid(stride)
        x = g.reshape(y.branch(stride, 3 * columns), 1, 3, columns, height * width)
        x = g.reshape(g.node("Transpose", x, perm=[0, 1, 3, 2]), 1, -1, columns)
        xy, wh, rest = g.node("Split", x, g.weight(np.array([2, 2, columns - 4])), outputs=3, axis=2)
        wh = g.node("Mul", g.node("Exp", wh), g.weight(np.float32(20)))
        tables.append(g.node("Concat", g.node("Sigmoid", xy), wh, g.node("Sigmoid", rest), axis=2))
    assert cut(y.save(tmp_path / "a.onnx", {"output": g.node("Concat", *tables, axis=1)})) is None


@pytest.mark.parametrize("values", [51, 1, 32])
def test_rejects_a_branch_that_is_none_of_boxes_and_classes(tmp_path, values):
    """Keypoints, an angle, mask coefficients."""
    with pytest.raises(ModelError, match=rf"of 64, 5, {values} channels; .* --family pose, obb or instances"):
        cut(yolos.ultralytics(tmp_path / "a.onnx", keypoints=values))


def test_a_version_of_the_user_limits_what_is_tried(tmp_path):
    path = yolos.ultralytics(tmp_path / "a.onnx")
    assert cut(path, version="v11").options["version"] == "v8"
    assert cut(path, version="v5") is None


@pytest.mark.parametrize("name", ["v8_one_class", "v8_p2", "v26_e2e"])
def test_cuts_exports_of_ultralytics(data, name):
    found = cut(data / "exports" / f"{name}.onnx")
    assert found.net.outputs == [f"{kind}{i}" for i in range(len(found.net.outputs) // 2) for kind in PAIRS]
    assert found.options["version"] == ("v10" if name.endswith("e2e") else "v8")


def test_reads_the_anchors_of_public_files(data):
    assert cut(data / "exports" / "v5own.onnx").options["anchors"] == yolos.OWN_ANCHORS
    published = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326))
    assert cut(data / "exports" / "v5std.onnx").options["anchors"] == published
