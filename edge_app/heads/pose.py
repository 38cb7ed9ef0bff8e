"""Pose: the keypoints of each box, of YOLOv8, 11 and 26, in the formats of _yolo_tasks.py.

Source: ultralytics. A keypoint is x, y in pixels and, with three values, a probability. Grids have them raw, with s the
stride and corner the top left of a cell:
v8, v11  x, y = corner + 2v s; the probability needs a sigmoid
v26      x, y = center of the cell + v s; the same
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._outputs import Arrays, shapes_known, sigmoid, specs_of
from edge_app.heads._selection import Selection
from edge_app.heads._yolo_boxes import BoxDecoder, Candidates, Options
from edge_app.heads._yolo_tasks import Task, TaskVersion, recognize
from edge_app.options import Fraction, Positive


class Head:
    """Decodes boxes with keypoints.

    keypoints: their number, and the values of each, 2 or 3; empty: read from the shapes. version: of raw keypoints;
    `auto` is v8. activation: whether the sigmoid must be applied to the scores of grids; `auto` applies it if there
    are negative values. end_to_end: grids of an end-to-end model, which need no NMS.
    """

    result_type = Detections
    keypoints = True

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.4,
        nms_iou: Fraction = 0.45,
        max_detections: Positive = 100,
        class_aware: bool = True,
        keypoints: tuple[Positive, ...] = (),
        version: TaskVersion = "auto",
        activation: Literal["auto", "apply", "none"] = "auto",
        end_to_end: bool = False,
    ) -> None:
        if keypoints and (len(keypoints) != 2 or keypoints[1] not in (2, 3)):
            raise ModelError(
                f"heads.{spec.name}.keypoints: found {list(keypoints)}; "
                "expected two numbers: of keypoints, and of the values of each, 2 or 3"
            )
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections, class_aware)
        self._keypoints = keypoints
        self._version = version
        self._activation = activation
        self._end_to_end = end_to_end
        self._decoder = self._read(spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode all cells of one image."""
        decoder = self._decoder = self._decoder or self._read(specs_of(outputs))
        found = decoder.candidates(outputs)
        if not len(found.rows):
            return Detections.empty()
        xyxy = decoder.boxes(outputs, found)
        points = self._points(decoder, outputs, found)
        return decoder.selection.detections(xyxy, found.score, found.class_id, transform, points)

    def _read(self, outputs: tuple[TensorSpec, ...]) -> BoxDecoder:
        count = int(np.prod(self._keypoints)) if self._keypoints else None
        task = Task("values of keypoints", count, end_to_end=self._end_to_end, apart=True)
        form = recognize(self._spec, outputs, task)
        if form.extra % 2 and form.extra % 3:
            raise ModelError(
                f"heads.{self._spec.name}: found {form.extra} values beside each box and its scores; "
                "expected keypoints of 2 or 3 values"
            )
        self._values = self._keypoints[1] if self._keypoints else 3 if form.extra % 3 == 0 else 2
        return BoxDecoder(self._spec, form, self._selection, Options(activation=self._activation))

    def _points(self, decoder: BoxDecoder, outputs: Arrays, found: Candidates) -> Float32:
        """The keypoints (n, K, 2 or 3) of the candidates, in input pixels."""
        values = decoder.extras(outputs, found.rows)
        points: Float32 = values.reshape(len(values), -1, self._values)
        if not decoder.form.raw_extras:
            return points
        center, stride = (part[:, None] for part in decoder.cells(found.rows))  # (n, 1, 2), (n, 1, 1)
        raw: Float32 = points.copy()
        with np.errstate(over="ignore", invalid="ignore"):  # keypoints that are not finite have no score
            if self._version == "v26":
                raw[..., :2] = center + points[..., :2] * stride
            else:
                raw[..., :2] = center + (2 * points[..., :2] - np.float32(0.5)) * stride
            raw[..., 2:] = sigmoid(points[..., 2:])
        return raw
