"""SCRFD: faces, with five landmarks if the model has them, at three or five strides.

Source: InsightFace, class `SCRFD` of its model zoo. Each stride has scores (1, N, 1), probabilities, boxes
(1, N, 4): distances from the anchor to left, top, right and bottom, and landmarks (1, N, 10), x and y from the anchor;
distances are in strides. Each cell has one or two anchors in its top left corner.
Order of landmarks: in the image, left and right eye, nose, left and right corner of the mouth. The input is RGB,
(x - 127.5) / 128.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._grids import from_edges, gather, grid
from edge_app.heads._levels import Levels, anchor_points, levels
from edge_app.heads._outputs import Arrays, check_labels, float32, shapes_known, specs_of, unsupported_outputs
from edge_app.heads._selection import Selection
from edge_app.options import Fraction, Positive

_EXPECTED = "for each stride scores 1xNx1, boxes 1xNx4 and perhaps landmarks 1xNx10"
_STRIDES = (8, 16, 32, 64, 128)


class Head:
    """Decodes faces and their landmarks."""

    result_type = Detections
    keypoints = True

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.5,
        nms_iou: Fraction = 0.4,
        max_detections: Positive = 100,
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections)
        self._layout = _layout(spec, spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode all strides of one image. keypoints: (N, 5, 3), or None without landmarks."""
        layout = self._layout = self._layout or _layout(self._spec, specs_of(outputs))
        score = np.concatenate([float32(part).reshape(-1) for part in layout.levels.column(outputs, 1)])  # (anchors,)
        rows = self._selection.candidates(score)
        if not len(rows):
            return Detections.empty()
        anchor, stride = layout.anchor[rows], layout.stride[rows]
        points = None
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are dropped later
            xyxy = from_edges(anchor, gather(layout.levels.column(outputs, 4), rows) * stride)
            if 10 in layout.levels.names:
                points = gather(layout.levels.column(outputs, 10), rows).reshape(-1, 5, 2)  # (n, 5, 2)
                points = anchor[:, None] + points * stride[:, None]
        return self._selection.detections(xyxy, score[rows], np.zeros(len(rows), np.int32), transform, points)


@dataclass(frozen=True, slots=True)
class _Layout:
    """anchor: (anchors, 2), input pixels. stride: (anchors, 1)."""

    levels: Levels
    anchor: Float32
    stride: Float32


def _layout(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> _Layout:
    found = levels(outputs)
    if found is None or set(found.names) not in ({1, 4}, {1, 4, 10}) or not 1 < len(found.rows) <= len(_STRIDES):
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    strides = _STRIDES[: len(found.rows)]
    cells = [grid(spec.input_size, stride).cells for stride in strides]
    count = found.rows[0] // max(1, cells[0])
    if count not in (1, 2) or [count * n for n in cells] != list(found.rows):
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    check_labels(spec, 1)
    anchor = anchor_points(spec.input_size, strides, [count] * len(strides), offset=0)
    return _Layout(found, anchor, np.repeat(np.array(strides, np.float32), found.rows)[:, None])
