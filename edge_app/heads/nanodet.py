"""NanoDet and NanoDet-Plus: class probabilities and box distributions at several strides.

Source: the NanoDet repository (RangiLyu). A stride has classes (1, N, C), sigmoid applied, and boxes (1, N, 4 * bins):
a softmax over the bins of each of left, top, right and bottom gives its distance in strides from the cell's centre. Or
all strides lie in one output (1, N, C + 4 * bins): NanoDet-Plus, and the later exports of NanoDet. Or in two, as the
compiler cuts that for int8, where one output is one scale.
NanoDet counts from the middle of a cell; NanoDet-Plus, which has strides 8 to 64, from its top left corner.
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
from edge_app.heads._cells import STRIDES, Grid, Pyramid, expectation, from_edges, gather, grid, grid_of
from edge_app.heads._outputs import Arrays, check_labels, described, fixed, shape_of, unusable
from edge_app.heads._selection import Selection
from edge_app.options import Fraction, Positive, Range

_EXPECTED = "classes 1xNxC and boxes 1xNx(4*bins), for each stride or for all, or both in one output 1xNx(C+4*bins)"
_BINS = 8  # of every published configuration: tells classes from boxes where there are no labels


class Head:
    """Decodes NanoDet.

    cell_center: `auto` is `corner` for four strides in one output (Plus), `middle` otherwise. bins: of a distance,
    where one output holds classes and boxes; shapes tell it otherwise.
    """

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
        self._layout = self._read(spec.outputs) if fixed(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode all strides of one picture."""
        layout = self._layout = self._layout or self._read(described(outputs))
        scores = [outputs[name][0][:, : layout.classes] for name in layout.scores]  # (cells, C) a level
        firsts = accumulate([0, *(len(level) for level in scores)])
        rows = np.concatenate([first + self._selection.hit(level) for first, level in zip(firsts, scores)])
        if not len(rows):
            return Detections.empty()
        found = gather(scores, rows)  # (n, C)
        best = found.max(axis=1)
        kept = self._selection.strongest(best)
        rows, best, class_id = rows[kept], best[kept], found[kept].argmax(axis=1)
        boxes = [outputs[name][0][:, layout.first_bin :] for name in layout.boxes]
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is dropped
            distance = expectation(gather(boxes, rows)) * layout.pyramid.stride[rows]
            xyxy = from_edges(layout.pyramid.center[rows], distance)
        return self._selection.detections(xyxy, best, class_id, transform)

    def _read(self, outputs: tuple[TensorSpec, ...]) -> _Layout:
        if any(len(shape_of(output)) != 2 for output in outputs):
            raise unusable(self._spec, outputs, _EXPECTED)
        if len(outputs) == 1:
            return _joined(self._spec, outputs[0], self._cell_center, 4 * self._bins)
        return _apart(self._spec, outputs, self._cell_center)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Outputs by stride, ascending. first_bin: the column where the boxes begin."""

    scores: tuple[str, ...]
    boxes: tuple[str, ...]
    classes: int
    first_bin: int
    pyramid: Pyramid


def _apart(spec: HeadSpec, outputs: tuple[TensorSpec, ...], cell_center: str) -> _Layout:
    """Classes and boxes in outputs of their own, for each stride or for all together."""
    levels: dict[int, dict[str, int]] = {}  # channels by name by number of cells
    for output in outputs:
        cells, channels = shape_of(output)
        levels.setdefault(cells, {})[output.name] = channels
    grids: list[Grid] = []
    pairs, classes = [], set()
    for cells in sorted(levels, reverse=True):
        where, pair = _grids(spec.input_size, cells), _pair(levels[cells], len(spec.labels))
        if not where or pair is None:
            raise unusable(spec, outputs, _EXPECTED)
        grids += where
        pairs.append(pair)
        classes.add(levels[cells][pair[0]])
    if len(classes) != 1:
        raise unusable(spec, outputs, _EXPECTED)
    check_labels(spec, min(classes))
    scores, boxes = zip(*pairs)
    return _Layout(scores, boxes, min(classes), 0, _pyramid(grids, cell_center, len(levels) == 1))


def _pair(channels: dict[str, int], labels: int) -> tuple[str, str] | None:
    """The outputs of one stride as (classes, boxes): told by the labels, else by 8 bins, else by the graph's order."""
    if len(channels) != 2:
        return None
    (one, n), (other, m) = channels.items()
    swapped = n not in (m, labels) and (m == labels or n == 4 * _BINS)
    scores, boxes = (other, one) if swapped else (one, other)
    return None if channels[boxes] < 8 or channels[boxes] % 4 else (scores, boxes)


def _joined(spec: HeadSpec, output: TensorSpec, cell_center: str, box_channels: int) -> _Layout:
    cells, channels = shape_of(output)
    classes, grids = channels - box_channels, _grids(spec.input_size, cells)
    if not grids or classes < 1:
        raise unusable(spec, (output,), _EXPECTED)
    check_labels(spec, classes)
    return _Layout((output.name,), (output.name,), classes, classes, _pyramid(grids, cell_center, True))


def _grids(input_size: tuple[int, int], cells: int) -> list[Grid]:
    """The one grid that has so many cells, or the grids from stride 8 on that have together; else none."""
    one = grid_of(input_size, cells)
    steps = accumulate(([grid(input_size, stride)] for stride in STRIDES[1:]), lambda a, b: a + b)
    return [one] if one else next((grids for grids in steps if sum(g.cells for g in grids) == cells), [])


def _pyramid(grids: list[Grid], cell_center: str, together: bool) -> Pyramid:
    """together: one output holds all strides, and NanoDet-Plus is told by having four."""
    corner = cell_center == "corner" or (cell_center == "auto" and together and len(grids) == 4)
    return Pyramid.of(grids, 0.0 if corner else 0.5)
