"""Detection transformers: DETR, RT-DETR, D-FINE, RF-DETR. Boxes are center and size in 0..1 of the input; no NMS.

Sources: the published code of these models, their exports by Hugging Face's transformers, roboflow and ultralytics.
N is the number of queries, C that of the classes:

    1 x N x 4, 1 x N x C    boxes and class logits, in either order; each class of a query is a detection of its own
    1 x N x (4+C)           both in one output, probabilities; the best class of each query
    1 x N x 6               box, score, class: final detections
    1 x N, 1 x N x 4, 1 x N class, corners in pixels of the input, score: final detections of the published exports of
                            RT-DETR and D-FINE, whose second input the compiler replaces by the size of the input
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_app.backends import TensorSpec
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._grids import from_size
from edge_app.heads._outputs import (
    Arrays,
    check_labels,
    float32,
    logit,
    shape_of,
    shapes_known,
    sigmoid,
    softmax,
    specs_of,
    unsupported_outputs,
)
from edge_app.heads._selection import Selection
from edge_app.options import Fraction, Positive

_EXPECTED = "boxes 1xNx4 and classes 1xNxC, or one output 1xNx(4+C) or 1xNx6"
_MOST_CLASSES = 1 << 16
_FINAL = 6  # columns of final detections
_MIN_PROBABILITY = -0.5  # never below this, even dequantized; the logits of the background always are


class Head:
    """Decodes detection transformers.

    activation: `auto` applies a sigmoid if there are negative values; `softmax`: the last class is the background, as
    in the original DETR.
    """

    result_type = Detections

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.4,
        max_detections: Positive = 300,
        activation: Literal["auto", "sigmoid", "softmax", "none"] = "auto",
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, 1.0, max_detections)
        self._activation = activation
        self._size = np.array(spec.input_size, np.float32)
        self._layout = self._read(spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode all queries of one image."""
        layout = self._layout = self._layout or self._read(specs_of(outputs))
        if layout.labels:
            table = np.stack([float32(outputs[name].reshape(-1)) for name in (layout.scores, layout.labels)], axis=1)
            rows, score, class_id = self._final(table)
            corners = float32(outputs[layout.boxes].reshape(-1, 4)[rows])
            return self._selection.detections(corners, score, class_id, transform)
        boxes = outputs[layout.boxes][0][:, :4]
        scores = float32(outputs[layout.scores][0][:, layout.first :])
        final = layout.final and bool((scores[:, 1] == np.round(scores[:, 1])).all())
        rows, score, class_id = self._final(scores) if final else self._of_classes(scores, layout.joined)
        values = float32(boxes[rows])
        with np.errstate(over="ignore", invalid="ignore"):  # boxes that are not finite are dropped
            xyxy = from_size(values[:, :2] * self._size, values[:, 2:] * self._size)
        return self._selection.detections(xyxy, score, class_id, transform)

    def _final(self, scores: Float32) -> tuple[NDArray[np.intp], Float32, NDArray[np.intp]]:
        """From score and class number (N, 2); rows whose class has no label are dropped."""
        rows = self._selection.candidates(scores[:, 0])
        class_id = scores[rows, 1]
        valid = (class_id >= 0) & (class_id < (len(self._spec.labels) or _MOST_CLASSES))
        rows, class_id = rows[valid], class_id[valid]
        return rows, scores[rows, 0], class_id.astype(np.intp)

    def _of_classes(self, scores: Float32, best_only: bool) -> tuple[NDArray[np.intp], Float32, NDArray[np.intp]]:
        """From class scores (N, C)."""
        logits = self._activation == "sigmoid" or (
            self._activation == "auto" and bool(np.fmin.reduce(scores, axis=None, initial=0) < _MIN_PROBABILITY)
        )
        if self._activation == "softmax":
            with np.errstate(invalid="ignore", over="ignore"):
                scores, best_only = softmax(scores)[:, :-1], True
        threshold = logit(self._selection.score) if logits else self._selection.score
        if best_only:
            best = scores.max(axis=1)
            rows = self._selection.candidates(best, threshold)
            class_id = scores[rows].argmax(axis=1)
        else:
            rows, class_id = np.divmod(self._selection.candidates(scores.ravel(), threshold), scores.shape[1])
        found = scores[rows, class_id]
        return rows, sigmoid(found) if logits else found, class_id

    def _read(self, outputs: tuple[TensorSpec, ...]) -> _Layout:
        shapes = {output.name: shape_of(output) for output in outputs}
        if len(shapes) == 3:
            return self._read_selected(outputs, shapes)
        if any(len(shape) != 2 for shape in shapes.values()) or len(shapes) not in (1, 2):
            raise unsupported_outputs(self._spec, outputs, _EXPECTED)
        if len(shapes) == 1:
            ((name, (_, columns)),) = shapes.items()
            final = columns == _FINAL  # two classes are possible, too
            if columns < 5:
                raise unsupported_outputs(self._spec, outputs, _EXPECTED)
            if not final:
                check_labels(self._spec, columns - 4)
            return _Layout(name, name, 4, joined=True, final=final)
        (first, a), (second, b) = shapes.items()
        boxes_first = a[1] == 4 and (b[1] != 4 or "box" in first.lower() or "det" in first.lower())
        boxes, scores = (first, second) if boxes_first else (second, first)
        if shapes[boxes][1] != 4 or a[0] != b[0]:
            raise unsupported_outputs(self._spec, outputs, _EXPECTED)
        check_labels(self._spec, shapes[scores][1] - (self._activation == "softmax"))
        return _Layout(boxes, scores, 0, joined=False, final=False)

    def _read_selected(self, outputs: tuple[TensorSpec, ...], shapes: Mapping[str, tuple[int, ...]]) -> _Layout:
        """Class numbers, corners and scores; class numbers are integers, or called labels or classes."""
        boxes = [name for name, shape in shapes.items() if shape[1:] == (4,)]
        others = [output for output in outputs if output.name not in boxes]
        if len(boxes) != 1 or any(shapes[output.name] != shapes[boxes[0]][:1] for output in others):
            raise unsupported_outputs(self._spec, outputs, f"{_EXPECTED}, or classes 1xN, corners 1xNx4, scores 1xN")
        named = [o.name for o in others if "int" in o.dtype or "label" in o.name.lower() or "class" in o.name.lower()]
        labels = named[0] if named else others[0].name
        scores = next(output.name for output in others if output.name != labels)
        return _Layout(boxes[0], scores, 0, joined=False, final=True, labels=labels)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The names of the outputs. first: the first column of the scores. joined: boxes and scores are one output.

    final: they may be score and class number; the values decide. labels: the output with class numbers, if they have
    one of their own.
    """

    boxes: str
    scores: str
    first: int
    joined: bool
    final: bool
    labels: str = ""
