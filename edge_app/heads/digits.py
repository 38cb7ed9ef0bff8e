"""The detector of this project's own models (models/digits): one grid, class logits and edge distances for each cell.

Source: models/training/network.py. `scores` (1, C, H, W): logits. `boxes` (1, 4, H, W): distances from the center of
the cell to the left, top, right and bottom edges, in cells. Cell size = input size / grid size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec, _grids
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

_EXPECTED = "two outputs of one size: class logits 1xCxHxW and boxes 1x4xHxW"


class Head:
    """Decodes class logits and edge distances.

    class_aware: false by default, so that boxes suppress boxes of other classes too: a glyph is only one digit.
    """

    result_type = Detections

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.4,
        nms_iou: Fraction = 0.45,
        max_detections: Positive = 100,
        class_aware: bool = False,
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections, class_aware)
        self._threshold = logit(score)
        self._layout = _layout(spec, spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode class logits and edge distances of one image."""
        layout = self._layout = self._layout or _layout(self._spec, specs_of(outputs))
        logits = float32(outputs[layout.scores])[0].reshape(layout.classes, -1)  # (C, cells)
        cells = self._selection.candidates(logits.max(axis=0), self._threshold)
        if not len(cells):
            return Detections.empty()
        selected = logits[:, cells]
        class_id = selected.argmax(axis=0)
        distance = float32(outputs[layout.boxes][0].reshape(4, -1)[:, cells]).T  # (n, 4)
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are dropped later
            xyxy = _grids.from_edges(layout.centers[cells], distance * layout.stride)
        return self._selection.detections(xyxy, sigmoid(selected.max(axis=0)), class_id, transform)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Names and geometry of the outputs. centers: (cells, 2); stride: (4,), a cell's width and height twice; pixels."""

    scores: str
    boxes: str
    classes: int
    centers: Float32
    stride: Float32


def _layout(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> _Layout:
    shapes = {output.name: shape_of(output) for output in outputs}
    if len(shapes) != 2 or any(len(shape) != 3 for shape in shapes.values()):
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    boxes = [name for name, shape in shapes.items() if shape[0] == 4]
    if len(boxes) == 2:  # four classes: distinguished only by the name
        boxes = [name for name in boxes if "box" in name.lower()]
    if len(boxes) != 1:
        raise unsupported_outputs(spec, outputs, _EXPECTED + ", the boxes with 4 channels or with 'box' in the name")
    scores = next(name for name in shapes if name != boxes[0])
    classes, height, width = shapes[scores]
    if shapes[boxes[0]] != (4, height, width):
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    check_labels(spec, classes)
    stride = np.array([spec.input_size[0] / width, spec.input_size[1] / height] * 2, np.float32)
    centers = _grids.centers(width, height, float(stride[0]), float(stride[1]))
    return _Layout(scores, boxes[0], classes, centers, stride)
