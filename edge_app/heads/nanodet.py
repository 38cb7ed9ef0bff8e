"""NanoDet and NanoDet-Plus: class probabilities and box distributions at several strides.

Source: the NanoDet repository (RangiLyu). Each stride has classes (1, N, C), sigmoid applied, and boxes
(1, N, 4 * bins): for each of left, top, right and bottom, the expected value of a softmax over the bins is the distance
from the center of the cell, in strides. NanoDet-Plus and later exports of NanoDet have one output
(1, N, C + 4 * bins) for all strides. For int8, the compiler splits it into two, because an output has only one scale.
NanoDet measures from the center of a cell; NanoDet-Plus, with strides 8 to 64, from its top left corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Literal

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Detections
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._grids import STRIDES, Grid, Pyramid, expectation, from_edges, gather, grid, grid_of
from edge_app.heads._outputs import Arrays, check_labels, shape_of, shapes_known, specs_of, unsupported_outputs
from edge_app.heads._selection import Selection
from edge_app.options import Fraction, Positive, Range

_EXPECTED = "classes 1xNxC and boxes 1xNx(4*bins), for each stride or for all, or both in one output 1xNx(C+4*bins)"
_BINS = 8  # in every published configuration; distinguishes boxes from classes if there are no labels


class Head:
    """Decodes NanoDet.

    cell_center: `auto` is `corner` for four strides in one output (Plus), otherwise `middle`. bins: per distance,
    needed only if one output contains classes and boxes; otherwise read from the shapes.
    """

    result_type = Detections

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.4,
        nms_iou: Fraction = 0.6,
        max_detections: Positive = 100,
        class_aware: bool = True,
        cell_center: Literal["auto", "middle", "corner"] = "auto",
        bins: Annotated[int, Range(2)] = _BINS,
    ) -> None:
        self._spec = spec
        self._selection = Selection(score, nms_iou, max_detections, class_aware)
        self._cell_center = cell_center
        self._bins = bins
        self._layout = self._read(spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode all strides of one image."""
        layout = self._layout = self._layout or self._read(specs_of(outputs))
        scores = [outputs[name][0][:, : layout.classes] for name in layout.scores]  # (cells, C) a level
        firsts = accumulate([0, *(len(level) for level in scores)])
        rows = np.concatenate([first + self._selection.rows_above(level) for first, level in zip(firsts, scores)])
        if not len(rows):
            return Detections.empty()
        selected = gather(scores, rows)  # (n, C)
        best = selected.max(axis=1)
        kept = self._selection.candidates(best)
        rows, best, class_id = rows[kept], best[kept], selected[kept].argmax(axis=1)
        boxes = [outputs[name][0][:, layout.first_bin :] for name in layout.boxes]
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are dropped later
            distance = expectation(gather(boxes, rows)) * layout.pyramid.stride[rows]
            xyxy = from_edges(layout.pyramid.center[rows], distance)
        return self._selection.detections(xyxy, best, class_id, transform)

    def _read(self, outputs: tuple[TensorSpec, ...]) -> _Layout:
        if any(len(shape_of(output)) != 2 for output in outputs):
            raise unsupported_outputs(self._spec, outputs, _EXPECTED)
        if len(outputs) == 1:
            return _single_output(self._spec, outputs[0], self._cell_center, 4 * self._bins)
        return _separate_outputs(self._spec, outputs, self._cell_center)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Output names by ascending stride. first_bin: the first column of the boxes."""

    scores: tuple[str, ...]
    boxes: tuple[str, ...]
    classes: int
    first_bin: int
    pyramid: Pyramid


def _separate_outputs(spec: HeadSpec, outputs: tuple[TensorSpec, ...], cell_center: str) -> _Layout:
    """Classes and boxes in separate outputs, for each stride or for all strides together."""
    levels: dict[int, dict[str, int]] = {}  # channels by name by number of cells
    for output in outputs:
        cells, channels = shape_of(output)
        levels.setdefault(cells, {})[output.name] = channels
    grids: list[Grid] = []
    pairs, classes = [], set()
    for cells in sorted(levels, reverse=True):
        level, pair = _grids(spec.input_size, cells), _pair(levels[cells], len(spec.labels))
        if not level or pair is None:
            raise unsupported_outputs(spec, outputs, _EXPECTED)
        grids += level
        pairs.append(pair)
        classes.add(levels[cells][pair[0]])
    if len(classes) != 1:
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    check_labels(spec, min(classes))
    scores, boxes = zip(*pairs)
    return _Layout(scores, boxes, min(classes), 0, _pyramid(grids, cell_center, len(levels) == 1))


def _pair(channels: dict[str, int], labels: int) -> tuple[str, str] | None:
    """The outputs of one stride as (classes, boxes), identified by the labels, else by 8 bins, else by the order."""
    if len(channels) != 2:
        return None
    (first, n), (second, m) = channels.items()
    swapped = n not in (m, labels) and (m == labels or n == 4 * _BINS)
    scores, boxes = (second, first) if swapped else (first, second)
    return None if channels[boxes] < 8 or channels[boxes] % 4 else (scores, boxes)


def _single_output(spec: HeadSpec, output: TensorSpec, cell_center: str, box_channels: int) -> _Layout:
    cells, channels = shape_of(output)
    classes, grids = channels - box_channels, _grids(spec.input_size, cells)
    if not grids or classes < 1:
        raise unsupported_outputs(spec, (output,), _EXPECTED)
    check_labels(spec, classes)
    return _Layout((output.name,), (output.name,), classes, classes, _pyramid(grids, cell_center, True))


def _grids(input_size: tuple[int, int], cells: int) -> list[Grid]:
    """The grid with this number of cells, or the grids from stride 8 on that have it in total; else []."""
    single = grid_of(input_size, cells)
    pyramids = accumulate(([grid(input_size, stride)] for stride in STRIDES[1:]), lambda a, b: a + b)
    return [single] if single else next((grids for grids in pyramids if sum(g.cells for g in grids) == cells), [])


def _pyramid(grids: list[Grid], cell_center: str, together: bool) -> Pyramid:
    """together: one output contains all strides; then four strides mean NanoDet-Plus."""
    corner = cell_center == "corner" or (cell_center == "auto" and together and len(grids) == 4)
    return Pyramid.of(grids, 0.0 if corner else 0.5)
