"""Shared by the reference decoders of the heads' tests: slow, obvious code with Python floats and loops."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from edge_app import registry
from edge_app.backends import TensorSpec
from edge_app.frame import Detections
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec

Box = tuple[float, float, float, float]
Candidate = tuple[Box, float, int]  # input pixels, score, class

PIXELS = 0.02  # tolerance of float32 for boxes of a few hundred pixels
SCORE = 1e-5


def spec_of(family: str, outputs: Mapping[str, np.ndarray], input_size: tuple[int, int], classes: int = 0) -> HeadSpec:
    """classes: the number of labels."""
    tensors = tuple(TensorSpec(name, array.shape, array.dtype.name) for name, array in outputs.items())
    labels = tuple(f"class{i}" for i in range(classes))
    return HeadSpec("objects", family, labels, input_size, outputs=tensors)


def build(family: str, outputs: Mapping[str, np.ndarray], input_size: tuple[int, int], classes: int = 0, **options):
    return registry.build("heads", family, spec_of(family, outputs, input_size, classes), **options)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p)).astype(np.float32)


def softmax_mean(values: Iterable[float]) -> float:
    values = [float(v) for v in values]
    weights = [math.exp(v - max(values)) for v in values]
    return sum(i * w for i, w in enumerate(weights)) / sum(weights)


def highest(values: Iterable[float]) -> tuple[float, int]:
    """The greatest value and its index."""
    values = [float(v) for v in values]
    top = max(values)
    return top, values.index(top)


def centered_box(x: float, y: float, width: float, height: float) -> Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def iou(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def suppress(found: list[Candidate], nms_iou: float, class_aware: bool) -> list[Candidate]:
    kept: list[Candidate] = []
    for box, score, label in sorted(found, key=lambda candidate: -candidate[1]):
        same_class = [k for k in kept if k[2] == label or not class_aware]
        if all(iou(box, k[0]) <= nms_iou for k in same_class):
            kept.append((box, score, label))
    return kept


def to_image(x: float, y: float, transform: Transform) -> tuple[float, float]:
    x = (x - transform.pad_x) / transform.scale_x
    y = (y - transform.pad_y) / transform.scale_y
    return min(max(x, 0.0), transform.image_width), min(max(y, 0.0), transform.image_height)


def expected_detections(
    found: list[Candidate], transform: Transform, score: float, nms_iou: float, class_aware: bool = True
) -> list[Candidate]:
    """The candidates that a detector must report: above the score, not suppressed, not empty in the image."""
    boxes = []
    for box, s, label in suppress([c for c in found if c[1] >= score], nms_iou, class_aware):
        x1, y1 = to_image(box[0], box[1], transform)
        x2, y2 = to_image(box[2], box[3], transform)
        if x2 > x1 and y2 > y1:
            boxes.append(((x1, y1, x2, y2), s, label))
    return boxes


def assert_matches(result: Detections, expected: list[Candidate], pixels: float = PIXELS) -> None:
    """Check number, classes and order, boxes within `pixels` and scores within SCORE."""
    assert len(result) == len(expected)
    assert result.class_id.tolist() == [label for _, _, label in expected]
    np.testing.assert_allclose(result.score, [score for _, score, _ in expected], atol=SCORE)
    np.testing.assert_allclose(result.xyxy, np.reshape([box for box, _, _ in expected], (-1, 4)), atol=pixels)


Face = tuple[Box, float, list[tuple[float, float]]]  # input pixels, score, landmarks


def assert_faces(result: Detections, faces: list[Face], transform: Transform, score: float, nms_iou: float) -> int:
    """Check boxes as `assert_matches` does, and the landmarks of each within a pixel. Returns the number of faces.

    Of a crowd, the 100 best: the default of `max_detections`.
    """
    landmarks = {face_score: points for _, face_score, points in faces}
    assert len(landmarks) == len(faces), "scores must differ, since they tell which landmarks belong to a box"
    expected = expected_detections([(box, each, 0) for box, each, _ in faces], transform, score, nms_iou)[:100]
    assert_matches(result, expected, pixels=0.5)
    for points, (_, best, _) in zip(result.keypoints if expected else [], expected):
        marks = [to_image(x, y, transform) for x, y in landmarks[best]]
        np.testing.assert_allclose(points[:, :2], marks, atol=1)
    return len(expected)
