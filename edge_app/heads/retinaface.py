"""RetinaFace: faces with five landmarks, as deltas from prior boxes.

Source: Pytorch_Retinaface (biubug6), `PriorBox`, `decode` and `decode_landm`; the same for its light models in
Face-Detector-1MB-with-landmark, whose priors differ. Outputs: scores (1, N, 2), the background first, softmax applied
or not; boxes (1, N, 4) and landmarks (1, N, 10). center = prior center + 0.1 * delta * prior size, size = prior size *
e^(0.2 * delta), landmark = prior center + 0.1 * delta * prior size. Order of landmarks: in the image, left and right
eye, nose, left and right corner of the mouth. The input is BGR, minus (104, 117, 123).
"""

from __future__ import annotations

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._grids import from_size
from edge_app.heads._levels import Levels, anchor_points, levels
from edge_app.heads._outputs import Arrays, check_labels, float32, shapes_known, sigmoid, specs_of, unsupported_outputs
from edge_app.heads._selection import Selection
from edge_app.options import Fraction, Positive

_EXPECTED = "scores 1xNx2, the background first, boxes 1xNx4 and landmarks 1xNx10"
_PRIORS = (  # strides, and the sides of the priors of a cell, input pixels
    ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))),
    ((8, (10, 16, 24)), (16, (32, 48)), (32, (64, 96)), (64, (128, 192, 256))),
)
_CENTER, _SIZE = np.float32(0.1), np.float32(0.2)
_ROUNDING = 0.1  # of probabilities that an NPU computes


class Head:
    """Decodes faces and their landmarks."""

    result_type = Detections
    keypoints = True

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.6,
        nms_iou: Fraction = 0.4,
        max_detections: Positive = 100,
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections)
        self._layout = _layout(spec, spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode the faces of one image. keypoints: (N, 5, 3); a landmark has the score of its face."""
        found, priors = self._layout = self._layout or _layout(self._spec, specs_of(outputs))
        (scores,), (boxes,), (landmarks,) = (found.column(outputs, columns) for columns in (2, 4, 10))
        score = float32(scores[:, 1])
        if scores.min(initial=0) < -_ROUNDING or scores.max(initial=0) > 1 + _ROUNDING:  # logits
            with np.errstate(over="ignore", invalid="ignore"):
                score = sigmoid(score - float32(scores[:, 0]))
        rows = self._selection.candidates(score)
        if not len(rows):
            return Detections.empty()
        center, size = priors[rows, :2], priors[rows, 2:]
        delta, points = float32(boxes[rows]), float32(landmarks[rows]).reshape(-1, 5, 2)  # (n, 5, 2)
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are dropped later
            xyxy = from_size(center + _CENTER * delta[:, :2] * size, size * np.exp(_SIZE * delta[:, 2:]))
            points = center[:, None] + _CENTER * points * size[:, None]
        return self._selection.detections(xyxy, score[rows], np.zeros(len(rows), np.int32), transform, points)


def _layout(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> tuple[Levels, Float32]:
    """The outputs, and the priors (N, 4): center and size, input pixels."""
    found = levels(outputs)
    if found is None or set(found.names) != {2, 4, 10} or len(found.rows) != 1:
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    for published in _PRIORS:
        center = anchor_points(
            spec.input_size, [stride for stride, _ in published], [len(sides) for _, sides in published], offset=0.5
        )
        if len(center) == found.rows[0]:
            check_labels(spec, 1)
            return found, np.concatenate([center, np.tile(_sides(spec.input_size, published), (2, 1)).T], axis=1)
    raise unsupported_outputs(spec, outputs, _EXPECTED)


def _sides(input_size: tuple[int, int], published: tuple[tuple[int, tuple[int, ...]], ...]) -> Float32:
    """The side of each prior, (N,)."""
    cells = [-(-input_size[0] // stride) * -(-input_size[1] // stride) for stride, _ in published]
    return np.concatenate([np.tile(np.array(sides, np.float32), n) for n, (_, sides) in zip(cells, published)])
