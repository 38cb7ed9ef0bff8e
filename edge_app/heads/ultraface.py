"""Ultra-light face detectors, with boxes decoded in the graph or here.

Source: the Ultra-Light-Fast-Generic-Face-Detector-1MB repository (Linzaer), models RFB and slim. Outputs `scores`
(1, N, 1 + C), softmax applied, the background first, and `boxes` (1, N, 4), corners relative to the input. If the
compiler has cut the graph: `scores` are logits, and `boxes` are deltas from priors, with
center = prior center + 0.1 * delta * prior size, size = prior size * e^(0.2 * delta).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.errors import BackendError
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._grids import from_size
from edge_app.heads._outputs import Arrays, check_labels, float32, shape_of, shapes_known, specs_of, unsupported_outputs
from edge_app.heads._selection import Selection
from edge_app.options import Fraction, Positive

_EXPECTED = "scores 1xNx(1+C), the background first, and boxes 1xNx4"
_PRIORS = ((8, (10, 16, 24)), (16, (32, 48)), (32, (64, 96)), (64, (128, 192, 256)))  # stride, sizes in input pixels
_CENTER, _SIZE = np.float32(0.1), np.float32(0.2)


class Head:
    """Decodes faces. Class 0 is the first one after the background: labels are [face].

    boxes: `deltas` if the graph was cut before the boxes are decoded; scores are then logits.
    """

    result_type = Detections

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.7,
        nms_iou: Fraction = 0.5,
        max_detections: Positive = 100,
        boxes: Literal["corners", "deltas"] = "corners",
    ) -> None:
        self._spec = spec
        self._priors = priors(spec.input_size) if boxes == "deltas" else None
        self._selection = Selection(score, nms_iou, max_detections)
        self._size = np.array(spec.input_size * 2, np.float32)  # (4,)
        self._names = _names(spec, spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode the faces of one image."""
        scores_name, boxes_name = self._names = self._names or _names(self._spec, specs_of(outputs))
        if self._priors is not None:
            return self._from_deltas(outputs[scores_name][0], outputs[boxes_name][0], transform)
        scores = outputs[scores_name][0][:, 1:]  # (N, C)
        best = float32(scores[:, 0] if scores.shape[1] == 1 else scores.max(axis=1))
        rows = self._selection.candidates(best)
        if not len(rows):
            return Detections.empty()
        with np.errstate(over="ignore"):  # values that are not finite are dropped later
            xyxy = float32(outputs[boxes_name][0][rows]) * self._size
        return self._selection.detections(xyxy, best[rows], scores[rows].argmax(axis=1), transform)

    def _from_deltas(self, logits: Float32, deltas: Float32, transform: Transform) -> Detections:
        """logits: (N, 1 + C); deltas: (N, 4). What is decoded is only what passes."""
        assert self._priors is not None
        if len(logits) != len(self._priors):
            raise BackendError(f"heads.{self._spec.name}: found {len(logits)} boxes; expected {len(self._priors)}")
        shifted = np.exp(np.clip(logits - logits.max(axis=1, keepdims=True), -80, 0))
        scores = float32(shifted / shifted.sum(axis=1, keepdims=True))[:, 1:]  # (N, C)
        best = scores.max(axis=1)
        rows = self._selection.candidates(best)
        if not len(rows):
            return Detections.empty()
        prior, delta = self._priors[rows], float32(deltas[rows])
        center = prior[:, :2] + _CENTER * delta[:, :2] * prior[:, 2:]
        size = prior[:, 2:] * np.exp(np.minimum(_SIZE * delta[:, 2:], 10))
        xyxy = from_size(center, size) * self._size
        return self._selection.detections(xyxy, best[rows], scores[rows].argmax(axis=1), transform)


def priors(input_size: tuple[int, int]) -> Float32:
    """The prior boxes (N, 4): center and size relative to the input, clipped to 0..1."""
    width, height = input_size
    levels = []
    for stride, sizes in _PRIORS:
        columns, rows = -(-width // stride), -(-height // stride)
        y, x, side = np.meshgrid(np.arange(rows), np.arange(columns), sizes, indexing="ij")
        # if the input size is not a multiple of the stride, the grid is scaled to the input
        levels.append(np.stack([(x + 0.5) / columns, (y + 0.5) / rows, side / width, side / height], -1).reshape(-1, 4))
    return np.clip(np.concatenate(levels), 0, 1).astype(np.float32)


def _names(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> tuple[str, str]:
    """The names of scores and boxes."""
    shapes = {output.name: shape_of(output) for output in outputs}
    if len(shapes) != 2 or any(len(shape) != 2 for shape in shapes.values()):
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    boxes = [name for name, shape in shapes.items() if shape[1] == 4]
    if len(boxes) == 2:  # three classes and a background: distinguished only by the name
        boxes = [name for name in boxes if "box" in name.lower()]
    if len(boxes) != 1:
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    scores = next(name for name in shapes if name != boxes[0])
    if shapes[scores][0] != shapes[boxes[0]][0] or shapes[scores][1] < 2:
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    check_labels(spec, shapes[scores][1] - 1)
    return scores, boxes[0]
