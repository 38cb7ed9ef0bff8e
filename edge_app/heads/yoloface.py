"""YOLOv5-face: faces with five landmarks, from the maps of each stride or from one decoded table.

Source: yolov5-face (deepcam-cn), class `Detect`. A row: x, y, w, h, objectness, x and y of five landmarks,
class. In maps, nothing is decoded: boxes as in YOLOv5; landmark = value * anchor size + corner of the cell, without a
sigmoid. Score = objectness * class. Order of landmarks: in the image, left and right eye, nose, left and right corner
of the mouth. The input is RGB, 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._grids import Pyramid, from_size, gather, grid
from edge_app.heads._outputs import (
    Arrays,
    check_labels,
    float32,
    logit,
    shape_of,
    shapes_known,
    sigmoid,
    specs_of,
    unsupported_outputs,
)
from edge_app.heads._selection import Selection
from edge_app.options import Fraction, Positive

_EXPECTED = "one table 1xNx16, or for each stride a map 1x3xHxWx16 or 1x48xHxW"
_VALUES, _PER_CELL = 16, 3  # values of an anchor; anchors of a cell
_STRIDES = (8, 16, 32, 64)
_ANCHORS = {  # by number of strides: width and height of three anchors each, input pixels
    3: ((4, 5, 8, 10, 13, 16), (23, 29, 43, 55, 73, 105), (146, 217, 231, 300, 335, 433)),
    4: (
        (6, 7, 9, 11, 13, 16), (18, 23, 26, 33, 37, 47), (54, 67, 77, 104, 112, 154), (174, 238, 258, 355, 445, 568),
    ),
}  # fmt: skip


class Head:
    """Decodes faces and their landmarks.

    anchors: for each stride a list of width, height, width, height …, input pixels; the published ones if empty.
    """

    result_type = Detections
    keypoints = True

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.5,
        nms_iou: Fraction = 0.5,
        max_detections: Positive = 100,
        anchors: tuple[tuple[float, ...], ...] = (),
    ) -> None:
        self._spec, self._anchors = spec, anchors
        self._selection = Selection(score, nms_iou, max_detections)
        self._layout = _layout(spec, spec.outputs, anchors) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode the faces of one image. keypoints: (N, 5, 3); a landmark has the score of its face."""
        layout = self._layout = self._layout or _layout(self._spec, specs_of(outputs), self._anchors)
        if layout.anchor is None:
            return self._decoded(float32(outputs[layout.names[0]][0]), transform)
        tables = [_by_anchor(outputs[name]) for name in layout.names]
        objectness = np.concatenate([float32(table[:, 4]) for table in tables])
        rows = np.flatnonzero(objectness >= logit(self._selection.score))  # a class cannot raise a score
        if not len(rows):
            return Detections.empty()
        score = sigmoid(objectness[rows]) * sigmoid(gather([table[:, 15:] for table in tables], rows)[:, 0])
        best = self._selection.candidates(score)
        rows, score = rows[best], score[best]
        values, anchor = gather(tables, rows), layout.anchor[rows]  # (n, 16), (n, 2)
        corner, stride = layout.pyramid.center[rows], layout.pyramid.stride[rows]
        near = sigmoid(values[:, :4])
        center = corner + (near[:, :2] * 2 - np.float32(0.5)) * stride
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are dropped later
            xyxy = from_size(center, (near[:, 2:] * 2) ** 2 * anchor)
            points = values[:, 5:15].reshape(-1, 5, 2) * anchor[:, None] + corner[:, None]  # (n, 5, 2)
        return self._selection.detections(xyxy, score, np.zeros(len(xyxy), np.int32), transform, points)

    def _decoded(self, table: Float32, transform: Transform) -> Detections:
        """table: (N, 16), all in input pixels and probabilities."""
        with np.errstate(over="ignore", invalid="ignore"):  # inference reports scores that are not finite
            score = table[:, 4] * table[:, 15]
        rows = self._selection.candidates(score)
        if not len(rows):
            return Detections.empty()
        values = table[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            xyxy = from_size(values[:, :2], values[:, 2:4])
        points = values[:, 5:15].reshape(-1, 5, 2)  # (n, 5, 2)
        return self._selection.detections(xyxy, score[rows], np.zeros(len(rows), np.int32), transform, points)


@dataclass(frozen=True, slots=True)
class _Layout:
    """names: of the outputs, by stride. anchor: (rows, 2), sizes in input pixels; None for a decoded table.

    pyramid: the corner and stride of each row.
    """

    names: tuple[str, ...]
    anchor: Float32 | None
    pyramid: Pyramid


def _by_anchor(values: np.ndarray) -> np.ndarray:
    """A map (1, 3, H, W, 16) or (1, 48, H, W) as rows (3 * H * W, 16), one anchor after the other."""
    if values.ndim == 4:
        values = values.reshape(1, _PER_CELL, _VALUES, *values.shape[2:]).transpose(0, 1, 3, 4, 2)
    return values.reshape(-1, _VALUES)


def _layout(spec: HeadSpec, outputs: tuple[TensorSpec, ...], given: tuple[tuple[float, ...], ...]) -> _Layout:
    shapes = {output.name: shape_of(output) for output in outputs}
    check_labels(spec, 1)
    if len(shapes) == 1 and len(next(iter(shapes.values()))) == 2:
        ((name, (rows, columns)),) = shapes.items()
        cells = [grid(spec.input_size, stride).cells * _PER_CELL for stride in _STRIDES]
        if columns != _VALUES or rows not in (sum(cells[:3]), sum(cells)):
            raise unsupported_outputs(spec, outputs, _EXPECTED)
        return _Layout((name,), None, Pyramid(np.empty((0, 2), np.float32), np.empty((0, 1), np.float32)))
    anchors = given or _ANCHORS.get(len(shapes), ())
    by_size = sorted(shapes, key=lambda name: -int(np.prod(shapes[name])))
    grids = [grid(spec.input_size, stride) for stride in _STRIDES[: len(shapes)]]
    for name, each in zip(by_size, grids):
        size = (each.height, each.width)
        if shapes[name] not in ((_PER_CELL, *size, _VALUES), (_PER_CELL * _VALUES, *size)):
            raise unsupported_outputs(spec, outputs, _EXPECTED)
    if len(grids) != len(shapes) or not grids or not anchors:
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    if len(anchors) != len(grids) or any(len(row) != 2 * _PER_CELL or min(row) <= 0 for row in anchors):
        raise ModelError(
            f"heads.{spec.name}: anchors: found {len(anchors)} lists; "
            f"expected {len(grids)}, for each stride {2 * _PER_CELL} positive numbers"
        )
    sizes = [
        np.repeat(np.array(row, np.float32).reshape(-1, 2), each.cells, axis=0) for row, each in zip(anchors, grids)
    ]
    by_anchor = [each for each in grids for _ in range(_PER_CELL)]
    return _Layout(tuple(by_size), np.concatenate(sizes), Pyramid.of(by_anchor, offset=0))
