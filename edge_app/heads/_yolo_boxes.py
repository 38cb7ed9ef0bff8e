"""Select cells of a YOLO export by their scores, and decode their boxes.

With s the stride and corner the top left of a cell:
anchor  center = corner + (2x - 0.5) s, size = (2w)^2 * anchor, after the sigmoid; score = objectness * class
edges   edges = center of the cell -/+ distance * s, the expected value of a distribution if there are several values
offset  center = corner + x s, size = e^w s; score = objectness * class
Not here: where the values are (_yolo_formats.py, _yolo_tasks.py), suppression (_selection.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_app.errors import ModelError
from edge_app.frame import Float32
from edge_app.heads import HeadSpec
from edge_app.heads._grids import Pyramid, expectation, from_edges, from_size, gather
from edge_app.heads._outputs import Arrays, float32, logit, sigmoid, softmax
from edge_app.heads._selection import Selection
from edge_app.heads._yolo_anchors import Anchors, published_anchors
from edge_app.heads._yolo_layout import Format

_MIN_PROBABILITY = -0.5  # never below this, even dequantized; the logits of the background always are
_MAX_RAW_OFFSET = 32  # cells; raw box centers are closer to their cell than this, except outliers


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the heads that concern boxes: those of `yolo`, which see."""

    version: str = "auto"
    anchors: Anchors = ()
    activation: Literal["auto", "apply", "none"] = "auto"
    boxes: Literal["auto", "raw", "decoded"] = "auto"


@dataclass(frozen=True, slots=True)
class Candidates:
    """Selected cells. rows: (n,), ascending; score, class_id: (n,). logits: whether the outputs are logits."""

    rows: NDArray[np.intp]
    score: Float32
    class_id: NDArray[np.integer]
    logits: bool


class BoxDecoder:
    """Decodes the boxes of one format. selection: of the head, changed as the format needs it."""

    def __init__(self, spec: HeadSpec, form: Format, selection: Selection, options: Options) -> None:
        self._spec = spec
        self.form = form
        self.selection = replace(selection, nms_iou=1.0) if form.nms_free else selection
        self._options = options
        offset = 0.5 if form.box == "edges" else 0
        self._pyramid = Pyramid.of(form.grids, offset) if form.grids else None
        self._anchor = self._cell_anchors() if form.box == "anchor" else None

    def candidates(self, outputs: Arrays) -> Candidates:
        """Select the cells whose best class score reaches the threshold."""
        form = self.form
        parts = [part.view(outputs) for part in form.scores]  # (cells, C) each
        if form.selected:
            return self._from_table(parts[0])
        columns = [part.view(outputs)[:, 0] for part in form.objectness] or [part.max(axis=1) for part in parts]
        values = float32(columns[0]) if len(columns) == 1 else np.concatenate([float32(c) for c in columns])
        logits = form.logits and self._are_logits(values)
        threshold = logit(self.selection.score) if logits else self.selection.score
        probability = sigmoid if logits else _unchanged
        if not form.objectness:
            rows = self.selection.candidates(values, threshold)
            if form.nms_free:
                return self._every_class(rows, gather(parts, rows), threshold, logits)
            return Candidates(rows, probability(values[rows]), gather(parts, rows).argmax(axis=1), logits)
        rows = np.flatnonzero(values >= threshold)  # the product cannot exceed the objectness
        scores = gather(parts, rows)  # (n, C)
        if form.softmax and logits:
            chance = softmax(scores).max(axis=1, initial=0)
        else:
            chance = probability(scores.max(axis=1, initial=-np.inf))
        with np.errstate(over="ignore"):  # inference reports scores that are not finite
            score = probability(values[rows]) * chance
        kept = self.selection.candidates(score)
        return Candidates(rows[kept], score[kept], scores[kept].argmax(axis=1), logits)

    def boxes(self, outputs: Arrays, candidates: Candidates) -> Float32:
        """Boxes (n, 4) in input pixels; not finite where the values are not."""
        form = self.form
        if not len(candidates.rows):
            return np.empty((0, 4), np.float32)
        parts = [part.view(outputs) for part in form.boxes]
        values = gather(parts, candidates.rows)  # (n, 4) or (n, 4 * bins)
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are dropped later
            if form.box == "anchor" and candidates.logits:
                values = sigmoid(values)
            encoding = "pixels" if form.box == "offset" and self._decoded(form, parts) else form.box
            return self._decode(encoding, values, candidates.rows)

    def values(self, outputs: Arrays, candidates: Candidates) -> Float32:
        """The values of the boxes as they are: (n, 4), (n, 4 * bins)."""
        return gather([part.view(outputs) for part in self.form.boxes], candidates.rows)

    def extras(self, outputs: Arrays, rows: NDArray[np.intp]) -> Float32:
        """The values (n, E) beside boxes and scores. rows: ascending."""
        return gather([part.view(outputs) for part in self.form.extras], rows)

    def cells(self, rows: NDArray[np.intp]) -> tuple[Float32, Float32]:
        """Reference points (n, 2) of cells, and their strides (n, 1)."""
        assert self._pyramid is not None
        return self._pyramid.center[rows], self._pyramid.stride[rows]

    def _cell_anchors(self) -> Float32:
        """The anchors of all cells: (cells, 2), width and height in input pixels."""
        form = self.form
        strides = sorted({grid.stride for grid in form.grids})
        anchors = self._options.anchors or published_anchors(self._options.version, tuple(strides))
        if len(anchors) != len(strides):
            raise ModelError(
                f"heads.{self._spec.name}: anchors: found {len(anchors)} lists; "
                f"expected one for each of {len(strides)} strides"
            )
        sizes = {stride: np.array(row, np.float32).reshape(-1, 2) for stride, row in zip(strides, anchors)}
        rows = [sizes[grid.stride][i] for grid, i in zip(form.grids, form.anchors)]
        return np.repeat(np.stack(rows), [grid.cells for grid in form.grids], axis=0)

    def _every_class(self, rows: NDArray[np.intp], scores: Float32, threshold: float, logits: bool) -> Candidates:
        """Each class of a cell that reaches the threshold, as the end-to-end exports select them. scores: of `rows`."""
        values = scores.ravel()
        flat = self.selection.candidates(values, threshold)
        cell, class_id = np.divmod(flat, scores.shape[1])
        return Candidates(rows[cell], (sigmoid if logits else _unchanged)(values[flat]), class_id, logits)

    def _from_table(self, scores_and_classes: NDArray[np.generic]) -> Candidates:
        """From v10's table (N, 2) of score and class number; rows whose class has no label are dropped."""
        table = scores_and_classes.astype(np.float32)
        rows = self.selection.candidates(table[:, 0])
        class_id = table[rows, 1]
        valid = (class_id >= 0) & (class_id < (len(self._spec.labels) or np.inf))
        rows, class_id = rows[valid], class_id[valid]
        return Candidates(rows, _unchanged(table[rows, 0]), class_id.astype(np.int32), False)

    def _are_logits(self, values: Float32) -> bool:
        if self._options.activation == "auto":
            return bool(np.fmin.reduce(values) < _MIN_PROBABILITY)  # fmin ignores NaN
        return self._options.activation == "apply"

    def _decoded(self, form: Format, boxes: list[NDArray[np.generic]]) -> bool:
        """Whether YOLOX boxes are in pixels already."""
        if self._options.boxes != "auto" or len(form.boxes) > 1:
            return self._options.boxes == "decoded"
        coarsest = boxes[0][-form.grids[-1].cells :, :2]
        return bool(2 * np.count_nonzero(np.abs(coarsest) > _MAX_RAW_OFFSET) > coarsest.size)

    def _decode(self, encoding: str, values: Float32, rows: NDArray[np.intp]) -> Float32:
        """Boxes (n, 4) in input pixels from the values (n, 4 or 4 * bins) of cells `rows`."""
        if encoding == "corners":
            return values
        if encoding == "pixels":
            return from_size(values[:, :2], values[:, 2:])
        assert self._pyramid is not None
        origin, stride = self._pyramid.center[rows], self._pyramid.stride[rows]
        if encoding == "edges":
            return from_edges(origin, (values if values.shape[1] == 4 else expectation(values)) * stride)
        if encoding == "offset":
            return from_size(origin + values[:, :2] * stride, np.exp(values[:, 2:]) * stride)
        assert self._anchor is not None
        center = origin + (2 * values[:, :2] - np.float32(0.5)) * stride
        return from_size(center, (2 * values[:, 2:]) ** 2 * self._anchor[rows])


def _unchanged(probability: Float32) -> Float32:
    return probability  # not clipped: impossible scores are reported (inference/score_check.py)
