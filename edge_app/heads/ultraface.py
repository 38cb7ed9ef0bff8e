"""Ultra-light face detectors: boxes decoded inside the graph.

Source: the Ultra-Light-Fast-Generic-Face-Detector-1MB repository (Linzaer), models RFB and slim. Outputs `scores`
(1, N, 1 + C), softmax applied, the background first, and `boxes` (1, N, 4), corners as a share of the input.
"""

from __future__ import annotations

import numpy as np

from edge_app.boxes import Transform
from edge_app.frame import Detections
from edge_app.heads._outputs import Arrays, check_labels, described, fixed, float32, shape_of, unusable
from edge_app.heads._selection import Selection
from edge_app.manifest import HeadSpec, TensorSpec
from edge_app.options import Fraction, Positive

_EXPECTED = "scores 1xNx(1+C), the background first, and boxes 1xNx4"


class Head:
    """Decodes faces. Class 0 is the first one behind the background: labels are [face]."""

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.7,
        nms_iou: Fraction = 0.5,
        max_detections: Positive = 100,
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections)
        self._size = np.array(spec.input_size * 2, np.float32)  # (4,)
        self._names = _names(spec, spec.outputs) if fixed(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode the faces of one picture."""
        scores_name, boxes_name = self._names = self._names or _names(self._spec, described(outputs))
        scores = outputs[scores_name][0][:, 1:]  # (N, C)
        best = float32(scores[:, 0] if scores.shape[1] == 1 else scores.max(axis=1))
        rows = self._selection.strongest(best)
        if not len(rows):
            return Detections.empty()
        with np.errstate(over="ignore"):  # what is not finite is dropped
            xyxy = float32(outputs[boxes_name][0][rows]) * self._size
        return self._selection.detections(xyxy, best[rows], scores[rows].argmax(axis=1), transform)


def _names(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> tuple[str, str]:
    """The names of scores and boxes."""
    shapes = {output.name: shape_of(output) for output in outputs}
    if len(shapes) != 2 or any(len(shape) != 2 for shape in shapes.values()):
        raise unusable(spec, outputs, _EXPECTED)
    boxes = [name for name, shape in shapes.items() if shape[1] == 4]
    if len(boxes) == 2:  # three classes and a background: only the name tells
        boxes = [name for name in boxes if "box" in name.lower()]
    if len(boxes) != 1:
        raise unusable(spec, outputs, _EXPECTED)
    scores = next(name for name in shapes if name != boxes[0])
    if shapes[scores][0] != shapes[boxes[0]][0] or shapes[scores][1] < 2:
        raise unusable(spec, outputs, _EXPECTED)
    check_labels(spec, shapes[scores][1] - 1)
    return scores, boxes[0]
