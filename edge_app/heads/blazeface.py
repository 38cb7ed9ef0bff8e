"""BlazeFace: faces with six landmarks, from MediaPipe's short-range and full-range models.

Source: MediaPipe, `SsdAnchorsCalculator`, `TensorsToDetectionsCalculator` and the weighted mode of
`NonMaxSuppressionCalculator`. Outputs: scores (1, N, 1), logits, and boxes (1, N, 16): x, y, width, height, then x and
y of six landmarks, all in input pixels relative to the center of the anchor's cell. Overlapping boxes are averaged,
weighted by score. Order of landmarks: in the image, left and right eye, nose, center of the mouth, left and right ear.
The input is RGB, (x - 127.5) / 127.5.
"""

from __future__ import annotations

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform, iou, nms
from edge_app.heads import HeadSpec
from edge_app.heads._grids import from_size, gather
from edge_app.heads._levels import Levels, anchor_points, levels
from edge_app.heads._outputs import (
    Arrays,
    check_labels,
    float32,
    logit,
    shapes_known,
    sigmoid,
    specs_of,
    unsupported_outputs,
)
from edge_app.heads._selection import MAX_CANDIDATES, Selection
from edge_app.options import Fraction, Positive

_EXPECTED = "scores 1xNx1 and boxes with six landmarks 1xNx16, together or for each stride"
_CLIP = 100.0  # MediaPipe's limit of logits
_FAR_PX = 1e5  # larger coordinates are invalid
_LAYOUTS = (  # strides, and anchors per cell: short range (128x128), its version for 256x256, full range
    ((8, 16), (2, 6)),
    ((16, 32), (2, 6)),
    ((4,), (1,)),
)


class Head:
    """Decodes faces and their landmarks.

    blend: a face gets the average of all boxes that overlap it, weighted by score, as in MediaPipe; false keeps only
    the best box.
    """

    result_type = Detections
    keypoints = True

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.5,
        nms_iou: Fraction = 0.3,
        max_detections: Positive = 100,
        blend: bool = True,
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections)
        self._blend = blend
        self._layout = _layout(spec, spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode the faces of one image. keypoints: (N, 6, 3); a landmark has the score of its face."""
        found, anchors = self._layout = self._layout or _layout(self._spec, specs_of(outputs))
        logits = np.concatenate([float32(part).reshape(-1) for part in found.column(outputs, 1)])  # (anchors,)
        rows = self._selection.candidates(logits, logit(self._selection.score))
        if not len(rows):
            return Detections.empty()
        score = sigmoid(np.clip(logits[rows], -_CLIP, _CLIP))
        values = gather(found.column(outputs, 16), rows)  # (n, 16)
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are dropped later
            xyxy = from_size(values[:, :2] + anchors[rows], values[:, 2:4])
            points = values[:, 4:].reshape(-1, 6, 2) + anchors[rows][:, None]  # (n, 6, 2)
        selection = self._selection
        if self._blend:
            score, xyxy, points = self._blended(score, xyxy, points)
            selection = Selection(selection.score, 1.0, selection.max_detections)
        return selection.detections(xyxy, score, np.zeros(len(xyxy), np.int32), transform, points)

    def _blended(self, score: Float32, xyxy: Float32, points: Float32) -> tuple[Float32, Float32, Float32]:
        """The best boxes, each averaged with those that it suppresses; a face keeps its best score."""
        valid = (np.abs(xyxy) < _FAR_PX).all(axis=1) & (np.abs(points) < _FAR_PX).all(axis=(1, 2))  # false for NaN
        score, xyxy, points = score[valid], xyxy[valid], points[valid]
        kept = nms(xyxy, score, None, self._selection.nms_iou, MAX_CANDIDATES)
        values = np.concatenate([xyxy, points.reshape(-1, 12)], axis=1)
        free = np.ones(len(xyxy), bool)
        averaged = np.empty((len(kept), values.shape[1]), np.float32)
        for i, overlap in enumerate(iou(xyxy[kept], xyxy)):
            group = free & (overlap > self._selection.nms_iou)
            group[kept[i]] = True
            free &= ~group
            averaged[i] = np.average(values[group], axis=0, weights=score[group])
        return score[kept], averaged[:, :4], averaged[:, 4:].reshape(-1, 6, 2)


def _layout(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> tuple[Levels, Float32]:
    """The outputs, and the centers of the anchors (N, 2), input pixels."""
    found = levels(outputs)
    if found is None or set(found.names) != {1, 16}:
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    for strides, counts in _LAYOUTS:
        parts = [
            anchor_points(spec.input_size, [stride], [count], offset=0.5) for stride, count in zip(strides, counts)
        ]
        rows = tuple(len(part) for part in parts)
        if found.rows in (rows, (sum(rows),)):
            check_labels(spec, 1)
            return found, np.concatenate(parts)
    raise unsupported_outputs(spec, outputs, _EXPECTED)
