"""SSD detectors are recognized by the number of their priors, or by TensorFlow's names, and proved."""

from pathlib import Path

import numpy as np
import pytest

from edge_app.compiler.reference import Published, candidates
from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from tests.compiler.graphs import Graph
from tests.compiler.outputs import random, save
from tests.compiler.test_faces import read
from tests.compiler.test_proof import Compiled
from tests.heads import plain

INPUT = (300, 300)


def scores(rows: int, columns: int) -> np.ndarray:
    """(1, rows, columns): they add up to 1."""
    values = random(1, rows, columns, high=6)
    power = np.exp(values - values.max(axis=2, keepdims=True))
    return power / power.sum(axis=2, keepdims=True)


def corners(rows: int) -> np.ndarray:
    corner = random(1, rows, 2, high=0.7)
    return np.concatenate([corner, corner + random(1, rows, 2, low=0.05, high=0.3, seed=1)], axis=2)


def deltas(rows: int) -> np.ndarray:
    return random(1, rows, 4, low=-2, high=2)


RECOGNIZED = {
    "flat": ({"loc": deltas(1917).reshape(1, -1), "conf": scores(1917, 21).reshape(1, -1)}, INPUT, {}, "bgr"),
    "deltas": ({"loc": deltas(1917), "conf": scores(1917, 21)}, INPUT, {"boxes": "deltas"}, "bgr"),
    "one class": ({"loc": deltas(3000), "conf": scores(3000, 2)}, INPUT, {"boxes": "deltas"}, "rgb"),
    "tensorflow": ({"b": deltas(1917)[:, :, None], "s": scores(1917, 91)}, INPUT, {"boxes": "deltas"}, "rgb"),
    "lite": ({"b": deltas(3234), "s": 9 * scores(3234, 91)}, (320, 320), {"boxes": "deltas"}, "rgb"),
    "corners": ({"scores": scores(3000, 21), "boxes": corners(3000)}, INPUT, {}, "rgb"),
    "corners of other priors": ({"scores": scores(1234, 6), "boxes": corners(1234)}, INPUT, {}, "rgb"),
    "priors": (
        {
            "loc": deltas(50).reshape(1, -1), "conf": scores(50, 4).reshape(1, -1),
            "mbox_priorbox": np.stack([corners(50).reshape(1, -1), random(1, 200, low=0.1, high=0.2)], axis=1),
        }, (96, 96), {}, "rgb",
    ),
    "final": (
        {
            "num_detections": np.array([10.0]), "detection_boxes": corners(10), "detection_scores": random(1, 10),
            "detection_classes": np.arange(1, 11.0)[None],
        }, INPUT, {}, "rgb",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", RECOGNIZED)
def test_recognizes_ssd(tmp_path, kind):
    outputs, size, options, color = RECOGNIZED[kind]
    found = read(save(tmp_path / "a.onnx", outputs, size=size))
    assert (found.family.name, dict(found.options), found.preprocessing.color) == ("ssd", options, color)


@pytest.mark.parametrize("kind", RECOGNIZED)
def test_the_rule_and_the_head_find_the_same_boxes(kind):
    outputs, size, options, _ = RECOGNIZED[kind]
    outputs = {name: np.asarray(array, np.float32) for name, array in outputs.items()}
    rule = candidates(Published("ssd", options, size), outputs)
    assert rule is not None
    least = float(np.sort(rule.scores.max(axis=1))[-30:][0])
    head = plain.build("ssd", outputs, size, **options, score=least, nms_iou=1.0)
    found = head.decode(outputs, fit(size, size, "stretch"))
    order = np.argsort(-rule.scores.max(axis=1), kind="stable")[: len(found)]
    assert len(found) >= 10
    np.testing.assert_allclose(found.score, rule.scores[order].max(axis=1), atol=1e-5)
    np.testing.assert_array_equal(found.class_id, rule.scores[order].argmax(axis=1))
    np.testing.assert_allclose(found.xyxy, np.clip(rule.xyxy[order], 0, size[0]), atol=0.02)


def test_corners_of_one_class_are_those_of_ultraface(tmp_path):
    found = read(save(tmp_path / "a.onnx", {"scores": scores(3000, 2), "boxes": corners(3000)}, size=INPUT))
    assert found.family.name == "ultraface"


def test_priors_of_several_models_are_an_error(tmp_path):
    path = save(tmp_path / "a.onnx", {"loc": deltas(8732), "conf": scores(8732, 21)}, size=INPUT)
    with pytest.raises(ModelError, match="several models have 8732 priors"):
        read(path, family="ssd")


def small(path: Path) -> Path:
    """An SSDLite with the outputs of torchvision's head: six maps from stride 16 on, five classes."""
    g = Graph()
    x = g.relu(g.conv("image", 3, 8, stride=2))
    for _ in range(2):
        x = g.relu(g.conv(x, 8, 8, stride=2))
    boxes, classes = [], []
    for _ in range(6):
        x = g.relu(g.conv(x, 8, 8, stride=2))
        for found, columns in ((boxes, 4), (classes, 6)):
            rows = g.node("Transpose", g.conv(x, 8, 6 * columns, 1), perm=[0, 2, 3, 1])
            found.append(g.reshape(rows, 1, -1, columns))
    outputs = {"bbox_regression": boxes, "cls_logits": classes}
    return g.save(path, {name: g.node("Concat", *maps, axis=1) for name, maps in outputs.items()}, shape=(1, 3, 96, 96))


def test_a_compiled_ssd_finds_the_boxes_of_its_file(tmp_path):
    compiled = Compiled(small(tmp_path / "a.onnx"))
    found = compiled.proved()
    assert compiled.model.family.name == "ssd"
    assert found.boxes is not None
    assert found.drawn is not None
    assert found.boxes.matched == found.boxes.compared >= 50


def selected(path: Path, names: tuple[str, str, str], limit: int | None) -> Path:
    """Boxes, scores and class numbers that the graph selects: the best `limit` of them, else by suppression."""
    g = Graph(opset=13)
    x = g.relu(g.conv(g.relu(g.conv("image", 3, 8, stride=2)), 8, 8, stride=2))
    near = g.node("Sigmoid", g.reshape(g.conv(x, 8, 4, 1), 1, 4, -1))  # y1, x1, then height and width
    first, size = g.node("Split", near, g.weight(np.array([2, 2])), outputs=2, axis=1)
    boxes = g.node("Transpose", g.node("Concat", first, g.node("Add", first, size), axis=1), perm=[0, 2, 1])
    scores = g.node("Sigmoid", g.reshape(g.conv(x, 8, 3, 1), 1, 3, -1))
    rows, best = g.node("Squeeze", boxes, g.weight([0])), g.node("ReduceMax", scores, axes=[0, 1], keepdims=0)
    if limit is None:
        limits = [g.weight(np.array(each)) for each in ([100], np.array([0.5], np.float32))]
        chosen = g.node("Gather", g.node("NonMaxSuppression", boxes, scores, *limits), g.weight(2), axis=1)
        best = g.node("Gather", best, chosen)
    else:
        best, chosen = g.node("TopK", best, g.weight([limit]), outputs=2)
    kinds = g.node("Squeeze", g.node("ArgMax", scores, axis=1, keepdims=0), g.weight([0]))
    number = g.node("Add", g.node("Cast", g.node("Gather", kinds, chosen), to=1), g.weight(np.array(1, np.float32)))
    parts = [g.node("Unsqueeze", each, g.weight([0])) for each in (g.node("Gather", rows, chosen), number, best)]
    return g.save(path, dict(zip(names, parts)))


TENSORFLOW = ("detection_boxes", "detection_classes", "detection_scores")


def test_final_detections_of_a_compiled_file_are_those_of_the_file(tmp_path):
    compiled = Compiled(selected(tmp_path / "a.onnx", TENSORFLOW, 20))
    found = compiled.proved()
    assert compiled.model.family.name == "ssd"
    assert found.boxes is not None
    assert found.boxes.matched == found.boxes.compared > 20


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (TENSORFLOW, "non-maximum suppression in the graph"),
        (("boxes", "labels", "scores"), "non-maximum suppression in the graph, as of torchvision"),
    ],
)
def test_a_free_number_of_detections_is_named(tmp_path, names, text):
    with pytest.raises(ModelError, match=text):
        read(selected(tmp_path / "a.onnx", names, None))
