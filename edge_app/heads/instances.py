"""Instance segmentation of YOLOv5, 8, 11 and 26: boxes with the outline of each object.

Sources: ultralytics, YOLOv5 7.0. The formats of _yolo_tasks.py, and one output more: prototypes 1 x P x H x W of masks,
which have one cell for some input pixels, usually 4 x 4. The further values of a box are its P coefficients
(_masks.py). Masks are computed only for boxes that are reported. A polygon is the outline of the largest region of a
mask.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._masks import Mask
from edge_app.heads._outputs import Arrays, float32, shape_of, shapes_known, specs_of, unsupported_outputs
from edge_app.heads._selection import Selection
from edge_app.heads._yolo_boxes import BoxDecoder, Options
from edge_app.heads._yolo_tasks import Task, recognize
from edge_app.options import Fraction, Positive, Range

_LARGEST_CELL = 16  # input pixels


class Head:
    """Decodes boxes with masks.

    masks: whether to outline them; otherwise only boxes. simplify: greatest distance between polygon and outline, input
    pixels. anchors (v5): as of `yolo`. activation: whether the sigmoid must be applied to the scores of grids; `auto`
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
        masks: bool = True,
        simplify: Annotated[float, Range(0)] = 1.0,
        anchors: tuple[tuple[float, ...], ...] = (),
        activation: Literal["auto", "apply", "none"] = "auto",
        end_to_end: bool = False,
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections, class_aware)
        self._masks = masks
        self._simplify = simplify
        self._options = Options(anchors=anchors, activation=activation)
        self._end_to_end = end_to_end
        self._prototypes = ""
        self._cell = 1
        self._decoder = self._read(spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode all cells of one image, and outline the masks of the detections."""
        if not self._masks:
            return self._boxes(outputs, transform)[0]
        detections, found = self.decode_masks(outputs, transform)
        polygons = tuple(transform.points_to_image(mask.outline(self._simplify)) for mask in found)
        return replace(detections, polygons=polygons)

    def decode_masks(self, outputs: Arrays, transform: Transform) -> tuple[Detections, tuple[Mask, ...]]:
        """The detections without outlines, and their masks in input pixels."""
        detections, xyxy, coefficients = self._boxes(outputs, transform)
        prototypes = float32(outputs[self._prototypes][0])
        with np.errstate(over="ignore", invalid="ignore"):  # a mask is empty where it is not finite
            found = tuple(Mask.of(values, prototypes, box, self._cell) for values, box in zip(coefficients, xyxy))
        return detections, found

    def _boxes(self, outputs: Arrays, transform: Transform) -> tuple[Detections, Float32, Float32]:
        """The detections, their boxes (n, 4) in input pixels, and their coefficients (n, P)."""
        decoder = self._decoder = self._decoder or self._read(specs_of(outputs))
        found = decoder.candidates(outputs)
        xyxy = decoder.boxes(outputs, found)
        detections, order = decoder.selection.select(xyxy, found.score, found.class_id, transform)
        ascending = np.argsort(found.rows[order], kind="stable")
        coefficients = np.empty((len(order), decoder.form.extra), np.float32)
        coefficients[ascending] = decoder.extras(outputs, found.rows[order[ascending]])
        return detections, xyxy[order], coefficients

    def _read(self, outputs: tuple[TensorSpec, ...]) -> BoxDecoder:
        prototypes = _prototypes(outputs)
        others = tuple(output for output in outputs if output is not prototypes)
        if prototypes is None or not others:
            raise unsupported_outputs(self._spec, outputs, "prototypes 1xPxHxW, and boxes with P mask coefficients")
        channels, height, width = shape_of(prototypes)
        cell = self._spec.input_size[0] // width
        if (width * cell, height * cell) != self._spec.input_size or not 1 <= cell <= _LARGEST_CELL:
            size = f"{self._spec.input_size[0]}x{self._spec.input_size[1]}"
            raise ModelError(
                f"heads.{self._spec.name}: the mask prototypes '{prototypes.name}' have {width}x{height} cells; "
                f"expected one for each 4x4 pixels of the {size} input, or another square"
            )
        anchors = len(self._options.anchors[0]) // 2 if self._options.anchors else 3
        task = Task("mask coefficients", channels, anchors=anchors, end_to_end=self._end_to_end)
        form = recognize(self._spec, others, task)
        self._prototypes, self._cell = prototypes.name, cell
        return BoxDecoder(self._spec, form, self._selection, self._options)


def _prototypes(outputs: tuple[TensorSpec, ...]) -> TensorSpec | None:
    """The last of the largest maps (1, P, H, W)."""
    maps = [output for output in outputs if len(shape_of(output)) == 3]
    return max(reversed(maps), key=lambda output: shape_of(output)[1] * shape_of(output)[2], default=None)
