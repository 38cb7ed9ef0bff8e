"""The YOLO detectors: v5 and v7, v8 and v11, v10, X, in the forms in which they are exported (_yolo_formats.py).

Sources: ultralytics, Megvii's YOLOX, airockchip's rknn_model_zoo. From a cell's top left corner, in strides s:
v5  centre = corner + (2x - 0.5) s, size = (2w)^2 * anchor, of sigmoided values; score = objectness * class
v8  edges = middle of the cell -/+ the mean of each distribution * s; score = class
x   centre = corner + x s, size = e^w s; score = objectness * class
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._cells import Pyramid, expectation, from_edges, from_size, gather
from edge_app.heads._outputs import Arrays, described, fixed, float32, logit, sigmoid
from edge_app.heads._selection import Selection
from edge_app.heads._yolo_formats import Format, recognise
from edge_app.options import Fraction, Positive

# ultralytics' defaults: width, height of three anchors for each stride
_ANCHORS_3 = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326))
_ANCHORS_4 = (
    (19, 27, 44, 40, 38, 94),
    (96, 68, 86, 152, 180, 137),
    (140, 301, 303, 264, 238, 542),
    (436, 615, 739, 380, 925, 792),
)
_SURELY_LOGITS = -0.5  # no probability is below this, the background's logits always are
_SURELY_PIXELS = 32  # no box of a raw export lies so many cells off its cell, but for stray ones


class Head:
    """Decodes YOLO detectors.

    version: `auto` goes by the shapes. anchors (v5): a list for each stride of width, height, width, height …, input
    pixels; the published ones if empty. activation: whether grids still need the sigmoid; `auto` looks whether there
    are values below 0. boxes (x): whether one output for all cells is raw or decoded; `auto` looks at their size.
    """

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.4,
        nms_iou: Fraction = 0.45,
        max_detections: Positive = 100,
        class_aware: bool = True,
        version: Literal["auto", "v5", "v8", "v10", "x"] = "auto",
        anchors: tuple[tuple[float, ...], ...] = (),
        activation: Literal["auto", "apply", "none"] = "auto",
        boxes: Literal["auto", "raw", "decoded"] = "auto",
    ) -> None:
        if any(len(row) % 2 or len(row) != len(anchors[0]) or not row for row in anchors):
            raise ModelError(
                f"heads.{spec.name}: anchors: found rows of {', '.join(str(len(row)) for row in anchors)} numbers; "
                f"expected pairs of width and height, as many for each stride"
            )
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections, class_aware)
        self._version = version
        self._anchors = anchors
        self._activation = activation
        self._boxes = boxes
        self._layout = self._read(spec.outputs) if fixed(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode all grids of one picture."""
        layout = self._layout = self._layout or self._read(described(outputs))
        form = layout.form
        found = self._scores(form, outputs)
        if not len(found.rows):
            return Detections.empty()
        boxes = [part.view(outputs) for part in form.boxes]
        values = gather(boxes, found.rows)  # (n, 4) or (n, 4 * bins)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is dropped
            if form.box == "anchor" and found.logits:
                values = sigmoid(values)
            kind = "pixels" if form.box == "offset" and self._decoded(form, boxes) else form.box
            xyxy = layout.decode(kind, values, found.rows)
        return layout.selection.detections(xyxy, found.score, found.class_id, transform)

    def _read(self, outputs: tuple[TensorSpec, ...]) -> _Layout:
        per_cell = len(self._anchors[0]) // 2 if self._anchors else 3
        form = recognise(self._spec, outputs, self._version, per_cell)
        finished = form.box == "corners"  # the network was trained to suppress by itself
        selection = replace(self._selection, nms_iou=1.0) if finished else self._selection
        if not form.grids:
            return _Layout(form, selection, None, None)
        pyramid = Pyramid.of(form.grids, offset=0.5 if form.box == "edges" else 0)
        return _Layout(form, selection, pyramid, self._cell_anchors(form) if form.box == "anchor" else None)

    def _cell_anchors(self, form: Format) -> Float32:
        """The anchor (cells, 2) of each cell."""
        strides = len({grid.stride for grid in form.grids})
        given = self._anchors or {3: _ANCHORS_3, 4: _ANCHORS_4}.get(strides, ())
        if len(given) != strides:
            raise ModelError(
                f"heads.{self._spec.name}: anchors: found {len(given)} lists; "
                f"expected one for each of {strides} strides"
            )
        pairs = np.array(given, np.float32).reshape(-1, 2)
        return np.repeat(pairs, [grid.cells for grid in form.grids], axis=0)

    def _scores(self, form: Format, outputs: Arrays) -> _Found:
        parts = [part.view(outputs) for part in form.scores]  # (cells, [1 +] C) each
        if form.version == "v10":
            return self._listed(parts[0])
        first = [float32(part[:, 0] if form.objectness else part.max(axis=1)) for part in parts]
        values = first[0] if len(first) == 1 else np.concatenate(first)
        logits = form.maps and self._are_logits(values)
        threshold = logit(self._selection.score) if logits else self._selection.score
        share = sigmoid if logits else _within_1
        if not form.objectness:
            rows = self._selection.strongest(values, threshold)
            return _Found(rows, share(values[rows]), gather(parts, rows).argmax(axis=1), logits)
        rows = np.flatnonzero(values >= threshold)  # no class can lift a product above its objectness
        found = gather(parts, rows)  # (n, 1 + C)
        best = found[:, 1:].max(axis=1, initial=-np.inf)
        score = share(found[:, 0]) * share(best)
        kept = self._selection.strongest(score)
        return _Found(rows[kept], score[kept], found[kept, 1:].argmax(axis=1), logits)

    def _listed(self, rows_of_two: NDArray[np.generic]) -> _Found:
        """Score and class (N, 2) as the graph lists them; a class that has no label is not one."""
        listed = rows_of_two.astype(np.float32)
        rows = self._selection.strongest(listed[:, 0])
        number = listed[rows, 1]
        good = (number >= 0) & (number < (len(self._spec.labels) or np.inf))
        rows, number = rows[good], number[good]
        return _Found(rows, _within_1(listed[rows, 0]), number.astype(np.int32), False)

    def _are_logits(self, values: Float32) -> bool:
        if self._activation == "auto":
            return bool(np.fmin.reduce(values) < _SURELY_LOGITS)  # fmin: whatever is not a number says nothing
        return self._activation == "apply"

    def _decoded(self, form: Format, boxes: list[NDArray[np.generic]]) -> bool:
        if self._boxes != "auto" or form.maps:
            return self._boxes == "decoded"
        coarsest = boxes[0][-form.grids[-1].cells :, :2]
        return bool(2 * np.count_nonzero(np.abs(coarsest) > _SURELY_PIXELS) > coarsest.size)


def _within_1(probability: Float32) -> Float32:
    return np.clip(probability, 0, 1)  # a quantised one may lie a step outside


@dataclass(frozen=True, slots=True)
class _Found:
    """Cells that pass: rows (n,), ascending; score and class_id (n,). logits: whether the outputs were."""

    rows: NDArray[np.intp]
    score: Float32
    class_id: NDArray[np.integer]
    logits: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    """pyramid: None where boxes come in pixels; anchor: (cells, 2), of v5's grids."""

    form: Format
    selection: Selection
    pyramid: Pyramid | None
    anchor: Float32 | None

    def decode(self, kind: str, values: Float32, rows: NDArray[np.intp]) -> Float32:
        """Boxes (n, 4), input pixels, from the values (n, 4 or 4 * bins) of cells."""
        if kind == "corners":
            return values
        if kind == "pixels":
            return from_size(values[:, :2], values[:, 2:])
        assert self.pyramid is not None
        origin, stride = self.pyramid.center[rows], self.pyramid.stride[rows]
        if kind == "edges":
            return from_edges(origin, (values if values.shape[1] == 4 else expectation(values)) * stride)
        if kind == "offset":
            return from_size(origin + values[:, :2] * stride, np.exp(values[:, 2:]) * stride)
        assert self.anchor is not None
        center = origin + (2 * values[:, :2] - np.float32(0.5)) * stride
        return from_size(center, (2 * values[:, 2:]) ** 2 * self.anchor[rows])
