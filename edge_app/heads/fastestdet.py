"""FastestDet: one grid, one output, a box a cell, sizes as a share of the input.

Source: the FastestDet repository (dog-qiuqiu). One output (1, 5 + C, H, W): objectness and C class scores, both
probabilities; between them x, y, w, h. Score = objectness^0.6 * class^0.4; centre = (tanh(x) + cell) / grid and size =
sigmoid(w), both as a share of the input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_app.boxes import Transform
from edge_app.frame import Detections, Float32
from edge_app.heads import _cells
from edge_app.heads._outputs import Arrays, check_labels, described, fixed, float32, shape_of, sigmoid, unusable
from edge_app.heads._selection import Selection
from edge_app.manifest import HeadSpec, TensorSpec
from edge_app.options import Fraction, Positive

_EXPECTED = "one output 1x(5+C)xHxW: objectness, 4 box values, C class scores"
_OBJECT_POWER, _CLASS_POWER = 0.6, 0.4


class Head:
    """Decodes FastestDet. score: authors use 0.65; class_aware: boxes suppress only those of their own class."""

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.6,
        nms_iou: Fraction = 0.45,
        max_detections: Positive = 100,
        class_aware: bool = True,
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections, class_aware)
        self._least_object = score ** (1 / _OBJECT_POWER)  # below this no class score can lift the product
        self._layout = _layout(spec, spec.outputs) if fixed(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode the grid of one picture."""
        layout = self._layout = self._layout or _layout(self._spec, described(outputs))
        values = outputs[layout.output][0].reshape(5 + layout.classes, -1)  # (5 + C, cells)
        cells = np.flatnonzero(values[0] >= self._least_object)
        if not len(cells):
            return Detections.empty()
        found = float32(values[:, cells])  # (5 + C, n)
        best = found[5:].max(axis=0)
        score = np.clip(found[0], 0, 1) ** _OBJECT_POWER * np.clip(best, 0, 1) ** _CLASS_POWER
        rows = self._selection.strongest(score)
        if not len(rows):
            return Detections.empty()
        found = found[:, rows]
        center = (np.tanh(found[1:3].T) + layout.corners[cells[rows]]) * layout.cell
        xyxy = _cells.from_size(center, sigmoid(found[3:5].T) * layout.input_size)
        return self._selection.detections(xyxy, score[rows], found[5:].argmax(axis=0), transform)


@dataclass(frozen=True, slots=True)
class _Layout:
    """corners: (cells, 2), columns and rows; cell, input_size: (2,), width and height in input pixels."""

    output: str
    classes: int
    corners: Float32
    cell: Float32
    input_size: Float32


def _layout(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> _Layout:
    shape = shape_of(outputs[0])
    if len(outputs) != 1 or len(shape) != 3 or shape[0] < 6:
        raise unusable(spec, outputs, _EXPECTED)
    channels, height, width = shape
    check_labels(spec, channels - 5)
    input_size = np.array(spec.input_size, np.float32)
    corners = _cells.centers(width, height, 1, 1, offset=0)
    grid = np.array([width, height], np.float32)
    return _Layout(outputs[0].name, channels - 5, corners, input_size / grid, input_size)
