"""Oriented boxes of YOLOv8, 11 and 26, in the formats of _yolo_tasks.py, with one further value: the angle.

Source: ultralytics. A decoded box is center, size and angle: the direction of the width, radians, clockwise in the
image. Grids have distances from the center of a cell, in strides, along the box's own axes:
v8, v11  angle = (sigmoid(v) - 0.25) pi
v26      angle = v
Boxes suppress each other by probabilistic IoU (edge_app/geometry/rotated.py), as in ultralytics.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.geometry.rotated import corners, nms_rotated
from edge_app.heads import HeadSpec
from edge_app.heads._grids import expectation
from edge_app.heads._outputs import Arrays, shapes_known, sigmoid, specs_of
from edge_app.heads._selection import FAR_PX, MAX_CANDIDATES, Selection
from edge_app.heads._yolo_boxes import BoxDecoder, Candidates, Options
from edge_app.heads._yolo_tasks import Task, TaskVersion, recognize
from edge_app.options import Fraction, Positive


class Head:
    """Decodes oriented boxes. `corners` of the detections are not clipped to the image.

    version: of raw angles; `auto` is v8. activation: whether the sigmoid must be applied to the scores of grids; `auto`
    applies it if there are negative values. end_to_end: grids of an end-to-end model, which need no NMS.
    """

    result_type = Detections

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.4,
        nms_iou: Fraction = 0.45,
        max_detections: Positive = 100,
        class_aware: bool = True,
        version: TaskVersion = "auto",
        activation: Literal["auto", "apply", "none"] = "auto",
        end_to_end: bool = False,
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections, class_aware)
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
        with np.errstate(over="ignore", invalid="ignore"):  # boxes that are not finite are dropped
            xywhr = self._boxes(decoder, outputs, found)
            near = np.flatnonzero((np.abs(xywhr) < FAR_PX).all(axis=1))
        classes = found.class_id.astype(np.int32, copy=False)
        selection = decoder.selection
        of_class = classes[near] if selection.class_aware else None
        kept = near[nms_rotated(xywhr[near], found.score[near], of_class, selection.nms_iou, MAX_CANDIDATES)]
        points = transform.points_to_image(corners(xywhr[kept]), clip=False)  # (n, 4, 2)
        upright = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
        upright = np.clip(upright, 0, np.array([transform.image_width, transform.image_height] * 2, np.float32))
        visible = np.flatnonzero((upright[:, 2:] > upright[:, :2]).all(axis=1))[: selection.max_detections]
        kept = kept[visible]
        return Detections(upright[visible], found.score[kept], classes[kept], corners=points[visible])

    def _read(self, outputs: tuple[TensorSpec, ...]) -> BoxDecoder:
        form = recognize(self._spec, outputs, Task("angle", 1, "pixels", end_to_end=self._end_to_end))
        return BoxDecoder(self._spec, form, self._selection, Options(activation=self._activation))

    def _boxes(self, decoder: BoxDecoder, outputs: Arrays, found: Candidates) -> Float32:
        """Center, size and angle (n, 5) of the candidates, in input pixels."""
        values, angle = decoder.values(outputs, found), decoder.extras(outputs, found.rows)
        if decoder.form.raw_extras and self._version != "v26":
            angle = (sigmoid(angle) - np.float32(0.25)) * np.float32(np.pi)
        if decoder.form.box == "pixels":
            return np.concatenate([values, angle], axis=1)
        center, stride = decoder.cells(found.rows)
        distance = values if values.shape[1] == 4 else expectation(values)  # left, top, right, bottom
        size = distance[:, :2] + distance[:, 2:]
        offset = (distance[:, 2:] - distance[:, :2]) * np.float32(0.5)
        cosine, sine = np.cos(angle[:, 0]), np.sin(angle[:, 0])
        moved = np.stack(
            [offset[:, 0] * cosine - offset[:, 1] * sine, offset[:, 0] * sine + offset[:, 1] * cosine], axis=1
        )
        return np.concatenate([center + moved * stride, size * stride, angle], axis=1)
