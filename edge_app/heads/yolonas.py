"""YOLO-NAS and DAMO-YOLO: corners of boxes in pixels, and class probabilities, of all cells.

Sources: Deci's super-gradients, exported without its post-processing; tinyvision's DAMO-YOLO. Outputs: 1 x N x 4 and
1 x N x C, in either order.
"""

from __future__ import annotations

from edge_app.frame import Detections
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._corner_boxes import CornerBoxes
from edge_app.heads._outputs import Arrays, shapes_known, specs_of
from edge_app.heads._selection import Selection
from edge_app.options import Fraction, Positive


class Head:
    """Decodes YOLO-NAS and DAMO-YOLO."""

    result_type = Detections

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.4,
        nms_iou: Fraction = 0.7,
        max_detections: Positive = 100,
        class_aware: bool = True,
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections, class_aware)
        self._layout = CornerBoxes.read(spec, spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode all cells of one image."""
        layout = self._layout = self._layout or CornerBoxes.read(self._spec, specs_of(outputs))
        return layout.decode(outputs, self._selection, transform)
