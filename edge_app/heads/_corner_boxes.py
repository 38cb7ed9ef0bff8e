"""Detectors that give the corners of all cells' boxes in pixels, and their class scores, in two outputs.

Not here: which models do (yolonas.py, ppyoloe.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Detections
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._outputs import Arrays, check_labels, float32, shape_of, unsupported_outputs
from edge_app.heads._selection import Selection

_EXPECTED = "boxes 1xNx4 and classes 1xNxC or 1xCxN"


@dataclass(frozen=True, slots=True)
class CornerBoxes:
    """Names of the outputs. channels_first: of the scores (1, C, N)."""

    boxes: str
    scores: str
    channels_first: bool

    @classmethod
    def read(cls, spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> CornerBoxes:
        """Raises ModelError if the outputs have other shapes, or the number of classes is not that of the labels."""
        shapes = {output.name: shape_of(output) for output in outputs}
        if len(shapes) != 2 or any(len(shape) != 2 for shape in shapes.values()):
            raise unsupported_outputs(spec, outputs, _EXPECTED)
        (first, a), (second, b) = shapes.items()
        ways = [
            cls(boxes, scores, channels_first)
            for boxes, box, scores, score in ((first, a, second, b), (second, b, first, a))
            for channels_first in (False, True)
            if box[1] == 4 and box[0] > 4 and score[1 if channels_first else 0] == box[0]
        ]
        if not ways:
            raise unsupported_outputs(spec, outputs, _EXPECTED)
        likely = [way for way in ways if "score" in way.scores.lower() or "box" in way.boxes.lower()] or ways
        shape = shapes[likely[0].scores]
        check_labels(spec, shape[0] if likely[0].channels_first else shape[1])
        return likely[0]

    def decode(self, outputs: Arrays, selection: Selection, transform: Transform) -> Detections:
        """Decode one image."""
        scores = outputs[self.scores][0]
        by_class = scores if self.channels_first else scores.T  # (C, N)
        best = float32(by_class.max(axis=0))
        rows = selection.candidates(best)
        class_id = by_class[:, rows].argmax(axis=0) if len(rows) else np.empty(0, np.intp)
        return selection.detections(float32(outputs[self.boxes][0][rows]), best[rows], class_id, transform)
