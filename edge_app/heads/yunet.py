"""YuNet: faces with five landmarks, at three strides.

Source: OpenCV's model zoo, face_detection_yunet of 2023, and OpenCV's FaceDetectorYN. Each stride has `cls` and `obj`
(1, N, 1), probabilities, `bbox` (1, N, 4) and `kps` (1, N, 10). Score = sqrt(cls * obj), negative values as 0.
Relative to the top left corner of a cell: center = corner + (x, y) * stride, size = e^(w, h) * stride,
landmark = corner + (x, y) * stride. Order of landmarks: right eye, left eye, nose, right and left corner of the mouth.
The input is BGR, 0..255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._grids import Pyramid, from_size, gather, grid_of
from edge_app.heads._outputs import Arrays, check_labels, float32, shape_of, shapes_known, specs_of, unsupported_outputs
from edge_app.heads._selection import Selection
from edge_app.options import Fraction, Positive

_EXPECTED = "for each stride cls 1xNx1, obj 1xNx1, bbox 1xNx4 and kps 1xNx10"


class Head:
    """Decodes faces and their landmarks."""

    result_type = Detections
    keypoints = True

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.7,
        nms_iou: Fraction = 0.3,
        max_detections: Positive = 100,
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections)
        self._layout = _layout(spec, spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode all strides of one image. keypoints: (N, 5, 3); a landmark has the score of its face."""
        layout = self._layout = self._layout or _layout(self._spec, specs_of(outputs))
        first, second = (_concatenated(outputs, names) for names in layout.scores)  # (cells,) each
        with np.errstate(over="ignore", invalid="ignore"):  # inference reports scores that are not finite
            product = np.maximum(first, 0) * np.maximum(second, 0)
        rows = self._selection.candidates(product, self._selection.score**2)
        if not len(rows):
            return Detections.empty()
        corner, stride = layout.pyramid.center[rows], layout.pyramid.stride[rows]
        box = gather([outputs[name][0] for name in layout.boxes], rows)
        points = gather([outputs[name][0] for name in layout.points], rows).reshape(-1, 5, 2)  # (n, 5, 2)
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are dropped later
            xyxy = from_size(corner + box[:, :2] * stride, np.exp(box[:, 2:]) * stride)
            points = corner[:, None] + points * stride[:, None]
        faces = np.zeros(len(rows), np.int32)
        return self._selection.detections(xyxy, np.sqrt(product[rows]), faces, transform, points)


def _concatenated(outputs: Arrays, names: tuple[str, ...]) -> Float32:
    return np.concatenate([float32(outputs[name]).reshape(-1) for name in names])


@dataclass(frozen=True, slots=True)
class _Layout:
    """Output names by ascending stride. scores: cls and obj, in either order because the score is their product."""

    scores: tuple[tuple[str, ...], tuple[str, ...]]
    boxes: tuple[str, ...]
    points: tuple[str, ...]
    pyramid: Pyramid


def _layout(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> _Layout:
    levels: dict[int, list[tuple[int, str]]] = {}
    for output in outputs:
        shape = shape_of(output)
        if len(shape) != 2:
            raise unsupported_outputs(spec, outputs, _EXPECTED)
        levels.setdefault(shape[0], []).append((shape[1], output.name))
    grids = []
    columns: list[list[str]] = []
    for cells in sorted(levels, reverse=True):
        level = sorted(levels[cells], key=lambda output: output[0])  # stable: scores keep the graph's order
        grid = grid_of(spec.input_size, cells)
        if grid is None or [channels for channels, _ in level] != [1, 1, 4, 10]:
            raise unsupported_outputs(spec, outputs, _EXPECTED)
        grids.append(grid)
        columns.append([name for _, name in level])
    check_labels(spec, 1)
    first, second, boxes, points = (tuple(names) for names in zip(*columns))
    return _Layout((first, second), boxes, points, Pyramid.of(grids, offset=0))
