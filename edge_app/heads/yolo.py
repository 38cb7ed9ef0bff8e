"""The YOLO detectors v5 to v12, 26, X and FastestV2, in the formats in which they are exported (_yolo_formats.py).

Sources: those of _yolo_formats.py. With s the stride and corner the top left of a cell:
v5  center = corner + (2x - 0.5) s, size = (2w)^2 * anchor, after the sigmoid; score = objectness * class
    (also v7, and FastestV2, whose anchors share the class scores of their cell)
v8  edges = center of the cell -/+ distance * s, the expected value of a distribution if there are several values;
    score = class (also v6, v9, v10, v11, v12, 26)
x   center = corner + x s, size = e^w s; score = objectness * class
"""

from __future__ import annotations

from typing import Literal

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.frame import Detections
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._outputs import Arrays, shapes_known, specs_of
from edge_app.heads._selection import Selection
from edge_app.heads._yolo_boxes import BoxDecoder, Options
from edge_app.heads._yolo_formats import Version, recognize
from edge_app.options import Fraction, Positive


class Head:
    """Decodes YOLO detectors.

    version: `auto` infers it from the shapes. anchors (v5, v7, fastestv2): for each stride a list of width, height,
    width, height …, input pixels; the published ones if empty. activation: whether the sigmoid must be applied to
    grids; `auto` applies it if there are negative values. boxes (x): whether the boxes of a single output are raw or
    decoded; `auto` infers it from their magnitude.
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
        version: Version = "auto",
        anchors: tuple[tuple[float, ...], ...] = (),
        activation: Literal["auto", "apply", "none"] = "auto",
        boxes: Literal["auto", "raw", "decoded"] = "auto",
    ) -> None:
        if any(len(row) % 2 or len(row) != len(anchors[0]) or not row for row in anchors):
            raise ModelError(
                f"heads.{spec.name}: anchors: found rows of {', '.join(str(len(row)) for row in anchors)} numbers; "
                f"expected pairs of width and height, the same number for each stride"
            )
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections, class_aware)
        self._version = version
        decoded = "decoded" if version == "v6" and boxes == "auto" else boxes
        self._options = Options(version, anchors, activation, decoded)
        self._decoder = self._read(spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode all grids of one image."""
        decoder = self._decoder = self._decoder or self._read(specs_of(outputs))
        candidates = decoder.candidates(outputs)
        if not len(candidates.rows):
            return Detections.empty()
        xyxy = decoder.boxes(outputs, candidates)
        return decoder.selection.detections(xyxy, candidates.score, candidates.class_id, transform)

    def _read(self, outputs: tuple[TensorSpec, ...]) -> BoxDecoder:
        anchors = self._options.anchors
        form = recognize(self._spec, outputs, self._version, len(anchors[0]) // 2 if anchors else 3)
        return BoxDecoder(self._spec, form, self._selection, self._options)
