"""FastestDet: one grid, one box for each cell, sizes relative to the input.

Source: the FastestDet repository (dog-qiuqiu). One output (1, 5 + C, H, W): objectness, then x, y, w, h, then C class
scores; objectness and class scores are probabilities. Or three separate outputs, as the compiler splits them for int8.
Score = objectness^0.6 * class^0.4. Center = (tanh(x) + cell) / grid, size = sigmoid(w), both relative to the input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec, _grids
from edge_app.heads._outputs import Arrays, check_labels, float32, shape_of, shapes_known, specs_of, unsupported_outputs
from edge_app.heads._selection import Selection
from edge_app.options import Fraction, Positive

_EXPECTED = "one output 1x(5+C)xHxW: objectness, 4 box values, C class scores; or three separate outputs"
_OBJECT_POWER, _CLASS_POWER = 0.6, 0.4
_ARGUMENT = np.array([1, 1, 0.5, 0.5], np.float32)  # sigmoid(w) = (tanh(w / 2) + 1) / 2: one call for all


class Head:
    """Decodes FastestDet. score: the authors use 0.65. class_aware: boxes suppress only boxes of the same class."""

    result_type = Detections

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
        self._min_objectness = score ** (1 / _OBJECT_POWER)  # below this the product cannot reach `score`
        self._layout = _layout(spec, spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode the grid of one image."""
        layout = self._layout = self._layout or _layout(self._spec, specs_of(outputs))
        values = [outputs[name][0].reshape(outputs[name].shape[1], -1) for name in layout.outputs]  # (channels, cells)
        cells = (values[0][0] >= self._min_objectness).nonzero()[0]
        if not len(cells):
            return Detections.empty()
        parts = [part.take(cells, axis=1) for part in values]
        selected = float32(parts[0] if len(parts) == 1 else np.concatenate(parts))  # (5 + C, n)
        best = np.maximum(selected[5:].max(axis=0), 0)  # a dequantized probability may be below 0
        score = selected[0] ** _OBJECT_POWER * best**_CLASS_POWER
        rows = self._selection.candidates(score)
        if not len(rows):
            return Detections.empty()
        selected = selected.take(rows, axis=1)
        squashed = np.tanh(selected[1:5].T * _ARGUMENT)
        center = (squashed[:, :2] + layout.corners.take(cells[rows], axis=0)) * layout.cell
        xyxy = _grids.from_size(center, (squashed[:, 2:] + 1) * layout.half_input)
        return self._selection.detections(xyxy, score[rows], selected[5:].argmax(axis=0), transform)


@dataclass(frozen=True, slots=True)
class _Layout:
    """outputs: names in the order objectness, boxes, classes. corners: (cells, 2), column and row of each cell.

    cell, half_input: (2,), width and height in input pixels.
    """

    outputs: tuple[str, ...]
    corners: Float32
    cell: Float32
    half_input: Float32


def _layout(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> _Layout:
    ordered = _ordered(outputs)
    shapes = [shape_of(output) for output in ordered]
    channels = sum(shape[0] for shape in shapes if len(shape) == 3)
    if not ordered or any(len(shape) != 3 or shape[1:] != shapes[0][1:] for shape in shapes) or channels < 6:
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    height, width = shapes[0][1:]
    check_labels(spec, channels - 5)
    input_size = np.array(spec.input_size, np.float32)
    corners = _grids.centers(width, height, 1, 1, offset=0)
    grid = np.array([width, height], np.float32)
    return _Layout(tuple(output.name for output in ordered), corners, input_size / grid, input_size * np.float32(0.5))


def _ordered(outputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Sort as objectness (1 channel), boxes (4), classes. With equal channel counts, the graph's order decides."""
    if len(outputs) == 1:
        return outputs
    by_channels = {shape_of(output)[0]: output for output in reversed(outputs) if len(shape_of(output)) == 3}
    if len(outputs) != 3 or 1 not in by_channels or 4 not in by_channels:
        return ()
    first, boxes = by_channels[1], by_channels[4]
    return (first, boxes, next(output for output in outputs if output not in (first, boxes)))
