"""The YOLO detectors v5 to v12, 26, X and FastestV2, in the formats in which they are exported (_yolo_formats.py).

Sources: those of _yolo_formats.py. With s the stride and corner the top left of a cell:
v5  center = corner + (2x - 0.5) s, size = (2w)^2 * anchor, after the sigmoid; score = objectness * class
    (also v7, and FastestV2, whose anchors share the class scores of their cell)
v8  edges = center of the cell -/+ distance * s, the expected value of a distribution if there are several values;
    score = class (also v6, v9, v10, v11, v12, 26)
x   center = corner + x s, size = e^w s; score = objectness * class
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
from edge_app.heads._grids import Pyramid, expectation, from_edges, from_size, gather
from edge_app.heads._outputs import Arrays, float32, logit, shapes_known, sigmoid, softmax, specs_of
from edge_app.heads._selection import Selection
from edge_app.heads._yolo_anchors import published_anchors
from edge_app.heads._yolo_formats import Version, recognize
from edge_app.heads._yolo_layout import Format
from edge_app.options import Fraction, Positive

_MIN_PROBABILITY = -0.5  # never below this, even dequantized; the logits of the background always are
_MAX_RAW_OFFSET = 32  # cells; raw box centers are closer to their cell than this, except outliers


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
        self._anchors = anchors
        self._activation = activation
        self._boxes = "decoded" if version == "v6" and boxes == "auto" else boxes
        self._layout = self._read(spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode all grids of one image."""
        layout = self._layout = self._layout or self._read(specs_of(outputs))
        form = layout.form
        candidates = self._scores(form, outputs)
        if not len(candidates.rows):
            return Detections.empty()
        boxes = [part.view(outputs) for part in form.boxes]
        values = gather(boxes, candidates.rows)  # (n, 4) or (n, 4 * bins)
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are dropped later
            if form.box == "anchor" and candidates.logits:
                values = sigmoid(values)
            encoding = "pixels" if form.box == "offset" and self._decoded(form, boxes) else form.box
            xyxy = layout.decode(encoding, values, candidates.rows)
        return layout.selection.detections(xyxy, candidates.score, candidates.class_id, transform)

    def _read(self, outputs: tuple[TensorSpec, ...]) -> _Layout:
        per_cell = len(self._anchors[0]) // 2 if self._anchors else 3
        form = recognize(self._spec, outputs, self._version, per_cell)
        selection = replace(self._selection, nms_iou=1.0) if form.nms_free else self._selection
        if not form.grids:
            return _Layout(form, selection, None, None)
        pyramid = Pyramid.of(form.grids, offset=0.5 if form.box == "edges" else 0)
        return _Layout(form, selection, pyramid, self._cell_anchors(form) if form.box == "anchor" else None)

    def _cell_anchors(self, form: Format) -> Float32:
        """The anchors of all cells: (cells, 2), width and height in input pixels."""
        strides = sorted({grid.stride for grid in form.grids})
        anchors = self._anchors or published_anchors(self._version, tuple(strides))
        if len(anchors) != len(strides):
            raise ModelError(
                f"heads.{self._spec.name}: anchors: found {len(anchors)} lists; "
                f"expected one for each of {len(strides)} strides"
            )
        sizes = {stride: np.array(row, np.float32).reshape(-1, 2) for stride, row in zip(strides, anchors)}
        rows = [sizes[grid.stride][i] for grid, i in zip(form.grids, form.anchors)]
        return np.repeat(np.stack(rows), [grid.cells for grid in form.grids], axis=0)

    def _scores(self, form: Format, outputs: Arrays) -> _Candidates:
        """Select the cells whose best class score reaches the threshold."""
        parts = [part.view(outputs) for part in form.scores]  # (cells, C) each
        if form.box == "corners":
            return self._from_table(parts[0])
        columns = [part.view(outputs)[:, 0] for part in form.objectness] or [part.max(axis=1) for part in parts]
        values = float32(columns[0]) if len(columns) == 1 else np.concatenate([float32(c) for c in columns])
        logits = form.logits and self._are_logits(values)
        threshold = logit(self._selection.score) if logits else self._selection.score
        probability = sigmoid if logits else _unchanged
        if not form.objectness:
            rows = self._selection.candidates(values, threshold)
            if form.nms_free:
                return self._every_class(rows, gather(parts, rows), threshold, logits)
            return _Candidates(rows, probability(values[rows]), gather(parts, rows).argmax(axis=1), logits)
        rows = np.flatnonzero(values >= threshold)  # the product cannot exceed the objectness
        scores = gather(parts, rows)  # (n, C)
        if form.softmax and logits:
            chance = softmax(scores).max(axis=1, initial=0)
        else:
            chance = probability(scores.max(axis=1, initial=-np.inf))
        with np.errstate(over="ignore"):  # inference reports scores that are not finite
            score = probability(values[rows]) * chance
        kept = self._selection.candidates(score)
        return _Candidates(rows[kept], score[kept], scores[kept].argmax(axis=1), logits)

    def _every_class(self, rows: NDArray[np.intp], scores: Float32, threshold: float, logits: bool) -> _Candidates:
        """Each class of a cell that reaches the threshold, as the end-to-end exports select them. scores: of `rows`."""
        values = scores.ravel()
        flat = self._selection.candidates(values, threshold)
        cell, class_id = np.divmod(flat, scores.shape[1])
        return _Candidates(rows[cell], (sigmoid if logits else _unchanged)(values[flat]), class_id, logits)

    def _from_table(self, scores_and_classes: NDArray[np.generic]) -> _Candidates:
        """From v10's table (N, 2) of score and class number; rows whose class has no label are dropped."""
        table = scores_and_classes.astype(np.float32)
        rows = self._selection.candidates(table[:, 0])
        class_id = table[rows, 1]
        valid = (class_id >= 0) & (class_id < (len(self._spec.labels) or np.inf))
        rows, class_id = rows[valid], class_id[valid]
        return _Candidates(rows, _unchanged(table[rows, 0]), class_id.astype(np.int32), False)

    def _are_logits(self, values: Float32) -> bool:
        if self._activation == "auto":
            return bool(np.fmin.reduce(values) < _MIN_PROBABILITY)  # fmin ignores NaN
        return self._activation == "apply"

    def _decoded(self, form: Format, boxes: list[NDArray[np.generic]]) -> bool:
        """Whether YOLOX boxes are in pixels already."""
        if self._boxes != "auto" or len(form.boxes) > 1:
            return self._boxes == "decoded"
        coarsest = boxes[0][-form.grids[-1].cells :, :2]
        return bool(2 * np.count_nonzero(np.abs(coarsest) > _MAX_RAW_OFFSET) > coarsest.size)


def _unchanged(probability: Float32) -> Float32:
    return probability  # not clipped: impossible scores are reported (inference/score_check.py)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Selected cells. rows: (n,), ascending; score, class_id: (n,). logits: whether the outputs are logits."""

    rows: NDArray[np.intp]
    score: Float32
    class_id: NDArray[np.integer]
    logits: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    """How to decode a graph. pyramid: None if boxes are in pixels. anchor: (cells, 2), only for v5's grids."""

    form: Format
    selection: Selection
    pyramid: Pyramid | None
    anchor: Float32 | None

    def decode(self, encoding: str, values: Float32, rows: NDArray[np.intp]) -> Float32:
        """Boxes (n, 4) in input pixels from the values (n, 4 or 4 * bins) of cells `rows`."""
        if encoding == "corners":
            return values
        if encoding == "pixels":
            return from_size(values[:, :2], values[:, 2:])
        assert self.pyramid is not None
        origin, stride = self.pyramid.center[rows], self.pyramid.stride[rows]
        if encoding == "edges":
            return from_edges(origin, (values if values.shape[1] == 4 else expectation(values)) * stride)
        if encoding == "offset":
            return from_size(origin + values[:, :2] * stride, np.exp(values[:, 2:]) * stride)
        assert self.anchor is not None
        center = origin + (2 * values[:, :2] - np.float32(0.5)) * stride
        return from_size(center, (2 * values[:, 2:]) ** 2 * self.anchor[rows])
