"""SSD and SSDLite: class scores with a background, and boxes, of all priors; or final detections.

Sources: Caffe's MobileNet-SSD, pytorch-ssd (qfgaohao), torchvision, TensorFlow's Object Detection API. N is the number
of priors, C that of the classes; the background is the first column:

    scores 1 x N x (1+C), boxes 1 x N x 4, also flat (1 x N(1+C), 1 x 4N): corners in 0..1 of the input, or deltas
    the same, and the priors 1 x 2 x 4N of Caffe: corners in 0..1, then the four variances of each
    boxes 1 x N x 4 (y1, x1, y2, x2 in 0..1), classes 1 x N, scores 1 x N and perhaps their number: final detections

From deltas: center = prior center + 0.1 * delta * prior size, size = prior size * e^(0.2 * delta). TensorFlow has y
before x, and a sigmoid for each class instead of a softmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._grids import from_size
from edge_app.heads._outputs import (
    Arrays,
    check_labels,
    float32,
    shape_of,
    shapes_known,
    sigmoid,
    softmax,
    specs_of,
    unsupported_outputs,
)
from edge_app.heads._selection import Selection
from edge_app.heads._ssd_priors import Source, priors, sources
from edge_app.options import Fraction, Positive

_EXPECTED = (
    "scores 1xNx(1+C), the background first, and boxes 1xNx4, or the final boxes 1xNx4, classes 1xN and scores 1xN"
)
_VARIANCES = np.array([0.1, 0.1, 0.2, 0.2], np.float32)
_COCO_WITH_GAPS = 91  # columns of TensorFlow's models for COCO
_ROUNDING = 0.1  # of probabilities that an NPU computes
_MOST_CLASSES = 1 << 16
_YX = [1, 0, 3, 2]  # columns of TensorFlow's boxes in the order of the others


class Head:
    """Decodes SSD and SSDLite. Class 0 is the first one after the background.

    boxes: of two outputs, `corners` in 0..1 or `deltas` from priors; those of flat outputs are always deltas.
    priors: `auto` chooses by their number; of 1917, those of TensorFlow for 91 classes, else Caffe's. Needed for 8732.
    activation: `auto` applies a softmax, or the sigmoid of TensorFlow's models, unless all values are in 0..1.
    zero_based: class numbers of final detections start at 0, as in files for TensorFlow Lite.
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
        boxes: Literal["corners", "deltas"] = "corners",
        priors: Literal["auto", "caffe", "pytorch", "torchvision", "tensorflow"] = "auto",
        activation: Literal["auto", "softmax", "sigmoid", "none"] = "auto",
        zero_based: bool = False,
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections, class_aware)
        self._boxes, self._source, self._activation = boxes, priors, activation
        self._first_class = 0 if zero_based else 1
        self._unsuppressed = replace(self._selection, nms_iou=1.0)
        self._size = np.array(spec.input_size * 2, np.float32)  # (4,)
        self._layout = self._read(spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode one image. Raises ModelError if the outputs are not those of this family."""
        layout = self._layout = self._layout or self._read(specs_of(outputs))
        if layout.classes:
            return self._final(outputs, layout, transform)
        scores = self._probabilities(float32(outputs[layout.scores]).reshape(layout.rows, -1), layout)  # (N, C)
        best = scores[:, 0] if scores.shape[1] == 1 else scores.max(axis=1)
        rows = self._selection.candidates(best)
        if not len(rows):
            return Detections.empty()
        values = float32(outputs[layout.boxes].reshape(-1, 4)[rows])
        with np.errstate(over="ignore", invalid="ignore"):  # boxes that are not finite are dropped
            xyxy = self._corners(values, rows, outputs, layout) * self._size
        return self._selection.detections(xyxy, best[rows], scores[rows].argmax(axis=1), transform)

    def _final(self, outputs: Arrays, layout: _Layout, transform: Transform) -> Detections:
        """Detections that the graph has selected; rows whose class has no label are dropped."""
        score, number = (float32(outputs[name].reshape(-1)) for name in (layout.scores, layout.classes))
        rows = self._selection.candidates(score)
        if layout.total:
            total = float(outputs[layout.total].reshape(-1)[0])
            rows = rows[rows < total]
        with np.errstate(invalid="ignore", over="ignore"):
            class_id = number[rows] - self._first_class
            valid = (class_id >= 0) & (class_id < (len(self._spec.labels) or _MOST_CLASSES))
            rows, class_id = rows[valid], class_id[valid]
            xyxy = float32(outputs[layout.boxes].reshape(-1, 4)[rows])[:, _YX] * self._size
        return self._unsuppressed.detections(xyxy, score[rows], class_id.astype(np.intp), transform)

    def _probabilities(self, scores: Float32, layout: _Layout) -> Float32:
        """Of the classes without the background, (N, C), from the outputs (N, 1 + C)."""
        kind = self._activation
        if kind == "auto":
            low, high = np.fmin.reduce(scores, axis=None, initial=0), np.fmax.reduce(scores, axis=None, initial=0)
            is_raw = low < -_ROUNDING or high > 1 + _ROUNDING
            kind = "none" if not is_raw else "sigmoid" if layout.source == "tensorflow" else "softmax"
        with np.errstate(over="ignore", invalid="ignore"):
            if kind == "softmax":
                return softmax(scores)[:, 1:]
            return sigmoid(scores[:, 1:]) if kind == "sigmoid" else scores[:, 1:]

    def _corners(self, values: Float32, rows: NDArray[np.intp], outputs: Arrays, layout: _Layout) -> Float32:
        """Boxes (n, 4) in 0..1 of the input. values: of the rows."""
        if layout.given:
            corners, variances = float32(outputs[layout.given]).reshape(2, -1, 4)[:, rows]
            prior = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
        elif layout.priors is not None:
            prior, variances = layout.priors[rows], _VARIANCES
        else:
            return values
        delta = (values[:, _YX] if layout.source == "tensorflow" else values) * variances
        return from_size(prior[:, :2] + delta[:, :2] * prior[:, 2:], prior[:, 2:] * np.exp(delta[:, 2:]))

    def _read(self, outputs: tuple[TensorSpec, ...]) -> _Layout:
        """Raises ModelError for other outputs, or another number of labels."""
        shapes = {output.name: shape_of(output) for output in outputs}
        if (final := _final_outputs(shapes)) is not None:
            return final
        given = [name for name, shape in shapes.items() if len(shape) == 2 and shape[0] == 2 and shape[1] % 4 == 0]
        others = {name: tuple(n for n in shape if n != 1) for name, shape in shapes.items() if name not in given}
        if len(others) != 2 or len(given) > 1 or {len(shape) for shape in others.values()} not in ({1}, {2}):
            raise unsupported_outputs(self._spec, outputs, _EXPECTED)
        is_flat = all(len(shape) == 1 for shape in others.values())
        for boxes, scores in _orders(others):
            rows = others[boxes][0] // 4 if is_flat else others[boxes][0]
            columns, rest = divmod(others[scores][0], rows) if is_flat and rows else (others[scores][-1], 0)
            fits = others[boxes][0] % 4 == rest == 0 if is_flat else others[boxes] == (others[scores][0], 4)
            if not fits or columns < 2 or (given and shapes[given[0]][1] != 4 * rows):
                continue
            if (found := self._with_priors(rows, columns, is_flat, bool(given))) is not None:
                check_labels(self._spec, columns - 1)
                source, table = found
                return _Layout(boxes, scores, rows, source, table, given[0] if given else "")
        raise unsupported_outputs(self._spec, outputs, _EXPECTED)

    def _with_priors(
        self, rows: int, columns: int, is_flat: bool, given: bool
    ) -> tuple[Source | Literal[""], Float32 | None] | None:
        """The source of the priors, and these if they are needed; None if there are none of this number."""
        if given or (self._boxes == "corners" and not is_flat):
            return "", None
        known = sources(self._spec.input_size, rows)
        if self._source != "auto":
            known = tuple(source for source in known if source == self._source)
        elif set(known) == {"caffe", "tensorflow"}:
            known = ("tensorflow",) if columns == _COCO_WITH_GAPS else ("caffe",)
        elif set(known) == {"pytorch", "torchvision"}:  # whose SSDLite is for 320 x 320
            known = ("pytorch",)
        if len(known) > 1:
            raise ModelError(
                f"heads.{self._spec.name}: several models have {rows} priors; "
                f"expected the option 'priors': one of {', '.join(known)}"
            )
        return (known[0], priors(known[0], self._spec.input_size, rows)) if known else None


@dataclass(frozen=True, slots=True)
class _Layout:
    """The names of the outputs, and the number of rows.

    source, priors: of deltas, if the file does not give the priors; given: the output that does. classes, total: the
    class numbers and the number of final detections.
    """

    boxes: str
    scores: str
    rows: int
    source: Source | Literal[""] = ""
    priors: NDArray[Any] | None = None
    given: str = ""
    classes: str = ""
    total: str = ""


def _orders(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[str, str]]:
    """Boxes and scores, in the order in which to try them: the names decide if both have four columns."""
    first, second = shapes
    boxes_first = not any(word in first.lower() for word in ("score", "conf", "class", "cls"))
    return [(first, second), (second, first)] if boxes_first else [(second, first), (first, second)]


def _final_outputs(shapes: Mapping[str, tuple[int, ...]]) -> _Layout | None:
    """By the names of TensorFlow, else by the shapes of three or four outputs, classes before scores."""
    short = {name.split(":")[0].rpartition("/")[2]: name for name in shapes}
    found = {word: short.get(f"detection_{word}", "") for word in ("boxes", "classes", "scores")}
    totals = [name for name, shape in shapes.items() if shape == () or ("num" in name.lower() and shape == (1,))]
    if not all(found.values()):
        tables = [name for name, shape in shapes.items() if len(shape) == 2 and shape[1] == 4]
        vectors = [name for name in shapes if len(shapes[name]) == 1 and name not in totals]
        if len(vectors) == 3 and shapes[vectors[2]] == (1,) and not totals:
            totals = [vectors.pop()]
        if len(tables) != 1 or len(vectors) != 2 or len(tables) + len(vectors) + len(totals) != len(shapes):
            return None
        swapped = "score" in vectors[0].lower()
        found = dict(zip(("boxes", "classes", "scores"), (*tables, *(vectors[::-1] if swapped else vectors))))
    (rows, *columns), classes, scores = (shapes[found[word]] for word in ("boxes", "classes", "scores"))
    if columns != [4] or not classes == scores == (rows,):
        return None
    total = totals[0] if totals else ""
    return _Layout(found["boxes"], found["scores"], rows, classes=found["classes"], total=total)
