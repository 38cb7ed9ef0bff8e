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
